"""A Socket.IO server framework for aiohttp."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters import BaseAdapter, MemoryAdapter
    from .adapters.cluster_view import Cluster
    from .adapters.history import History
    from .adapters.memory_history import MemoryHistory
    from .adapters.memory_store import MemoryStore
    from .adapters.presence import Presence
    from .authenticators import StaticTokenAuth, TokenSources
    from .engine.http.readiness import Readiness
    from .exceptions import (
        AckError,
        AckTimeout,
        ClusterUnavailable,
        ConfigurationError,
        ConnectionRefused,
        ContractError,
        DecodeError,
        Disconnected,
        EncodeError,
        EventError,
        FetchTimeout,
        InvalidPayload,
        InvalidReturn,
        PluginNotFound,
        RateLimited,
        RTFrameworkError,
        SerializationError,
    )
    from .gateways.codec import Reply, WebSocketCodec
    from .gateways.tickets import Tickets
    from .handlers.declarations import emits
    from .handlers.dependencies import Depends
    from .handlers.event import Ack, Event
    from .handlers.idempotent import idempotent
    from .handlers.limited import limited
    from .limits.audit import AuditEntry
    from .limits.rate_limiter import RateLimiter
    from .limits.rates import Rate, RateLimit
    from .namespaces.namespace import Namespace
    from .namespaces.operators import BroadcastOperator, RemoteSocket
    from .namespaces.socket import Socket
    from .options import Cookie, Cors, Deflate, Idempotency, Limits, Recovery
    from .plugins import load
    from .protocols import CallNext
    from .serializers import JSONSerializer
    from .server import Server
    from .stats import Stats
    from .types import (
        AckResponses,
        ClusterDown,
        ClusterGap,
        ClusterLoss,
        ClusterNode,
        ClusterUp,
        ConnectionFailure,
        Device,
        DisconnectReason,
        Handshake,
        HistoryEntry,
        HistoryPage,
        Identity,
        Member,
        Packet,
        PacketType,
        Target,
    )
    from .workers.backbone import Workers

__all__ = [
    "Ack",
    "AckError",
    "AckResponses",
    "AckTimeout",
    "AuditEntry",
    "BaseAdapter",
    "BroadcastOperator",
    "CallNext",
    "Cluster",
    "ClusterDown",
    "ClusterGap",
    "ClusterLoss",
    "ClusterNode",
    "ClusterUnavailable",
    "ClusterUp",
    "ConfigurationError",
    "ConnectionFailure",
    "ConnectionRefused",
    "ContractError",
    "Cookie",
    "Cors",
    "DecodeError",
    "Deflate",
    "Depends",
    "Device",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "Event",
    "EventError",
    "FetchTimeout",
    "Handshake",
    "History",
    "HistoryEntry",
    "HistoryPage",
    "Idempotency",
    "Identity",
    "InvalidPayload",
    "InvalidReturn",
    "JSONSerializer",
    "Limits",
    "Member",
    "MemoryAdapter",
    "MemoryHistory",
    "MemoryStore",
    "Namespace",
    "Packet",
    "PacketType",
    "PluginNotFound",
    "Presence",
    "RTFrameworkError",
    "Rate",
    "RateLimit",
    "RateLimited",
    "RateLimiter",
    "Readiness",
    "Recovery",
    "RemoteSocket",
    "Reply",
    "SerializationError",
    "Server",
    "Socket",
    "StaticTokenAuth",
    "Stats",
    "Target",
    "Tickets",
    "TokenSources",
    "WebSocketCodec",
    "Workers",
    "emits",
    "idempotent",
    "limited",
    "load",
]

_NAMES = {
    "adapters": ("BaseAdapter", "MemoryAdapter"),
    "authenticators": ("StaticTokenAuth", "TokenSources"),
    "exceptions": (
        "AckError",
        "AckTimeout",
        "ClusterUnavailable",
        "ConfigurationError",
        "ConnectionRefused",
        "ContractError",
        "DecodeError",
        "Disconnected",
        "EncodeError",
        "EventError",
        "FetchTimeout",
        "InvalidPayload",
        "InvalidReturn",
        "PluginNotFound",
        "RTFrameworkError",
        "RateLimited",
        "SerializationError",
    ),
    "engine.http.readiness": ("Readiness",),
    "gateways.tickets": ("Tickets",),
    "gateways.codec": ("Reply", "WebSocketCodec"),
    "handlers.declarations": ("emits",),
    "handlers.dependencies": ("Depends",),
    "handlers.event": ("Ack", "Event"),
    "handlers.idempotent": ("idempotent",),
    "handlers.limited": ("limited",),
    "limits.audit": ("AuditEntry",),
    "limits.rate_limiter": ("RateLimiter",),
    "limits.rates": ("Rate", "RateLimit"),
    "adapters.cluster_view": ("Cluster",),
    "adapters.memory_store": ("MemoryStore",),
    "adapters.history": ("History",),
    "adapters.memory_history": ("MemoryHistory",),
    "adapters.presence": ("Presence",),
    "namespaces.namespace": ("Namespace",),
    "namespaces.operators": ("BroadcastOperator", "RemoteSocket"),
    "namespaces.socket": ("Socket",),
    "options": ("Cookie", "Cors", "Deflate", "Idempotency", "Limits", "Recovery"),
    "plugins": ("load",),
    "protocols": ("CallNext",),
    "serializers": ("JSONSerializer",),
    "server": ("Server",),
    "stats": ("Stats",),
    "types": (
        "AckResponses",
        "ClusterDown",
        "ClusterGap",
        "ClusterLoss",
        "ClusterNode",
        "ClusterUp",
        "ConnectionFailure",
        "Device",
        "DisconnectReason",
        "Handshake",
        "HistoryEntry",
        "HistoryPage",
        "Identity",
        "Member",
        "Packet",
        "PacketType",
        "Target",
    ),
    "workers.backbone": ("Workers",),
}
"""The public names of each module, which is imported when one is first used: ``rtframework --help`` needs none."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = frozenset(module.partition(".")[0] for module in _NAMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name, or a module such as ``rtframework.exceptions``, when it is first used."""
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        found = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        return found
