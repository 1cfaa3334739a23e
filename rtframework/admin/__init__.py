"""The server side of the protocol of the Socket.IO Admin UI."""

from __future__ import annotations

from .namespace import AdminNamespace, Mode

__all__ = ["AdminNamespace", "Mode"]
