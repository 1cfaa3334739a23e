"""The tutorials: what they show is what the finished programs are made of."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.markdown import Block, read_page
from tests.support.tutorials import FOR_NOW, TUTORIALS, title_of

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [pytest.param(page, folder, id=page.stem) for page, folder in TUTORIALS.items()]
_BESIDE: Final = re.compile(r"# ---|// ---")


def lines_of(text: str) -> list[str]:
    """The lines that say something."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def named_blocks(page: Path) -> list[tuple[str, Block]]:
    """The blocks of a page that stay in the program, with their files."""
    found = [(title_of(block), block) for block in read_page(page).blocks]
    return [(title, block) for title, block in found if title is not None and not title.endswith(FOR_NOW)]


@pytest.mark.parametrize(("page", "folder"), PAGES)
def test_what_is_shown_is_in_the_program(page: Path, folder: Path) -> None:
    """Who follows the tutorial would end with another program than the one that is tested."""
    blocks = named_blocks(page)
    assert blocks
    for name, block in blocks:
        program, shown = lines_of((folder / name).read_text(encoding="utf-8")), lines_of(block.code)
        starts = [at for at in range(len(program)) if program[at : at + len(shown)] == shown]
        assert starts, f"{page.name}:{block.line}: this is not in {name}"


@pytest.mark.parametrize(("page", "folder"), PAGES)
def test_all_of_the_server_is_shown(page: Path, folder: Path) -> None:
    """Who follows the tutorial would miss a piece, and not know which."""
    shown = {line for name, block in named_blocks(page) if name == "server.py" for line in lines_of(block.code)}
    source = (folder / "server.py").read_text(encoding="utf-8").split('"""', 2)[2]
    missing = [line for line in lines_of(source) if line not in shown and not _BESIDE.match(line)]
    assert missing == []


@pytest.mark.parametrize(("folder", "tests"), [("first_chat", 4), ("support_desk", 6)])
async def test_the_tests_of_the_chats_pass(folder: str, tests: int) -> None:
    """A tutorial's last step would fail."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"),
        cwd=ROOT / "examples" / folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "plugins")))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode == 0, output.decode(errors="replace")
    assert f"{tests} passed" in output.decode(errors="replace")
