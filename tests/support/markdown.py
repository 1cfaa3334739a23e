"""Markdown as GitHub reads it, as far as the tests need: code blocks, headings, links, tables."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"^( *)(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$")
_ANCHOR: Final = re.compile(r"<a\s+(?:name|id)=\"([^\"]+)\"")
_LINK: Final = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE: Final = re.compile(r"^ {0,3}\[[^\]]+\]:\s+(\S+)")
_HTML_LINK: Final = re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=\"([^\"]+)\"")
_CELLS: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"\|(?: *:?-+:? *\|)+")
_CODE_SPAN: Final = re.compile(r"(`+)(?:(?!\1).)+\1")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. ``line`` is that of its first line of code, counted from 1."""

    info: tuple[str, ...]
    code: str
    line: int


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link or picture points."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, its columns' names left out. ``section`` is the heading that the table stands under."""

    section: str
    cells: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Page:
    """One file, taken apart."""

    path: Path
    blocks: tuple[Block, ...]
    links: tuple[Link, ...]
    anchors: frozenset[str]
    rows: tuple[Row, ...]


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"[`*]|(?<!\w)_|_(?!\w)", "", text).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def read_page(path: Path) -> Page:
    """Read a file."""
    blocks: list[Block] = []
    links: list[Link] = []
    anchors: set[str] = set()
    rows: list[Row] = []
    section = ""
    seen: Counter[str] = Counter()
    fence: re.Match[str] | None = None
    code: list[str] = []
    start = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if fence is not None:
            if match and match[2].startswith(fence[2]) and not match[3].strip():
                blocks.append(Block(tuple(fence[3].split()), "\n".join(code) + "\n", start))
                fence = None
            else:
                indent = len(fence[1])
                code.append(line[indent:] if line[:indent].isspace() else line)
            continue
        if match:
            fence, code, start = match, [], number + 1
            continue
        if heading := _HEADING.match(line):
            name = slug(heading[1])
            anchors.add(name if not seen[name] else f"{name}-{seen[name]}")
            seen[name] += 1
            section = heading[1]
        anchors.update(_ANCHOR.findall(line))
        if _RULE.fullmatch(line):
            rows.pop()  # what stands above the rule are the names of the columns
        elif line.startswith("|"):
            rows.append(Row(section, tuple(cell.strip() for cell in _CELLS.split(line)[1:-1]), number))
        prose = _CODE_SPAN.sub("", line)
        for pattern in (_LINK, _REFERENCE, _HTML_LINK):
            links.extend(Link(found, number) for found in pattern.findall(prose))
    if fence is not None:
        raise ValueError(f"{path}:{start - 1}: a code block is not closed")
    return Page(path, tuple(blocks), tuple(links), frozenset(anchors), tuple(rows))
