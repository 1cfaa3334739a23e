"""Where a command writes what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import rtframework
from tests.support.contract import PROGRAM


@pytest.mark.parametrize("command", ["typescript", "asyncapi"])
async def test_half_of_a_contract_is_told_of(program: Path, command: str) -> None:
    """An empty ``ServerToClientEvents`` would look as if the server had nothing to say."""
    server = program / "server.py"
    server.write_text(server.read_text(encoding="utf-8").replace('@io.emits("said", str)\n', ""), encoding="utf-8")
    done = await rtframework(command, "server:io", cwd=program)
    assert done.code == 0
    assert done.err.strip() == (
        "note: nothing says what the server emits in /: declare it with io.emits(event, *types)"
    )


async def test_a_file_that_is_not_up_to_date_is_told(program: Path) -> None:
    """A check in continuous integration would pass, and the page's types be those of last month."""
    command = ("typescript", "server:io", "-o", "events.ts")
    missing = await rtframework(*command, "--check", cwd=program)
    assert (missing.code, (program / "events.ts").exists()) == (1, False)
    await rtframework(*command, cwd=program)
    assert (await rtframework(*command, "--check", cwd=program)).code == 0
    (program / "server.py").write_text(PROGRAM.replace('"said", str', '"said", int'), encoding="utf-8")
    old = await rtframework(*command, "--check", cwd=program)
    assert old.code == 1
    assert "-  said: (data: string) => void;\n+  said: (data: number) => void;" in old.err
    assert old.err.splitlines()[-1] == (
        "rtframework typescript: events.ts is not up to date: run the same command without --check"
    )
