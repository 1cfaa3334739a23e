"""The negotiation of per-message compression (RFC 7692)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_NAME: Final = "permessage-deflate"
_LARGEST: Final = 15
_FLAGS: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_WINDOWS: Final = frozenset({"server_max_window_bits", "client_max_window_bits"})


def negotiate(offers: Iterable[str]) -> tuple[int, str] | None:
    """Accept the first offer in ``Sec-WebSocket-Extensions`` headers that can be kept.

    Return the window in bits that the client can read, and the header to answer with; ``None`` when there is no such
    offer. No context is kept from one message to the next, in either direction: a message is compressed once for all
    who receive it, and nothing has to be remembered of what a client has sent.
    """
    for header in offers:
        for offer in header.split(","):
            window = _window_of(offer)
            if window is not None:
                answer = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"
                if "server_max_window_bits" in offer:
                    answer += f"; server_max_window_bits={window}"
                return window, answer
    return None


def _window_of(offer: str) -> int | None:
    """Find the largest window that an offer allows to the server; ``None`` when it has to be declined (7.1)."""
    name, *parameters = (part.strip() for part in offer.split(";"))
    if name.lower() != _NAME:
        return None
    seen: set[str] = set()
    window = _LARGEST
    for parameter in parameters:
        key, equals, value = (part.strip() for part in parameter.partition("="))
        if key in seen:
            return None
        seen.add(key)
        if key in _FLAGS and not equals:
            continue
        if key not in _WINDOWS:
            return None
        if not equals and key == "client_max_window_bits":
            continue
        bits = value.strip('"')
        if not bits.isdecimal() or not bits.isascii() or len(bits) > 2 or bits[0] == "0" or not 8 <= int(bits) <= 15:
            return None
        if key == "server_max_window_bits":
            window = int(bits)
    return window
