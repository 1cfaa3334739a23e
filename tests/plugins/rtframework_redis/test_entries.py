"""Commands that add entries: the fast way gives what the slow one gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.streams_wire import fields_of
from rtframework_redis.commands import pack
from rtframework_redis.entries import EntryPacker, marked_again

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
