"""The pytest plugin: with pytest-asyncio and with anyio, and for those who have it installed and do not use it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.markdown import read_page

pytestmark = NOT_ON_UVLOOP

ROOT: Final = Path(__file__).parents[2]

PROGRAM: Final = """
import pytest
from rtframework import Server
from rtframework.testing import Clock

io = Server()
gone = []

@io.on("message")
async def message(socket, text):
    await socket.broadcast.emit("message", text)

@io.on("disconnect")
async def disconnect(socket, reason):
    gone.append(reason)

# fixtures

@pytest.mark.parametrize("text", ["one", "two"])
# mark
async def test_clients(rtframework_client, text):
    alice = await rtframework_client(io, auth={"token": "a"})
    bob = await rtframework_client(io, transport="polling")
    await alice.emit("message", text)
    assert await bob.receive("message") == text
    gone.clear()

def test_they_were_stopped():
    assert gone == ["server shutting down"] * 2
    assert not io.sockets

class TestInAClass:
    # mark
    async def test_clock(self, rtframework_server, tmp_path):
        server = await rtframework_server(io, clock=Clock())
        alice = await server.connect()
        await alice.lose_connection(silently=True)
        await server.clock.advance(46)
        assert gone[-1] == "ping timeout"

# mark
async def test_a_failure_is_told(rtframework_client):
    alice = await rtframework_client(io)
    await alice.receive("news", within=0)

# mark
async def test_all_is_well_after_it(rtframework_client):
    alice = await rtframework_client(io)
    await alice.receive_nothing()

def test_not_async(rtframework_client):
    pass
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, with the plugin and those named, and warnings as errors."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


_ASYNCIO: Final = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]
RUNNERS: Final = {
    "pytest-asyncio": ("", "", [*_ASYNCIO, "-o", "asyncio_mode=auto"]),
    "pytest-asyncio, strict": ("", "@pytest.mark.asyncio", _ASYNCIO),
    "anyio": (
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'",
        "@pytest.mark.anyio",
        ["-p", "anyio.pytest_plugin"],
    ),
}
"""Fixtures, the mark of an async test, and pytest's options."""


@pytest.mark.parametrize("runner", RUNNERS)
def test_with_every_runner_of_async_tests(tmp_path: Path, runner: str) -> None:
    """People use different ones, and the fixtures have to be stopped in the loop that each of them made."""
    pytest.importorskip(runner.partition(",")[0].replace("-", "_"))
    fixtures, mark, options = RUNNERS[runner]
    (tmp_path / "test_program.py").write_text(PROGRAM.replace("# fixtures", fixtures).replace("# mark", mark))
    done = run_pytest(tmp_path, "-p", "rtframework_pytest", *options)
    for expected in ("5 passed", "1 failed", "1 error", "no 'news'", "is for tests that are `async def`"):
        assert expected in done.stdout, done.stdout + done.stderr


def test_it_costs_nothing_who_does_not_use_it(tmp_path: Path) -> None:
    """Everybody who has the wheel would import all of it with every run of pytest, and lose coverage of it."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        "    assert 'rtframework_pytest' in sys.modules\n"
        "    assert not {'rtframework', 'aiohttp', 'msgspec', 'socketio'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-p", "rtframework_pytest")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_library_does_not_need_pytest() -> None:
    """A server in production has no pytest."""
    code = "import sys; sys.modules['pytest'] = None; import rtframework.testing; assert '_pytest' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_pytest_finds_it() -> None:
    """Without the entry point, people would have to name the plugin."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert entry_points["pytest11"] == {"rtframework_pytest": "rtframework_pytest"}


def test_the_fixtures_of_the_docs(tmp_path: Path) -> None:
    """What is copied from the page on testing must run under pytest, not only be defined."""
    blocks = [block for block in read_page(ROOT / "docs" / "testing.md").blocks if block.info[:1] == ("python",)]
    program, tests = blocks[0], [block for block in blocks if "pytest" in block.info]
    (tmp_path / "test_page.py").write_text("\n".join(block.code for block in (program, *tests)))
    done = run_pytest(tmp_path, "-p", "rtframework_pytest", *_ASYNCIO, "-o", "asyncio_mode=auto")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
