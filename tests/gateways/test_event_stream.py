"""The format ``text/event-stream``: what is written, and what ``EventSource`` reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.engine.frames import EncodedFrames
from rtframework.gateways.event_stream import EventForm, EventId, EventStreamReader, chunk, data_of, event_of
from rtframework.gateways.packets import Outgoing, read
from rtframework.serializers import JSONSerializer
from rtframework.types import Packet, PacketType

JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), lambda each: st.lists(each, max_size=3))


def form_of(data: list[object], offset: str | None = None, entry: str | None = None) -> EventForm:
    """Make the form of an event."""
    serializer = JSONSerializer()
    added = [each for each in (entry, offset) if each is not None]
    if offset == entry:
        added = added[:1]
    messages = serializer.encode(Packet(PacketType.EVENT, "/", [*data, *added]))
    frames = EncodedFrames.of_messages([messages] if isinstance(messages, str) else messages)
    frames.offset, frames.entry = offset, entry
    form = EventForm(read([messages] if isinstance(messages, str) else messages, serializer)[0])
    assert form.settle(frames)
    return form


def read_all(text: str) -> list[tuple[str, str, str]]:
    """Read a stream."""
    return [tuple(each) for each in EventStreamReader().feed(text)]  # type: ignore[misc]


def test_one_argument_is_the_data_itself() -> None:
    """A page would have to take each number out of a list."""
    assert form_of(["tick", 3]).text == b"event: tick\ndata: 3\n\n"
    assert form_of(["tick", {"a": [1, 2]}]).text == b'event: tick\ndata: {"a":[1,2]}\n\n'


def test_several_arguments_are_a_list_and_none_are_null() -> None:
    """EventSource drops events without data."""
    assert form_of(["tick", 3, "x"]).text == b'event: tick\ndata: [3,"x"]\n\n'
    assert form_of(["tick"]).text == b"event: tick\ndata: null\n\n"
    assert form_of(["tick", [1, 2]]).text == b"event: tick\ndata: [1,2]\n\n"


def test_bytes_are_base64() -> None:
    """An event with bytes would be lost: the format is text."""
    assert form_of(["file", b"\x00\xff"]).text == b'event: file\ndata: "AP8="\n\n'


def test_what_the_server_has_added_is_the_id() -> None:
    """Pages would get an argument more as soon as recovery is on."""
    assert form_of(["tick", 3], entry="1-0").text == b"event: tick\ndata: 3\nid: 1-0\n\n"
    both = form_of(["tick"], "x.17", "1-0")
    assert both.text == b"event: tick\ndata: null\nid: 1-0\n\n"
    assert (both.lines, both.entry, both.offset) == (b"event: tick\ndata: null\n", b"1-0", b"x.17")
    same = form_of(["tick", 1, 2], "1-0", "1-0")
    assert same.text == b"event: tick\ndata: [1,2]\nid: 1-0\n\n"
    session = form_of(["tick"], "x.17")
    assert (session.text, session.offset) == (b"event: tick\ndata: null\n\n", b"x.17")


def test_an_argument_that_looks_like_an_offset_stays() -> None:
    """A program's own argument would be lost."""
    assert form_of(["tick", "abcdefgh.17"]).text == b'event: tick\ndata: "abcdefgh.17"\n\n'


def test_a_chunk_is_the_same_bytes_with_their_length() -> None:
    """Streams would break off."""
    form = form_of(["tick", 3])
    assert form.chunk == chunk(form.text) == b"15\r\n" + form.text + b"\r\n"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "\n"])
def test_a_name_of_several_lines_is_not_written(name: str) -> None:
    """Whoever names an event could add fields to the stream, other events above all."""
    form = EventForm(Outgoing(PacketType.EVENT, "/", None, json.dumps([name, 1])))
    assert not form.settle(None)
    assert form.text == b""


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1), st.lists(JSON))
def test_what_is_written_is_read(name: str, args: list[object]) -> None:
    """Some arguments would be lost on the way."""
    ((event, data, id),) = read_all(form_of([name, *args], entry="7").text.decode())
    assert (event, id) == (name, "7")
    assert json.loads(data) == (None if not args else args[0] if len(args) == 1 else args)


def test_line_ends_between_values_are_no_line_ends() -> None:
    """JSON of a serializer with indentation would be cut at its first line."""
    assert data_of('[\n1,\r\n{"a":\n2}]') == b'[1,{"a": 2}]'
    assert data_of('[{"a":\n2}]') == b'{"a": 2}'


@given(
    st.lists(
        st.sampled_from(["data: 1\n", "\n", "\r\n", "id: 7\r", "event: a\n", ": c\n", "data\n", "x"]), max_size=12
    ),
    st.data(),
)
def test_a_stream_is_read_the_same_in_any_pieces(lines: list[str], data: st.DataObject) -> None:
    """Events would depend on how the network cuts them."""
    text = "".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    reader = EventStreamReader()
    assert [*reader.feed(text[:cut]), *reader.feed(text[cut:])] == list(EventStreamReader().feed(text))


def test_the_reader_reads_as_the_standard_says() -> None:
    """``rtframework listen`` would show other events than a browser."""
    text = "\ufeff: hello\nretry: 1500\nretry: x\nevent: a\ndata: one\ndata:two\nid: 1\n\n"
    text += "data:  x\nid: 2\0\n\nevent: gone\n\nid\ndata\n\n"
    reader = EventStreamReader()
    assert [tuple(each) for each in reader.feed(text)] == [
        ("a", "one\ntwo", "1"),
        ("message", " x", "1"),
        ("message", "", ""),
    ]
    assert (reader.retry, reader.comments, reader.last_id) == (1.5, 1, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.17", EventId(entry="x.17")),
        ("~~~", EventId()),
        ("~pid~~x.17", EventId("", "pid", "", "x.17")),
        ("t~pid~1-0~x.17", EventId("t", "pid", "1-0", "x.17")),
        ("a~b", None),
        ("a~b~c", None),
        ("a~b~c~d~e", None),
        ("", None),
        ("a b", None),
        ("ä", None),
        ("x" * 513, None),
    ],
)
def test_ids_are_read(text: str, expected: EventId | None) -> None:
    """A client that comes back would get the events of another, or none."""
    assert EventId.parse(text) == expected
    if expected is not None and "~" in text:
        assert expected.text.decode() == text


@pytest.mark.parametrize(
    ("entry", "offset", "position"),
    [("e.7", "e.9", "e.9"), ("e.9", "e.7", "e.9"), ("e.7", "x.9", "e.7"), ("", "e.9", ""), ("5-1", "5-2", "5-2")],
)
def test_the_position_is_the_later_of_two_of_one_order(entry: str, offset: str, position: str) -> None:
    """What a session has brought would come again from the history."""
    assert EventId("", "pid", entry, offset).position == position


def test_an_event_of_the_server_is_one_line() -> None:
    """Its data would end early."""
    assert event_of("gap", {"rooms": ["a\nb"]}) == b'event: gap\ndata: {"rooms":["a\\nb"]}\n'
