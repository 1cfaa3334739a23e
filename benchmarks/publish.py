"""Puts the published results into the pages that quote them, between marks of the form ``<!-- bench: table -->``."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Final

from . import report
from .peers import HERE

RESULTS: Final = HERE / "results"
ROOT: Final = HERE.parent
PAGES: Final = (ROOT / "README.md", ROOT / "docs/performance.md", ROOT / "docs/choosing-a-door.md")
_BLOCK: Final = re.compile(r"(<!-- bench: (?P<name>[\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def fill(page: str) -> str:
    """A page's text with every marked block made anew. Raises ``KeyError`` for a block that does not exist."""
    blocks = _blocks()
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match['name']]}\n\n{match[3]}", page)


def update_pages() -> None:
    """Write the pages with what was published last."""
    for path in PAGES:
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


def _blocks() -> dict[str, str]:
    names = ("table.json", "latency.json", "curves.json", "doors.json")
    table, latency, curves, doors = (_read(RESULTS / name) for name in names)
    return {
        "table": report.markdown(report.table(table)),
        "spreads": report.markdown(report.spreads(table)),
        "targets": "\n".join(f"- {line}" for line in report.missed(table)) or "None is missed.",
        "conditions": _paragraph(report.conditions(table)),
        "latency": report.markdown(report.table(latency)),
        "latency-spreads": report.markdown(report.spreads(latency)),
        "latency-targets": "\n".join(f"- {line}" for line in report.missed(latency)) or "None is missed.",
        "latency-conditions": _paragraph(report.conditions(latency)),
        "curves-conditions": _paragraph(report.conditions(curves)),
        **{key: report.markdown(lines) for key, lines in report.curve_tables(curves).items()},
        **{f"doors-{rate}": report.markdown(lines) for rate, lines in report.door_tables(doors).items()},
        "doors-conditions": _paragraph(report.door_conditions(doors)),
    }


def _paragraph(sentences: list[str]) -> str:
    return textwrap.fill(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False)


def _read(path: Path) -> report.Json:
    results: report.Json = json.loads(path.read_text(encoding="utf-8"))
    return results
