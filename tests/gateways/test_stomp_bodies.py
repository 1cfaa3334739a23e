"""Bodies of STOMP frames: the arguments of events."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import JSONSerializer, Packet, PacketType
from rtframework.gateways.packets import read
from rtframework.gateways.stomp_bodies import body_of, read_args
from rtframework.gateways.stomp_frames import StompError
from rtframework_msgpack import MsgpackSerializer

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def args_of(body: bytes | str, most: int = 10, **headers: Any) -> list[Any]:
    """Read a body; underscores in names of headers are hyphens."""
    body = body.encode() if isinstance(body, str) else body
    given = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return read_args(given, body, max_attachments=most)


@given(st.lists(values, max_size=3), st.sampled_from([JSONSerializer(), MsgpackSerializer()]))
def test_arguments_arrive_as_they_were_sent(args: list[Any], serializer: Any) -> None:
    """Numbers would arrive as text, or bytes as nothing."""
    kind = PacketType.EVENT
    try:
        frames = serializer.encode(Packet(kind, "/", ["event", *args]))
    except Exception:  # noqa: BLE001 - more attachments than may be
        return
    (outgoing,) = read(frames, serializer)
    body = body_of(outgoing, outgoing.data[1:])
    content = body.content if isinstance(body.content, bytes) else body.content.encode()
    if not args:
        assert body.headers == [("args", "0")]
        return
    assert read_args(dict(body.headers), content, max_attachments=99) == args


def test_what_the_serializer_made_is_not_made_again() -> None:
    """A broadcast would encode its arguments twice."""
    serializer = JSONSerializer()
    for args, expected in (
        ([{"at": datetime.date(2026, 1, 2)}], '{"at":"2026-01-02"}'),
        ([1, [2]], "[1,[2]]"),
        ([1.0], "1.0"),
    ):
        (outgoing,) = read(serializer.encode(Packet(PacketType.EVENT, "/", ["e", *args])), serializer)
        assert body_of(outgoing, outgoing.data[1:]).content == expected
        (outgoing,) = read(serializer.encode(Packet(PacketType.ACK, "/", args, 1)), serializer)
        assert body_of(outgoing, outgoing.data).content == expected


def test_the_content_type_says_what_a_body_is() -> None:
    """A chat in which somebody writes a number would break."""
    assert args_of("1", content_type="text/plain") == ["1"]
    assert args_of("é".encode("latin-1"), content_type='text/plain; charset="ISO-8859-1"') == ["é"]
    assert args_of("{}", content_type="Application/JSON;charset=UTF-8") == [{}]
    assert args_of("[1]", content_type="application/vnd.a+json") == [[1]]
    assert args_of(b"\x00\xff", content_type="application/octet-stream") == [b"\x00\xff"]
    assert args_of("<a/>", content_type="image/svg+xml") == [b"<a/>"]
    assert args_of("", content_type="text/plain") == [""]
    assert args_of("", content_type="image/png") == [b""]
    assert args_of("", content_type="application/json") == []


def test_a_body_without_a_content_type_is_what_it_can_be_read_as() -> None:
    """Pages that send ``JSON.stringify(…)``, as all do, would have to say so each time."""
    assert args_of('{"a":[1]}') == [{"a": [1]}]
    assert args_of("1") == [1]
    assert args_of("hello {") == ["hello {"]
    assert args_of("[" * 5_000) == ["[" * 5_000]
    assert args_of(b"\xff") == [b"\xff"]
    assert args_of("") == []


def test_several_arguments_are_counted() -> None:
    """An array would be several arguments, or the other way round, depending on the day."""
    assert args_of("[1,2]") == [[1, 2]]
    assert args_of("[1,2]", args=2) == [1, 2]
    assert args_of(b'[1,{"_placeholder":true,"num":0}]ab', args=2, attachments="2") == [1, b"ab"]
    assert args_of(b'{"_placeholder":true,"num":0}', attachments="0") == [b""]
    assert args_of("[]", args=0) == []


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        ("{", {"content_type": "application/json"}, "no JSON"),
        (b"\xff", {"content_type": "application/json"}, "no JSON"),
        (b"\xff", {"content_type": "text/plain"}, "no text"),
        ("x", {"content_type": "text/plain;charset=utf-7"}, "charset"),
        ("[1]", {"args": 2}, "args"),
        ("1", {"args": 1}, "args"),
        ("[1]", {"args": "x"}, "args"),
        ("1", {"attachments": "2"}, "longer"),
        ("1", {"attachments": "-1"}, "lengths"),
        ("1", {"attachments": ""}, "lengths"),
        ("{", {"attachments": "0"}, "no JSON"),
        ('{"_placeholder":true,"num":1}', {"attachments": "0"}, "illegal"),
        ("1", {"attachments": "0,0,0"}, "max_attachments"),
    ],
)
def test_what_does_not_fit_is_refused(body: str | bytes, headers: dict[str, Any], why: str) -> None:
    """A handler would get what its client has not sent."""
    with pytest.raises(StompError, match=why):
        args_of(body, 2, **headers)
