"""Make the folder of a new project: server, page, sign-in, tests and a Dockerfile.

  rtframework new hello
  rtframework new .        # here: the folder gives the name

The last part of NAME is what the project is called; its package is called the same, with _ for -.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from ..errors import Exit, Failure

TEMPLATE: Final = Path(__file__).parent.parent / "template"
"""The files of a project. ``-tpl`` and ``dot-`` keep Python, ruff and git from taking them for files of this one."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_LONGEST: Final = 40
"""Characters of a name: with more, lines of the template would have to be wrapped."""

_TAKEN: Final = frozenset(
    {
        *("rtframework", "rtframework_jwt", "rtframework_msgpack", "rtframework_opentelemetry"),
        *("rtframework_prometheus", "rtframework_pytest", "python_socketio", "python_engineio", "socketio", "engineio"),
        *("rtframework_http_api", "rtframework_redis", "redis", "hiredis"),
        *("aiohappyeyeballs", "aiohttp", "aiosignal", "attr", "attrs", "bidict", "frozenlist", "h11", "idna", "jwt"),
        *("msgpack", "msgspec", "multidict", "propcache", "pyjwt", "simple_websocket", "typing_extensions", "uvloop"),
        *("wsproto", "yarl"),
        *("colorama", "exceptiongroup", "hatchling", "iniconfig", "packaging", "pip", "pluggy", "py", "pygments"),
        *("pytest", "pytest_asyncio", "src", "test", "tests", "tomli"),
    }
)
"""Packages that the project itself imports or installs; its own would hide them."""

_MAY_BE_THERE: Final = frozenset({".git", ".venv"})
"""What a folder may hold already: often the first two things that somebody makes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", metavar="NAME", help="the folder to make, new or empty")


def run(args: argparse.Namespace) -> int:
    """Write the files, and say what to do next. Return the exit code. Raises ``Failure``."""
    folder = Path(args.name)
    name = folder.resolve().name
    check_name(name)
    try:
        check_folder(folder)
        write_project(folder, name)
    except OSError as error:
        raise Failure(f"{error.filename or folder}: {error.strerror or error}") from error
    package = package_of(name)
    print(f"The project {name} is in {folder.resolve()}. Next:")
    steps = ['pip install -e ".[test]"', "pytest", f"rtframework run {package}.dev:app --reload"]
    if folder.resolve() != Path.cwd():
        steps[0] = f"cd {_quoted(str(folder))} && {steps[0]}"
    print("\n".join(f"  {step}" for step in steps))
    return Exit.DONE


def check_name(name: str) -> None:
    """Refuse a name that cannot be a package's, or is another's. Raises ``Failure``."""
    package = package_of(name)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise Failure(
            f'"{name}" is no name for a project: write lower-case letters, digits and single hyphens, a letter first, '
            f"at most {_LONGEST} characters",
            Exit.USAGE,
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise Failure(f'"{name}" is a word of Python or one of its modules: choose another name', Exit.USAGE)
    if package in _TAKEN:
        raise Failure(f'"{name}" is a package that the project needs: choose another name', Exit.USAGE)


def check_folder(folder: Path) -> None:
    """Refuse a folder in which there is something. Raises ``Failure``, ``OSError``."""
    if folder.is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.name not in _MAY_BE_THERE)
        if there:
            more = "" if len(there) == 1 else f" and {len(there) - 1} more"
            raise Failure(f"{folder} is not empty: there is {there[0]}{more}")
    elif folder.exists() or folder.is_symlink():
        raise Failure(f"{folder} is no folder")


def package_of(name: str) -> str:
    """Name the package of a project."""
    return name.replace("-", "_")


def write_project(folder: Path, name: str) -> None:
    """Write the files of the template under a project's name. Raises ``OSError``."""
    package = package_of(name)
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        parts = [part.replace("project_name", package) for part in source.relative_to(TEMPLATE).parts]
        parts[-1] = re.sub("^dot-", ".", parts[-1]).removesuffix("-tpl")
        text = source.read_text(encoding="utf-8")
        text = text.replace("project_name", package).replace("project-name", name)
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not in text mode: a script or a Dockerfile with the line ends of Windows fails in a container.
        target.write_bytes(text.replace("rtframework>=0,<1", requirement()).encode())


def requirement() -> str:
    """Name the versions of the framework that serve the project: before 1.0 a minor version may change the API."""
    try:
        major, minor = map(int, version("rtframework").split(".")[:2])
    except PackageNotFoundError:  # it runs from its sources
        return "rtframework"
    return f"rtframework>={major}.{minor},<{f'{major}.{minor + 1}' if major == 0 else major + 1}"


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
