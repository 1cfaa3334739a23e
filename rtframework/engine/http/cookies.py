"""Cookies: those of a request, parsed when somebody asks for one, and the one that holds the session id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...options import Cookie


def set_cookie(cookie: Cookie, value: str) -> str:
    """Make the value of a ``Set-Cookie`` header (RFC 6265, 4.1)."""
    parts = [f"{cookie.name}={value}"]
    if cookie.max_age is not None:
        parts.append(f"Max-Age={cookie.max_age}")
    if cookie.domain is not None:
        parts.append(f"Domain={cookie.domain}")
    if cookie.path is not None:
        parts.append(f"Path={cookie.path}")
    if cookie.http_only:
        parts.append("HttpOnly")
    if cookie.secure:
        parts.append("Secure")
    if cookie.partitioned:
        parts.append("Partitioned")
    if cookie.same_site is not None:
        parts.append(f"SameSite={cookie.same_site.capitalize()}")
    return "; ".join(parts)


class Cookies(Mapping[str, str]):
    """Cookies by name, as they stand in a ``Cookie`` header (RFC 6265, 4.2 and 5.4).

    The first cookie of a name counts, which is the one with the longest path. Quotes around a value are taken off;
    anything without ``=`` is passed over.
    """

    __slots__ = ("_header", "_parsed")

    def __init__(self, header: str) -> None:
        self._header = header
        self._parsed: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._cookies()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cookies())

    def __len__(self) -> int:
        return len(self._cookies())

    def _cookies(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = {}
            for part in self._header.split(";"):
                name, equals, value = part.partition("=")
                name, value = name.strip(), value.strip()
                if len(value) > 1 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                if equals and name:
                    self._parsed.setdefault(name, value)
        return self._parsed
