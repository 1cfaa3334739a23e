"""Listeners of rooms: what they hear, when, and which functions are none."""

from __future__ import annotations

import logging

import pytest

from rtframework import ConfigurationError
from rtframework.adapters.room_events import RoomEvents
from rtframework.adapters.rooms import RoomIndex

EVENTS = ("create_room", "join_room", "leave_room", "delete_room")


def recorded(index: RoomIndex) -> list[tuple[str, ...]]:
    """Everything that listeners of the index are told."""
    heard: list[tuple[str, ...]] = []

    def listen(event: str) -> None:
        @index.events.on(event)
        def listener(room: str, sid: str = "") -> None:
            heard.append((event, room, sid) if sid else (event, room))

    for event in EVENTS:
        listen(event)
    return heard


def test_rooms_come_and_go() -> None:
    """A feed that is opened for a room would never be opened, or never closed."""
    index = RoomIndex()
    index.add("early", ["x"])
    heard = recorded(index)
    index.add("a", ["x", "y", "y"])
    index.add("a", ["y"])
    index.remove("early", ["x", "nowhere", "x"])
    index.remove("stranger", ["x"])
    assert heard == [
        ("join_room", "x", "a"),
        ("create_room", "y"),
        ("join_room", "y", "a"),
        ("leave_room", "x", "early"),
    ]
    heard.clear()
    index.remove_all("a")
    index.remove_all("a")
    assert sorted(heard) == sorted(
        [("leave_room", "x", "a"), ("delete_room", "x"), ("leave_room", "y", "a"), ("delete_room", "y")]
    )
    assert heard.index(("leave_room", "x", "a")) < heard.index(("delete_room", "x"))


def test_listeners_hear_of_what_is_done() -> None:
    """A listener that looks at the room, or puts somebody into another, would see half of a change."""
    index = RoomIndex()
    members: list[list[str]] = []

    @index.events.on("join_room")
    def joined(room: str, sid: str) -> None:
        members.append(sorted(index.members(room)))
        index.add(sid, ["everybody"])

    @index.events.on("delete_room")
    def deleted(room: str) -> None:
        assert room not in index.all_rooms()

    index.add("a", ["x"])
    index.add("b", ["x"])
    assert members == [["a"], ["a"], ["a", "b"], ["a", "b"]]
    index.remove_all("a")
    index.remove_all("b")
    assert not index.all_rooms()


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """One wrong listener would keep sockets from joining."""
    index = RoomIndex()

    @index.events.on("create_room")
    def wrong(room: str) -> None:
        raise RuntimeError("boom")

    heard = recorded(index)
    with caplog.at_level(logging.ERROR, "rtframework.rooms"):
        index.add("a", ["x"])
    assert heard == [("create_room", "x"), ("join_room", "x", "a")]
    assert "boom" in caplog.text
    assert "'create_room'" in caplog.text


def test_listeners_can_be_taken_off() -> None:
    """A listener would hear for ever, also in the middle of what it hears."""
    events = RoomEvents()
    heard: list[str] = []

    @events.on("create_room")
    def once(room: str) -> None:
        events.off("create_room", once)
        heard.append(room)

    @events.on("create_room")
    def always(room: str) -> None:
        heard.append(room)

    events.tell("create_room", "x")
    events.tell("create_room", "y")
    events.off("create_room", once)
    assert heard == ["x", "x", "y"]


def test_wrong_listeners_are_found_at_registration() -> None:
    """A listener that cannot be called would only be missed when it matters."""
    events = RoomEvents()

    async def waits(room: str) -> None: ...

    def too_few() -> None: ...

    def too_many(room: str, sid: str, more: str) -> None: ...

    with pytest.raises(ConfigurationError, match="one of create_room, join_room, leave_room, delete_room"):
        events.on("create-room")
    with pytest.raises(ConfigurationError, match="one of create_room"):
        events.off("joined", too_few)
    with pytest.raises(ConfigurationError, match="cannot wait"):
        events.on("create_room")(waits)
    with pytest.raises(ConfigurationError, match=r"must take \(room\)"):
        events.on("delete_room")(too_few)
    with pytest.raises(ConfigurationError, match=r"must take \(room, sid\)"):
        events.on("join_room")(too_many)
