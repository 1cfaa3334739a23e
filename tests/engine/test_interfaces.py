"""The small protocols of the engine: who is behind them, without a type checker."""

from __future__ import annotations

import pytest

from rtframework import protocols
from rtframework.engine import interfaces
from rtframework.engine.client import Client
from rtframework.engine.connection import Connection
from rtframework.engine.metering import MeteredHandler, MeteredSink
from rtframework.engine.transports.nothing import NoTransport
from rtframework.engine.transports.polling import PollingTransport
from rtframework.engine.transports.upgrade import Upgradable, Upgrade
from rtframework.engine.transports.websocket import WebSocketTransport
from rtframework.engine.v3.client import Client3
from rtframework.engine.v3.connection import Connection3
from tests.support.stream import Stream


def members_of(protocol: type) -> set[str]:
    """The names that a protocol asks for, those of its bases among them."""
    names = {name for base in protocol.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(
    ("protocol", "kinds"),
    [
        (interfaces.MessageHandler, [Client, Client3, MeteredHandler]),
        (interfaces.ClientConnection, [Connection, Connection3, Stream]),
        (interfaces.Sink, [PollingTransport, WebSocketTransport, NoTransport, MeteredSink]),
        (interfaces.PacketReceiver, [Connection, Upgrade]),
        (interfaces.Carried, [Connection, Connection3]),
        (Upgradable, [Connection]),
        (protocols.Client, [Client, Client3]),
        (protocols.Connection, [Connection, Stream]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_everybody_has_what_is_asked_for(protocol: type, kinds: list[type]) -> None:
    """A part that somebody replaces would fail in the middle of a connection."""
    assert members_of(protocol)
    for kind in kinds:
        made = Stream() if kind is Stream else kind
        # What a constructor alone sets is in the slots, or nowhere.
        set_later = {"outbox", "loop", "inbox", "blocked", "upgrade", "conn"} & members_of(protocol)
        assert {name for name in members_of(protocol) - set_later if not hasattr(made, name)} == set()


def test_a_connection_knows_no_namespaces() -> None:
    """Socket.IO could be had by Engine.IO alone."""
    names = {name for name in dir(Connection) if not name.startswith("__")}
    assert not {name for name in names if "receivers" in name or "attempts" in name or "decoder" in name}
    assert not {"enter", "leave", "greeting", "refusal", "new_id", "handshake"} & names
