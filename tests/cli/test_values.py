"""Values as they are written on a command line, and as they are shown."""

from __future__ import annotations

import argparse
import datetime
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.cli.errors import Exit, Failure
from rtframework.cli.values import parse_object, parse_seconds, parse_value, read_file, show, show_text
from tests.support.thorough import examples

INNER = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(INNER, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e400", "1e400"),
        ("NaN", "NaN"),
        ("[1", "[1"),
        ("", ""),
        ("null", None),
        ("1.50", 1.5),
        ("[" * 100_000, "[" * 100_000),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_json_and_what_is_a_string(text: str, value: object) -> None:
    """Something that looks like JSON would be sent as something that no server can read."""
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("value", "plain", "exact"),
    [
        ({"a": [1, None, True]}, '{"a": [1, null, true]}', None),
        ("ü", '"ü"', None),
        (b"abc", '"<3 bytes>"', '{"$base64": "YWJj"}'),
        (b"a", '"<1 byte>"', '{"$base64": "YQ=="}'),
        ([bytearray(), memoryview(b"xy")], '["<0 bytes>", "<2 bytes>"]', '[{"$base64": ""}, {"$base64": "eHk="}]'),
        ((1, (2,)), "[1, [2]]", None),
        ({1: {2: b""}}, '{"1": {"2": "<0 bytes>"}}', '{"1": {"2": {"$base64": ""}}}'),
        (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), '"1970-01-01T00:00:00+00:00"', None),
        ("a\nb\x1b\x7f\x9b\u2028", r'"a\nb\u001b\u007f\u009b\u2028"', None),
    ],
)
def test_a_value_is_one_line(value: object, plain: str, exact: str | None) -> None:
    """Output could not be read line by line, and a server's text would move the cursor of who looks at it."""
    assert show(value) == plain
    assert show(value, exact=True) == (exact or plain)


@settings(max_examples=examples(400))
@given(JSON)
def test_what_is_shown_can_be_typed_again(value: object) -> None:
    """What one has seen could not be sent, and a script could not read it."""
    line = show(value)
    assert len(line.splitlines()) == 1
    assert line.isprintable() or not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in line)
    assert parse_value(line) == value


def test_a_text_of_somebody_elses_stays_in_its_line() -> None:
    """A server could feign lines of the command's own."""
    assert show_text("Invalid namespace: ü") == "Invalid namespace: ü"
    assert show_text("no\nway") == r'"no\nway"'
    assert show_text("") == ""


def test_an_object_is_one_or_is_complained_of(tmp_path: Path) -> None:
    """A server would get something as ``auth`` that is no object, and refuse it without saying why."""
    assert parse_object('{"a": 1}', "--auth") == {"a": 1}
    file = tmp_path / "auth.json"
    file.write_bytes('{"token": "ü"}'.encode())
    assert parse_object(f"@{file}", "--auth") == {"token": "ü"}
    for text, says in (
        ("{", "--auth is no JSON"),
        ('{"a": NaN}', "--auth is no JSON .*NaN is no JSON"),
        ('{"a": 1e999}', "--auth is no JSON .*1e999 is too large"),
        ("[" * 100_000, "--auth is no JSON"),
        ("[]", "--auth has to be a JSON object"),
        ("null", "--auth has to be a JSON object"),
        (f"@{tmp_path / 'nowhere'}", "nowhere cannot be read: No such file or directory"),
        (f"@{tmp_path}", "cannot be read: Is a directory"),
    ):
        with pytest.raises(Failure, match=says) as caught:
            parse_object(text, "--auth")
        assert caught.value.code == Exit.USAGE


def test_files_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Binary data would be changed on the way from a file, or from a pipe."""
    content = bytes(range(256))
    file = tmp_path / "data"
    file.write_bytes(content)
    assert read_file(f"@{file}") == content
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_file("@-") == content


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("1e3", 1000.0), (" 2 ", 2.0)])
def test_seconds(text: str, seconds: float) -> None:
    """A timeout could not be given as one writes it."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "", "-1", "inf", "nan", "1s", "1,5"])
def test_what_is_no_number_of_seconds(text: str) -> None:
    """A command would wait for ever, or not at all."""
    with pytest.raises(argparse.ArgumentTypeError, match="is no number of seconds"):
        parse_seconds(text)
