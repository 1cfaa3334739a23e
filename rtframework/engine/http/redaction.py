"""Secrets in URLs, kept out of access logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import web

_SECRETS: Final = re.compile(r"([?&](?:ticket|token|access_token|sid|pid|lastEventId)=)[^&#]+", re.IGNORECASE)


def hide_secrets(request: web.Request) -> None:
    """Have the path of a request, as logs show it, end without tickets, tokens and session ids.

    ``request.query`` and ``request.raw_path`` stay as they are.
    """
    shown = request.path_qs
    if "?" in shown:
        cache: dict[str, Any] = request._cache
        cache["path_qs"] = _SECRETS.sub(r"\1***", shown)
