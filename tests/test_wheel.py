"""What is published, as those get it who have nothing else: built, installed in an empty environment, served there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ServeProgram
from tests.support import thorough
from tests.support.js import JSClients
from tests.support.once import made_once
from tests.support.server import SubprocessServer
from tests.support.transports import TRANSPORTS
from tests.test_repository import REGISTRIES, repository_files

ROOT: Final = Path(__file__).parent.parent
EXTRAS: Final = {
    "rtframework_opentelemetry": "opentelemetry",
    "rtframework_prometheus": "prometheus",
    "rtframework_redis": "redis",
}
"""Packages that need more than the wheel asks for, and the extra that brings it."""
MIDDLEWARE: Final = ["opentelemetry", "prometheus"]
"""Extras that bring a middleware."""
PACKAGES: Final = (
    "rtframework",
    "rtframework_http_api",
    "rtframework_jwt",
    "rtframework_msgpack",
    "rtframework_pytest",
    "rtframework_sqlite",
    *EXTRAS,
)
FOR_TESTS: Final = "rtframework_pytest"
"""Imports what only those have who test."""
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SERIES: Final = "Programming Language :: Python :: 3."
PYTHONS: Final = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if name.startswith(f"{SERIES}1")]
"""The versions of Python that the metadata promises."""

# Two downloads and a build: far more than a test may take otherwise.
pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both files, the wheel built from the sdist, each in an environment of its own."""

    def build(out: Path) -> None:
        run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)

    return made_once(tmp_path_factory, "dist", build)


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


Install = Callable[[str], Path]


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Make an environment that holds the wheel and what it asks for, nothing else; its Python."""

    def make(interpreter: str) -> Path:
        def install(folder: Path) -> None:
            run(interpreter, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
            pip_install(folder / "venv" / "bin" / "python", wheel, cwd=folder)

        if interpreter not in made:
            name = "empty-" + re.sub(r"\W", "-", interpreter)
            made[interpreter] = made_once(tmp_path_factory, name, install) / "venv" / "bin" / "python"
        return made[interpreter]

    made: dict[str, Path] = {}
    return make


def pip_install(python: Path, *what: str | Path, cwd: Path) -> None:
    """Install with this environment's pip into another one. What is imported there is compiled then, and not all."""
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-compile", *what, cwd=cwd)


@pytest.fixture(scope="module")
def python(install: Install) -> Path:
    """The Python of such an environment, of the version that runs the tests."""
    return install(sys.executable)


def make_layer(interpreter: Path, python: Path, folder: Path) -> Path:
    """Make an environment that also holds what another one does, and return its Python.

    What is installed into it next needs no second copy of everything.
    """
    run(interpreter, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    above = folder / "bin" / "python"
    packages = [run(each, "-I", "-c", where, cwd=folder.parent).strip() for each in (above, python)]
    (Path(packages[0]) / "below.pth").write_text(packages[1] + "\n")
    return above


def find_python(version: str) -> str | None:
    """An interpreter of that version; pyenv's commands may be there and lead nowhere."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for found in (shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")):
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True).returncode == 0:
            return str(found)
    return None


# --- what is in the files ---------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """Tests or examples in a wheel end up as top-level packages of everybody who installs it."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if "__pycache__" in name or "/." in name] == []


def test_the_wheel_holds_every_file_of_its_packages(wheel: Path) -> None:
    """`rtframework new` would make half a project, or a module would be missed by those alone who install it."""
    kept = {path.relative_to(ROOT).as_posix().removeprefix("plugins/") for path in repository_files()}
    wanted = {name for name in kept if name.partition("/")[0] in PACKAGES}
    assert sorted(wanted - set(zipfile.ZipFile(wheel).namelist())) == []
    assert any(name.startswith("rtframework/cli/template/") for name in wanted)


def test_the_sdist_holds_what_one_builds_and_tests_with(dist: Path) -> None:
    """Who packages it for a distribution could not run the tests, or build the documentation."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    kept = {path.relative_to(ROOT).as_posix() for path in repository_files()}
    left_out = {name for name in kept if name.startswith(".")}
    assert sorted(kept - left_out - names) == []
    assert sorted(names - kept) == ["PKG-INFO"]  # nothing that was installed, built or noted down beside it


def test_the_metadata_is_complete(metadata: Message) -> None:
    """People choose by it what to install, and pip whether it fits."""
    assert metadata["Name"] == "rtframework"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Summary"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"socket.io", "asyncio", "aiohttp"} < set(metadata["Keywords"].split(","))
    classifiers = metadata.get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
    assert metadata["Requires-Python"] == f">={PYTHONS[0]}"
    assert sys.version_info[:2] in [tuple(map(int, version.split("."))) for version in PYTHONS]
    required = metadata.get_all("Requires-Dist") or []
    assert [each for each in required if "extra ==" not in each and not ("<" in each and ">=" in each)] == []
    # Nothing that somebody has to make up: see docs/releasing.md.
    assert [url for url in metadata.get_all("Project-URL") or [] if "https://" not in url or "example" in url] == []


def test_no_package_registry_is_named_in_the_metadata(metadata: Message) -> None:
    """An index of ours would be taken for the one to install from."""
    assert [host for host in REGISTRIES if host in metadata.as_string()] == []


# --- what is installed ------------------------------------------------------------------------------------------------


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
    with_extras = make_layer(Path(sys.executable), python, tmp_path / "with extras")
    pip_install(with_extras, f"{wheel}[{','.join(EXTRAS.values())}]", cwd=tmp_path)
    code = f"""
from rtframework import Server, load
import rtframework_redis.keeper
for name in {MIDDLEWARE!r}:
    load("middleware", name)(Server())
    print(name)
"""
    assert run(with_extras, "-I", "-W", "error", "-c", code, cwd=tmp_path).split() == MIDDLEWARE


SMOKE: Final = """
import asyncio, sys, time
import jwt, rtframework_msgpack
from rtframework import Server, Socket
from rtframework.testing import TestServer
from rtframework_jwt import JWTAuth

key = "k" * 32
io = Server(auth=JWTAuth(key=key, algorithms=["HS256"]), serializer=rtframework_msgpack.MsgpackSerializer())

@io.on("add")
async def add(socket: Socket, a: int, b: int) -> int:
    return a + b

async def main() -> None:
    async with TestServer(io) as server:
        token = jwt.encode({"sub": "ada", "exp": time.time() + 600}, key)
        for transport in ("polling", "websocket"):
            client = await server.connect(auth={"token": token}, transport=transport)
            assert await client.emit_with_ack("add", 2, 3) == 5
        assert (await client.emit_with_ack("add", 2, "3"))["error"]["code"] == "invalid_payload"

asyncio.run(main())
print("%d.%d" % sys.version_info[:2])
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_it_serves_on_each_python(install: Install, version: str, tmp_path: Path) -> None:
    """The metadata would promise a version of Python on which it does not even start."""
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"there is no Python {version}")
    if interpreter != sys.executable and not thorough.is_thorough():
        pytest.skip("another Python, which --thorough tries")
    python = install(interpreter)
    assert run(python, "-I", "-W", "error", "-c", SMOKE, cwd=tmp_path).strip() == version
    run(python.parent / "rtframework", "new", "hello", cwd=tmp_path)
    shown = run(python.parent / "rtframework", "routes", "hello.dev:io", cwd=tmp_path / "hello" / "src")
    assert "say(draft: Draft) -> Message" in shown


def test_a_new_project_is_installed_as_its_readme_says(install: Install, dist: Path, tmp_path: Path) -> None:
    """The first three commands of a newcomer would fail at the first or the second."""
    with_wheel = install(sys.executable)
    python = make_layer(Path(sys.executable), with_wheel, tmp_path / "venv")
    run(with_wheel.parent / "rtframework", "new", "hello", cwd=tmp_path)
    pip_install(python, "--find-links", dist, "--editable", ".[test]", cwd=tmp_path / "hello")
    assert "13 passed" in run(python, "-m", "pytest", cwd=tmp_path / "hello")


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
