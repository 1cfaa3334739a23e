"""Payloads of Engine.IO 3: the protocol's own examples, to the byte, and what is no payload."""

from __future__ import annotations

import pytest

from rtframework.engine.frames import EncodedFrames
from rtframework.engine.v3.frames import forms_of
from rtframework.engine.v3.payload import decode_binary, decode_text, encode_binary, encode_text, units

BLOB = b"\x04\x01\x02\x03\x04"
WHY = "no packet|length|shorter|empty|unknown|binary|Base64|decode|b4"
EXAMPLES: list[tuple[list[str | bytes], str, bytes]] = [
    (["4hello", "4€"], "6:4hello2:4€", b"\x00\x06\xff4hello\x00\x04\xff4\xe2\x82\xac"),
    (["4€", BLOB], "2:4€10:b4AQIDBA==", b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04"),
    (["2"], "1:2", b"\x00\x01\xff2"),
    (["4😀x", "6"], "4:4😀x1:6", b"\x00\x06\xff4" + "😀x".encode() + b"\x00\x01\xff6"),
    ([b"\x04", "4" + "y" * 12], "2:b413:4" + "y" * 12, b"\x01\x01\xff\x04\x00\x01\x03\xff4" + b"y" * 12),
    (["4:1:", "40:"], "4:4:1:3:40:", b"\x00\x04\xff4:1:\x00\x03\xff40:"),
]


@pytest.mark.parametrize(("packets", "text", "binary"), EXAMPLES, ids=[text[:20] for _, text, _ in EXAMPLES])
def test_payloads(packets: list[str | bytes], text: str, binary: bytes) -> None:
    """Old clients, who count as JavaScript does, would get half a packet."""
    assert encode_text(packets) == text
    assert encode_binary(packets) == binary
    assert list(decode_text(text.encode())) == packets
    assert list(decode_binary(binary)) == packets


def test_lengths_are_javascripts() -> None:
    """Every text after an emoji would be cut in the wrong place."""
    assert [units(text) for text in ("", "abc", "é日", "😀", "a😀b")] == [0, 3, 2, 2, 4]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"4hello",
        b":4hello",
        b"6:4hell",
        b"5:4hello",
        b"7:4hello",
        b"1:",
        b"0:0:",
        b"0:1:2",
        b"1:20:",
        b"1:7",
        b"1:x",
        b" 1:2",
        b"+1:2",
        b"-1:2",
        b"1e0:2",
        b"1_0:4hello1234",
        "٣:4ab".encode(),
        b"00000000001:2",
        b"1:2\n",
        b"2:4\xf0\x9f\x98\x80",
        b"1:4\xf0\x9f\x98\x80",
        b"3:4\xff\xff",
        b"2:b4x",
        b"3:b4x",
        b"6:b4AA=x",
        b"6:b2AAAA",
        b"1:b",
        b"\x00\x01\xff2",
    ],
    ids=repr,
)
def test_what_is_no_payload_of_text(body: bytes) -> None:
    """Some of what a client meant to send would be lost, and nobody would know."""
    with pytest.raises(ValueError, match=WHY):
        list(decode_text(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"1:2",
        b"\x00",
        b"\x00\xff",
        b"\x00\xff2",
        b"\x00\x01\xff",
        b"\x00\x02\xff2",
        b"\x00\x012",
        b"\x02\x01\xff2",
        b"\x00\x0a\xff" + b"4" * 10,
        b"\x00\x00\xff",
        b"\x00\x01\xff7",
        b"\x00\x02\xff4\xff",
        b"\x01\x01\xff2",
        b"\x01\x00\xff",
        b"\x01\x01\xff4",
        b"\x00\x01\xff2\x00",
        b"\x00" + b"\x00" * 10 + b"\x01\xff2",
        b"\x00" + b"\x09" * 400 + b"\xff2",
        b"\x00\x03\xffb4x",
    ],
    ids=repr,
)
def test_what_is_no_payload_of_bytes(body: bytes) -> None:
    """The same, for clients that send bytes."""
    with pytest.raises(ValueError, match=WHY):
        list(decode_binary(body))


def test_an_empty_payload_of_text_is_what_some_clients_send() -> None:
    """A client that has nothing to say, and says so, would be thrown out."""
    assert list(decode_text(b"0:")) == []


def test_each_form_is_made_once() -> None:
    """A broadcast to a thousand old clients would be encoded a thousand times."""
    text, mixed = EncodedFrames(["4a"]), EncodedFrames(['451-["a"]', b"\x00\xff"], droppable=True)
    assert forms_of(text).binary is text
    assert forms_of(text).base64 is text
    assert not forms_of(text).has_binary
    forms = forms_of(mixed)
    assert forms is forms_of(mixed)
    assert forms.has_binary
    assert forms.binary is forms.binary
    assert list(forms.binary.packets) == ['451-["a"]', b"\x04\x00\xff"]
    assert forms.binary.droppable
    assert forms.base64 is forms.base64
    assert list(forms.base64.packets) == ['451-["a"]', "b4AP8="]
    assert forms.payload is forms.payload
    assert forms.as_text is forms.as_text == '9:451-["a"]6:b4AP8='


def test_frames_that_no_old_client_needs_have_no_forms() -> None:
    """Servers without old clients would pay for them, in memory for every packet."""
    frames = EncodedFrames.of_messages(['2["a"]'])
    assert not hasattr(frames, "v3")
