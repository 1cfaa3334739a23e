"""The package for JavaScript clients: main and backup hosts, and whether there is a network at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import PACKAGE, ClientPage, client_page, open_server
from tests.support.server import HOST, RunningServer, free_port

FAST: Final = {"min": 20, "max": 40, "jitter": 0.5}
NEVER: Final = 10_000_000
"""Milliseconds after which no test still runs."""
REFUSED: Final = "Failed to load resource|WebSocket connection to|blocked by CORS policy"


@pytest.fixture
async def client(serve: Serve, browser: Pages) -> ClientPage:
    """The page, which another server than those of the tests has served."""
    browser.expect_errors(REFUSED)
    pages = await serve(client_page())
    client = ClientPage(await browser.open())
    await client.load(pages.url)
    return client


def dead_host() -> str:
    """Return the address of a host that refuses connections."""
    return f"http://{HOST}:{free_port()}"


async def echo_server(serve: Serve, port: int = 0) -> RunningServer:
    """Start a server that knows ``echo``."""

    def make() -> web.Application:
        io = open_server()

        @io.on("echo")
        async def echo(socket: Socket, text: str) -> str:
            return text

        app = web.Application()
        io.attach(app)
        return app

    return await serve(make, port=port)


async def test_the_backup_serves_while_the_main_host_is_down(serve: Serve, client: ClientPage) -> None:
    """Users would wait for the main host while the backup has nothing to do; or stay on the backup for ever."""
    main, backup = await echo_server(serve), await echo_server(serve)
    await main.stop()
    await client.start({"hosts": [main.url, backup.url], "retry": FAST, "returnAfter": 50})
    await client.connected()
    status = await client.run("connection.status.get()")
    assert (status["host"], status["isMain"], status["failures"]) == (backup.url, False, 0)
    assert await client.run("socket.emitWithAck('echo', 'hello')") == "hello"
    await main.start()
    await client.until(f"connection.status.get().host === {json.dumps(main.url)} && state() === 'connected'")
    assert await client.run("heard.map(([event]) => event).filter((each) => each !== 'connect_error')") == [
        *("connect", "disconnect", "connect"),
    ]
    assert await client.run("socket.emitWithAck('echo', 'again')") == "again"


async def test_a_client_stays_on_the_backup_while_the_main_host_refuses(serve: Serve, client: ClientPage) -> None:
    """Users would lose their connection again and again, for a host that is still down."""
    main, backup = dead_host(), await echo_server(serve)
    await client.start({"hosts": [main, backup.url], "retry": FAST, "returnAfter": 20})
    await client.connected()
    requests: list[str] = []
    client.page.on("request", lambda request: requests.append(request.url))
    async with asyncio.timeout(15):
        while sum(url.startswith(main) for url in requests) < 3:
            await client.page.wait_for_event("requestfailed")
    assert await client.run("heard.filter(([event]) => event === 'disconnect')") == []
    assert await client.run("state()") == "connected"


async def test_hosts_are_tried_in_their_order(serve: Serve, client: ClientPage) -> None:
    """The last backup would get everybody although the first is there."""
    first, second, third = dead_host(), dead_host(), await echo_server(serve)
    await client.start({"hosts": [first, second, third.url], "retry": FAST})
    await client.connected()
    tried = await client.run("statuses.filter(({state}) => state === 'connecting').map(({host}) => host)")
    assert tried == [first, second, third.url]
    await third.kill()
    await client.until("statuses.filter(({state}) => state === 'connecting').length >= 6")
    tried = await client.run("statuses.filter(({state}) => state === 'connecting').map(({host}) => host)")
    assert tried[3:6] == [third.url, first, second]


async def test_without_a_network_a_client_waits_for_it(serve: Serve, client: ClientPage) -> None:
    """A laptop in a train would try a thousand times, and wait for its back-off when the network is there again."""
    server = await echo_server(serve)
    await server.stop()
    await client.start({"hosts": server.url, "retry": FAST, "recheck": NEVER})
    await client.until("state() === 'offline'")
    assert await client.run("connection.status.get().failures") == 3
    await server.start()
    assert await client.run("state()") == "offline"
    await client.run("void dispatchEvent(new Event('online'))")
    await client.connected()


async def test_a_client_looks_for_the_network_by_itself(serve: Serve, client: ClientPage) -> None:
    """If all servers were down, no browser would ever say that there is a network again, and clients stay away."""
    server = await echo_server(serve)
    await server.stop()
    await client.start({"hosts": server.url, "retry": FAST, "recheck": 50})
    await client.until("state() === 'offline'")
    await server.start()
    await client.connected()


async def test_with_a_network_a_client_goes_on(serve: Serve, client: ClientPage) -> None:
    """A server that is restarted would be waited for as if the network had gone: for a minute instead of a second."""
    app = web.Application()
    server = await serve(app)  # answers 404 to everything
    await client.start({"hosts": server.url, "retry": FAST, "recheck": NEVER})
    await client.until("connection.status.get().failures >= 7")
    assert await client.run("statuses.some(({state}) => state === 'offline')") is False


async def test_the_browser_says_that_the_network_is_gone(serve: Serve, client: ClientPage) -> None:
    """People would see "connected" until the ping times out, and be back long after the network."""
    server = await echo_server(serve)
    await client.start({"hosts": server.url, "retry": {"min": NEVER, "max": NEVER}, "recheck": NEVER})
    await client.connected()
    await client.page.context.set_offline(True)
    await client.until("state() === 'offline'")
    await client.page.context.set_offline(False)
    await client.connected()
    assert await client.run("heard.filter(([event]) => event !== 'connect_error')") == [
        *(["connect"], ["disconnect", "transport close"], ["connect"]),
    ]


async def test_several_namespaces_move_together(serve: Serve, client: ClientPage) -> None:
    """One of a page's sockets would be left behind on a host that is dead."""
    io = open_server()
    io.of("/den")
    main, backup = await serve(io), await serve(two_namespaces())
    await client.start({"hosts": [main.url, backup.url], "retry": FAST})
    await client.run("window.den = connection.of('/den'), undefined")
    await client.until("socket.connected && den.connected")
    await main.kill()
    await client.until("socket.connected && den.connected && !connection.status.get().isMain")


def two_namespaces() -> Server:
    """Make a server with the main namespace and ``/den``."""
    io = open_server()
    io.of("/den")
    return io


async def test_the_times_between_attempts() -> None:
    """A thousand clients would come in the same moment, or a client be away for an hour after a short outage."""
    retry = {"min": 1000, "max": 5000, "jitter": 0.5}
    times = [[failures, hosts, random] for hosts in (1, 2) for failures in range(6) for random in (0, 0.5)]
    calls = [f"delayAfter({f}, {h}, {json.dumps(retry)}, () => {r})" for f, h, r in times]
    delays = await run_in_node(f'import {{ delayAfter }} from "./src/hosts.js"; log([{", ".join(calls)}]);')
    assert delays[:12] == [500, 1000, 500, 1000, 1000, 2000, 2000, 4000, 2500, 5000, 2500, 5000]
    assert delays[12:] == [500, 1000, 500, 1000, 500, 1000, 1000, 2000, 1000, 2000, 2000, 4000]


@pytest.mark.parametrize("host", ["https://a.example.org/chat", "ftp://a.example.org", "a.example.org"])
async def test_a_host_is_an_origin(host: str) -> None:
    """A path would be dropped without a word, and the client ask for something else than was written."""
    told = await run_in_node(
        f'import {{ parseHost }} from "./src/hosts.js"; try {{ parseHost({json.dumps(host)}) }} '
        "catch (error) { log(error.name) }"
    )
    assert told == "TypeError"


async def run_in_node(code: str) -> Any:
    """Return what ``log()`` is called with by a module that may import those of the package."""
    code = f"const log = (value) => console.log(JSON.stringify(value));\n{code}"
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", code), cwd=PACKAGE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return json.loads(output)
