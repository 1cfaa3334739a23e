"""The extension points: what ships has what they ask for, under the names that they give."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, Final

import pytest

from rtframework import protocols
from rtframework.adapters.base import BaseAdapter
from rtframework.adapters.buffered_outlet import BufferedOutlet
from rtframework.adapters.memory import MemoryAdapter
from rtframework.adapters.recovering import SessionAwareAdapter
from rtframework.admin.authenticator import AdminAuthenticator
from rtframework.admin.statistics import Traffic as AdminTraffic
from rtframework.authenticators import StaticTokenAuth
from rtframework.namespaces.emitter import NamespaceEmitter
from rtframework.protocols import Session
from rtframework.serializers import JSONSerializer
from rtframework.testing.conformance.deliveries import Deliveries
from rtframework_jwt import JWTAuth
from rtframework_msgpack import MsgpackSerializer
from rtframework_opentelemetry import Tracing
from rtframework_prometheus import Metrics
from rtframework_prometheus.traffic import Traffic
from tests.support.backbone import FakeBackbone

SHIPPED: Final[list[tuple[Any, Any]]] = [
    (protocols.Authenticator, StaticTokenAuth),
    (protocols.Authenticator, JWTAuth),
    (protocols.Authenticator, AdminAuthenticator),
    (protocols.Serializer, JSONSerializer),
    (protocols.Serializer, MsgpackSerializer),
    (protocols.Decoder, MsgpackSerializer),
    (protocols.Adapter, MemoryAdapter),
    (protocols.Adapter, SessionAwareAdapter),
    (protocols.Emitter, NamespaceEmitter),
    (protocols.Emitter, Deliveries),
    (protocols.Backbone, FakeBackbone),
    (protocols.Outlet, BufferedOutlet),
    (protocols.Observer, Metrics),
    (protocols.Observer, Tracing),
]


def methods(protocol: Any) -> Iterator[str]:
    """What a protocol asks for that can be called."""
    for owner in protocol.__mro__:
        if owner.__module__ == protocols.__name__:
            yield from (name for name, each in vars(owner).items() if inspect.isfunction(each) and name[:2] != "__")


def names(function: Any) -> list[tuple[str, Any]]:
    """How its parameters are called and given."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return [(each.name, each.kind is inspect.Parameter.KEYWORD_ONLY) for each in found]


@pytest.mark.parametrize(("protocol", "made"), SHIPPED, ids=lambda each: each.__name__)
def test_what_ships_is_called_as_the_protocol_says(protocol: Any, made: Any) -> None:
    """A plugin that is written from the protocol would be called in another way than the framework's own."""
    for name in methods(protocol):
        own = getattr(made, name)
        asked = getattr(protocol, name)
        if "Awaitable" not in str(inspect.signature(asked).return_annotation):  # for which a coroutine would do
            assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(asked), name
        wanted = names(getattr(protocol, name))
        assert names(own)[: len(wanted)] == wanted, name
        assert all(
            each.default is not inspect.Parameter.empty
            for each in list(inspect.signature(own).parameters.values())[1 + len(wanted) :]
        ), name


@pytest.mark.parametrize("meter", [AdminTraffic, Traffic])
def test_meters_begin_with_zero(meter: Any) -> None:
    """The engine adds to every number of a meter: one that is missing would end a connection."""
    made = meter()
    assert {name: getattr(made, name) for name in protocols.Meter.__annotations__} == dict.fromkeys(
        protocols.Meter.__annotations__, 0
    )


def test_an_adapter_of_a_plugin_writes_the_deliveries_alone() -> None:
    """A plugin would have to write what it does not care for, and again with each version that adds something."""
    missing = {name for name in methods(protocols.Adapter) if not hasattr(BaseAdapter, name)}
    abstract = set(getattr(BaseAdapter, "__abstractmethods__", ()))
    assert missing | abstract <= {
        *("broadcast", "broadcast_with_ack", "fetch_sockets"),
        *("add_sockets", "del_sockets", "disconnect_sockets"),
    }


def test_a_session_says_what_it_has_to() -> None:
    """An adapter that keeps sessions elsewhere would lose one part, or have to make up another."""
    session = Session("s1", "p1", frozenset({"room"}), {"a": 1}, "ada", "ada")
    assert (session.replayed, session.left_at, session.missed) == (None, None, ())
    assert (session.identity, session.replaced, session.origin) == (None, False, None)
    assert Session("s1", "p1", frozenset(), {}, identity="ada", origin="n2").user is None
    assert dataclasses.replace(session, left_at=3.0).rooms == {"room"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        session.sid = "s2"  # type: ignore[misc]
