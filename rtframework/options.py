"""Settings, frozen: what a server is told once and never changes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias, get_args

from .exceptions import ConfigurationError

Origins: TypeAlias = str | re.Pattern[str] | Sequence[str | re.Pattern[str]] | Callable[[str], bool] | None
"""Which origins of other hosts may connect.

``None``: only pages of the server's own host. ``"*"``: all. A string or a pattern (matched whole), several of them,
or a function of the origin. Requests without an ``Origin`` header do not come from a page of another host and pass.
"""


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number of seconds above zero, not {value!r}")


SlowConsumer: TypeAlias = Literal["disconnect", "drop_oldest", "wait"]


@dataclass(frozen=True, slots=True)
class Deflate:
    """Per-message compression of websockets (RFC 7692), for clients that offer it.

    ``threshold``: bytes from which a message is compressed. ``level``: zlib's, 1 to 9. A broadcast is compressed once
    for all its receivers, so no context is kept from one message to the next. Compression costs CPU time, and memory
    for what clients send compressed: leave it off unless bandwidth is what is short.
    """

    threshold: int = 1024
    level: int = 6

    def __post_init__(self) -> None:
        if self.threshold < 0 or not 1 <= self.level <= 9:
            raise ConfigurationError("Deflate: threshold is 0 or more bytes, level is 1 to 9")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost. Each limit has a default that real clients do not reach."""

    max_http_buffer_size: int = 1_000_000
    """Bytes of one websocket message or one POST body. Beyond: the connection is closed ("transport error")."""

    max_outbox: int = 1_048_576
    """Bytes that may wait for one client, the websocket's own buffer included. Beyond: see ``slow_consumer``. One
    packet larger than the bound is still taken when nothing else waits."""

    slow_consumer: SlowConsumer = "disconnect"
    """What happens to a client for which more would wait. ``"disconnect"``: it is cut off, reason "slow consumer".
    ``"drop_oldest"``: the oldest events that wait for it are dropped, acknowledgements and questions never. ``"wait"``:
    ``await emit(...)`` lasts until there is room again; emitters that do not wait for each other can still fill four
    times the bound, then it is cut off."""

    max_attachments: int = 10
    """Binary attachments of one packet, with the serializer that the server makes itself; one that is given as
    ``serializer=JSONSerializer(max_attachments=...)`` has its own. Beyond: "parse error"."""

    max_namespaces: int = 100
    """Namespaces that one connection may be in. Beyond: the connection is closed ("forced server close")."""

    max_dynamic_namespaces: int = 10_000
    """Namespaces that clients bring into being, see ``Server.of``, and that are there at once. Beyond: the empty one
    that was left first is closed; if none is empty, clients are refused ("Invalid namespace")."""

    max_namespace_name: int = 256
    """Characters of the name of such a namespace. Beyond: "Invalid namespace"."""

    namespace_timeout: float = 10.0
    """Seconds that a function given to ``Server.of`` has to decide, and a new namespace to open. Beyond: the client is
    refused."""

    max_rooms: int = 10_000
    """Rooms that one socket may be in, its own among them. Beyond: ``join`` raises ``EventError("too_many_rooms")``."""

    max_room_name: int = 1_024
    """Characters of a room's name. Beyond: ``join`` raises ``EventError("room_name_too_long")``."""

    max_event_name: int = 1_024
    """Characters of the name of an event that a client sends. Beyond: "parse error"."""

    max_pending_events: int = 1_000
    """Event handlers of one connection that may run at once. Beyond: the connection is not read until one is done."""

    max_unconnected: int = 10_000
    """Connections, all together, that have joined no namespace yet. Beyond: handshakes are answered 503."""

    body_timeout: float = 30.0
    """Seconds in which the body of a POST has to arrive. Beyond: 408, and the session is closed ("transport error")."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "slow_consumer":
                if value not in get_args(SlowConsumer):
                    raise ConfigurationError(f"slow_consumer is one of {get_args(SlowConsumer)}, not {value!r}")
            elif each.name.endswith("_timeout"):
                _check_seconds(each.name, value)
            else:
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
    require_origin: bool = False
    per_message_deflate: Deflate | None = None
    http_compression: bool = True
    http_compression_threshold: int = 1024
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"):
            _check_seconds(name, getattr(self, name))
        unknown = [name for name in self.transports if name not in ("polling", "websocket")]
        if unknown or not self.transports:
            raise ConfigurationError(f'transports must name "polling", "websocket" or both, not {self.transports!r}')
