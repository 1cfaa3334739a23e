"""The public names: what programs may import, and nothing else."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Final

import pytest

import rtframework
from rtframework import Namespace, Server, Socket
from rtframework.handlers.mistakes import Elsewhere
from rtframework.namespaces.parent import ParentNamespace

EXPORTS: Final[dict[str, tuple[str, ...]]] = {
    "rtframework": (
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
        "Idempotency",
        "History",
        "HistoryEntry",
        "HistoryPage",
        "Identity",
        "InvalidPayload",
        "InvalidReturn",
        "JSONSerializer",
        "Limits",
        "Member",
        "MemoryAdapter",
        "MemoryStore",
        "MemoryHistory",
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
    ),
    "rtframework.adapters": ("AckCollector", "BaseAdapter", "MemoryAdapter", "RoomIndex"),
    "rtframework.development": ("develop",),
    "rtframework.engine": ("AsyncServer", "EngineIO", "Gateway", "Manager", "limit_heads", "tune_gc"),
    "rtframework.testing": (
        "AdapterConformance",
        "AuthenticatorConformance",
        "Clock",
        "ClusterBroker",
        "ClusterConformance",
        "HistoryConformance",
        "KeyValueStoreConformance",
        "PresenceConformance",
        "Received",
        "SerializerConformance",
        "StompMessage",
        "TestClient",
        "TestServer",
        "TestStompClient",
        "TestStream",
        "TestWebSocket",
        "run_suite",
    ),
    "rtframework_http_api": ("APIKey", "HTTPAPI"),
    "rtframework_jwt": ("JWTAuth",),
    "rtframework_msgpack": ("MsgpackSerializer",),
    "rtframework_sqlite": ("SQLiteHistory",),
    "rtframework_opentelemetry": ("Tracing", "handshake_context", "payload_context"),
    "rtframework_prometheus": ("Metrics",),
    "rtframework_pytest": ("ClientFactory", "ServerFactory", "rtframework_client", "rtframework_server"),
    "rtframework_redis": (
        "Publisher",
        "PublisherOperator",
        "RedisPubSub",
        "RedisStreams",
        "SyncPublisher",
        "SyncPublisherOperator",
    ),
}


def public_names(module: ModuleType) -> list[str]:
    """``__all__``, or what a module without one defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(name for name in own if not name.startswith("_"))


@pytest.mark.parametrize("name", EXPORTS)
def test_the_public_names_are_these(name: str) -> None:
    """A name that vanishes breaks programs; one that slips in must be kept for ever after."""
    module = importlib.import_module(name)
    assert public_names(module) == sorted(EXPORTS[name])


@pytest.mark.parametrize("name", EXPORTS)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    """``from rtframework import *`` and ``help()`` are how people look around."""
    module = importlib.import_module(name)
    assert module.__doc__
    for public in public_names(module):
        found = getattr(module, public)
        if inspect.isclass(found) or inspect.isroutine(found):  # a type alias cannot have one
            assert found.__doc__, f"{name}.{public} has no docstring"


def test_a_name_that_is_not_public_is_not_there() -> None:
    """A wrong name in an import would be answered with something else than an ``ImportError``, or not at all."""
    with pytest.raises(ImportError, match="cannot import name 'Sever' from 'rtframework'"):
        exec("from rtframework import Sever", {})
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        rtframework.Sever  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_name_is_seen_before_it_is_used() -> None:
    """A shell would complete only what has been imported already."""
    assert set(EXPORTS["rtframework"]) <= set(dir(rtframework))
    names: dict[str, object] = {}
    exec("from rtframework import *", names)
    assert set(EXPORTS["rtframework"]) == names.keys() - {"__builtins__"}


HANDLES: Final = {
    Socket: {"conn", "data", "handshake", "id", "user"},
    Namespace: {"declared", "event_middlewares", "middlewares", "name", "params", "parent"},
    ParentNamespace: {"declared", "event_middlewares", "factory", "middlewares", "name", "params", "parent", "rule"},
    Server: {"cluster", "dependency_overrides", "engine", "options", "serializer"},
}
"""What programs hold in their hands, each with its attributes."""


@pytest.mark.parametrize("handle", HANDLES, ids=lambda handle: handle.__name__)
def test_handles_show_what_the_reference_documents(handle: type) -> None:
    """Completion would offer what only the framework may call, and what is missing from the reference."""
    own = {name for name in dir(handle) if not isinstance(inspect.getattr_static(handle, name), Elsewhere)}
    public = {name for name in own if not name.startswith("_")}
    documented = {name for name in public if inspect.getdoc(getattr(handle, name))}
    assert public - HANDLES[handle] == documented - HANDLES[handle]
    assert not {"receive", "enter", "restore", "bind", "connect", "packet", "tap", "spawn", "announce"} & public


def test_completion_offers_nothing_of_other_libraries() -> None:
    """A shell would offer ``io.enter_room``, which only says that it is not there."""
    io = Server()
    assert {"emit", "to", "on"} <= set(dir(io))
    assert not {"call", "enter_room", "fetchSockets"} & set(dir(io))


def test_instances_have_no_other_public_attributes() -> None:
    """An attribute that is set in a constructor would be public by accident."""
    io = Server()
    for one in (io, io.of("/a"), io.of("/b/{c}")):
        assert {name for name in vars(one) if not name.startswith("_")} == HANDLES[type(one)]
