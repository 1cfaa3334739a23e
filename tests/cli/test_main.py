"""`rtframework`: its commands, and what is common to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtframework.cli.main import COMMANDS, load_command
from tests.support.cli import environment, rtframework


async def test_help_names_the_commands() -> None:
    """Nobody would know what there is."""
    done = await rtframework("--help", cold=True)
    assert done.code == 0
    for name, summary in COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in done.lines), name


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_is_there_at_once(argument: str) -> None:
    """Who looks around would wait half a second each time for a server that is not asked for."""
    command = [sys.executable, "-X", "importtime", "-m", "rtframework", argument]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rtframework.cli.main" in imported
    assert (
        imported & {"aiohttp", "asyncio", "msgspec", "socketio", "rtframework.server", "rtframework.contracts"} == set()
    )


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_command_has_help_with_an_example(name: str) -> None:
    """Options alone do not say what to type."""
    done = await rtframework(name, "--help")
    assert done.code == 0
    assert f"rtframework {name} " in done.out.partition("\n\n")[2]
    typed = [line for line in done.lines if line.lstrip().startswith("rtframework ")]
    assert [line for line in typed if "()" in line and "()'" not in line] == []  # no shell would take it


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_module_of_its_own(name: str) -> None:
    """Who adds one would have to know all the others."""
    command = load_command(name)
    assert callable(command.add_arguments)
    assert callable(command.run)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("ruotes", "x"), 'rtframework: there is no command "ruotes"; did you mean "routes"?'),
        (("nothing",), 'rtframework: there is no command "nothing"'),
        (("--nothing",), "rtframework: there is no option --nothing before the command"),
        (("routes",), "rtframework routes: the following arguments are required: MODULE:NAME"),
        (("emit",), "rtframework emit: the following arguments are required: URL, EVENT"),
        (("listen",), "rtframework listen: the following arguments are required: URL"),
        (("routes", "x:y", "--jsno"), "rtframework routes: unrecognized arguments: --jsno"),
    ],
)
async def test_a_mistake_is_answered_in_two_lines(args: tuple[str, ...], says: str) -> None:
    """The mistake would drown in a screen of options."""
    done = await rtframework(*args, cold=True)
    assert (done.code, done.out) == (2, "")
    where = says.partition(":")[0]
    assert done.err.splitlines() == [says, f"See {where} --help"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
async def test_every_character_can_be_printed(tmp_path: Path, encoding: str) -> None:
    """In a job or a container without a locale, a command would end in a traceback."""
    (tmp_path / "server.py").write_text('import rtframework\nio = rtframework.Server()\nio.emits("é😀")', "utf-8")
    done = await rtframework("typescript", "server:io", cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert (done.code, done.err) == (0, "")
    assert ('"\\u00e9\\ud83d\\ude00": () => void;' if encoding == "ascii" else '"é😀": () => void;') in done.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("where", "code", "says"),
    [
        ("> /dev/full", 1, "rtframework completion: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written(where: str, code: int, says: str) -> None:
    """A full disk, or a service manager that closes stdout, would be answered with a traceback."""
    command = f'"{sys.executable}" -m rtframework completion bash {where}'
    done = subprocess.run(["/bin/sh", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, says)


async def test_without_a_command_there_is_help() -> None:
    """Somebody who looks around would be told off."""
    done = await rtframework(cold=True)
    assert done.code == 2
    assert "routes" in done.out


async def test_the_version() -> None:
    """Nobody could say in a report what is installed."""
    done = await rtframework("--version", cold=True)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("rtframework ")
