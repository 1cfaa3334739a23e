"""The HTTP API with several servers that are one, with workers of one port, and as its page shows it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import History, Identity, Presence, Recovery, Server, Socket, StaticTokenAuth
from rtframework_http_api import HTTPAPI
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cli import running as command
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import running_node
from tests.support.cluster.redis_server import running_redis
from tests.support.http_api import KEY, Caller, calling, running_api
from tests.support.js import JSClients
from tests.support.markdown import read_page
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.served_program import url_of
from tests.support.server import free_port, running_server
from tests.support.transports import Transport

PAGE: Final = Path(__file__).parents[2] / "docs" / "http-api.md"
PEOPLE: Final = {"a": Identity("ada"), "b": Identity("bob")}


def prepare(io: Server) -> None:
    """Let clients choose their rooms, in the main namespace and in those of tenants."""

    async def connection(socket: Socket) -> None:
        await socket.join(*socket.handshake.auth.get("rooms", ()))

    io.on("connection")(connection)
    io.of("/chat/{tenant}").on("connection")(connection)


@contextlib.asynccontextmanager
async def running(kind: Kind, **options: Any) -> AsyncIterator[tuple[Caller, Caller, str, str]]:
    """Run two servers with the API. Yield a caller of each, and the URLs for clients."""
    apis: list[HTTPAPI] = []

    def with_api(io: Server) -> None:
        prepare(io)
        apis.append(HTTPAPI(io, key=KEY))

    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pair = await enter(running_pair(kind, with_api, auth=StaticTokenAuth(PEOPLE), **options))
        callers = [await enter(calling((await enter(running_server(api.app))).url)) for api in apis]
        for caller in callers:  # until each hears of the other
            await ask_until(caller, "/stats", lambda found: len(found["servers"]) == 2)
        yield callers[0], callers[1], pair[0][1], pair[1][1]


async def ask_until(caller: Caller, path: str, fits: Callable[[Any], bool], **query: Any) -> Any:
    """Ask until the answer fits, and return it."""
    async with asyncio.timeout(30):
        while True:
            found = (await caller.get(path, **query)).json
            if fits(found):
                return found
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
async def test_any_server_answers_for_all(js: JSClients, kind: Kind, transport: Transport) -> None:
    """A call would concern the clients of one server, which a balancer has chosen."""
    async with running(kind) as (one, two, url, other):
        a = await js.connect(url, via=transport, auth={"token": "a", "rooms": ["x"]})
        b = await js.connect(other, via=transport, auth={"token": "b", "rooms": ["x", "y"]})
        for number, caller in enumerate((one, two)):
            assert (await caller.post("/emit", event="n", args=[number, {"é": 1}], rooms=["x"])).status == 200
            for client in (a, b):
                assert await client.wait_for("n") == [number, {"é": 1}]
            body = {"event": "bytes", "args": [{"$base64": "AQ=="}], "users": ["bob"], "binary": True}
            await caller.post("/emit", **body)
            assert await b.wait_for("bytes") == [b"\x01"]
            await a.expect_nothing("bytes")
        await a.answer("ask", "a!")
        await b.answer("ask", "b!")
        ids = {await a.id(): "a!", await b.id(): "b!"}
        for caller in (one, two):
            assert (await caller.post("/emit", event="ask", with_ack=True)).json["responses"] == ids
            rooms = [{"name": "x", "sockets": 2}, {"name": "y", "sockets": 1}]
            assert (await caller.get("/rooms")).json["rooms"] == rooms
            assert {each["id"] for each in (await caller.get("/sockets", room="x")).json["sockets"]} == set(ids)
            assert [each["user"] for each in (await caller.get("/sockets", user="ada")).json["sockets"]] == ["ada"]
            for sid in ids:
                assert (await caller.get(f"/sockets/{sid}")).json["id"] == sid
            stats = (await caller.get("/stats")).json
            assert (stats["total"]["sockets"]["/"], len(stats["servers"]), stats["missing"]) == (2, 2, [])
        await one.post("/join", rooms=["z"], users=["bob"])
        await one.post("/emit", event="z", rooms=["z"])
        await b.wait_for("z")
        await one.post("/kick", user="bob", reason="spam")
        assert await b.wait_for("kicked") == [{"reason": "spam", "reconnect": False}]
        assert await b.disconnected() == "io server disconnect"
        assert (await two.post("/kick", socket=await a.id())).status == 200
        assert await a.disconnected() == "io server disconnect"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_namespace_that_only_the_other_server_has(js: JSClients, kind: Kind) -> None:
    """An event to a tenant would reach nobody, or be refused, by the server that has no client of it."""
    async with running(kind) as (one, _, _, other):
        client = await js.connect(f"{other}/chat/acme", auth={"token": "a", "rooms": ["x"]})
        listed = await ask_until(one, "/sockets", lambda found: found["total"], namespace="/chat/acme")
        (found,) = listed["sockets"]
        assert (await one.post("/emit", event="hi", namespace="/chat/acme")).status == 200
        await client.wait_for("hi")
        assert (found["id"], found["rooms"]) == (await client.id(), ["x"])
        assert (await one.post("/kick", namespace="/chat/acme", socket=found["id"])).status == 200
        assert await client.disconnected() == "io server disconnect"


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_a_token_that_is_taken_back_is_refused_everywhere(js: JSClients, kind: Kind) -> None:
    """Somebody would come back at another server."""
    async with running(kind) as (one, _, url, other):
        ada = await js.connect(other, auth={"token": "a"})
        assert (await one.post("/revoke", user="ada")).status == 200
        await ada.disconnected()
        for each in (url, other):
            again = await js.connect(each, auth={"token": "a"}, wait=False)
            assert (await again.refused())["data"] == {"code": "token_revoked"}


@needs("redis-server")
async def test_presence_and_history_of_all_servers(js: JSClients) -> None:
    """Half of a room would be seen, or of what was said in it."""
    options: dict[str, Any] = {"presence": Presence("x"), "history": History("x")}
    async with running("redis", connection_state_recovery=Recovery(), **options) as (one, two, url, other):
        await js.connect(url, auth={"token": "a", "rooms": ["x"]})
        await js.connect(other, auth={"token": "b", "rooms": ["x"]})
        await two.post("/emit", event="said", args=[1], rooms=["x"])
        for caller in (one, two):
            people = await ask_until(caller, "/presence", lambda found: len(found["users"]) == 2, room="x")
            assert [each["user"] for each in people["users"]] == ["ada", "bob"]
            said = (await caller.get("/history", room="x")).json["entries"]
            assert [(each["event"], each["args"]) for each in said] == [("said", [1])]


@needs("redis-server")
async def test_while_redis_is_away(js: JSClients) -> None:
    """A caller would be told that all have it, or could not tell whether to try again."""
    async with running_redis() as redis:
        adapter = RedisStreams(redis.url, name="one", publish_timeout=0.3)
        io = Server(adapter=adapter, connection_state_recovery=Recovery())
        async with running_api(io) as (url, caller):
            client = await js.connect(url)
            redis.kill()
            headers = {"Idempotency-Key": "1"}
            reply = await caller.ask("POST", "/emit", json={"event": "n"}, headers=headers)
            assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "cluster_unavailable", "2")
            assert reply.json["local"] is False
            health = (await caller.get("/health")).json
            assert (health["ready"], health["cluster"]["up"]) == (False, False)
            for path in ("/stats", "/sockets", "/rooms", "/sockets/nobody"):
                assert (await caller.get(path)).code == "cluster_unavailable", path
            assert (await caller.get("/stats", local="true")).json["total"]["sockets"] == {"/": 1}
            assert (await caller.get("/sockets", local="true")).json["total"] == 1
            assert (await caller.get(f"/sockets/{await client.id()}")).status == 200, "it is here"
            revoked = await caller.post("/revoke", id="jti")
            assert (revoked.code, revoked.json["local"]) == ("cluster_unavailable", True)
            await redis.start()
            if not reply.json["uncertain"]:
                async with asyncio.timeout(20):
                    while reply.status != 200:  # until Redis is reached again
                        await asyncio.sleep(0.05)
                        reply = await caller.ask("POST", "/emit", json={"event": "n"}, headers=headers)
                await client.wait_for("n")
            await client.expect_nothing("n")


@needs("redis-server", "node")
async def test_clients_of_a_server_of_node(js: JSClients) -> None:
    """Half of a fleet that is being moved could not be reached."""
    async with running_redis() as redis, running_node(url=redis.url) as node:
        io = Server(adapter=RedisStreams(redis.url, name="one"))
        async with running_api(io) as (_, caller):
            client = await js.connect(node.url)
            sid = await client.id()
            await caller.post("/emit", event="n", args=[1])
            assert (await client.wait_for("n"))[0] == 1  # Node adds the offset
            assert (await caller.get(f"/sockets/{sid}")).json["id"] == sid
            assert (await caller.get("/stats", timeout=0.2)).json["missing"] == ["?"]
            nodes = (await caller.get("/health")).json["cluster"]["nodes"]
            assert sorted(each["name"] for each in nodes) == ["?", "one"]
            assert (await caller.post("/kick", socket=sid)).status == 200
            assert await client.disconnected() == "io server disconnect"


PROGRAM: Final = f"""
from aiohttp import web
from rtframework import Server
from rtframework_http_api import HTTPAPI

io = Server()
api = HTTPAPI(io, key={KEY!r})
app = web.Application()
app.add_subapp("/api", api.app)
io.attach(app)
"""


async def test_workers_of_one_port(js: JSClients, tmp_path: Path) -> None:
    """Each call would concern the clients of one worker, by chance, and a drain push clients to the next one."""
    (tmp_path / "program.py").write_text(PROGRAM)
    async with command("run", "program:app", "--port", "0", "--workers", "2", cwd=tmp_path) as started:
        url = await url_of(started)
        clients = [await js.connect(url) for _ in range(4)]
        async with calling(f"{url}/api") as caller:
            names: set[str] = set()
            async with asyncio.timeout(30):
                while len(names) < 2:  # until both workers have answered
                    async with calling(f"{url}/api") as fresh:
                        health = (await fresh.get("/health")).json
                    names.add(health["node"])
                    assert {each["name"] for each in health["cluster"]["nodes"]} >= names
            stats = await ask_until(caller, "/stats", lambda found: len(found["servers"]) == 2)
            assert (stats["total"]["sockets"]["/"], set(stats["servers"]), stats["missing"]) == (4, names, [])
            assert (await caller.post("/emit", event="n")).status == 200
            for client in clients:
                await client.wait_for("n")
            drained = await caller.post("/drain", seconds=0)
            assert (set(drained.json["draining"]), drained.json["missing"]) == (names, [])
            for client in clients:
                assert await client.disconnected() == "transport close"
        assert await started.end() == 0


async def test_a_port_of_its_own(serve: Serve) -> None:
    """Who follows the page would publish the API, or not have it at all."""
    (block,) = [block for block in read_page(PAGE).blocks if "web.TCPSite" in block.code]
    io, port = Server(), free_port()
    scope: dict[str, Any] = {"io": io, "api": HTTPAPI(io, key=KEY), "web": web}
    exec(block.code.replace("9100", str(port)), scope)
    server = await serve(scope["app"])
    async with calling(f"http://127.0.0.1:{port}") as caller, calling(server.url) as outside:
        assert (await caller.get("/health")).json["ready"] is True
        assert (await outside.get("/health")).status == 404


def commands() -> list[str]:
    """Return the page's calls by curl."""
    blocks = [block for block in read_page(PAGE).blocks if block.info[:1] == ("sh",)]
    return [line for block in blocks for line in block.code.splitlines() if line.startswith("curl ")]


EXAMPLE_ID: Final = "mIT3aHzYJBOJ2VYqAAAB"


async def curl(line: str, url: str) -> dict[str, Any]:
    """Run a command of the page. Return what came back."""
    words = [os.path.expandvars(word.replace("$API_KEY", KEY).replace("$API", url)) for word in shlex.split(line)]
    words += ["-H", f"Authorization: Bearer {KEY}", "--silent", "--show-error", "--fail-with-body", "--max-time", "20"]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, f"{line}\n{error.decode()}{out.decode()}"
    found: dict[str, Any] = json.loads(out)
    return found


@needs("curl")
async def test_the_page_as_it_stands(js: JSClients) -> None:
    """Who copies a command from the page would be refused."""
    io = Server(auth=StaticTokenAuth(PEOPLE), presence=Presence("lobby"), history=History("lobby"))
    prepare(io)
    io.of("/chat")
    shapes: list[set[str]] = []
    async with running_api(io, key=KEY) as (url, _):
        for line in commands():
            client = await js.connect(url, auth={"token": "b", "rooms": ["lobby", "vip"]})
            await client.answer("ready?", "yes")
            reply = await curl(line.replace(EXAMPLE_ID, await client.id()), f"{url}/api")
            shapes.append(set(reply))
    assert len(shapes) > 15
    for block in read_page(PAGE).blocks:
        if block.info[:1] == ("json",) and '"type"' not in block.code:
            assert set(json.loads(block.code)) in shapes, f"line {block.line}: no command of the page answers this"
