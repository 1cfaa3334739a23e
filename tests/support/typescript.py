"""TypeScript's compiler, started once for the tests of a worker: else, each ``tsc`` takes one to six seconds of CPU.

Most of them go into reading the same declarations, and into checking those of other packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from tests.support.js import JS_FOLDER

_WITHIN = 45.0
"""Seconds for one folder, on a machine that does much else."""


class Compiler:
    """The process that compiles (``tests/js/compiler.mjs``)."""

    def __init__(self) -> None:
        node = shutil.which("node")
        if node is None or not (JS_FOLDER / "node_modules" / "typescript").is_dir():
            raise RuntimeError("Node or TypeScript is missing: run `make test` once, it installs them")
        self._process = subprocess.Popen(
            [node, "--max-semi-space-size=64", "compiler.mjs"],  # collects garbage less often, for half the time
            cwd=JS_FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    async def compile(self, folder: Path) -> list[str]:
        """What ``tsc`` prints in a folder with a ``tsconfig.json``; JavaScript is written as that says.

        Declarations outside of the folder are used, but not checked themselves.
        """
        try:
            async with asyncio.timeout(_WITHIN):
                answer = await asyncio.to_thread(self._ask, json.dumps(str(folder)))
        except TimeoutError:
            self._process.kill()  # which ends the thread, too
            raise
        return str(json.loads(answer)).splitlines()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=10)

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the compiler has ended")
        return answer
