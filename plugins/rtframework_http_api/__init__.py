"""An HTTP API for programs in other languages, cron jobs and admins: emit, kick, rooms, sockets, drain, health."""

from .api import HTTPAPI
from .keys import APIKey

__all__ = ["HTTPAPI", "APIKey"]
