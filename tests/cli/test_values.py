"""Values as they are written on a command line, and as they are shown."""

from __future__ import annotations

import pytest

from rtframework.cli.values import parse_value


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
