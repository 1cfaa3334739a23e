"""Frames for clients of Engine.IO 3."""

from __future__ import annotations

from rtframework.engine.frames import EncodedFrames
from rtframework.engine.v3.frames import forms_of

TEXT = EncodedFrames(["4é"])
BINARY = EncodedFrames(['451-["a"]', b"\x00\xff"], droppable=True)


def test_forms_are_made_once() -> None:
    """A broadcast would be encoded again for each old client."""
    forms = forms_of(BINARY)
    assert forms_of(BINARY) is forms
    assert forms.binary is forms.binary
    assert forms.base64 is forms.base64
    assert forms.as_text is forms.as_text
    assert forms.payload is forms.payload


def test_text_is_as_in_version_4() -> None:
    """Text would be encoded twice where old and new clients are in one room."""
    forms = forms_of(TEXT)
    assert forms.binary is TEXT
    assert forms.base64 is TEXT
    assert not forms.has_binary
    assert forms.as_text == "2:4é"


def test_binary_packets_begin_with_their_type() -> None:
    """An old client would lose the first byte of each picture."""
    forms = forms_of(BINARY)
    assert forms.has_binary
    assert forms.binary.packets == ['451-["a"]', b"\x04\x00\xff"]
    assert forms.base64.packets == ['451-["a"]', "b4AP8="]
    assert forms.binary.droppable
    assert forms.as_text == '9:451-["a"]6:b4AP8='
    assert forms.payload == b'\x00\x09\xff451-["a"]\x01\x03\xff\x04\x00\xff'
