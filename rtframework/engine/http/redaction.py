"""Secrets in URLs, kept out of access logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import web

_SECRETS: Final = re.compile(r"([?&](?:ticket|token|access_token|sid|pid|lastEventId)=)[^&#]+", re.IGNORECASE)

_SESSION: Final = re.compile(r"(/[^/?]+/)[^/?]+(?=/(?:xhr|xhr_send|xhr_streaming|eventsource|htmlfile)(?:\?|$))")
"""The session of a request of SockJS: it is enough to receive."""


def hide_secrets(request: web.Request) -> None:
    """Have the path of a request, as logs show it, end without tickets, tokens and session ids.

    ``request.query`` and ``request.raw_path`` stay as they are.
    """
    shown = request.path_qs
    hidden = _SESSION.sub(r"\1***", _SECRETS.sub(r"\1***", shown) if "?" in shown else shown)
    if hidden != shown:
        cache: dict[str, Any] = request._cache
        cache["path_qs"] = hidden
