"""The documentation: its code runs and its links lead somewhere."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from tests.support.markdown import read_page, slug
from tests.support.preload import start

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
PAGES: Final = [*([README] if README.is_file() else []), *sorted(ROOT.glob("docs/**/*.md"))]
ALL_MARKDOWN: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md", "clients/**/*.md")
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
    process = await start(
        [sys.executable, "-W", "error", "-m", "tests.support.run_page", str(path)],
        cwd=ROOT,
        env={**os.environ, "ADMIN_PASSWORD": "secret", "API_KEY": "0123456789abcdef" * 2},
        merged=True,
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


# --- other languages --------------------------------------------------------------------------------------------------

_SCRIPT: Final = re.compile(r"<script(?P<attributes>[^>]*)>(?P<code>.*?)</script>", re.DOTALL)


def scripts_of(path: Path) -> list[tuple[int, str]]:
    """The JavaScript of a page, that in HTML too, with its lines."""
    found = []
    for block in read_page(path).blocks:
        if block.info[:1] == ("js",):
            found.append((block.line, block.code))
        elif block.info[:1] == ("html",):
            scripts = _SCRIPT.finditer(block.code)
            modules = [each for each in scripts if each["code"].strip() and "importmap" not in each["attributes"]]
            found += [(block.line, match["code"]) for match in modules]
    return found


JS_PAGES: Final = [path for path in ALL_MARKDOWN if scripts_of(path)]


# Parses modules, where await may stand outside of functions, and runs nothing; prints the numbers of the wrong ones.
_PARSE: Final = """
const { SourceTextModule } = require("node:vm");
const scripts = JSON.parse(require("node:fs").readFileSync(0));
const isWrong = (code) => { try { new SourceTextModule(code); } catch { return true; } };
console.log(JSON.stringify([...scripts.keys()].filter((number) => isWrong(scripts[number]))));
"""


def syntax_errors(scripts: Sequence[str]) -> dict[int, str]:
    """What Node says of scripts that it cannot parse, by their place. It is started once for all that are right."""
    command = ["node", "--experimental-vm-modules", "--no-warnings", "-e", _PARSE]
    done = subprocess.run(command, input=json.dumps(scripts), stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for number in json.loads(done.stdout):
        check = ["node", "--check", "--input-type=module", "-"]
        found[number] = subprocess.run(check, input=scripts[number], stderr=subprocess.PIPE, text=True).stderr
    return found


@functools.cache
def wrong_javascript() -> list[tuple[Path, str]]:
    """The errors of all pages."""
    scripts = [(path, line, code) for path in JS_PAGES for line, code in scripts_of(path)]
    errors = syntax_errors([code for _, _, code in scripts])
    return [(scripts[number][0], f"line {scripts[number][1]}:\n{error}") for number, error in errors.items()]


@pytest.mark.parametrize("path", JS_PAGES, ids=name_of)
def test_javascript_can_be_parsed(path: Path) -> None:
    """Who pastes it into a page would get a SyntaxError."""
    wrong = [error for page, error in wrong_javascript() if page == path]
    assert not wrong, "\n".join(wrong)


def test_what_cannot_be_parsed_is_found() -> None:
    """Mistakes in the JavaScript of the pages would pass."""
    errors = syntax_errors(["await fetch('/');\nexport const a = 1;\n", "const a = 1;\nconst b = ;\n"])
    assert list(errors) == [1]
    assert "const b = ;" in errors[1]
    assert "SyntaxError: Unexpected token ';'" in errors[1]


def commands() -> Iterator[tuple[Path, int, list[str]]]:
    """Every command of the shell blocks, as words."""
    for path in ALL_MARKDOWN:
        for block in read_page(path).blocks:
            if block.info[:1] == ("sh",):
                for number, line in enumerate(block.code.splitlines(), block.line):
                    if words := shlex.split(line, comments=True):
                        yield path, number, words


def test_commands_are_there() -> None:
    """Who types them would be told that there is no such target, file or extra."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    seen = 0
    for path, line, words in commands():
        place = f"{name_of(path)}:{line}"
        while "=" in words[0]:  # variables
            words = words[1:]
        match words:
            case ["make", target, *_]:
                assert target in targets, place
            case ["pip", "install", *what]:
                for extra in (extra for word in what for extra in re.findall(r"\[([\w,-]+)\]", word)):
                    assert set(extra.split(",")) <= set(project["optional-dependencies"]), place
            case ["python" | "python3" | "pytest" | "node", *_]:
                files = [word for word in words[1:] if "/" in word and "://" not in word]
                assert [file for file in files if not (ROOT / file).exists()] == [], place
            case _:
                continue
        seen += 1
    assert seen > 10
