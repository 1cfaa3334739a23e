"""Marks for tests of clusters: skipped where a program is not installed."""

from __future__ import annotations

import shutil

import pytest

from tests.support.js import JS_FOLDER


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test, or a module by ``pytestmark``, without these programs; "node" includes Node's adapters."""
    missing = [program for program in programs if shutil.which(program) is None]
    if "node" in programs and not (JS_FOLDER / "node_modules" / "@socket.io" / "redis-streams-adapter").is_dir():
        missing.append("Node's adapters")
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
