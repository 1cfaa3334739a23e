"""`rtframework typescript`: the types of a server's events."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.support.cli import rtframework
from tests.support.preload import ROOT

CHAT: Final = ROOT / "examples" / "chat"


async def test_types_are_printed_or_written(program: Path) -> None:
    """There would be no way to the types but by writing a program for them."""
    printed = await rtframework("typescript", "server:io", cwd=program)
    assert printed.code == 0, printed.err
    assert "said: (data: string) => void;" in printed.lines[5]
    assert "/** Say something. */" in printed.out
    written = await rtframework("typescript", "server:io", "-o", "events.ts", cwd=program)
    assert (written.code, written.out, written.err) == (0, "", "")
    assert (program / "events.ts").read_text(encoding="utf-8") == printed.out
    assert "export function isEventError" in printed.out
    await rtframework("typescript", "server:io", "-o", "events.d.ts", cwd=program)
    declared = (program / "events.d.ts").read_text(encoding="utf-8")
    assert "isEventError" not in declared  # no compiler takes a function there
    assert "said: (data: string) => void;" in declared
    dates = await rtframework("typescript", "server:io", "--dates", "Date", "--platform", "node", cwd=program)
    assert dates.code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("typescript", "server:io", "--check"), 2, "--check needs the file"),
        (("typescript", "server:io", "-o", "no/folder/events.ts"), 1, "No such file"),
    ],
)
async def test_mistakes_are_told_in_one_line(program: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """A traceback would hide what is wrong."""
    done = await rtframework(*arguments, cwd=program)
    assert done.code == code
    assert said in done.complaint


async def test_the_file_of_the_chat_example_is_up_to_date() -> None:
    """The first contract that a newcomer looks at would be that of another server."""
    done = await rtframework("typescript", f"{CHAT / 'server.py'}:io", "-o", CHAT / "events.ts", "--check")
    assert done.code == 0, done.err
