"""Notices: a log that a client can fill is a log that nobody reads."""

from __future__ import annotations

import io
import logging

import pytest

from rtframework import logs as notices
from rtframework.logs import (
    Lazy,
    ThrottledLog,
    format_error,
    is_of_program,
    place_of,
    printable,
    quote,
    tell_left_out,
    throttle,
)

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


def fail(text: str) -> Exception:
    """An exception with a traceback, as a handler raises it."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_a_handler_that_fails_leaves_one_traceback_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that knows one bad payload would fill the disk with tracebacks."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(notices, "PERIOD", 1.0)
    failed = ThrottledLog(log, logging.ERROR, "unhandled error in a handler of %r")
    for _ in range(10_000):
        failed("a", error=fail("x"), key="a")
        failed("b", error=fail("x"), key="b")
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("unhandled error in a handler of 'a'", True),
        ("unhandled error in a handler of 'b'", True),
    ]
    caplog.clear()
    tell_left_out()
    assert caplog.messages == []
    now = 101.0
    tell_left_out()
    tell_left_out()
    assert caplog.messages == [
        "unhandled error in a handler of 'a' (9999 more since the last such line)",
        "unhandled error in a handler of 'b' (9999 more since the last such line)",
    ]
    assert [record.left_out for record in caplog.records] == [9_999, 9_999]  # type: ignore[attr-defined]


def test_the_count_is_told_at_the_end(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened in the second before the shutdown would look like one mishap."""
    monkeypatch.setattr(notices, "PERIOD", 60.0)
    notice = ThrottledLog(log, logging.WARNING, "something")
    for _ in range(3):
        notice()
    tell_left_out(at_once=True)
    assert caplog.messages == ["something", "something (2 more since the last such line)"]


def test_other_exceptions_of_a_handler_are_not_hidden(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of one error would hide a second one, which may be the worse."""
    monkeypatch.setattr(notices, "PERIOD", 60.0)
    failed = ThrottledLog(log, logging.ERROR, "failed")
    for _ in range(3):
        failed(error=fail("x"))
        failed(error=KeyError("y"))
    tell_left_out(at_once=True)
    assert len([record for record in caplog.records if record.exc_info]) == 2
    assert sum(record.left_out for record in caplog.records) == 4  # type: ignore[attr-defined]


def test_the_table_of_keys_is_bounded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with keys without end would fill its memory, and a client its log."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(notices, "PERIOD", 1.0)
    notice = ThrottledLog(log, logging.WARNING, "%s")
    for key in range(10_000):
        notice(key, key=key)
    assert len(caplog.records) == 257
    assert len(notice._lines) == 257
    now = 102.0
    tell_left_out()
    assert sum(record.left_out for record in caplog.records) == 10_000 - 257  # type: ignore[attr-defined]
    now = 104.0
    caplog.clear()
    notice("new", key="new")
    assert caplog.messages == ["new"]
    assert len(notice._lines) == 1


EVIL = "x\n2026-01-01 CRITICAL root forged\r\x1b[31m\x85\u2028\u2029\u202e\ud800\x00"


def test_no_text_forges_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator would be sent after somebody else, or an attack would look like its end."""
    monkeypatch.setattr(notices, "PERIOD", 0.0)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("LINE %(levelname)s %(event)s %(message)s"))
    log.addHandler(handler)
    try:
        error = fail(EVIL)
        error.add_note(EVIL)
        error.__cause__ = fail(EVIL)
        ThrottledLog(log, logging.ERROR, "failed for %s")(EVIL, error=error, extra={"event": EVIL})
    finally:
        log.removeHandler(handler)
    lines = stream.getvalue().removesuffix("\n").split("\n")
    assert lines[0].startswith("LINE ERROR ")
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    assert "The above exception was the direct cause" in stream.getvalue()


def test_a_traceback_of_megabytes_is_cut() -> None:
    """An exception that quotes a client's payload would fill the disk, one line at a time."""
    text = format_error(fail("a" * 1_000_000 + "\n" + "b\n" * 100_000))
    assert len(text) < 33_000
    assert text.startswith("  Traceback")


def test_a_line_says_where_it_was_written(caplog: pytest.LogCaptureFixture) -> None:
    """Every line would seem to come from one function."""
    ThrottledLog(log, logging.WARNING, "here")()
    assert caplog.records[0].funcName == "test_a_line_says_where_it_was_written"


@pytest.mark.parametrize("text", ["plain", EVIL, "a" * 10_000])
def test_what_a_client_names_is_quoted(text: str) -> None:
    """A name with a line break in it would begin a line of its own."""
    for shown in (quote(text), printable(text), printable(ValueError(text))):
        assert shown.isprintable()
        assert len(shown) < 2_000
    assert printable("plain") == "plain"


class Adapter(logging.LoggerAdapter[logging.Logger]):
    """A logger as programs give the drop-in."""


def test_a_logger_of_another_kind(caplog: pytest.LogCaptureFixture) -> None:
    """The drop-in takes anything with the methods of a logger: a handler's error would be lost in another one."""
    ThrottledLog(Adapter(log), logging.ERROR, "failed for %s")("a", error=fail("x"))
    assert caplog.messages == ["failed for a"]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize("shown", [True, False])
def test_a_handler_of_logging_that_fails_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shown: bool
) -> None:
    """A full disk, or a collector of logs that is away, would end the task that serves all clients."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("No space left on device")

    monkeypatch.setattr(logging, "raiseExceptions", shown)
    monkeypatch.setattr(log, "propagate", False)
    full = Full()
    log.addHandler(full)
    try:
        ThrottledLog(log, logging.ERROR, "failed")(error=fail("x"))
    finally:
        log.removeHandler(full)
    assert ("No space left" in capsys.readouterr().err) == shown


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


def test_a_period_of_its_own(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """In development mode, the line that is looked for would be left out."""
    monkeypatch.setattr(notices, "PERIOD", 60.0)
    rare = ThrottledLog(log, logging.WARNING, "a", period=60.0)
    usual = ThrottledLog(log, logging.WARNING, "b")
    throttle(0.0)
    for _ in range(2):
        rare()
        usual()
    assert caplog.messages == ["a", "b", "b"]


def test_an_argument_that_is_made_for_the_line_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of refusals would cost what only one line needs."""
    made: list[str] = []

    def make() -> str:
        made.append("hint")
        return "hint"

    line = ThrottledLog(log, logging.WARNING, "%s", period=60.0)
    line(Lazy(make))
    assert caplog.messages == ["hint"]
    before = len(made)
    line(Lazy(make))
    assert len(made) == before


def test_where_code_is() -> None:
    """A program would be shown lines of libraries."""
    code = test_where_code_is.__code__
    assert place_of(code) == f"tests/test_logs.py:{code.co_firstlineno}"
    assert is_of_program(code)
    assert not is_of_program(logging.info.__code__)
    assert not is_of_program(throttle.__code__)
    assert not is_of_program(pytest.fixture.__code__)
