"""The Admin UI of Socket.IO: the server's side of its protocol."""

from __future__ import annotations

from .namespace import AdminNamespace, Mode

__all__ = ["AdminNamespace", "Mode"]
