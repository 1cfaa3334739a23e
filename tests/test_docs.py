"""The documentation: its code runs and its links lead somewhere."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from tests.support.markdown import read_page, slug

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
PAGES: Final = [*([README] if README.is_file() else []), *sorted(ROOT.glob("docs/**/*.md"))]
ALL_MARKDOWN: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)


def name_of(path: Path) -> str:
    """A page's id in test names."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
async def test_every_python_block_runs(path: Path) -> None:
    """Code that is copied from the docs must work as it stands."""
    if not any(block.info[:1] == ("python",) for block in read_page(path).blocks):
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "tests.support.run_page", str(path)),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail(f"{name_of(path)} did not end within 30 s")
    assert process.returncode == 0, f"{name_of(path)}:\n{output.decode(errors='replace')}"


@pytest.mark.parametrize("path", ALL_MARKDOWN, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """A reader who clicks must not end at a 404."""
    dead = []
    for link in read_page(path).links:
        if "://" in link.target or link.target.startswith("mailto:"):
            continue
        name, _, anchor = unquote(link.target).partition("#")
        target = (path.parent / name).resolve() if name else path
        outside = not target.is_relative_to(ROOT)
        if outside or not target.exists():
            dead.append(f"{name_of(path)}:{link.line}: {link.target} is not there")
        elif anchor and target.suffix == ".md" and anchor not in read_page(target).anchors:
            dead.append(f"{name_of(path)}:{link.line}: {link.target} names no heading")
    assert not dead, "\n".join(dead)


def test_every_page_is_found_from_the_readme() -> None:
    """A page that nobody links to is a page that nobody reads."""
    seen: set[Path] = set()
    queue = [README]
    while queue:
        page = queue.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        targets = (unquote(link.target).partition("#")[0] for link in read_page(page).links if "://" not in link.target)
        queue.extend((page.parent / target).resolve() for target in targets if target)
    assert [name_of(page) for page in PAGES if page not in seen] == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Events and acks", "events-and-acks"),
        ("`socket.to(room)`: the room, without the sender", "sockettoroom-the-room-without-the-sender"),
        ("What is *not* promised?", "what-is-not-promised"),
        ("max_http_buffer_size", "max_http_buffer_size"),
    ],
)
def test_anchors_are_githubs(heading: str, anchor: str) -> None:
    """The check of links would pass anchors that GitHub does not have."""
    assert slug(heading) == anchor
