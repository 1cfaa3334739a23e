"""The tutorials: pages that build a program of ``examples/`` step by step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.support.markdown import Block

ROOT: Final = Path(__file__).resolve().parents[2]
TUTORIALS: Final = {
    ROOT / "docs/tutorials/chat.md": ROOT / "examples/first_chat",
    ROOT / "docs/tutorials/support-desk.md": ROOT / "examples/support_desk",
    ROOT / "docs/tutorials/dashboard.md": ROOT / "examples/dashboard",
    ROOT / "docs/tutorials/drawing.md": ROOT / "examples/drawing",
}
"""Each page, and the program that one has at its end."""

_TITLE: Final = re.compile(r'title="([^"]*)"')
FOR_NOW: Final = ", for now"
"""Behind a block's file name: a later step replaces it."""


def title_of(block: Block) -> str | None:
    """What stands above a block: the name of the file that it belongs to."""
    found = _TITLE.search(" ".join(block.info))
    return found[1] if found else None
