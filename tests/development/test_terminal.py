"""The log as people read it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import pytest

from rtframework import Server, Socket
from rtframework.development.events import EventWatch
from rtframework.development.terminal import Repeats, TerminalFormatter, has_colours, show_in_terminal
from rtframework.testing import TestServer


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Tell that it is one."""
        return True


@contextlib.contextmanager
def no_logging() -> Iterator[None]:
    """A program without handlers of its own; those of the tests are back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def record(level: int = logging.WARNING, name: str = "rtframework.engine", text: str = "%s", *args: object) -> str:
    """A line, without its time."""
    made = logging.LogRecord(name, level, "x.py", 1, text, args or ("hello",), None)
    return TerminalFormatter(colours=False).format(made).partition(" ")[2]


def test_a_line() -> None:
    """The name of the logger would take half of each line, or a library's line would look like ours."""
    assert record() == "warning hello"
    assert record(logging.ERROR) == "error   hello"
    assert record(name="aiohttp.server") == "warning aiohttp.server: hello"


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file would be full of escape sequences; and some people cannot read colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_colours(Terminal())
    assert not has_colours(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colours(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "")  # "when present and not an empty string", says no-color.org
    assert has_colours(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours(Terminal())


def test_it_is_shown_unless_the_program_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line would come twice in a program that has set up logging."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with no_logging():
        assert show_in_terminal(logging.INFO, stream)
        assert not show_in_terminal(logging.DEBUG, stream)
        logging.getLogger("rtframework.x").info("hello")
        logging.getLogger("rtframework.x").debug("quiet")
    assert "\x1b[36minfo   \x1b[0m hello\n" in stream.getvalue()
    assert "quiet" not in stream.getvalue()


def test_a_line_that_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes back three times a second would scroll away everything else."""
    now = 100.0
    monkeypatch.setattr("rtframework.development.terminal.time.monotonic", lambda: now)
    repeats = Repeats()

    def passes(text: str) -> str | None:
        made = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%s", (text,), None)
        return made.getMessage() if repeats.filter(made) else None

    assert [passes("a"), passes("b"), passes("a"), passes("a")] == ["a", "b", None, None]
    now = 106.0
    assert passes("a") == "a (2 more of these)"
    for number in range(1000):
        passes(str(number))
    assert len(repeats._seen) <= 201


async def test_a_handler_that_raises() -> None:
    """One would see that a handler has failed, and not for which payload; or the payload with its secrets."""
    stream = io.StringIO()
    server = Server()
    server.observe(EventWatch())

    @server.on("save")
    async def save(socket: Socket, data: dict[str, str]) -> None:
        raise KeyError(data["kind"])

    @server.on("twice")
    async def one(socket: Socket, data: int) -> None:
        raise LookupError

    @server.on("twice")
    async def two(socket: Socket, data: int) -> None: ...

    with no_logging():
        show_in_terminal(logging.WARNING, stream)
        async with TestServer(server) as serving:
            client = await serving.connect()
            await client.emit_with_ack("save", {"kind": "title", "password": "hunter2"})
            await client.emit_with_ack("twice", 1)
    said, about, begin, frame, *_ = stream.getvalue().splitlines()
    assert said.endswith("error   unhandled error in a handler of 'save'")
    assert about == f"  in /, for socket {client.id}, with ({{kind: str, password: str}})"
    assert begin == "Traceback (most recent call last):"
    assert "test_terminal.py" in frame  # none of the framework's
    assert "hunter2" not in stream.getvalue()
    assert "with (int)" in stream.getvalue()


def test_an_error_without_frames() -> None:
    """An exception that was never raised would hide the line that tells of it."""
    made = logging.LogRecord("x", logging.ERROR, "x.py", 1, "bad", (), (ValueError, ValueError("no"), None))
    assert TerminalFormatter(colours=True).format(made).endswith("\x1b[31mValueError: no\x1b[0m")
