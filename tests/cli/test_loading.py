"""What a command names: ``module:name``, and what is said when that is nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rtframework import Server
from rtframework.cli.errors import Exit, Failure
from rtframework.cli.loading import Target, load_server
from tests.support.cli import rtframework

PROGRAM: Final = """
from aiohttp import web
from rtframework import Server

io = Server()
app = web.Application()
number = 42

class settings:
    server = io

def make():
    return io

async def make_slowly():
    return io

def make_number():
    return 42

def fail():
    raise RuntimeError("no database")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a program and a package in it."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner" / "program.py").write_text("from ..other import io\n")
    (tmp_path / "package" / "other.py").write_text("from rtframework import Server\nio = Server()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(text: str, *, factory: bool = False) -> Failure:
    """How a target fails."""
    with pytest.raises(Failure) as caught:
        load_server(text, factory=factory)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "program:io",
        "program:settings.server",
        "program:make()",
        "program:make_slowly()",
        "program.py:io",
        "./program.py:make()",
        "package.inner.program:io",
        "package/inner/program.py:io",
    ],
)
def test_a_server_is_found(text: str) -> None:
    """Programs would have to be laid out as the command wants them."""
    assert isinstance(load_server(text), Server)


def test_a_factory_may_be_named_by_an_option() -> None:
    """Parentheses have to be quoted in most shells."""
    assert isinstance(load_server("program:make", factory=True), Server)


def test_the_current_folder_comes_first(folder: Path) -> None:
    """A program that has the name of something installed could not be loaded."""
    (folder / "msgpack.py").write_text("from rtframework import Server\nio = Server()\n")
    sys.modules.pop("msgpack", None)
    assert isinstance(load_server("msgpack:io"), Server)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("program", 2, '"program" does not say what to take from the module: write MODULE:NAME, e.g. program:app'),
        ("program:", 2, '"program:" does not say what to take from the module: write MODULE:NAME, e.g. program:app'),
        ("program:make(1)", 2, '"make(1)" is no name: write MODULE:NAME, or MODULE:NAME() for a function without'),
        ("porgram:io", 1, 'there is no module "porgram"; did you mean "program"?'),
        ("nothing.like.it:io", 1, 'there is no module "nothing" in '),
        ("package.nothing:io", 1, 'there is no module "package.nothing"'),
        ("nowhere/program.py:io", 1, "there is no file nowhere/program.py"),
        ("program:oi", 1, 'program has no "oi"; there is program:app and program:io'),
        ("program:ap", 1, 'program has no "ap"; did you mean "app"?'),
        ("program:mkae()", 1, 'program has no "mkae"; did you mean "make"?'),
        ("program:settings.sever", 1, 'program.settings has no "sever"; did you mean "server"?'),
        ("program:number", 1, "program:number is an int, not an rtframework.Server; there is program:io"),
        ("program:app", 1, "program:app is an aiohttp.web_app.Application, not an rtframework.Server; there is"),
        (
            "program:make",
            1,
            "program:make is a function, not an rtframework.Server: if it makes one, write program:make()",
        ),
        ("program:number()", 1, "program:number() cannot be called: it is an int, no factory"),
        ("program:make_number()", 1, "make_number() of program gives an int, not an rtframework.Server; there is"),
        ("program:fail()", 1, "fail() of program failed: RuntimeError: no database"),
    ],
)
def test_a_mistake_is_one_line(text: str, code: int, says: str) -> None:
    """A traceback through importlib says that something is wrong, not what to write."""
    found = failure(text)
    assert found.code == code
    assert str(found).startswith(says)
    assert "\n" not in str(found)
    assert bool(found.details) is ("fail" in text)


@pytest.mark.parametrize(
    ("code", "says", "shows"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'", "line 1"),
        ("def broken(:\n", "SyntaxError", "def broken(:"),
        ("\nx = 1 / 0\n", "ZeroDivisionError: division by zero", "line 2"),
        ("from helper import x\n", "ImportError: cannot import name 'x' from 'helper'", "from helper import x"),
    ],
)
def test_an_import_that_fails_inside_shows_where(folder: Path, code: str, says: str, shows: str) -> None:
    """ "No module named …" would be all that is said of a mistake three imports away."""
    (folder / "broken.py").write_text(code)
    (folder / "helper.py").write_text("")
    found = failure("broken:io")
    assert (found.code, str(found).startswith(f'the module "broken" cannot be imported: {says}')) == (Exit.FAILED, True)
    assert shows in found.details
    assert "importlib" not in found.details
    assert "loading.py" not in found.details


@pytest.mark.parametrize(
    ("target", "file", "write"),
    [
        ("hello:io", "src/hello.py", "src/hello.py:io"),
        ("hello.app:make()", "src/hello/app.py", "src/hello/app.py:make()"),
        ("hello:make()", "src/hello/__init__.py", "src/hello/__init__.py:make()"),
    ],
)
def test_a_package_in_src_that_is_not_installed(folder: Path, target: str, file: str, write: str) -> None:
    """The file is there for all to see, and the command would say that it is not."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text("from rtframework import Server\nio = Server()\ndef make(): return io\n")
    (folder / "src" / "__init__.py").unlink(missing_ok=True)
    said = str(failure(target))
    assert said.endswith(f'"hello": it is in src, and not installed: write {write}, or pip install -e .')
    assert isinstance(load_server(write), Server)


@pytest.mark.parametrize("target", ["json:io", "json.py:io", "package/inner/../../json.py:io"])
def test_a_file_that_is_called_like_a_module_of_python(folder: Path, target: str) -> None:
    """Somebody would look for a name in the wrong file."""
    (folder / "json.py").write_text(PROGRAM)
    with pytest.raises(Failure, match=r'json.py cannot be loaded: there is a module "json" already, .*another name'):
        load_server(target)


def test_an_attribute_that_raises() -> None:
    """A property that needs a running server would end the command in a traceback of ours."""
    with pytest.raises(Failure, match=r"program.io.app cannot be taken: .*no application at this moment"):
        Target.parse("program:io.app").load()
    with pytest.raises(Failure, match=r'program.io has no "ap"'):
        Target.parse("program:io.ap").load()


def test_a_module_that_ends_the_program(folder: Path) -> None:
    """The command would end without a word."""
    (folder / "ending.py").write_text("raise SystemExit(0)\n")
    assert str(failure("ending:io")) == 'the module "ending" cannot be imported: it called sys.exit(0)'


def test_a_module_that_serves_when_it_is_imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first program of the documentation would be served, and the command would never come to do its work."""
    (folder / "serving.py").write_text(PROGRAM + "\nasync def main(): ...\nweb.run_app(app)\nweb.run_app(main())\n")
    assert isinstance(load_server("serving:io"), Server)
    line = (PROGRAM + "\nasync def main(): ...\n").count("\n") + 1
    assert f"note: serving.py:{line} calls web.run_app() when imported; left out." in capsys.readouterr().err


def test_what_is_asked_for_may_be_something_else() -> None:
    """Commands of other kinds would each need their own way to load something."""
    assert Target.parse("program:number").load() == 42


async def test_the_traceback_stands_above_the_line(folder: Path) -> None:
    """What matters would be scrolled away by the traceback."""
    (folder / "broken.py").write_text("x = 1 / 0\n")
    done = await rtframework("routes", "broken:io", cwd=folder)
    lines = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('broken.py", line 1, in <module>')
    assert lines[-1] == (
        'rtframework routes: the module "broken" cannot be imported: ZeroDivisionError: division by zero'
    )
