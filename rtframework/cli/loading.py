"""Loading the server or application that a command works on, by ``module:attribute``."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib
import inspect
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from aiohttp import web

from ..concurrency import maybe_await
from ..server import Server
from .errors import Exit, Failure
from .program_errors import failure_of

T = TypeVar("T")

_KINDS: Final = {Server: "an rtframework.Server", web.Application: "an aiohttp web.Application"}


def add_target(parser: ArgumentParser, kind: str) -> None:
    """Add the arguments ``target`` and ``--factory`` to a command; ``kind``: the kind of target, for the help."""
    parser.add_argument(
        "target",
        metavar="MODULE:NAME",
        help=f"where {kind} is: package.module:name, path/to/file.py:name, "
        "or 'module:make()', quoted, for what a function makes",
    )
    parser.add_argument("--factory", action="store_true", help="call NAME to make it; the same as MODULE:NAME()")


@dataclass(frozen=True)
class Target:
    """A parsed ``module:attribute``."""

    text: str
    module: str
    attribute: str
    is_factory: bool
    folder: Path
    """Folder in which modules are searched for first."""

    @classmethod
    def parse(cls, text: str, *, factory: bool = False) -> Target:
        """Parse ``package.module:name``, ``path/to/file.py:name`` or ``module:make()``. Raises ``Failure``."""
        module, colon, attribute = text.rpartition(":")
        if not colon or not module or not attribute:
            known = module or attribute.removesuffix(":") or "server"
            raise Failure(
                f'"{text}" does not say what to take from the module: write MODULE:NAME, e.g. {known}:app', Exit.USAGE
            )
        if attribute.endswith("()"):
            attribute, factory = attribute[:-2], True
        if not all(part.isidentifier() for part in attribute.split(".")):
            raise Failure(
                f'"{attribute}" is no name: write MODULE:NAME, or MODULE:NAME() for a function without arguments',
                Exit.USAGE,
            )
        folder = Path.cwd()
        if module.endswith(".py") or "/" in module or os.sep in module:
            folder, module = _locate(Path(module))
        return cls(text, module, attribute, factory, folder)

    def load(self) -> Any:
        """Import the module and return the object, or the factory that makes it. Raises ``Failure``."""
        found: Any = self._import()
        where = self.module
        for name in self.attribute.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                raise Failure(f'{where} has no "{name}"{self._suggest(found, name)}') from None
            except Exception as error:  # a property
                raise failure_of(f"{where}.{name} cannot be taken", error) from error
            where += f".{name}"
        if self.is_factory and not callable(found):
            raise Failure(f"{self.text} cannot be called: it is {_type(found)}, no factory")
        return found

    async def make(self, factory: Any) -> Any:
        """Call the factory, ``async`` or not, and return its result. Raises ``Failure``."""
        try:
            return await maybe_await(factory())
        except (Exception, SystemExit) as error:
            raise failure_of(f"{self.attribute}() of {self.module} failed", error) from error

    def expect(self, found: Any, *kinds: type[T]) -> T:
        """The object itself, if it is one of these; else a ``Failure`` that says what it is and what there is."""
        if isinstance(found, kinds):
            return found
        wanted = " or ".join(_KINDS[kind] for kind in kinds)
        what = f"{self.attribute}() of {self.module} gives" if self.is_factory else f"{self.text} is"
        there = self.others(*kinds)
        if inspect.isroutine(found) and not self.is_factory:
            hint = f": if it makes one, write {self.text}()"
        elif there:
            hint = f"; there is {_listed(there)}"
        else:
            hint = ""
        raise Failure(f"{what} {_type(found)}, not {wanted}{hint}")

    def others(self, *kinds: type) -> list[str]:
        """Return the targets in the same module that are of these types."""
        module = sys.modules.get(self.module)
        names = sorted(name for name, value in vars(module).items() if isinstance(value, kinds)) if module else []
        return [f"{self.text.rpartition(':')[0]}:{name}" for name in names]

    def _import(self) -> ModuleType:
        # Inserted rather than written to sys.path[0], which may hold a script's folder, the current one, or nothing.
        folder = str(self.folder)
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            with _run_app_left_out():
                module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{self.module}.".startswith(f"{error.name}."):
                raise Failure(f'there is no module "{error.name}"{self._suggest_module(error.name)}') from None
            raise self._broken(error) from error
        except (Exception, SystemExit) as error:
            raise self._broken(error) from error
        return self._expect_ours(module)

    def _expect_ours(self, module: ModuleType) -> ModuleType:
        """Return the module. Raises ``Failure`` if it is one of Python's or of a library's with the same name."""
        meant = self.folder.joinpath(*self.module.split(".")).with_suffix(".py")
        there = getattr(module, "__file__", None)
        if meant.is_file() and not (there and Path(there).resolve() == meant.resolve()):
            raise Failure(
                f'{meant.name} cannot be loaded: there is a module "{self.module}" already, '
                f"{there or 'of Python'}; give the file another name"
            )
        return module

    def _broken(self, error: BaseException) -> Failure:
        return failure_of(f'the module "{self.module}" cannot be imported', error)

    def _suggest_module(self, name: str) -> str:
        here = [path.stem for path in self.folder.glob("*.py")]
        here += [path.parent.name for path in self.folder.glob("*/__init__.py")]
        close = difflib.get_close_matches(name, here, n=1)
        if close:
            return f'; did you mean "{close[0]}"?'
        return self._suggest_file() or f" in {self.folder} or among what is installed"

    def _suggest_file(self) -> str:
        """Suggest the path of a module that is in the folder ``src``, which is not on Python's path."""
        path = self.folder.joinpath("src", *self.module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                call = "()" * self.is_factory
                where = file.relative_to(self.folder).as_posix()
                return f": it is in src, and not installed: write {where}:{self.attribute}{call}, or pip install -e ."
        return ""

    def _suggest(self, holder: Any, name: str) -> str:
        names = [each for each in dir(holder) if not each.startswith("__")]
        # getattr_static, because a property may do or raise anything.
        kinds = tuple(_KINDS)
        fitting = [
            each for each in names if self.is_factory or isinstance(inspect.getattr_static(holder, each, None), kinds)
        ]
        close = difflib.get_close_matches(name, fitting, n=1)
        there = self.others(*_KINDS)
        if not close and not there:
            close = difflib.get_close_matches(name, names, n=1)
        if close:
            return f'; did you mean "{close[0]}"?'
        return f"; there is {_listed(there)}" if there else ""


def load_server(text: str, *, factory: bool = False) -> Server:
    """Load the ``Server`` of a target, for commands that inspect it. A factory may be ``async``. Raises ``Failure``."""
    target = Target.parse(text, factory=factory)
    found = target.load()
    if target.is_factory:
        found = asyncio.run(target.make(found))
    return target.expect(found, Server)


def _locate(path: Path) -> tuple[Path, str]:
    """Return the folder to import from and the module's name, for the path of a file."""
    if not path.is_file():
        raise Failure(f"there is no file {path}")
    path = path.resolve()
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _type(found: Any) -> str:
    kind = type(found)
    if inspect.isroutine(found):
        return "a function"
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _listed(names: list[str]) -> str:
    return " and ".join(names)


@contextlib.contextmanager
def _run_app_left_out() -> Iterator[None]:
    """Make ``web.run_app(app)`` do nothing while a module is imported: only the command ``run`` serves."""
    run_app = web.run_app

    def left_out(app: Any, *_: Any, **__: Any) -> None:
        if inspect.iscoroutine(app):
            app.close()
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        where = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}" if caller else "the module"
        print(
            f'note: {where} calls web.run_app() when imported; left out. Put it under if __name__ == "__main__":',
            file=sys.stderr,
        )

    web.run_app = left_out
    try:
        yield
    finally:
        web.run_app = run_app
