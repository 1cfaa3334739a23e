"""The wheel, as one gets it who has nothing but it: built, installed in an empty environment, served from there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ServeProgram
from tests.support.js import JSClients
from tests.support.server import SubprocessServer
from tests.support.transports import TRANSPORTS

ROOT: Final = Path(__file__).parent.parent
EXTRAS: Final = {"rtframework_opentelemetry": "opentelemetry", "rtframework_prometheus": "prometheus"}
"""Packages that need more than the wheel asks for, and the extra that brings it."""
PACKAGES: Final = ("rtframework", "rtframework_jwt", "rtframework_msgpack", "rtframework_pytest", *EXTRAS)
FOR_TESTS: Final = "rtframework_pytest"
"""Imports what only those have who test."""

# Downloads and a build: far more than a test may take otherwise.
pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in an environment of its own."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what it asks for, nothing else."""
    found = make_environment(tmp_path_factory.mktemp("empty"))
    install(wheel, found)
    return found


def make_environment(folder: Path) -> Path:
    """The Python of an empty environment. It has no pip of its own: that takes longer than all the rest."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    return folder / "venv" / "bin" / "python"


def install(wanted: str | Path, python: Path) -> None:
    """Install something, with what it asks for, where a Python finds it."""
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", wanted, cwd=python.parent)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Tests or examples in a wheel end up as top-level packages of everybody who installs it."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != FOR_TESTS and name not in EXTRAS])
def test_packages_import_from_the_environment(python: Path, package: str, tmp_path: Path) -> None:
    """A dependency that is used but not declared is missed only by those who install the wheel."""
    code = f"import {package}; from {package} import *; print({package}.__file__)"  # some names are imported when used
    printed = run(python, "-I", "-W", "error", "-c", code, cwd=tmp_path)
    assert Path(printed.strip()).is_relative_to(python.parent.parent)


def test_entry_points_load(python: Path, tmp_path: Path) -> None:
    """Programs driven by configuration name plugins by these words."""
    code = """
from importlib.metadata import distribution
points = [point for point in distribution("rtframework").entry_points if point.group.startswith("rtframework.")]
for point in points:
    if point.group != "rtframework.middleware":  # they need extras
        point.load()
print(*sorted(f"{point.group.partition('.')[2]}:{point.name}" for point in points))
from rtframework import load
assert load("serializers", "msgpack").__name__ == "MsgpackSerializer"
"""
    printed = run(python, "-I", "-W", "error", "-c", code, cwd=tmp_path)
    assert printed.split() == [
        "adapters:memory",
        "authenticators:jwt",
        "authenticators:static",
        "middleware:opentelemetry",
        "middleware:prometheus",
        "serializers:json",
        "serializers:msgpack",
    ]


def test_the_command_is_there(python: Path, tmp_path: Path) -> None:
    """Whoever installs the wheel types what the documentation says."""
    (tmp_path / "server.py").write_text("from rtframework import Server\nio = Server()\n")
    command = python.parent / "rtframework"
    assert run(command, "--version", cwd=tmp_path).startswith("rtframework 0.")
    assert run(command, "routes", "server:io", cwd=tmp_path).splitlines() == ["/", "  (nothing)"]


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_a_package_whose_extra_is_missing_says_so(python: Path, package: str, extra: str, tmp_path: Path) -> None:
    """Who installs the framework alone would have to guess what a plugin needs."""
    code = f"try:\n    import {package}\nexcept ModuleNotFoundError as error:\n    print(error.__notes__)"
    assert f"pip install 'rtframework[{extra}]'" in run(python, "-I", "-c", code, cwd=tmp_path)


def test_the_extras_are_all_that_the_plugins_need(python: Path, wheel: Path, tmp_path: Path) -> None:
    """The command that the error names would not help."""
    more = make_environment(tmp_path)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there, here = (Path(run(each, "-I", "-c", where, cwd=tmp_path).strip()) for each in (python, more))
    (here / "installed.pth").write_text(f"{there}\n")  # what is there already is not installed once more
    install(f"{wheel}[{','.join(EXTRAS.values())}]", more)
    code = f"""
from rtframework import Server, load
for name in {list(EXTRAS.values())!r}:
    load("middleware", name)(Server())
    print(name)
"""
    assert run(more, "-I", "-W", "error", "-c", code, cwd=tmp_path).split() == list(EXTRAS.values())


PROGRAM: Final = """
import os
from aiohttp import web
from rtframework import Server, Socket
from rtframework_jwt import JWTAuth

io = Server(auth=JWTAuth(key="k" * 32, algorithms=["HS256"]))

@io.on("add")
async def add(socket: Socket, a: int, b: int) -> int:
    return a + b

app = web.Application()
io.attach(app)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
"""


async def test_a_server_runs_from_the_environment(
    python: Path, js: JSClients, serve_program: ServeProgram, tmp_path: Path
) -> None:
    """Whoever installs the wheel and copies ten lines expects the stock client to connect."""
    program = tmp_path / "server.py"
    program.write_text(PROGRAM)
    code = 'import jwt, time; print(jwt.encode({"sub": "ada", "exp": time.time() + 600}, "k" * 32))'
    token = run(python, "-I", "-c", code, cwd=tmp_path).strip()
    server: SubprocessServer = await serve_program(program, python=str(python))
    for transport in TRANSPORTS:
        client = await js.connect(server.url, via=transport, auth={"token": token})
        assert await client.emit_with_ack("add", 2, 3) == 5
        assert await client.transport() == transport.final
    refused = await js.connect(server.url, wait=False)
    assert (await refused.refused())["data"]["code"] == "missing"
    assert await server.stop() == 0, server.printed
