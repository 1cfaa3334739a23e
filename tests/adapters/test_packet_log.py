"""What is kept of packets and of who was where: pure, so every question can be asked directly."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rtframework import ConfigurationError, Identity, Recovery
from rtframework.adapters.packet_log import Attendance, PacketLog
from rtframework.engine.frames import EncodedFrames

NOBODY: frozenset[str] = frozenset()


class Book:
    """A log with names for its packets."""

    def __init__(self, **bounds: Any) -> None:
        self.log = PacketLog(**{"max_packets": 1000, "max_bytes": 10_000_000, "max_age": 100.0, **bounds})
        self.names: dict[int, str] = {}
        self.now = 0.0

    def emit(self, name: str, *rooms: str, but: str = "", size: int = 1) -> int:
        """A packet to those rooms, or to everybody; its position."""
        frames = EncodedFrames(["4" + "x" * (size - 3)]) if size > 3 else EncodedFrames(["4"])
        self.names[id(frames)] = name
        self.log.append(frames, frozenset(rooms) if rooms else None, frozenset(but.split()), self.now)
        return self.log.head

    def arrive(self, sid: str, *rooms: str) -> Attendance:
        """A socket that is let in."""
        attendance = Attendance(self.log.head)
        attendance.join([sid, *rooms], self.log.head)
        return attendance

    def missed(self, attendance: Attendance, position: int = 0) -> str | None:
        """The names of what was missed, joined."""
        found = self.log.missed(attendance, position)
        return None if found is None else "".join(self.names[id(frames)] for frames in found)


def test_what_was_meant_for_a_client_is_found() -> None:
    """A client would lose what was sent to one of its rooms, or get what was meant for others."""
    book = Book()
    ada = book.arrive("ada", "x")
    book.emit("a")
    position = book.emit("b", "x")
    book.emit("c", "y")
    book.emit("d", "ada")
    book.emit("e", "grace")
    book.emit("f", "x", "y", "ada")
    book.emit("g", "x", but="ada")
    book.emit("h", but="y")
    assert book.missed(ada) == "abdfh"
    assert book.missed(ada, position) == "dfh"
    assert book.missed(ada, book.log.head) == ""


def test_what_came_before_a_client_is_not_missed() -> None:
    """A new client would be sent the whole past: it has received nothing, and so it brings no offset."""
    book = Book()
    book.emit("a")
    book.emit("b", "x")
    ada = book.arrive("ada", "x")
    assert book.missed(ada) == ""
    book.emit("c", "x")
    assert book.missed(ada) == "c"


def test_rooms_count_from_when_they_were_joined_until_they_were_left() -> None:
    """A quiet client that joins a room would get its past; one that left would lose what was still on its way."""
    book = Book()
    ada = book.arrive("ada")
    book.emit("a", "x")
    ada.join(["x"], book.log.head)
    ada.join(["x"], book.log.head)
    book.emit("b", "x")
    book.emit("c", but="x")
    ada.leave(["x", "y"], book.log.head)
    book.emit("d", "x")
    book.emit("e", but="x")
    ada.join(["x"], book.log.head)
    book.emit("f", "x")
    assert book.missed(ada) == "bef"


def test_nothing_is_missing_without_a_word() -> None:
    """A client would be told that it was recovered, and lack the packets that a bound has cut off."""
    for bound, emits in (({"max_packets": 3}, 4), ({"max_bytes": 30}, 4)):
        book = Book(**bound)
        ada, grace, linus = book.arrive("ada", "x"), book.arrive("grace"), book.arrive("linus", "x")
        first = book.emit("a", "x", but="linus", size=10)
        for _ in range(emits - 1):
            book.emit("b", "y", size=10)
        assert book.missed(ada) is None
        assert book.missed(ada, first) == "", "it has what was cut off"
        assert book.missed(grace) == "", "nothing that was cut off was for it"
        assert book.missed(linus) == "", "nor for one who was left out"


def test_what_is_too_old_goes() -> None:
    """A server would keep every packet of the day."""
    book = Book(max_age=10.0)
    ada, grace = book.arrive("ada", "x"), book.arrive("grace")
    book.emit("a", "x")
    book.now = 10.0
    assert book.missed(ada) == "a"
    book.now = 11.0
    book.log.trim(book.now)
    assert len(book.log) == 0
    assert book.missed(ada) is None
    assert book.missed(grace) == ""


def test_a_bound_cuts_everybody_in_the_end() -> None:
    """What is remembered of packets that were thrown away would grow with every room that ever was."""
    book = Book(max_packets=5)
    ada, grace = book.arrive("ada"), book.arrive("grace")
    for number in range(50):
        book.emit("b", f"room {number}")
    assert len(book.log._shelves) <= 12
    assert book.missed(ada) is None, "it is not known any more that nothing was for it"
    position = book.emit("c")
    assert book.missed(grace, position) == ""


def test_packets_to_all_but_one_leave_nothing_behind() -> None:
    """Each client that had ever joined a room with presence would slow down those that come back to it."""
    book = Book(max_packets=100)
    ada = book.arrive("ada", "x")
    for number in range(50):
        book.emit("j", "x", but=f"s{number}")
    position = book.emit("l", "x")
    for _ in range(99):
        book.emit("m", "x")
    assert len(book.log._shelves["x"].cuts) == book.log._cuts == 50
    assert book.missed(ada, position) == "m" * 99
    book.emit("m", "x")
    assert len(book.log._shelves["x"].cuts) == book.log._cuts == 1
    assert book.missed(ada, position) == "m" * 100
    assert book.missed(ada, position - 1) is None


def test_a_client_that_comes_and_goes_all_the_time_is_bounded() -> None:
    """A client could make the server remember a million rooms by joining and leaving them."""
    book = Book()
    ada = book.arrive("ada")
    for number in range(1000):
        ada.join([f"room {number}"], book.log.head)
        book.emit("a", f"room {number}")
        ada.leave([f"room {number}"], book.log.head)
    assert len(ada.past) < 300
    assert book.missed(ada) is None
    assert book.missed(ada, 800) == "a" * 200


def test_a_socket_that_is_forgotten_leaves_nothing() -> None:
    """Each socket that ever was would cost memory."""
    book = Book(max_packets=2)
    for number in range(3):
        book.emit("a", f"sid {number}")
        book.log.forget(f"sid {number}")
    assert not book.log._shelves
    assert book.log._cuts == 0


def test_offsets_are_of_one_log() -> None:
    """After a restart a client would be taken for one that has received what it has not."""
    log, other = PacketLog(max_packets=9, max_bytes=9, max_age=9), PacketLog(max_packets=9, max_bytes=9, max_age=9)
    log.head = other.head = 5
    assert log.position(log.offset(5)) == 5
    assert log.position(None) == log.position("") == 0
    assert log.position(other.offset(4)) == 0
    for offset in (log.offset(6), "news", log.offset(5) + "x", "." + log.offset(5), log.offset(5) + "0" * 20, "²"):
        assert log.position(offset) is None
    assert log.position(log.offset(5).replace("5", "٥")) is None


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(Recovery) if field.type in ("int", "float")]
)
@pytest.mark.parametrize("value", [0, -1, "1", True, float("inf")])
def test_settings_make_sense(name: str, value: Any) -> None:
    """A setting in milliseconds, or as text, would fail when the first client is lost, or never."""
    with pytest.raises(ConfigurationError, match=name):
        Recovery(**{name: value})


def test_who_is_the_same_user() -> None:
    """A session would be handed to another user, or to nobody, because a token was renewed."""
    recovery = Recovery()
    assert recovery.is_same(None, None)
    assert recovery.is_same(Identity("1", claims={"exp": 1}), Identity("1", claims={"exp": 2}))
    assert not recovery.is_same(Identity("1"), Identity("2"))
    assert not recovery.is_same(Identity("1"), None)
    assert recovery.is_same({"sub": "1"}, {"sub": "1"})
    assert not recovery.is_same({"sub": "1", "exp": 1}, {"sub": "1", "exp": 2})
    by_sub = Recovery(identity=lambda user: user["sub"])
    assert by_sub.is_same({"sub": "1", "exp": 1}, {"sub": "1", "exp": 2})
