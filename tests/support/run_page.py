"""Runs the Python blocks of a Markdown page, one after the other in one module, as a reader would paste them.

Run as a program, so that a page can do no harm to the next: ``python -m tests.support.run_page docs/events.md``.

- A block marked ``python no-run`` is only compiled. ``await`` outside of a function is allowed, as in the asyncio REPL.
- ``web.run_app(app)`` does not block: the application is started and cleaned up again after the last block.
- The blocks before are the module ``server`` for those that import from it, as a page's tests do.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from collections.abc import Awaitable
from pathlib import Path
from types import ModuleType
from typing import Any

from aiohttp import web

from tests.support.markdown import Block, read_page
from tests.support.tutorials import TUTORIALS


def compile_block(block: Block, path: Path) -> Any:
    """The block's code; tracebacks show the page's own lines."""
    source = "\n" * (block.line - 1) + block.code
    return compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


async def start_and_stop(app: web.Application) -> None:
    """Prove that an application starts."""
    runner = web.AppRunner(app)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


def run_page(path: Path) -> int:
    """Run a page; the number of blocks that ran."""
    apps: list[web.Application] = []

    def run_app(app: web.Application | Awaitable[web.Application], **_: Any) -> None:
        if isinstance(app, web.Application):
            apps.append(app)
        else:
            raise TypeError("in the docs, run_app gets an application")

    web.run_app = run_app
    # A module that can be found, because annotations are looked up in it.
    module = ModuleType("page")
    module.__file__ = str(path)
    sys.modules["page"] = sys.modules["server"] = module
    if path.resolve() in TUTORIALS:
        module.__file__ = str(TUTORIALS[path.resolve()] / "server.py")
    ran = 0
    with asyncio.Runner() as runner:
        for block in read_page(path).blocks:
            if not block.info or block.info[0] != "python":
                continue
            code = compile_block(block, path)
            if "no-run" in block.info:
                continue
            result = eval(code, vars(module))
            if inspect.iscoroutine(result):
                runner.run(result)
            ran += 1
        for app in apps:
            runner.run(start_and_stop(app))
    return ran


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
