"""Gets what the suite needs, into folders of its own that git ignores; does next to nothing when it is there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from .peers import BUN, HERE, MODULES, PYTHON

ROOT: Final = HERE.parent
LOAD: Final = HERE / "build/load"
PYDANTIC: Final = "pydantic>=2.10,<3"


class Missing(Exception):
    """Something cannot be had; says what, and what is left out without it."""


def install_python() -> None:
    """rtframework as it stands in this checkout, python-socketio and uvloop."""
    if _is_up_to_date(PYTHON.parent.parent, ROOT / "pyproject.toml"):
        return
    _say("Installing Python packages into benchmarks/.venv")
    folder = PYTHON.parent.parent
    _run([sys.executable, "-m", "venv", "--clear", folder])
    packages = ["--editable", f"{ROOT}[speed,redis]", PYDANTIC]
    _run([PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *packages])
    _stamp(folder, ROOT / "pyproject.toml")


def install_javascript() -> None:
    """Socket.IO and Bun. Raises ``Missing`` without Node."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Missing("Node and npm are missing: Socket.IO on Node and on Bun are left out")
    if _is_up_to_date(MODULES, HERE / "package.json"):
        return
    _say("Installing npm packages into benchmarks/node_modules")
    try:
        _run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"])
    except subprocess.CalledProcessError as error:
        raise Missing("npm install failed: Socket.IO on Node and on Bun are left out") from error
    _stamp(MODULES, HERE / "package.json")


def check_bun() -> None:
    """Raises ``Missing`` when npm brought no Bun for this machine, or one that does not run."""
    try:
        subprocess.run([BUN, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing("npm has no Bun that runs on this machine: Socket.IO on Bun is left out") from error


def build_load() -> Path:
    """The load generator, compiled when its source has changed. Raises ``Missing`` without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Missing("A C compiler is missing. Debian: apt install gcc libc6-dev")
    sources = sorted((HERE / "load").glob("*.[ch]"))
    if not LOAD.exists() or any(source.stat().st_mtime > LOAD.stat().st_mtime for source in sources):
        LOAD.parent.mkdir(exist_ok=True)
        _run([compiler, "-std=gnu11", "-O2", "-Wall", "-o", LOAD, *(each for each in sources if each.suffix == ".c")])
    return LOAD


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, cwd=HERE, check=True, stdout=sys.stderr)


def _mark(source: Path) -> str:
    return f"{HERE} {sys.version_info[:2]} {hashlib.sha256(source.read_bytes()).hexdigest()}"


def _is_up_to_date(folder: Path, source: Path) -> bool:
    stamp = folder / ".stamp"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _mark(source)


def _stamp(folder: Path, source: Path) -> None:
    (folder / ".stamp").write_text(_mark(source), encoding="utf-8")
