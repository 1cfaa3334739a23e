"""The way in for clients of other protocols: whoever may not come in by Engine.IO may not by another door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError, web

from rtframework import ConnectionRefused, Limits, RateLimit, Server, Socket
from rtframework.testing import TestServer
from tests.conftest import Serve
from tests.gateways import application, in_memory, talk
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.server import BY_AIOHTTP

pytestmark = NOT_ON_UVLOOP


async def status_of(server: TestServer, headers: Mapping[str, str] | None = None, query: str = "") -> int:
    """Ask for a plain websocket; the status of the answer."""
    try:
        async with server.http.ws_connect(f"/ws{query}", headers=headers):
            return 101
    except WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize(
    ("options", "origin", "status"),
    [
        ({}, None, 101),
        ({}, "http://localhost", 101),
        ({}, "https://evil.example", 403),
        ({}, "null", 403),
        ({"cors_allowed_origins": ["https://app.example"]}, "https://app.example", 101),
        ({"cors_allowed_origins": ["https://app.example"]}, "https://evil.example", 403),
        ({"require_origin": True}, None, 403),
    ],
)
async def test_pages_of_other_hosts_are_refused(options: dict[str, Any], origin: str | None, status: int) -> None:
    """Any page could use the cookies of whoever visits it: browsers do not check websockets."""
    async with in_memory(Server(**options)) as server:
        assert await status_of(server, {"Origin": origin} if origin else None) == status


@pytest.mark.parametrize("answer", [False, ConnectionRefused("not today")], ids=["false", "refused"])
async def test_the_program_may_refuse_a_request(answer: bool | Exception) -> None:
    """``allow_request`` would hold for one door only."""

    async def allow(request: web.Request) -> bool:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with in_memory(Server(allow_request=allow)) as server, server.http.get("/ws") as response:
        assert response.status == 403
        assert (await response.json())["message"] == ("not today" if answer else "Forbidden")


async def test_bans_rates_and_caps_are_those_of_all_doors() -> None:
    """Whoever is banned would come in by the other door."""
    io = Server(limits=Limits(max_connections=2))
    async with in_memory(io) as server, talk(server):
        await server.connect()
        assert await status_of(server) == 503
    io = Server(rate_limit=RateLimit(handshakes="2/h"))
    async with in_memory(io) as server:
        await server.connect()
        assert [await status_of(server) for _ in range(2)] == [101, 429]
    io = Server()
    async with in_memory(io) as server:
        io.engine.ban("127.0.0.1", 60)
        assert await status_of(server) == 403
    assert io.stats().requests_refused["banned"] == 1


async def test_the_address_is_that_which_trusted_proxies_tell() -> None:
    """All clients behind a proxy would be one, with one rate and one ban."""
    io = Server(trusted_proxies=1)
    async with in_memory(io) as server, talk(server, headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.5"}):
        (socket,) = io.sockets.values()
        assert socket.handshake.address == "203.0.113.5"
        assert socket.handshake.url == "/ws"


async def test_middleware_of_the_engine_sees_the_request() -> None:
    """A program whose middleware asks for a cookie would be open by the other door."""
    io = Server()

    @io.engine.use
    async def check(request: web.Request, call_next: Any) -> web.StreamResponse:
        if "cookie" not in request.headers:
            raise ConnectionRefused("log in")
        response: web.StreamResponse = await call_next()
        response.headers["X-Seen"] = "yes"
        return response

    seen: list[str] = []
    io.engine.on("initial_headers")(lambda headers, request: seen.append(request.path))
    async with in_memory(io) as server:
        assert await status_of(server) == 403
        async with server.http.ws_connect("/ws", headers={"Cookie": "a=b"}) as websocket:
            assert websocket._response.headers["X-Seen"] == "yes"
            await websocket.receive()
            (socket,) = io.sockets.values()
            assert socket.handshake.cookies["a"] == "b"
    assert seen == ["/ws"]


async def test_what_is_refused_is_told_to_listeners_and_counted() -> None:
    """An attack on one door would be seen by nobody."""
    io = Server()
    failures: list[Any] = []
    io.engine.on("connection_error")(failures.append)
    async with in_memory(io) as server:
        assert await status_of(server, {"Origin": "https://evil.example"}) == 403
        async with server.http.get("/ws") as response:
            assert response.status == 426
        assert await status_of(server, query="?" + "&".join(f"a{number}" for number in range(300))) == 431
    assert [each.context.get("name") for each in failures] == [
        "ORIGIN_NOT_ALLOWED",
        "TRANSPORT_HANDSHAKE_ERROR",
        "HEAD_TOO_LARGE",
    ]
    assert io.stats().requests_refused["origin_not_allowed"] == 1


async def test_a_browser_may_ask_first() -> None:
    """A page of another host could not send requests with headers of its own."""
    io = Server(cors_allowed_origins=["https://app.example"])
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with in_memory(io) as server, server.http.options("/ws", headers=headers) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_websocket_costs_no_task(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand pages that come at once would keep all others waiting."""
    io = Server()
    if BY_AIOHTTP:
        pytest.skip("aiohttp's tasks are to serve all requests")

    async def fail(*given: Any) -> Any:
        raise AssertionError("a task of aiohttp has served it")

    monkeypatch.setattr(io._server.eio.entrance, "serve", fail)
    server = await serve(application(io))
    async with ClientSession() as http:
        async with http.ws_connect(f"{server.url}/ws") as websocket:
            assert (await websocket.receive_json())["type"] == "connected"
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(f"{server.url}/ws", origin="https://evil.example")
        assert refused.value.status == 403


async def test_bytes_are_counted_for_those_who_limit_them() -> None:
    """A rate of bytes would hold for one door only."""
    io = Server(rate_limit=RateLimit(bytes="2000/s"))

    @io.on("a")
    def a(socket: Socket, text: str) -> str:
        return "ok"

    async with in_memory(io) as server, talk(server) as page:
        await page.emit("a", "x" * 1_000, id=1)
        assert await page.hear() == {"type": "ack", "args": ["ok"], "id": 1}
        await page.emit("a", "x" * 20_000, id=2)
        assert "error" in (await page.hear())["args"][0]
    assert io.stats().limited["bytes"] == 1
