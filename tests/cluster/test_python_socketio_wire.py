"""Messages of python-socketio's managers: what they really send is understood."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

import pytest
import socketio
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.python_socketio_wire import CHANNEL, ManagerMessage, decode
from rtframework.exceptions import DecodeError
from rtframework.types import Target


class Manager(socketio.PubSubManager):  # type: ignore[misc]
    """A write-only manager that keeps what it publishes."""

    def __init__(self) -> None:
        super().__init__(write_only=True)
        self.sent: list[bytes] = []
        self.host_id = "host"

    def _handle_emit(self, message: dict[str, Any]) -> None:
        """Emit to nobody in this process."""

    _handle_disconnect = _handle_close_room = _handle_emit

    def _publish(self, data: dict[str, Any]) -> None:
        self.sent.append(self.json.dumps(data).encode())


def emit(*args: Any, **options: Any) -> ManagerMessage:
    """Decode what a manager sends for an emit."""
    manager = Manager()
    manager.emit(*args, **options)
    (payload,) = manager.sent
    return decode(payload)


@pytest.mark.parametrize(
    ("data", "args"),
    [
        ("text", ("text",)),
        ({"a": [1, None]}, ({"a": [1, None]},)),
        ([1, 2], ([1, 2],)),
        ((1, 2), (1, 2)),
        ((), ()),
        (None, ()),
        (b"\x00\xff", (b"\x00\xff",)),
        ({"deep": [b"x", {"y": b"z"}]}, ({"deep": [b"x", {"y": b"z"}]},)),
        ((b"x", 1, [b"y"]), (b"x", 1, [b"y"])),
    ],
)
def test_the_arguments_of_an_emit_arrive(data: Any, args: tuple[Any, ...]) -> None:
    """A Celery worker's emit would reach clients with other arguments than it had."""
    assert emit("hi", data) == ManagerMessage("emit", "host", "/", ("hi", *args))


def test_the_target_of_an_emit_arrives() -> None:
    """A private message would go to everybody."""
    assert emit("hi", 1, room="r").target == Target(frozenset({"r"}))
    assert emit("hi", 1, to=["a", "b"]).target == Target(frozenset({"a", "b"}))
    assert emit("hi", 1, to=7).target == Target(frozenset({"7"}))
    assert emit("hi", 1, skip_sid="s").target == Target(None, frozenset({"s"}))
    assert emit("hi", 1, skip_sid=["s", "t"]).target == Target(None, frozenset({"s", "t"}))
    assert emit("hi", 1, namespace="/chat").nsp == "/chat"


def test_commands_arrive() -> None:
    """A worker could not disconnect a client, or close a room."""
    manager = Manager()
    manager.disconnect("sid", "/chat")
    manager.enter_room("sid", "/", "r")
    manager.leave_room("sid", "/", "r")
    manager.close_room("r")
    assert [decode(each) for each in manager.sent] == [
        ManagerMessage("disconnect", "host", "/chat", sid="sid"),
        ManagerMessage("enter_room", "host", "/", sid="sid", room="r"),
        ManagerMessage("leave_room", "host", "/", sid="sid", room="r"),
        ManagerMessage("close_room", "host", "/", room="r"),
    ]
    assert manager.channel == CHANNEL


def test_callbacks_are_kept() -> None:
    """The server that has emitted could not be answered."""
    message = {"method": "emit", "event": "q", "data": [1], "room": "r", "callback": ["r", "/", 4], "host_id": "h"}
    assert decode(json.dumps(message).encode()).callback == ("r", "/", 4)


@pytest.mark.parametrize(
    "message",
    [
        {"method": "emit", "data": [1]},
        {"method": "emit", "event": "connect", "data": [1]},
        {"method": "emit", "event": "x", "data": [{"_placeholder": True, "num": 1}, "eA=="], "binary": True},
        {"method": "emit", "event": "x", "data": [1, 2], "binary": True},
        {"method": "emit", "event": "x", "data": [1, "x"], "binary": True},
        {"method": "disconnect"},
        {"method": "enter_room", "sid": "s"},
        {"method": "close_room"},
        {"method": "other"},
        {},
    ],
)
def test_messages_that_lack_something_are_refused(message: dict[str, Any]) -> None:
    """A client would be closed for a packet that it refuses, or a handler would fail."""
    with pytest.raises(DecodeError):
        decode(json.dumps(message).encode())


def test_pickles_are_refused() -> None:
    """Whoever can publish could run code on every server."""
    with pytest.raises(DecodeError):
        decode(pickle.dumps({"method": "emit", "event": "x", "data": [1]}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.binary()
    | st.fixed_dictionaries(
        {"method": st.sampled_from(["emit", "disconnect", "enter_room", "close_room", "callback"])},
        optional=dict.fromkeys(["event", "data", "binary", "room", "skip_sid", "callback", "sid", "namespace"], values),
    ).map(lambda message: json.dumps(message).encode())
)
def test_rubbish_is_refused(payload: bytes) -> None:
    """One rubbish message would end the subscription."""
    with contextlib.suppress(DecodeError):
        decode(payload)
