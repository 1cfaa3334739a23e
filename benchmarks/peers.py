"""The servers that are compared, each with the same handlers and its default settings."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SERVERS: Final = HERE / "servers"
MODULES: Final = HERE / "node_modules"
PYTHON: Final = HERE / ".venv/bin/python"
BUN: Final = MODULES / ".bin/bun"


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them. ``patience``: take the smaller amounts of work, because an operation costs it so much."""

    key: str
    title: str
    command: tuple[str, ...]
    versions: Callable[[], dict[str, str]]
    patience: bool = False


def _python_versions(*packages: str) -> Callable[[], dict[str, str]]:
    program = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'Python': platform.python_version()} | {name: version(name) for name in sys.argv[1:]}))"
    )

    def ask() -> dict[str, str]:
        answer: dict[str, str] = json.loads(subprocess.check_output([PYTHON, "-c", program, *packages]))
        return answer

    return ask


def _js_versions(runtime: str, *command: str | Path, packages: tuple[str, ...]) -> Callable[[], dict[str, str]]:
    def ask() -> dict[str, str]:
        versions = {runtime: subprocess.check_output([*command, "--version"], text=True).strip().removeprefix("v")}
        for name in packages:
            versions[name] = json.loads((MODULES / name / "package.json").read_text(encoding="utf-8"))["version"]
        return versions

    return ask


PEERS: Final = {
    peer.key: peer
    for peer in (
        Peer(
            "rtframework",
            "rtframework",
            (str(PYTHON), str(SERVERS / "ours.py")),
            _python_versions("rtframework", "aiohttp", "uvloop"),
        ),
        Peer(
            "python-socketio",
            "python-socketio, aiohttp, uvloop",
            (str(PYTHON), str(SERVERS / "python_socketio.py")),
            _python_versions("python-socketio", "aiohttp", "uvloop"),
            patience=True,
        ),
        Peer(
            "node",
            "Socket.IO on Node",
            ("node", str(SERVERS / "node.mjs")),
            _js_versions("Node", "node", packages=("socket.io",)),
        ),
        Peer(
            "bun",
            "Socket.IO on Bun",
            (str(BUN), str(SERVERS / "bun.mjs")),
            _js_versions("Bun", BUN, packages=("socket.io", "@socket.io/bun-engine")),
        ),
    )
}
OURS: Final = "rtframework"


def versions_in_words(versions: dict[str, str]) -> str:
    """As they stand below a table."""
    return ", ".join(f"{re.sub('^socket.io$', 'Socket.IO', name)} {version}" for name, version in versions.items())
