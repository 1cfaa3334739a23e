"""Notices: a log that a client can fill is a log that nobody reads."""

from __future__ import annotations

import logging

import pytest

from rtframework import logs as notices
from rtframework.logs import ThrottledLog, printable

log = logging.getLogger("rtframework.test")


def test_a_flood_is_one_line_a_second(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile client could fill the disk, or hide what else happens."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(notices, "PERIOD", 1.0)
    notice = ThrottledLog(log, logging.INFO, "something of %s")
    with caplog.at_level(logging.INFO):
        for _ in range(1_000):
            notice("theirs")
        now = 101.5
        notice("theirs")
        notice("theirs")
        now = 103.0
        notice("ours")
    assert caplog.messages == [
        "something of theirs",
        "something of theirs (999 more since the last such line)",
        "something of ours (1 more since the last such line)",
    ]


def test_a_line_that_nobody_wants_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The first line after the level was changed would be left out."""
    notice = ThrottledLog(log, logging.DEBUG, "quiet")
    with caplog.at_level(logging.INFO):
        notice()
    with caplog.at_level(logging.DEBUG):
        notice()
    assert caplog.messages == ["quiet"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 'text'", "plain é 'text'"),
        ('["a\\nb"]', '["a\\nb"]'),
        ("a\nb\x1b[0m", "a\\nb\\x1b[0m"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "…"),
        ("\udce9\u2028", "\\udce9\\u2028"),
    ],
)
def test_text_of_clients_is_shown_on_one_line(text: str, shown: str) -> None:
    """A client could write lines of its own, or send control characters to a terminal."""
    assert printable(text) == shown
