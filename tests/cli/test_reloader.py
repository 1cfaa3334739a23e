"""A program that is started again whenever one of its files changes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rtframework.cli import addresses, reloader
from rtframework.cli.addresses import bind
from rtframework.cli.reloader import serve_and_reload
from tests.support.cli import WITHIN, Running, environment, running
from tests.support.js import JSClients
from tests.support.served_program import PROGRAM, STUCK, get, url_of
from tests.support.server import HOST
from tests.support.until import until


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a folder of its own."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


async def reloaded(command: Running, seen: int) -> None:
    """It serves again, beyond that many lines on stdout."""
    await command.see("Serving", after=seen)


async def test_it_starts_again_when_a_file_changes(program: Path, js: JSClients) -> None:
    """After each change one would go to the terminal and start the program by hand."""
    (program.parent / "pages").mkdir()
    (program.parent / "pages" / "__init__.py").write_text("TEXT = 'one'\n")
    program.write_text("import pages\n" + PROGRAM.replace('"one"', "pages.TEXT"))
    async with running("run", "program:make_app()", "--port", "0", "--reload", cwd=program.parent) as command:
        url = await url_of(command)
        client = await js.connect(url, reconnectionDelay=50)
        child = await client.emit_with_ack("pid")
        assert child != command.process.pid
        seen = len(command.out)
        (program.parent / "pages" / "__init__.py").write_text("TEXT = 'another'\n")
        await command.see(r"pages/__init__\.py changed: starting again", on="err")
        await reloaded(command, seen)
        assert await get(url) == "another"  # port 0 is still the port that it was
        assert "cleaned up" in command.out
        await until(lambda: not alive(child))
        assert await command.end() == 0, command.printed


async def test_a_broken_file_is_shown_and_tried_again(program: Path) -> None:
    """A syntax error would end the command, and the next save would change nothing."""
    async with running("run", "program:make_app()", "--port", "0", "--reload", cwd=program.parent) as command:
        url = await url_of(command)
        seen = len(command.out)
        program.write_text(PROGRAM + "def broken(:\n")
        await command.see("SyntaxError", on="err")
        await command.see("save a file to try again", on="err")
        waiting = asyncio.create_task(get(url))  # whoever comes meanwhile is served afterwards
        program.write_text(PROGRAM.replace("one", "mended"))
        await reloaded(command, seen)
        assert await waiting == "mended"
        assert await command.end() == 0, command.printed


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
async def test_no_child_is_left_behind(program: Path, js: JSClients, how: signal.Signals) -> None:
    """A server that nobody sees would hold the port, and answer with old code."""
    async with running("run", "program:make_app()", "--port", "0", "--reload", cwd=program.parent) as command:
        client = await js.connect(await url_of(command), reconnection=False)
        child = await client.emit_with_ack("pid")
        code = await command.end(how)
        assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0), command.printed
        await until(lambda: not alive(child))


async def test_a_child_that_does_not_end_is_killed(
    program: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program that hangs would hold up every restart for ever."""
    program.write_text(PROGRAM + STUCK)
    ending: list[Callable[[], None]] = []
    monkeypatch.setattr(reloader, "on_end", ending.append)
    monkeypatch.setattr(reloader, "_PATIENCE", 0.1)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.chdir(program.parent)
    printed: list[str] = []

    def has_said(text: str) -> bool:
        printed.extend(capfd.readouterr())
        return text in "".join(printed)

    socks = bind(HOST, 0)
    url = addresses.url_of(socks[0])
    arguments = ("run", "program:make_app()", "--reload", "--port", "0", "--shutdown-timeout", "0")
    try:
        serving = asyncio.create_task(serve_and_reload(arguments, socks, [program.parent], shutdown_timeout=0))
        asking = asyncio.create_task(get(url))
        await until(lambda: has_said("stuck"), timeout=WITHIN)
        program.write_text(PROGRAM.replace("one", "two"))
        await until(lambda: has_said("does not end and is killed"), timeout=WITHIN)
        assert await get(url) == "two"
        await asyncio.wait((asking,))  # the client may have asked again by itself
        (told,) = ending
        told()
        assert await serving == 0
    finally:
        for sock in socks:
            sock.close()


async def test_ctrl_c_in_a_terminal_reaches_both(program: Path) -> None:
    """A terminal sends Ctrl-C to parent and child: the child would take the second signal for impatience."""
    async with running("run", "program:make_app()", "--port", "0", "--reload", cwd=program.parent) as command:
        await url_of(command)
        (child,) = children(command.process.pid)
        os.kill(child, signal.SIGINT)
        assert await command.end() == 0
        assert command.out[-1] == "cleaned up", command.printed
        assert not [line for line in command.err if "has ended" in line or "Traceback" in line]


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that do not only wait to be collected."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
