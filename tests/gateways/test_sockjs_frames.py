"""Frames of SockJS: what browsers mangle, what would end a script, and what clients make up."""

from __future__ import annotations

import html.parser
import json
import re

import pytest

from rtframework import DecodeError
from rtframework.counters import Counters
from rtframework.gateways.sockjs_frames import (
    EVENTSOURCE,
    HTMLFILE,
    XHR,
    SockJSFrames,
    close_frame,
    htmlfile_prelude,
    is_callback,
    messages_frame,
    quote,
    read_messages,
)

MANGLED = [*range(0x20), *range(0x7F, 0xA0), *range(0x200C, 0x2010), *range(0x2028, 0x2030), *range(0x2060, 0x2070)]


def test_what_browsers_mangle_is_escaped() -> None:
    """Line separators would end a script, and zero-width characters vanish on the way."""
    for code in (*MANGLED, 0xD800, 0xDFFF, *range(0xFFF0, 0x10000)):
        quoted = quote(f"a{chr(code)}b")
        assert chr(code) not in quoted
        assert json.loads(quoted) == f"a{chr(code)}b"
        quoted.encode()
    assert quote("é 日本 😀") == '"é 日本 😀"'
    assert quote('a"b\\') == '"a\\"b\\\\"'


class _Scripts(html.parser.HTMLParser):
    """The scripts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1] == "script" and data.strip():
            self.scripts.append(data)


def test_no_message_ends_its_script() -> None:
    """Whoever may send text to others would run scripts in their pages."""
    for text in ("</script><script>alert(1)</script>", "<!--<script>", "]]>&lt;", "\u2028\u2029"):
        wrapped = HTMLFILE.wrap(messages_frame(quote(text)))
        page = _Scripts()
        page.feed(wrapped)
        assert page.tags == ["script"]
        (script,) = page.scripts
        found = re.fullmatch(r"\np\((.*)\);\n", script)
        assert found is not None
        frame = json.loads(found[1])
        assert json.loads(frame[1:]) == [text]


def test_frames_are_wrapped_as_each_transport_needs_it() -> None:
    """Stock clients would understand nothing."""
    assert XHR.wrap("o") == "o\n"
    assert EVENTSOURCE.wrap('a["x"]') == 'data: a["x"]\r\n\r\n'
    assert HTMLFILE.wrap('a["x"]') == '<script>\np("a[\\"x\\"]");\n</script>\r\n'
    assert close_frame(3000, 'Go "away"!') == 'c[3000,"Go \\"away\\"!"]'
    assert len(htmlfile_prelude("x.y")) > 1024
    assert "parent.x.y;" in htmlfile_prelude("x.y")


@pytest.mark.parametrize("name", ["", " ", "*", "abc(", "a;b", "a" * 129, "é", "a\n"])
def test_what_is_no_callback_is_refused(name: str) -> None:
    """A link would run a script in our origin."""
    assert not is_callback(name)
    assert is_callback("_jp.a1-B")


def test_binary_messages_are_counted() -> None:
    """They would be lost without a word."""
    counts = Counters()
    frames = SockJSFrames(["a", b"b", "c"], counts)
    assert frames.messages == '"a","c"'
    assert frames.packets == ['a["a","c"]']
    assert counts.dropped["not_encoded"] == 1
    assert SockJSFrames([], counts).websocket == b""


def test_messages_are_read() -> None:
    """Clients could say nothing."""
    assert read_messages('["a","b"]', most=2) == ["a", "b"]
    assert read_messages(b'["\\ud800"]', most=2) == ["\ufffd"]  # as websockets have it
    assert read_messages('"a"', most=2) == ("a",)
    assert read_messages("[]", most=2) == []
    for text in ("", "[", "[1]", "{}", "1", '["a","b","c"]', "[" * 100_000, b"\xff", '["a"] x', "null"):
        with pytest.raises(DecodeError, match="Broken JSON"):
            read_messages(text, most=2)
