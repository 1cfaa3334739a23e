"""Server-sent events with real clients: Chromium's EventSource, Node, curl; behind nginx, on workers, through cuts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web

from rtframework import History, Recovery, Server, Socket
from rtframework.gateways.sse_client import SSEClient
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.event_source import stream
from tests.support.front import nginx, program
from tests.support.js import JSClients
from tests.support.port import Port
from tests.support.proxy import running_proxy
from tests.support.server import RunningServer, running_server

if TYPE_CHECKING:
    from tests.support.browser import Pages

READER: Final = Path(__file__).parent.parent / "js" / "event_source.mjs"
COUNT: Final = 300

LISTEN: Final = """url => {
    window.got = [];
    window.source = new EventSource(url);
    for (const name of ["connect", "gap", "said", "n", "disconnect"])
        source.addEventListener(name, (event) => got.push([name, JSON.parse(event.data), event.lastEventId]));
}"""


async def empty_page(request: web.Request) -> web.Response:
    """Answer with a page."""
    return web.Response(text="<!doctype html>", content_type="text/html")


async def serve_page(serve: Serve, io: Server, **options: Any) -> RunningServer:
    """Serve Socket.IO, server-sent events and an empty page."""
    app = web.Application()
    io.attach(app)
    io.attach_sse(app, **options)
    app.router.add_get("/", empty_page)
    app.router.add_get("/favicon.ico", empty_page)
    return await serve(app)


class Lines:
    """A process that writes lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """Wait for the next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "it has ended"
        return line.decode().rstrip("\n")

    async def until(self, start: str) -> str:
        """Wait for a line that begins so."""
        while not (line := await self.line()).startswith(start):
            pass
        return line


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncIterator[Lines]:
    """Run a command."""
    found = shutil.which(command[0])
    if found is None:
        pytest.skip(f"there is no {command[0]}")
    process = await asyncio.create_subprocess_exec(found, *command[1:], stdout=asyncio.subprocess.PIPE)
    try:
        yield Lines(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_one_emit_reaches_all_kinds_of_clients(serve: Serve, js: JSClients, browser: Pages) -> None:
    """Pages that use EventSource would be in rooms of their own."""
    io = Server()
    io.on("say")(lambda socket, text: io.to("lobby").emit("said", text))
    io.on("enter")(lambda socket: socket.join("lobby"))
    server = await serve_page(serve, io, rooms=["lobby"])
    url = f"{server.url}/events?room=lobby"
    node = await js.connect(server.url)
    await node.emit_with_ack("enter")
    page = await browser.open(server.url)
    await page.evaluate(LISTEN, "/events?room=lobby")
    await page.wait_for_function("got.length == 1")
    async with running("curl", "-sN", url) as curl, running("node", str(READER), url) as reader:
        await curl.until("event: connect")
        assert json.loads(await reader.line())[0] == "connect"
        await node.emit("say", "hi\nthere ☃")
        assert await node.wait_for("said") == ["hi\nthere ☃"]
        await page.wait_for_function("got.length == 2")
        assert await page.evaluate("got[1].slice(0, 2)") == ["said", "hi\nthere ☃"]
        assert json.loads(await reader.line())[:2] == ["said", '"hi\\nthere ☃"']
        await curl.until("event: said")
        assert json.loads((await curl.until("data: "))[6:]) == "hi\nthere ☃"
    await page.evaluate("source.close()")
    await eventually(lambda: len(io.sockets) == 1)


async def test_a_page_posts_events(serve: Serve, browser: Pages) -> None:
    """Pages behind a firewall that lets no websocket through could only listen."""
    io = Server()

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        await io.emit("said", text)
        return f"ok {text}"

    server = await serve_page(serve, io)
    page = await browser.open(server.url)
    await page.evaluate(LISTEN, "/events")
    await page.wait_for_function("got.length == 1")
    post = """async (event) => {
        const response = await fetch(`/events?sid=${got[0][1].session}`,
            { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(event) });
        return [response.status, await response.json()];
    }"""
    assert await page.evaluate(post, {"event": "say", "args": ["hi"]}) == [200, "ok hi"]
    await page.wait_for_function("got.length == 2")
    assert await page.evaluate("got[1][1]") == "hi"


async def flood(io: Server, room: str, cuts: Any) -> None:
    """Emit numbers, and cut clients off meanwhile."""
    for number in range(COUNT):
        await io.to(room).emit("n", number)
        if number in (50, 51, 180):
            await cuts()
        await asyncio.sleep(0.002)


async def test_a_page_that_is_cut_off_resumes_without_a_hole(serve: Serve, browser: Pages) -> None:
    """Each loss of the network would lose events, or bring some twice."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_page(serve, io, rooms=["numbers"], retry=0.02)
    browser.expect_errors("ERR_|Failed to load")
    async with running_proxy(server.url) as proxy:
        page = await browser.open(proxy.url)
        await page.evaluate(LISTEN, "/events?room=numbers")
        await page.wait_for_function("got.length == 1")

        async def cut() -> None:
            proxy._cut()

        await flood(io, "numbers", cut)
        await page.wait_for_function(f"got.at(-1)[1] == {COUNT - 1}")
        got = await page.evaluate("got.filter((each) => each[0] == 'n').map((each) => each[1])")
        assert got == list(range(COUNT))
        assert await page.evaluate("got.filter((each) => each[0] == 'connect').length") > 1
        assert await page.evaluate("got.every((each) => each[0] != 'gap')")
        await page.evaluate("source.close()")


async def test_a_page_that_is_sent_away_stays_away(serve: Serve, browser: Pages) -> None:
    """It would come back at once, for ever."""
    io = Server()
    server = await serve_page(serve, io, retry=0.02)
    page = await browser.open(server.url)
    await page.evaluate(LISTEN, "/events")
    await page.wait_for_function("got.length == 1")
    await next(iter(io.sockets.values())).disconnect()
    await page.wait_for_function("source.readyState == EventSource.CLOSED")
    assert await page.evaluate("got.map((each) => each[0])") == ["connect", "disconnect"]


async def test_a_refused_page_stays_away_and_a_busy_server_is_asked_again(serve: Serve, browser: Pages) -> None:
    """EventSource gives up for good at any status but 200."""
    io = Server()
    server = await serve_page(serve, io, retry=0.02)
    browser.expect_errors("403")
    page = await browser.open(server.url)
    await page.evaluate(LISTEN, "/events?room=secret")
    await page.wait_for_function("source.readyState == EventSource.CLOSED")
    io._server.eio.table.is_draining = True
    await page.evaluate(LISTEN, "/events")
    await page.wait_for_function("source.readyState == EventSource.CONNECTING")
    io._server.eio.table.is_draining = False
    await page.wait_for_function("got.length == 1")


async def test_node_resumes_without_a_hole(serve: Serve) -> None:
    """Readers outside of browsers would lose events."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_page(serve, io, rooms=["numbers"], retry=0.02)
    async with (
        running_proxy(server.url) as proxy,
        running("node", str(READER), f"{proxy.url}/events?room=numbers") as node,
    ):
        assert json.loads(await node.line())[0] == "connect"

        async def cut() -> None:
            proxy._cut()

        await flood(io, "numbers", cut)
        got: list[int] = []
        while not got or got[-1] < COUNT - 1:
            name, data, _ = json.loads(await node.line())
            assert name != "gap"
            got += [json.loads(data)] if name == "n" else []
        assert got == list(range(COUNT))


@pytest.mark.skipif(program("nginx") is None, reason="there is no nginx")
async def test_nginx_holds_nothing_back(serve: Serve) -> None:
    """With its own settings, nginx keeps what comes until 4 KB are there: a page would wait for minutes."""
    io = Server(trusted_proxies=1)
    server = await serve_page(serve, io)
    configuration = f"""
        server {{
            listen 443 ssl;
            location / {{
                proxy_pass http://127.0.0.1:{server.port};
                proxy_http_version 1.1;
                proxy_set_header Connection '';
                gzip on;
                gzip_types text/event-stream;
            }}
        }}
        """
    async with nginx(configuration, {}) as front, stream(f"{front.url}/events", Accept_Encoding="gzip") as events:
        await events.next("connect")
        for number in range(3):
            await io.emit("n", number)
            assert await events.data("n") == number
        post = await events.post("nobody")
        assert post[0] == 404
    await eventually(lambda: not io.sockets)


async def test_streams_and_posts_on_workers(port: Port) -> None:
    """The POST of a stream may come to any worker."""
    async with contextlib.AsyncExitStack() as stack:
        streams: list[Any] = []
        pids: set[Any] = set()
        while len(streams) < 6 or len(pids) < 2:  # the kernel spreads connections by chance
            each = await stack.enter_async_context(stream(f"{port.url}/events?room=sse-numbers&n={len(streams)}"))
            assert (await each.data("connect"))["rooms"] == ["sse-numbers"]
            pids.add((await each.post("pid"))[1])
            streams.append(each)
        assert await streams[0].post("flood", "sse-numbers", 0, 20) == (200, "sent")
        for each in streams:
            assert [await each.data("n") for _ in range(20)] == list(range(20))


async def test_a_stream_is_resumed_at_another_worker_without_a_hole(port: Port) -> None:
    """With two workers, every second cut would lose what was said meanwhile."""
    got: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        workers: dict[str, Any] = {}
        """The first letters of session ids, which name workers; a request with such a ``sid`` goes there."""
        while len(workers) < 2:
            each = await stack.enter_async_context(stream(f"{port.url}/events?x=1"))
            workers[(await each.data("connect"))["session"][0]] = each
        talker = next(iter(workers.values()))
        urls = itertools.cycle([f"{port.url}/events?room=sse-resumed&sid={letter}" for letter in workers])
        last_id: str | None = None
        async with stream(next(urls)) as events:
            last_id = (await events.next("connect")).id
        flooding = asyncio.create_task(talker.post("flood", "sse-resumed", 0, 2000))
        pids: list[int] = []
        while len(got) < 2000:
            async with stream(next(urls), last_id=last_id) as events:
                assert (await events.data("connect"))["recovered"], events.text[:300]
                pids.append((await events.post("pid"))[1])
                for _ in range(min(200, 2000 - len(got))):
                    event = await events.next()
                    assert event.event == "n", event
                    got.append(json.loads(event.data))
                    last_id = event.id
        assert (await flooding)[0] == 200
    assert got == list(range(2000))
    assert all(one != other for one, other in itertools.pairwise(pids))


async def test_a_stream_is_resumed_from_history_at_another_worker(port: Port) -> None:
    """Without recovery, with two workers, every second cut would lose what was said meanwhile."""
    got: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        workers: dict[str, Any] = {}
        while len(workers) < 2:
            each = await stack.enter_async_context(stream(f"{port.url}/kept?x=1"))
            workers[(await each.data("connect"))["session"][0]] = each
        talkers = list(workers.values())
        urls = itertools.cycle([f"{port.url}/kept?room=kept:0&room=kept:1&sid={letter}" for letter in workers])
        async with stream(next(urls)) as events:
            last_id = (await events.next("connect")).id
        for part in range(6):
            flooding = asyncio.create_task(talkers[part % 2].post("flood", part * 100, 100))
            async with stream(next(urls), last_id=last_id) as events:
                assert not (await events.data("connect"))["recovered"]
                while len(got) < part * 100 + 60:
                    event = await events.next("n")
                    got.append(json.loads(event.data))
                    last_id = event.id
            assert (await flooding)[0] == 200
        async with stream(next(urls), last_id=last_id) as events:
            while len(got) < 600:
                got.append(await events.data("n"))
    assert got == list(range(600))


@needs("redis-server")
@pytest.mark.parametrize("kept", ["recovery", "history"])
async def test_a_stream_is_resumed_at_another_server_without_a_hole(kept: str) -> None:
    """Behind a balancer, each cut would lose what was said meanwhile."""
    async with running_redis() as redis, contextlib.AsyncExitStack() as stack:
        servers: list[tuple[Server, RunningServer]] = []
        for name in ("one", "two"):
            io = Server(
                adapter=RedisStreams(redis.url, name=name),
                connection_state_recovery=Recovery() if kept == "recovery" else None,
                history=History("numbers:{n}", size=10_000) if kept == "history" else None,
            )
            app = web.Application()
            io.attach_sse(app, rooms=lambda socket, names: True)
            servers.append((io, await stack.enter_async_context(running_server(app))))
        path = "/events?room=numbers:1&room=numbers:2"
        got: list[int] = []
        async with stream(servers[0][1].url + path) as events:
            last_id = (await events.next("connect")).id

        async def flood() -> None:
            for number in range(600):
                await servers[number % 2][0].to(f"numbers:{number % 3 % 2 + 1}").emit("n", number)

        flooding = asyncio.create_task(flood())
        urls = itertools.cycle([server.url + path for _, server in reversed(servers)])
        while len(got) < 600:
            async with stream(next(urls), last_id=last_id) as events:
                assert (await events.data("connect"))["recovered"] is (kept == "recovery")
                for _ in range(min(100, 600 - len(got))):
                    event = await events.next("n")
                    got.append(json.loads(event.data))
                    last_id = event.id
        await flooding
        assert got == list(range(600))


async def test_a_thousand_visits_leave_nothing(serve: Serve) -> None:
    """Memory would grow with each page that is left."""
    io = Server(connection_state_recovery=Recovery(max_sessions=10))
    io.on("a")(lambda socket: 1)
    server = await serve_page(serve, io, rooms=["a"])

    async def visit(path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\n\n" if "room=a" in path else b"\r\n\r\n")
        writer.close()

    for number in range(0, 1000, 20):
        paths = ("/events?room=a", "/events?room=b", "/events?room=a&lastEventId=~x~~y", "/events?nsp=/x")
        await asyncio.gather(*(visit(paths[(number + n) % len(paths)]) for n in range(20)))
    await eventually(lambda: not io._server.eio.connections)
    assert not io.sockets
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, SSEClient)]
    assert len(left) == 0
