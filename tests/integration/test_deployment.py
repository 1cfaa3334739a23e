"""The proxies of docs/deployment: each runs with the configuration that its page shows, in front of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import socketio
from aiohttp import web
from mkdocs.utils.yaml import yaml_load

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.engine import eventually
from tests.integration.test_stomp import GONE, OVER_SOCKJS, run_in_node, serving
from tests.support.cli import COMMAND, running
from tests.support.event_source import stream
from tests.support.front import (
    DEPLOYMENT,
    Front,
    adapted,
    block_of,
    caddy,
    caddy_reload,
    haproxy,
    nginx,
    open_folder,
    program,
)
from tests.support.js import JSClients
from tests.support.markdown import read_page
from tests.support.proxy import running_proxy
from tests.support.server import free_port
from tests.support.transports import Transport

PROXIES: Final = ("nginx", "haproxy", "caddy")
HERE: Final = "127.0.0.1"
ELSEWHERE: Final = "127.0.0.7"
"""Another address of this machine, which a client comes from."""


def needs(name: str) -> None:
    """Leave a test out where a program is missing; `make test` installs it where it can."""
    if program(name) is None:
        pytest.skip(f"{name} is not installed")


def server_of(**options: Any) -> Server:
    """A server that tells clients who they are."""
    io = Server(trusted_proxies=HERE, **options)

    @io.on("whoami")
    async def whoami(socket: Socket) -> list[str | None]:
        return [socket.handshake.address, socket.transport]

    @io.on("echo")
    async def echo(socket: Socket, text: str, data: bytes) -> tuple[str, bytes]:
        await socket.emit("news", text)
        return text, data

    return io


def app_of(io: Server) -> web.Application:
    """An application with that server, a page, and what a proxy asks for."""
    app = web.Application()

    async def index(request: web.Request) -> web.Response:
        return web.Response(text="the page")

    app.router.add_get("/", index)
    app.router.add_get("/ready", index)
    io.attach(app)
    return app


def in_front_of(name: str, *servers: str) -> AbstractAsyncContextManager[Front]:
    """The proxy of a page, with these ports instead of 8080 and 8081."""
    one, two = servers[0], servers[-1]
    if name == "nginx":
        return nginx(block_of("nginx.md", "nginx"), {"127.0.0.1:8080": one})
    if name == "haproxy":
        changes = {"127.0.0.1:8080": one, "127.0.0.1:8081": two}
        return haproxy(block_of("haproxy.md", "haproxy"), changes)
    if len(servers) > 1:
        return caddy(block_of("caddy.md", "caddyfile", "sticky"), {"127.0.0.1:8080": one, "127.0.0.1:8081": two})
    return caddy(block_of("caddy.md", "caddyfile"), {"127.0.0.1:8080": one})


@pytest.fixture(params=PROXIES)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the proxies."""
    found: str = request.param
    needs(found)
    return found


def place(url: str) -> str:
    """Host and port of a URL."""
    return url.removeprefix("http://")


async def test_streams_are_passed_on_at_once(name: str, serve: Serve) -> None:
    """A page that listens by EventSource would wait until some kilobytes are there."""
    io = Server(trusted_proxies="127.0.0.1")
    app = app_of(io)
    io.attach_sse(app, "/events", rooms=["a"])
    server = await serve(app)
    async with (
        in_front_of(name, *[place(server.url)] * 2) as front,
        stream(f"{front.url}/events?room=a", Accept_Encoding="gzip") as events,
    ):
        await events.next("connect")
        for number in range(3):
            await io.to("a").emit("n", number)
            assert await events.data("n") == number
    await eventually(lambda: not io.sockets)


async def test_sockjs_gets_through(name: str, serve: Serve) -> None:
    """Pages with ``sockjs-client`` would fall back from one transport to the next, and wait in each."""
    io, reasons = serving(trusted_proxies=HERE)
    app = app_of(io)
    io.attach_sockjs(app, "/spring", carries="stomp", topics="news:{id}")
    server = await serve(app)
    async with in_front_of(name, place(server.url)) as front:
        for transport in ("websocket", "xhr-streaming", "eventsource", "xhr-polling"):
            assert await run_in_node(f"{front.url}/spring", "1.2", transport) == OVER_SOCKJS, transport
        await eventually(lambda: reasons == GONE * 4)


async def test_clients_get_through(name: str, transport: Transport, serve: Serve, js: JSClients) -> None:
    """Who copies the configuration would have a server that nobody reaches, or by polling alone."""
    server = await serve(app_of(server_of()))
    async with in_front_of(name, place(server.url)) as front:
        # HAProxy's cookie, for which Node has to be told to keep cookies.
        client = await js.connect(front.url, via=transport, withCredentials=True)
        assert await client.transport() == transport.final
        large = bytes(range(256)) * 2000
        assert await client.ack_args("echo", "grüß dich", large) == ["grüß dich", large]
        assert await client.wait_for("news") == ["grüß dich"]
        async with aiohttp.ClientSession() as http, http.get(f"{front.url}/") as response:
            assert await response.text() == "the page"
        await server.stop()
        await client.disconnected()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a machine has one address of its own")
@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_the_client_s_address_is_known(name: str, by: str, serve: Serve) -> None:
    """Limits by address and logs would take everybody for one, or believe what a client makes up."""
    server = await serve(app_of(server_of()))
    async with in_front_of(name, place(server.url)) as front:
        connector = aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0))
        jar = aiohttp.CookieJar(unsafe=True)  # hosts that are addresses have cookies, too
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
            client = socketio.AsyncClient(http_session=session, reconnection=False)
            forged = {
                "X-Forwarded-For": "203.0.113.9",
                "X-Forwarded-Host": "evil.example",
                "X-Forwarded-Proto": "https",
                "Origin": front.url,  # of the proxy's own host: it has to pass that on
            }
            await client.connect(front.url, headers=forged, transports=[by], wait_timeout=5)
            try:
                assert await client.call("whoami", timeout=5) == [ELSEWHERE, by]
            finally:
                await client.disconnect()


async def test_connections_to_the_server_are_kept(name: str, serve: Serve, js: JSClients) -> None:
    """Each request would open a connection of its own to the server: slower, and ports run out."""
    server = await serve(app_of(server_of()))
    async with (
        running_proxy(server.url) as counter,
        in_front_of(name, place(counter.url)) as front,
    ):
        client = await js.connect(front.url, transports=["polling"], withCredentials=True)
        before = counter.accepted
        for _ in range(40):
            await client.emit_with_ack("whoami")
        assert counter.accepted - before < 5


async def test_large_cookies_pass(name: str, serve: Serve) -> None:
    """Users with large cookies could connect in development only."""
    server = await serve(app_of(server_of()))
    async with in_front_of(name, place(server.url)) as front, aiohttp.ClientSession() as http:
        for size in (8_300, 14_500):
            for query, headers in (("", {"Cookie": f"a={'x' * size}"}), (f"&token={'x' * size}", {})):
                url = f"{front.url}/socket.io/?EIO=4&transport=polling{query}"
                async with http.get(url, headers=headers) as response:
                    assert response.status == 200


async def test_no_session_id_is_logged(serve: Serve, js: JSClients) -> None:
    """Whoever reads the log could take over a session."""
    for name, page in (
        ("nginx", lambda url: in_front_of("nginx", url)),
        ("haproxy", lambda url: in_front_of("haproxy", url)),
        ("caddy", logging_caddy),
    ):
        if program(name) is None:
            continue
        server = await serve(app_of(server_of()))
        async with page(place(server.url)) as front:
            client = await js.connect(front.url, transports=["polling"], withCredentials=True)
            sid = (await client.state()).engine_id
            assert sid
            await client.emit_with_ack("whoami")
            await front.stop()  # before the server: when that is gone, a proxy logs what it could not pass on
            assert "/socket.io/" in front.printed
            assert sid not in front.printed


def logging_caddy(url: str) -> AbstractAsyncContextManager[Front]:
    """With the log of the page, which goes to the proxy's folder."""
    changes = {"127.0.0.1:8080": url, "/var/log/caddy/chat.log": "access.log"}
    return caddy(block_of("caddy.md", "caddyfile", "log"), changes)


# --- several processes ------------------------------------------------------------------------------------------------


ENOUGH = 40  # Caddy chooses at random: so many in a row at one of two servers are no chance


@pytest.mark.parametrize("name", ["haproxy", "caddy"])
async def test_a_session_stays_in_its_process(name: str, serve: Serve, js: JSClients) -> None:
    """Polling clients would be told "Session ID unknown" at every second request."""
    needs(name)
    servers = [await serve(app_of(numbered(number))) for number in range(2)]
    async with in_front_of(name, *(place(each.url) for each in servers)) as front:
        reached: set[object] = set()
        for _ in range(ENOUGH):
            client = await js.connect(front.url, transports=["polling"], withCredentials=True)
            answers = {await client.emit_with_ack("number") for _ in range(5)}
            assert len(answers) == 1
            reached |= answers
            if len(reached) == len(servers):
                break
        assert reached == {0, 1}
        statuses = [200]
        while statuses[-1] == 200 and len(statuses) < ENOUGH:
            statuses.append(await polled_without_cookies(front.url))
        assert statuses[-1] == 400
        if name == "haproxy":  # which takes turns
            forgetful = await js.connect(front.url, transports=["polling"], wait=False)
            assert await forgetful.life("engine_close")


async def polled_without_cookies(url: str) -> int:
    """The status of a session's second request, from a client that keeps no cookies."""
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with http.get(address) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        async with http.post(f"{address}&sid={sid}", data="40") as response:
            return response.status


async def test_haproxy_by_the_server_s_own_cookie(serve: Serve, js: JSClients) -> None:
    """The page offers it instead of a second cookie, and polling clients would be spread all the same."""
    needs("haproxy")
    servers = [await serve(app_of(numbered(number, cookie="sticky"))) for number in range(2)]
    changes = {f"127.0.0.1:{port}": place(each.url) for port, each in zip((8080, 8081), servers, strict=True)}
    changes["cookie server insert indirect nocache httponly"] = "cookie sticky prefix"
    async with haproxy(block_of("haproxy.md", "haproxy"), changes) as front:
        reached = set()
        for _ in range(4):
            client = await js.connect(front.url, transports=["polling"], withCredentials=True)
            answers = {await client.emit_with_ack("number") for _ in range(5)}
            assert len(answers) == 1
            reached |= answers
        assert reached == {0, 1}


def numbered(number: int, **options: Any) -> Server:
    """A server that tells its number."""
    io = server_of(**options)

    @io.on("number")
    async def tell(socket: Socket) -> int:
        return number

    return io


async def test_nginx_keeps_an_address_in_one_process(serve: Serve, js: JSClients) -> None:
    """The same, by the client's address."""
    needs("nginx")
    servers = [await serve(app_of(numbered(number))) for number in range(2)]
    plain = block_of("nginx.md", "nginx")
    one = re.search(r"upstream chat \{.*?\n\}\n", plain, re.DOTALL)
    assert one
    both = plain.replace(one[0], block_of("nginx.md", "nginx", "sticky"))
    changes = {f"127.0.0.1:{port}": place(each.url) for port, each in zip((8080, 8081), servers, strict=True)}
    async with nginx(both, changes) as front:
        clients = [await js.connect(front.url, transports=["polling"]) for _ in range(4)]
        assert len({await each.emit_with_ack("number") for each in clients}) == 1


# --- what the pages say besides ---------------------------------------------------------------------------------------


async def test_a_silent_websocket_outlives_haproxy_s_timeouts(serve: Serve, js: JSClients) -> None:
    """Websockets would be ended between two heartbeats."""
    needs("haproxy")
    server = await serve(app_of(server_of(ping_interval=2.0)))
    changes = {
        "127.0.0.1:8080": place(server.url),
        "127.0.0.1:8081": place(server.url),
        "timeout client 60s": "timeout client 1s",
        "timeout server 60s": "timeout server 1s",
    }
    page = block_of("haproxy.md", "haproxy")
    async with haproxy(page, changes) as front:
        client = await js.connect(front.url, transports=["websocket"])
        await client.life("ping")
        assert (await client.state()).connected
    async with haproxy(page, {**changes, "    timeout tunnel 1h\n": ""}) as front:
        client = await js.connect(front.url, transports=["websocket"])
        assert await client.disconnected() == "transport close"


async def test_a_reload_of_caddy_closes_websockets(serve: Serve, js: JSClients) -> None:
    """The page would warn of nothing, or not of what happens."""
    needs("caddy")
    server = await serve(app_of(server_of()))
    async with in_front_of("caddy", place(server.url)) as front:
        client = await js.connect(front.url, transports=["websocket"])
        await caddy_reload(front)
        assert await client.disconnected() == "transport close"


@pytest.mark.skipif(sys.platform != "linux", reason="nginx's workers are looked for in /proc")
async def test_a_reload_of_nginx_closes_no_websocket(serve: Serve, js: JSClients) -> None:
    """The page says that people stay connected; they would all be thrown out at each change."""
    needs("nginx")
    server = await serve(app_of(server_of()))
    async with in_front_of("nginx", place(server.url)) as front:
        client = await js.connect(front.url, transports=["websocket"])
        await front.hang_up()
        assert await client.ack_args("echo", "still here", b"") == ["still here", b""]


@pytest.fixture
async def behind_a_unix_socket() -> Callable[..., AbstractAsyncContextManager[Path]]:
    """``async with behind_a_unix_socket("660") as path``: a program by `rtframework run`."""

    @contextlib.asynccontextmanager
    async def start(*mode: str) -> AsyncIterator[Path]:
        with open_folder() as folder:
            (folder / "server.py").write_text(PROGRAM)
            async with running("run", "server:app", "--path", "chat.sock", *mode, cwd=folder) as command:
                await command.see("unix:chat.sock")
                yield folder / "chat.sock"

    return start


PROGRAM: Final = """
from aiohttp import web
from rtframework import Server, Socket

io = Server(trusted_proxies="unix")
app = web.Application()
io.attach(app)

@io.on("whoami")
async def whoami(socket: Socket) -> list[str]:
    return [socket.handshake.address, socket.transport]
"""


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_by_a_unix_socket(name: str, behind_a_unix_socket: Any, transport: Transport, js: JSClients) -> None:
    """The program would have a port that everybody on the machine can reach."""
    needs(name)
    async with behind_a_unix_socket("--mode", "660") as path, by_unix(name, path) as front:
        client = await js.connect(front.url, via=transport)
        assert await client.emit_with_ack("whoami") == [HERE, transport.final]


def by_unix(name: str, path: Path, *, user: str | None = None) -> AbstractAsyncContextManager[Front]:
    """The page's proxy in front of a Unix socket."""
    changes = {"/run/chat/chat.sock": str(path)}
    if name == "caddy":
        return caddy(block_of("caddy.md", "caddyfile", "unix"), changes)
    plain = block_of("nginx.md", "nginx")
    upstream = re.search(r"upstream chat \{.*?\n\}\n", plain, re.DOTALL)
    assert upstream
    return nginx(plain.replace(upstream[0], block_of("nginx.md", "nginx", "unix")), changes, user=user)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a proxy as another user")
async def test_a_proxy_of_another_user_needs_the_right_to_write(behind_a_unix_socket: Any) -> None:
    """Every request would end with 502, and no page would say why."""
    needs("nginx")
    handshake = "/socket.io/?EIO=4&transport=polling"
    for mode, status in (((), 502), (("--mode", "666"), 200)):
        async with (
            behind_a_unix_socket(*mode) as path,
            by_unix("nginx", path, user="nobody") as front,
            aiohttp.ClientSession() as http,
            http.get(front.url + handshake) as response,
        ):
            assert response.status == status
            assert ("Permission denied" in front.printed) == (status == 502)


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["python", "rtframework run"])
async def test_a_server_that_drains(how: str, tmp_path: Path, js: JSClients) -> None:
    """Clients would be sent to a server that is about to close, and those that are there be thrown out at once."""
    (tmp_path / "server.py").write_text(block_of("readiness.md", "python", "program"))
    port = free_port()
    command = (
        (sys.executable, "-u", "server.py")
        if how == "python"
        else (*COMMAND, "run", "server:app", "--port", str(port), "--shutdown-timeout", "1")
    )
    env = {"PORT": str(port), "DRAIN_SECONDS": "0.8"}
    async with running(*command[1:], command=command[:1], cwd=tmp_path, env=env) as program:
        await program.see(f"http://{HERE}:{port}")
        url = f"http://{HERE}:{port}"
        client = await js.connect(url, transports=["websocket"])
        async with aiohttp.ClientSession() as http:

            async def status(path: str) -> int:
                async with http.get(url + path) as response:
                    return response.status

            assert (await status("/ready"), await status("/alive")) == (200, 200)
            program.process.send_signal(signal.SIGTERM)
            while await status("/ready") != 503:  # noqa: ASYNC110 - the signal arrives when it does
                await asyncio.sleep(0.01)
            assert await status("/alive") == 200
            assert await client.emit_with_ack("hello", "Ada") == "Hello, Ada"
            late = await js.connect(url, transports=["polling"])
            assert await late.emit_with_ack("hello", "Bob") == "Hello, Bob"
        assert await client.disconnected() == "transport close"
        assert await program.wait() == 0, program.printed


async def test_gunicorn(tmp_path: Path, transport: Transport, js: JSClients) -> None:
    """Who has gunicorn for everything else would have to find out how by themselves."""
    (command,) = [
        line.removeprefix("$ ")
        for block in read_page(DEPLOYMENT / "gunicorn.md").blocks
        if block.info == ("console",) and "--workers 1" in block.code
        for line in block.code.splitlines()
    ]
    port = free_port()
    (tmp_path / "server.py").write_text(PROGRAM + GOOD_BYE)
    name, *args = shlex.split(adapted(command, {"127.0.0.1:8080": f"{HERE}:{port}"}))
    # Without our list of warnings: gunicorn's own are not this test's.
    async with running(
        "-m", name, *args, command=(sys.executable,), cwd=tmp_path, env={"PYTHONWARNINGS": ""}
    ) as program:
        await program.see("Booting worker", on="err")
        client = await js.connect(f"http://{HERE}:{port}", via=transport, reconnection=True, reconnectionDelay=50)
        assert (await client.emit_with_ack("whoami"))[1] == transport.final
        assert await program.end(signal.SIGTERM) == 0, program.printed
        assert await client.disconnected() == "transport close"
        assert "gone: server shutting down" in program.out


GOOD_BYE: Final = """
@io.on("disconnect")
async def gone(socket: Socket, reason: str) -> None:
    print("gone:", reason, flush=True)
"""


@pytest.mark.parametrize("unit", ["chat.service", "chat-unix.service"])
async def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    """A misspelt setting is passed over in silence, and the limit would be 1,024 clients."""
    needs("systemd-analyze")
    changes = {"User=chat": "User=root", "WorkingDirectory=/srv/chat": "WorkingDirectory=/tmp"}
    text = adapted(block_of("systemd.md", "ini", unit), changes)
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    (tmp_path / unit).write_text(text)
    process = await asyncio.create_subprocess_exec(
        *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    problems = [line for line in output.decode().splitlines() if str(tmp_path) in line or line.startswith(unit)]
    assert (problems, process.returncode) == ([], 0), output.decode()


@pytest.mark.parametrize("page", ["containers.md", "traefik.md"])
def test_what_is_not_run_can_be_read_at_least(page: str) -> None:
    """A slip in the indentation would be found by whoever copies it."""
    documents = [
        document
        for block in read_page(DEPLOYMENT / page).blocks
        if block.info == ("yaml",)
        for document in map(yaml_load, block.code.split("---\n"))
    ]
    assert documents
    assert all(isinstance(document, dict) for document in documents)
