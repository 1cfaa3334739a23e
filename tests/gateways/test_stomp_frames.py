"""STOMP frames, read and written."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.gateways.stomp_frames import (
    MAX_HEADERS,
    MAX_LINE,
    MOST_AT_ONCE,
    V11,
    V12,
    Frame,
    StompError,
    StompReader,
    TooLong,
    encode_frame,
    escape,
    one_line,
    read_heart_beat,
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
headers = st.dictionaries(texts.filter(bool), texts, max_size=4).map(
    lambda found: {name: value for name, value in found.items() if name != "content-length"}
)
bodies = st.one_of(st.text(max_size=40), st.binary(max_size=40))


def all_of(data: bytes, *, limit: int = 10_000) -> list[Frame]:
    """Read what has come in one piece."""
    reader = StompReader(limit)
    found = reader.feed(data)
    assert reader.held == 0
    return found


def in_pieces(data: bytes, limit: int) -> None:
    """Read what comes in pieces."""
    reader = StompReader(limit)
    for start in range(0, len(data), 5_000):
        reader.feed(data[start : start + 5_000])


def shown(frame: Frame, version: str = V12) -> tuple[str, dict[str, str], bytes]:
    """Return what is in a frame."""
    return frame.command, frame.unescaped(version), frame.body


@given(st.lists(st.tuples(headers, bodies), min_size=1, max_size=3), st.lists(st.integers(0, 400)), st.booleans())
def test_frames_arrive_as_they_were_written(
    written: list[tuple[dict[str, str], str | bytes]], cuts: list[int], crlf: bool
) -> None:
    """A header with a colon in it would be another one, or a large frame be lost because it came in pieces."""
    data, expected = b"", []
    for number, (lines, body) in enumerate(written):
        frame = encode_frame("SEND", [*lines.items()], body, version=V12)
        data += (frame if isinstance(frame, bytes) else frame.encode()) + (b"\r\n" if crlf else b"\n") * number
        raw = body if isinstance(body, bytes) else body.encode()
        expected.append(("SEND", lines | ({"content-length": str(len(raw))} if raw else {}), raw))
    reader = StompReader(10_000)
    frames: list[Frame] = []
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        frames += reader.feed(data[start:end])
    assert [shown(frame) for frame in frames] == expected
    assert sum(frame.size for frame in frames) <= len(data)
    assert reader.feed(b"\n\r\n") == []
    assert reader.held == 0


def test_a_frame_comes_byte_by_byte() -> None:
    """A client behind a slow network would be cut off."""
    data = b"\r\n\nSEND\r\ndestination:/app/a\r\nempty:\r\n\r\nbo\ndy\0\n\nSEND\ncontent-length:3\n\n\0\0\0\0"
    reader = StompReader(100)
    frames = [frame for byte in data for frame in reader.feed(bytes([byte]))]
    assert [shown(frame) for frame in frames] == [
        ("SEND", {"destination": "/app/a", "empty": ""}, b"bo\ndy"),
        ("SEND", {"content-length": "3"}, b"\0\0\0"),
    ]


def test_the_first_of_repeated_headers_counts() -> None:
    """A proxy that adds a header could not override one."""
    (frame,) = all_of(b"SEND\nfoo:World\nfoo:Hello\n\n\0")
    assert frame.headers == {"foo": "World"}


def test_headers_keep_their_spaces_and_colons() -> None:
    """A password with a space at its end would be wrong."""
    (frame,) = all_of(b"CONNECT\npasscode: a:b\\n \n\n\0")
    assert frame.unescaped(V12) == {"passcode": " a:b\\n "}


def test_escapes_are_those_of_the_version() -> None:
    """A line break in a header would begin another one."""
    assert escape("a:b\nc\\d\re", V12) == r"a\cb\nc\\d\re"
    assert escape("a:b\nc\\d\re", V11) == r"a\cb\nc\\d e"
    (frame,) = all_of(rb"SEND" + b"\n" + rb"a\cb:\\n\n\c\r" + b"\n\n\0")
    assert frame.unescaped(V12) == {"a:b": "\\n\n:\r"}
    with pytest.raises(StompError, match="escape"):
        frame.unescaped(V11)
    assert encode_frame("CONNECTED", [("a", "b:c\nd\r\0")], version=None) == "CONNECTED\na:b:c d  \n\n\0"
    assert one_line("a\nb") == "a b"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SEND\n\0", "blank line"),
        (b"SEND\nx\n\n\0", "name:value"),
        (b"SEND\n:x\n\n\0", "name:value"),
        (b"SEND\nx:\0\n\n\0", "NUL"),
        (b"\0", "command"),
        (b"\xff", "command"),
        (b"83,69,78,68,10", "no binaryBody"),
        (b"[object ArrayBuffer]", "no binaryBody"),
        (b"SE ND\n\n\0", "command"),
        ("ſend\n\n\0".encode(), "command"),
        (b"SEND\nx:\xff\n\n\0", "UTF-8"),
        (b"SEND\ncontent-length:-1\n\n\0", "number"),
        (b"SEND\ncontent-length:1e3\n\n\0", "number"),
        (b"SEND\ncontent-length:1\n\nab\0", "content-length is wrong"),
        (b"SUBSCRIBE\nid:1\n\nbody\0", "has no body"),
        (b"\rSEND\n\n\0", "carriage return"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, why: str) -> None:
    """The server would guess, and another program guess otherwise: what one lets through, the other takes for more."""
    with pytest.raises(StompError, match=why):
        all_of(data)
    reader = StompReader(1_000)
    with pytest.raises(StompError) as caught:
        reader.feed(b"SEND\nfirst:1\n\n\0" + data)
    assert [frame.headers for frame in caught.value.frames] == [{"first": "1"}]


@pytest.mark.parametrize("escape", [r"\t", r"a\x", "\\"])
def test_escapes_that_do_not_exist_are_refused(escape: str) -> None:
    """STOMP 1.2, "Value Encoding": they are a fatal error."""
    (frame,) = all_of(f"SEND\na:{escape}\n\n\0".encode())
    with pytest.raises(StompError, match="escape"):
        frame.unescaped(V12)


def test_frames_are_bounded() -> None:
    """A client could have the server hold gigabytes of headers."""
    lines = b"".join(b"h%d:x\n" % number for number in range(MAX_HEADERS))
    assert len(all_of(b"SEND\n" + lines + b"\n\0")[0].headers) == MAX_HEADERS
    long = b"SEND\na:" + b"x" * (MAX_LINE - 2) + b"\n\n\0"
    assert len(all_of(long)[0].headers["a"]) == MAX_LINE - 2
    for data, limit in (
        (b"SEND\n" + lines + b"one:more\n\n\0", 10_000),
        (long.replace(b"a:", b"a:x"), 10_000),
        (b"S" * 20_000, 1_000_000),
        (b"SEND\n" + b"a:b\n" * 500_000, 10_000_000),
        (b"SEND\n\n" + b"x" * 2_000, 1_000),
        (b"SEND\n\n" + b"x" * 994 + b"\0", 1_000),
        (b"SEND\ncontent-length:2000\n\n", 1_000),
    ):
        with pytest.raises(TooLong):
            in_pieces(data, limit)
    assert len(all_of(b"SEND\n\n" + b"x" * 993 + b"\0", limit=1_000)) == 1


def test_small_pieces_cost_no_more_than_large_ones() -> None:
    """A frame of a megabyte in pieces of some bytes would keep the server busy for minutes."""
    searched = 0

    class Counting(bytearray):
        def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
            nonlocal searched
            searched += len(self) - start
            return super().find(sub, start)

    reader = StompReader(1_000_000)
    reader._buffer = Counting()
    reader.feed(b"SEND\n\n")
    for _ in range(2_000):
        assert not reader.feed(b"x" * 100)
    assert len(reader.feed(b"\0")) == 1
    assert searched < 1_000_000


def test_many_frames_are_read_little_by_little() -> None:
    """A megabyte of small frames would hold up all other clients."""
    reader = StompReader(1_000)
    data = b"".join(b"SEND\nn:%d\n\n\0\n" % number for number in range(1_000)) + b"SEND\nn:last\n"
    frames = reader.feed(data)
    assert (len(frames), reader.more) == (MOST_AT_ONCE, True)
    while reader.more:
        found = reader.feed(b"")
        assert len(found) <= MOST_AT_ONCE
        frames += found
    frames += reader.feed(b"\n\0")
    assert [frame.headers["n"] for frame in frames] == [*map(str, range(1_000)), "last"]


def test_a_frame_shows_what_it_is() -> None:
    """A failed test would say nothing."""
    assert repr(Frame("SEND", {"a": "b"}, b"x")) == "<Frame SEND {'a': 'b'} b'x'>"


def test_heart_beats_are_two_numbers() -> None:
    """A client would be cut off, and not know why."""
    assert read_heart_beat("0,10000") == (0, 10_000)
    assert read_heart_beat(" 5 , 7 ") == (5, 7)
    for wrong in ("", "1", "1,2,3", "-1,0", "1e3,0", "²,0", "1234567890,0"):
        with pytest.raises(StompError, match="heart-beat"):
            read_heart_beat(wrong)
