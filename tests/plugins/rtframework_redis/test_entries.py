"""Commands that add entries: the fast way gives what the slow one gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.streams_wire import encode_options, encode_text, fields_of, room_of
from rtframework.types import EVERYBODY, Target
from rtframework_redis.commands import pack
from rtframework_redis.entries import AROUND, EntryPacker, marked_again
from rtframework_redis.history_scripts import RoomKey, append_command

START = ("XADD", "socket.io", "MAXLEN", "~", 10_000, "*")
PACKER = EntryPacker("socket.io", 10_000, b"0123456789abcdef")


@given(st.text(), st.integers(1, 13), st.binary(max_size=300), st.binary(), st.none() | st.binary())
def test_an_entry_is_what_its_fields_are(nsp: str, kind: int, data: bytes, m: bytes, room: bytes | None) -> None:
    """Other servers would not understand it, or Redis would take a part of it for the next command."""
    name = nsp.encode("utf-8", "replace")
    fields = fields_of(b"0123456789abcdef", name, kind, data, m, room)
    command = PACKER.pack(name, kind, data, m, room)
    assert command == pack((*START, *fields)) == PACKER.pack_fields(fields)
    again = fields_of(b"0123456789abcdef", name, kind, data, m, room, again=True)
    assert marked_again(command) == pack((*START, *again))


rooms = st.none() | st.frozensets(st.text(max_size=5), min_size=1, max_size=2)
targets = st.just(EVERYBODY) | st.builds(
    Target, rooms, st.frozensets(st.text(max_size=5), max_size=2), volatile=st.booleans(), compress=st.booleans()
)


@given(st.text(), st.text(), targets, st.binary(max_size=20))
def test_an_event_is_what_its_fields_are(nsp: str, args: str, target: Target, m: bytes) -> None:
    """Other servers would not understand it, or would give it to the wrong clients."""
    name, opts = nsp.encode("utf-8", "replace"), encode_options(target)
    packer = PACKER.of_namespace(name)
    assert opts[1] == room_of(target)
    assert packer.pack(args.encode(), opts[0], m, opts[1]) == PACKER.pack(
        name, 3, encode_text(args, target), m, room_of(target)
    )
    assert AROUND + len(args.encode()) + len(opts[0]) == len(encode_text(args, target))


@pytest.mark.parametrize("room", [None, b"chat:1"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_events_that_are_kept(room: bytes | None, count: int) -> None:
    """Redis would refuse what is said in rooms with history, or keep it for the wrong room."""
    packer = EntryPacker("s", 1000, b"me")
    rooms = [RoomKey(b"key \xff%d" % number, 10**number, number * 7) for number in range(count)]
    for _ in range(2):
        fields = [*fields_of(b"me", b"/n", 3, b'{"a":1}', b"m1", room), b"h", b"1"]
        wanted = pack(tuple(append_command("s", 1000, rooms, fields)))
        assert packer.pack_kept(b"/n", b'{"a":1}', b"m1", room, rooms) == wanted
