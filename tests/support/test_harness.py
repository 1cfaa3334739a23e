"""The harness itself, against python-socketio's own server: a harness that lies makes every other test worthless."""

from __future__ import annotations

import asyncio
import datetime
import math
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from tests.conftest import Serve, ServeProgram
from tests.support import preload
from tests.support.browser import Pages
from tests.support.driver import Drivers
from tests.support.js import ConnectError, JSClients, JSError
from tests.support.proxy import running_proxy
from tests.support.pyclient import PyClients
from tests.support.raw import Closed, raw_client
from tests.support.server import HOST, NO_PAGES, running_server
from tests.support.transports import POLLING, WEBSOCKET, Transport


def make_server() -> socketio.AsyncServer:
    """A server that echoes, broadcasts, asks, and refuses whoever has no token."""
    io = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", ping_interval=25)

    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any] | None) -> None:
        if auth and auth.get("token") == "wrong":
            raise socketio.exceptions.ConnectionRefusedError("forbidden", {"code": 403})

    async def echo(sid: str, *args: Any) -> Any:
        return args

    async def tell_all(sid: str, *args: Any) -> str:
        await io.emit("told", args)
        return "done"

    async def tell_others(sid: str, *args: Any) -> str:
        await io.emit("told", args, skip_sid=sid)
        return "done"

    async def ask_me(sid: str, question: Any) -> Any:
        return await io.call("question", question, to=sid, timeout=2)

    async def drop_me(sid: str) -> None:
        await io.disconnect(sid)

    for handler in (connect, echo, tell_all, tell_others, ask_me, drop_me):
        io.on(handler.__name__, handler)
    io.on("echo", echo, namespace="/admin")
    return io


def make_app() -> web.Application:
    """An application of its own for every start."""
    app = web.Application()
    make_server().attach(app)
    return app


async def test_the_javascript_client_travels_as_it_is_told(serve: Serve, js: JSClients, transport: Transport) -> None:
    """If a test asked for polling and got a websocket, nothing that it says of polling would be true."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await js.connect(server.url, via=transport)
    assert await client.transport() == transport.final
    assert await client.ack_args("echo", 1, "two", {"three": [b"\x00\xff"]}) == [1, "two", {"three": [b"\x00\xff"]}]


async def test_the_python_client_travels_as_it_is_told(serve: Serve, py: PyClients, transport: Transport) -> None:
    """The same for python-socketio's client."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await py.connect(server.url, via=transport)
    assert client.transport() == transport.final
    assert await client.ack_args("echo", 1, {"two": b"\x00"}) == [1, {"two": b"\x00"}]
    await client.answer("question", "yes")
    assert await client.emit_with_ack("ask_me", "?") == "yes"
    assert await client.wait_for("question") == ["?"]
    await client.expect_nothing("told")


async def test_values_that_json_lacks_survive(serve: Serve, js: JSClients) -> None:
    """A test of binary or dates would compare what the harness made of them."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await js.connect(server.url)
    await client.echo("question")
    assert await client.emit_with_ack("ask_me", {"picture": b"\x89PNG", "n": 2**53 - 1}) == {
        "picture": b"\x89PNG",
        "n": 2**53 - 1,
    }
    with pytest.raises(ValueError, match="JavaScript can hold"):
        await client.emit("echo", 2**53)
    # JSON.stringify writes NaN as null and a date as text: the values reach JavaScript as what they are.
    now = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    assert await client.ack_args("echo", math.nan, now) == [None, "2024-05-06T07:08:09.000Z"]


async def test_a_question_waits_for_its_answer(serve: Serve, js: JSClients) -> None:
    """Servers ask before tests have said what to answer."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await js.connect(server.url)
    asked = asyncio.create_task(client.emit_with_ack("ask_me", "?"))
    await client.wait_for("question")
    await client.answer("question", "yes", delay_ms=1)
    assert await asked == "yes"
    await client.silent("question")
    with pytest.raises(JSError, match="timed out"):
        await client.emit_with_ack("ask_me", "?", timeout_ms=50)


async def test_a_refusal_is_told(serve: Serve, js: JSClients, py: PyClients) -> None:
    """Tests of authentication look at the message and the data of ``connect_error``."""
    server = await serve(make_app, shutdown_timeout=0.05)
    with pytest.raises(ConnectError) as caught:
        await js.connect(server.url, auth={"token": "wrong"})
    assert (caught.value.message, caught.value.data) == ("forbidden", {"code": 403})
    with pytest.raises(ConnectError, match="forbidden"):
        await py.connect(server.url, auth={"token": "wrong"})
    client = await js.connect("http://127.0.0.1:1", transports=["polling"], wait=False)
    assert (await client.refused())["message"] == "xhr poll error"


async def test_nothing_is_expected_without_luck(serve: Serve, js: JSClients, transport: Transport) -> None:
    """``expect_nothing`` that looked too early would pass whatever the server sends."""
    server = await serve(make_app, shutdown_timeout=0.05)
    talker = await js.connect(server.url, via=transport)
    listener = await js.connect(server.url, via=transport)
    await talker.emit_with_ack("tell_others", 1)
    await talker.expect_nothing("told")
    with pytest.raises(AssertionError, match=r'"told" came 1 times'):
        await listener.expect_nothing("told")
    assert await listener.wait_for("told") == [1]
    await listener.expect_nothing("told")
    with pytest.raises(AssertionError, match=r'no "other" within 0.01 s\narrived[^:]*:\n(.*\n)*.*told\(1\)'):
        await listener.wait_for("other", timeout=0.01)


async def test_acks_that_do_not_come_are_told(serve: Serve, js: JSClients) -> None:
    """A lost acknowledgement must end the test with a reason, not hang it."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await js.connect(server.url, via=WEBSOCKET)
    with pytest.raises(JSError, match="operation has timed out"):
        await client.emit_with_ack("unknown_event", timeout_ms=20)
    pending = asyncio.create_task(client.emit_with_ack("unknown_event"))
    await client.barrier()
    await client.disconnect()
    with pytest.raises(JSError, match="socket has been disconnected"):
        await pending
    assert await client.disconnected() == "io client disconnect"


async def test_namespaces_share_a_connection(serve: Serve, js: JSClients) -> None:
    """Tests of multiplexing need two namespaces on one connection."""
    server = await serve(make_app, shutdown_timeout=0.05)
    client = await js.connect(server.url)
    admin = await client.of("/admin")
    assert await admin.emit_with_ack("echo", "a") == "a"
    assert (await admin.state()).engine_id == (await client.state()).engine_id
    assert await admin.id() != await client.id()
    with pytest.raises(ConnectError):
        await client.of("/nowhere")


@pytest.mark.parametrize("via", [POLLING, WEBSOCKET], ids=str)
async def test_a_killed_client_says_nothing(serve: Serve, js: JSClients, via: Transport) -> None:
    """Tests of lost connections would otherwise test a polite good-bye."""
    io = make_server()
    server = await serve(io, shutdown_timeout=0.05)
    client = await js.connect(server.url, via=via, reconnection=True, reconnectionDelay=10)
    before = await client.id()
    await client.kill()
    assert await client.disconnected() == "transport close"
    assert (await client.reconnected())["id"] != before


async def test_a_server_that_is_killed_comes_back(js: JSClients, transport: Transport) -> None:
    """Tests of reconnection need the same address to go away and come back."""
    async with running_server(make_app, shutdown_timeout=0.05) as server:
        client = await js.connect(server.url, via=transport, reconnection=True, reconnectionDelay=20)
        await server.kill()
        assert await client.disconnected() in ("transport close", "transport error")
        await client.emit("tell_all", "buffered")
        await client.life("reconnect_error")
        await server.start()
        await client.reconnected()
        assert await client.wait_for("told") == ["buffered"]
        await client.disconnect()


async def test_a_proxy_refuses_websockets(serve: Serve, js: JSClients) -> None:
    """Networks that refuse websockets are why polling exists."""
    server = await serve(make_app, shutdown_timeout=0.05)
    async with running_proxy(server.url, refuse_upgrades=403) as proxy:
        client = await js.connect(proxy.url)
        await client.life("upgrade_error")
        assert await client.emit_with_ack("echo", 1) == 1
        assert await client.transport() == "polling"
        assert proxy.refused == 1
        refused = await js.connect(proxy.url, via=WEBSOCKET, wait=False)
        assert (await refused.refused())["message"] == "websocket error"
        await client.disconnect()


async def test_a_proxy_cuts_and_freezes(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Fault tests are only as good as the faults."""
    server = await serve(make_app, shutdown_timeout=0.05)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, reconnection=True, reconnectionDelay=10)
        assert await proxy.cut() >= 1
        await client.disconnected()
        await client.reconnected()
        if transport.upgrades:
            await client.upgraded()
        proxy.freeze()
        with pytest.raises(JSError, match="timed out"):
            await client.emit_with_ack("echo", 1, timeout_ms=50)
        proxy.thaw()
        proxy.delay = 0.05
        started = asyncio.get_running_loop().time()
        assert await client.emit_with_ack("echo", 2) == 2
        assert asyncio.get_running_loop().time() - started >= 0.1
        await client.disconnect()


async def test_a_proxy_strands(serve: Serve, js: JSClients) -> None:
    """A test of a network that died without a word would be one of a network that is slow, or that says so."""
    server = await serve(make_app, shutdown_timeout=0.05)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=WEBSOCKET)
        assert proxy.strand() == 1
        with pytest.raises(JSError, match="timed out"):
            await client.emit_with_ack("echo", 1, timeout_ms=50)
        other = await js.connect(proxy.url, via=WEBSOCKET)
        assert await other.emit_with_ack("echo", 2) == 2
        assert proxy.open == 2
        await other.disconnect()


async def test_raw_packets(serve: Serve) -> None:
    """Protocol tests see what is on the wire and nothing else."""
    io = socketio.AsyncServer(async_mode="aiohttp", ping_interval=0.2, ping_timeout=1)

    async def echo(sid: str, *args: Any) -> Any:
        return args

    io.on("echo", echo)
    server = await serve(io, shutdown_timeout=0.05)
    async with raw_client(server.url) as raw:
        assert (await raw.handshake())["upgrades"] == ["websocket"]
        await raw.post("40")
        assert str(await raw.receive()).startswith('40{"sid":')
        websocket = await raw.upgrade()
        await websocket.send('420["echo","hello"]')
        answers = [await websocket.receive()]
        if answers == ["6"]:  # python-engineio leaves one behind
            answers = [await websocket.receive()]
        assert answers == ['430["hello"]']
    async with raw_client(server.url) as raw:
        websocket, opened = await raw.open_websocket()
        assert opened["pingInterval"] == 0
        while not websocket.pings:
            with pytest.raises(TimeoutError):
                await websocket.receive(timeout=0.3)
        await websocket.send("1")
        with pytest.raises(Closed):
            await websocket.receive()


PROGRAM = """
import os
import re
from aiohttp import web

async def page(request):
    return web.Response(text="<h1>hello</h1><script>console.error('oh no')</script>", content_type="text/html")

app = web.Application()
app.router.add_get("/", page)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
"""


async def test_a_program_is_killed_and_comes_back(serve_program: ServeProgram, tmp_path: Path) -> None:
    """Tests of the examples start them as people do."""
    program = tmp_path / "server.py"
    program.write_text(PROGRAM)
    server = await serve_program(program)
    first = server.pid
    assert await server.kill() == -9
    await server.start()
    assert server.pid != first
    assert await server.stop() == 0
    program.write_text("raise SystemExit('no, thanks')")
    with pytest.raises(RuntimeError, match="no, thanks"):
        await server.start()


async def test_errors_on_a_page_are_collected(
    serve_program: ServeProgram, browser: Pages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A page that works but complains is broken tomorrow."""
    program = tmp_path / "server.py"
    program.write_text(PROGRAM)
    server = await serve_program(program)
    page = await browser.open(server.url)
    assert await page.locator("h1").inner_text() == "hello"
    await page.evaluate("1")
    assert any("oh no" in error for error in browser.unexpected())
    browser.expect_errors("oh no|favicon")
    assert not browser.unexpected()


async def test_a_program_may_end_before_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine tests of commands would fail at random: process id and exit code come at once."""
    program = tmp_path / "program.py"
    program.write_text("print('done')\nraise SystemExit(3)\n")
    read_line = preload._line

    async def read_late(connection: socket.socket) -> bytes:
        connection.setblocking(True)
        connection.settimeout(10)
        while connection.recv(100, socket.MSG_PEEK).count(b"\n") < 2:
            time.sleep(0.001)  # noqa: ASYNC251 - the event loop is held up, that is the point
        connection.setblocking(False)
        monkeypatch.undo()
        return await read_line(connection)

    monkeypatch.setattr(preload, "_line", read_late)
    process = await preload.start([sys.executable, str(program)], env=dict(os.environ))
    assert await process.communicate() == (b"done\n", b"")
    assert process.returncode == 3


@pytest.mark.parametrize(
    "program",
    [
        "print('done')",
        "raise SystemExit(300)",
        "raise SystemExit('for a reason')",
        "raise SystemExit",
        "print('half a line', end=''); raise ValueError('a mistake')",
        "raise KeyboardInterrupt",
        "import sys\nsys.excepthook = lambda kind, error, trace: print('told', error)\nraise ValueError('a mistake')",
        "import atexit\natexit.register(print, 'first')\natexit.register(print, 'last', end='')",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('waited for'))).start()",
        "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()",
        "import socket\nkept = socket.socket()",
        "import kept",
        "import sys\nsys.stdout.close()",
        "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('to nobody')",
    ],
)
async def test_a_fork_ends_as_a_new_interpreter_does(program: str, tmp_path: Path) -> None:
    """What is tested of programs would be an end that they do not have."""
    (tmp_path / "program.py").write_text(program + "\n")
    (tmp_path / "kept.py").write_text("import socket\nname = socket.socket()\n")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ends = []
    for cold in (True, False):
        command = [sys.executable, "-W", "error", str(tmp_path / "program.py")]
        process = await preload.start(command, env=env, cold=cold)
        out, err = await process.communicate()
        # Addresses and descriptors differ, as do the frames between the interpreter and the program.
        lines = [line for line in err.decode().splitlines() if not line.startswith((" ", "Traceback"))]
        ends.append((process.returncode, out, [re.sub(r"0x\w+|fd=\d+|TextIOWrapper.*", "", line) for line in lines]))
    assert ends[0] == ends[1]


PARENT = """
import asyncio, os, signal, sys, tempfile

async def start(*command, **how):
    return await asyncio.create_subprocess_exec(sys.executable, *command, start_new_session=True, **how)

async def main():
    with tempfile.TemporaryDirectory() as folder:
        reader, writer = os.pipe()
        print("half a line", end="")
        child = await start("-u", "child.py", str(writer), env={**os.environ, "NAME": "Ada"}, pass_fds=(writer,))
        print(" of", "the child" if child.pid != os.getpid() else "the parent", await child.wait(), child.returncode)
        os.close(writer)
        print(os.read(reader, 10) == b"%d" % child.pid, os.path.isdir(folder))
        for end in (lambda each: each.terminate(), lambda each: each.kill()):
            child = await start("-m", "sleeper")
            assert child.returncode is None
            end(child)
            print(await child.wait())
            try:
                child.send_signal(0)
            except ProcessLookupError:
                print("has ended")
        other = await start("-c", "print('any program')", stdout=asyncio.subprocess.PIPE)
        print(await other.communicate())

asyncio.run(main())
"""
CHILD = """
import os, sys
print(os.environ["NAME"], os.getpgid(0) == os.getpid())
os.write(int(sys.argv[1]), b"%d" % os.getpid())
raise SystemExit(7)
"""


async def test_children_of_a_fork_are_as_those_of_an_interpreter(tmp_path: Path) -> None:
    """What is tested of programs that start others would be a start that they do not have."""
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    ends = []
    for cold in (True, False):
        command = [sys.executable, "-W", "error", "parent.py"]
        process = await preload.start(command, env=dict(os.environ), cwd=tmp_path, cold=cold)
        ends.append((*await process.communicate(), process.returncode))
    assert ends[0] == ends[1]
    out, err, code = ends[0]
    assert (code, err) == (0, b"")
    assert out.decode().splitlines() == [
        "half a lineAda True",
        " of the child 7 7",
        "True True",
        *("-15", "has ended", "-9", "has ended"),
        "(b'any program\\n', None)",
    ]


async def test_connections_share_a_driver_of_playwright() -> None:
    """Each test of a page would start one; and one that has ended would fail every test after it."""
    drivers = Drivers()
    try:
        async with drivers.connect() as first, drivers.connect() as second:
            assert drivers.is_shared
            assert first.chromium.name == second.chromium.name == "chromium"
            process = drivers._process
        async with drivers.connect():
            assert drivers._process is process
            assert process is not None
            process.kill()
            process.wait()
        async with drivers.connect() as playwright:
            assert playwright.chromium.name == "chromium"
            assert drivers._process is not process
    finally:
        drivers.close()


async def test_a_driver_that_cannot_be_shared_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of pages would end with the next version of Playwright that looks different inside."""
    script = tmp_path / "drivers.cjs"
    script.write_text("throw new Error('another Playwright')")
    monkeypatch.setattr("tests.support.driver._SCRIPT", script)
    drivers = Drivers()
    try:
        for _ in range(2):
            async with drivers.connect() as playwright:
                assert playwright.chromium.name == "chromium"
                assert not drivers.is_shared
    finally:
        drivers.close()


@pytest.mark.parametrize("port", [6000, 6666])
async def test_pages_are_given_no_port_that_browsers_refuse(browser: Pages, port: int) -> None:
    """One test in six hundred would fail, since its server was given port 6666."""
    page = await browser.open()
    with pytest.raises(Exception, match="ERR_UNSAFE_PORT"):
        await page.goto(f"http://{HOST}:{port}")
    assert port in NO_PAGES
