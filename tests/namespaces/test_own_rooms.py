"""Rooms that no client can name: those of users."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import ConfigurationError, EventError, Identity
from rtframework.namespaces.own_rooms import check_names, is_of_another, own_rooms, room_of_user, rooms_of, user_of

NUMBER = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("id", "room"),
    [
        ("42", "$user:42"),
        (42, "$user:42"),
        (0, "$user:0"),
        (NUMBER, f"$user:{NUMBER}"),
        ("Ünï 🙂\n", "$user:Ünï 🙂\n"),
        ("$user:1", "$user:$user:1"),
        ("x" * 100_000, "$user:" + "x" * 100_000),
    ],
)
def test_the_room_of_a_user(id: Any, room: str) -> None:
    """What is emitted to a user would reach nobody, or another one."""
    assert room_of_user(id) == room
    assert rooms_of(Identity(id), "/") == rooms_of(SimpleNamespace(id=id), "/") == rooms_of(id, "/") == {room}


@pytest.mark.parametrize("id", [None, True, 1.5, b"1", ["1"], object(), ("a", "b")])
def test_what_is_no_id(id: Any) -> None:
    """Two users whose objects look alike in print would share a room."""
    with pytest.raises(ConfigurationError, match="a string, a whole number or a UUID"):
        room_of_user(id)
    assert rooms_of(SimpleNamespace(id=id), "/") == frozenset()


@pytest.mark.parametrize("id", ["", "\ud83d"])
@pytest.mark.usefixtures("throttled")
def test_ids_that_no_room_is_named_after(id: str, caplog: pytest.LogCaptureFixture) -> None:
    """All users without an id would share a room; or half an emoji keep a client out."""
    with pytest.raises(ConfigurationError, match="not empty"):
        room_of_user(id)
    assert rooms_of(Identity(id), "/chat") == frozenset()
    assert "io.user() does not reach a client of /chat" in caplog.text


def test_names_that_clients_must_not_choose() -> None:
    """A client would join the room of another user, by a program that passes its word on."""
    check_names(["", "a$", "user:1", " $user:1"])
    for name in ("$user:1", "$", "$token:1"):
        with pytest.raises(EventError) as refused:
            check_names(["a", name])
        assert refused.value.code == "reserved_room"
    assert own_rooms(["a", "$user:1", "b$"]) == {"$user:1"}


def test_rooms_of_another_user() -> None:
    """A client that continues a session would hear what is meant for another user."""
    own = rooms_of("1", "/")
    assert not is_of_another(["a", "$user:1"], own)
    assert not is_of_another(["a"], frozenset())
    assert is_of_another(["$user:2"], own)
    assert is_of_another(["$user:1"], frozenset())


def test_the_user_of_a_socket_is_read_from_its_rooms() -> None:
    """Who looks at a socket of another server could not tell whose it is."""
    assert user_of({"a", "$token:t", "$user:42"}) == "42"
    assert user_of({"$user:$user:1"}) == "$user:1"
    assert user_of({"user:42", "a"}) is None
