"""Settings, frozen: what a server is told once and never changes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from .exceptions import ConfigurationError

Origins: TypeAlias = str | re.Pattern[str] | Sequence[str | re.Pattern[str]] | Callable[[str], bool] | None
"""Which origins of other hosts may connect.

``None``: only pages of the server's own host. ``"*"``: all. A string or a pattern (matched whole), several of them,
or a function of the origin. Requests without an ``Origin`` header do not come from a page of another host and pass.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost. Each limit has a default that real clients do not reach."""

    max_http_buffer_size: int = 1_000_000
    """Bytes of one websocket message or one POST body. Beyond: the connection is closed ("transport error")."""

    max_outbox: int = 1_048_576
    """Bytes that may wait for one client. Beyond: it is disconnected with reason "slow consumer"; one packet larger
    than the bound is still taken when nothing else waits."""

    max_attachments: int = 10
    """Binary attachments of one packet, with the serializer that the server makes itself; one that is given as
    ``serializer=JSONSerializer(max_attachments=...)`` has its own. Beyond: "parse error"."""

    max_namespaces: int = 100
    """Namespaces that one connection may be in. Beyond: the connection is closed ("forced server close")."""

    max_pending_events: int = 1_000
    """Event handlers of one connection that may run at once. Beyond: the connection is not read until one is done."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name == "max_attachments" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(f"{each.name} must be an integer of at least {least}, not {value!r}")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The engine's settings, in seconds and bytes. See :class:`rtframework.Server` for what each means."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    connect_timeout: float = 45.0
    upgrade_timeout: float = 10.0
    transports: tuple[str, ...] = ("polling", "websocket")
    allow_upgrades: bool = True
    cors_allowed_origins: Origins = None
    cors_credentials: bool = True
    http_compression: bool = True
    http_compression_threshold: int = 1024
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} must be a number of seconds above zero, not {getattr(self, name)!r}")
        unknown = [name for name in self.transports if name not in ("polling", "websocket")]
        if unknown or not self.transports:
            raise ConfigurationError(f'transports must name "polling", "websocket" or both, not {self.transports!r}')
