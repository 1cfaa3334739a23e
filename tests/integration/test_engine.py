"""Below Socket.IO: ``io.engine``, and who may open a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from rtframework import (
    ConfigurationError,
    ConnectionFailure,
    ConnectionRefused,
    Limits,
    Server,
    Socket,
)
from rtframework.options import AllowRequest
from rtframework.protocols import CallNext, HandleRequest
from tests.conftest import Serve
from tests.engine import eventually, join, join_websocket, raw_client
from tests.support.js import JSClients
from tests.support.raw import RawClient
from tests.support.transports import Transport
from tests.support.until import until

USER = web.RequestKey("user", str)
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


def echoing(**options: Any) -> Server:
    """A server with an event that answers with what it gets."""
    io = Server(**options)

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    return io


def failures_of(io: Server) -> list[ConnectionFailure]:
    """What ``connection_error`` tells from now on."""
    failures: list[ConnectionFailure] = []
    io.engine.on("connection_error")(failures.append)
    return failures


async def handshake_headers(raw: RawClient) -> dict[str, str]:
    """The headers of the answer to a websocket's handshake."""
    ws = await raw.websocket()
    return dict(ws.ws._response.headers)


# -- middleware


async def test_middleware_sees_every_request(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What every request must have, a session or a trace, could not be arranged in one place."""
    io = echoing()
    seen: list[tuple[str, str, str]] = []

    @io.engine.use
    async def look(request: web.Request, call_next: CallNext) -> web.StreamResponse:
        sid = "session" if "sid" in request.query else "handshake"
        seen.append((request.method, request.query["transport"], sid))
        response: web.StreamResponse = await call_next()
        return response

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("echo", b"binary") == b"binary"
    assert await client.emit_with_ack("echo", "x" * 5_000) == "x" * 5_000
    assert await client.transport() == transport.final
    if transport.name == "websocket":
        assert seen == [("GET", "websocket", "handshake")]
    else:
        assert seen[0] == ("GET", "polling", "handshake")
        assert ("POST", "polling", "session") in seen
        assert ("GET", "polling", "session") in seen
        assert (("GET", "websocket", "session") in seen) is (transport.name == "upgrade")


async def test_middleware_runs_in_the_order_of_registration(serve: Serve) -> None:
    """A middleware that needs what another one prepares would not find it."""
    io = Server()
    log: list[str] = []

    def tracer(name: str) -> Callable[[web.Request, HandleRequest], Awaitable[web.StreamResponse]]:
        async def middleware(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
            log.append(f"{name} in")
            response = await call_next()
            log.append(f"{name} out")
            return response

        return middleware

    io.engine.use(tracer("one"))
    io.engine.use(tracer("two"))
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
    assert log == ["one in", "two in", "two out", "one out"]


@pytest.mark.parametrize("hooks", [False, True], ids=["", "with hooks of the application"])
async def test_middleware_sets_headers_of_every_answer(serve: Serve, hooks: bool) -> None:
    """Security headers would be missing on some answers, the websocket's among them."""
    io = Server(cookie=True)

    @io.engine.use
    async def headers(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        response = await call_next()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.set_cookie("seen", "yes")
        return response

    app = web.Application()
    io.attach(app)
    if hooks:

        async def prepare(request: web.Request, response: web.StreamResponse) -> None:
            response.headers["X-Hook"] = "1"

        app.on_response_prepare.append(prepare)
    server = await serve(app)
    async with raw_client(server.url) as raw:
        opened = await raw.request("GET")
        assert opened.headers["X-Content-Type-Options"] == "nosniff"
        assert [each.partition("=")[0] for each in opened.headers.getall("Set-Cookie")] == ["io", "seen"]
        refused = await raw.request("GET", query={"transport": "polling", "EIO": "4", "sid": "x"})
        assert (refused.status, refused.headers["X-Content-Type-Options"]) == (400, "nosniff")
        await join(raw)
        post = await raw.post("3")
        assert (post.text, post.headers["X-Content-Type-Options"]) == ("ok", "nosniff")
        await io.emit("news", 1)
        poll = await raw.request("GET")
        assert (poll.text, poll.headers["X-Content-Type-Options"]) == ('42["news",1]', "nosniff")
        upgrade = await handshake_headers(raw)
    async with raw_client(server.url) as raw:
        direct = await handshake_headers(raw)
    for each in (upgrade, direct):
        assert each["X-Content-Type-Options"] == "nosniff"
        assert each["Set-Cookie"].startswith("seen=yes")
        assert each.get("X-Hook") == ("1" if hooks else None)


async def test_middleware_ends_a_request(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A server under maintenance could not say so before it has given a client a session."""
    io = Server()
    connected: list[Socket] = []
    io.on("connection")(connected.append)

    @io.engine.use
    async def closed(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        if "X-Raise" in request.headers:
            raise web.HTTPServiceUnavailable(text="later")
        return web.Response(status=503)

    server = await serve(io)
    for headers in ({}, {"X-Raise": "1"}):
        client = await js.connect(server.url, via=transport, wait=False, extraHeaders=headers)
        refused = await client.refused()
        if transport.name == "websocket":
            assert "503" in refused["description"]
        else:
            assert refused["status"] == 503
    assert not connected
    assert io.engine.clients_count == 0


async def test_middleware_refuses(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal would reach the client as an internal error, or a bug as a way in."""
    io = Server(cors_allowed_origins="https://a.org")
    failures = failures_of(io)

    @io.engine.use
    async def strict(request: web.Request, call_next: HandleRequest) -> web.StreamResponse | None:
        match request.headers["X-Case"]:
            case "refused":
                raise ConnectionRefused("Thou shall not pass")
            case "bug":
                raise KeyError("secret")
            case "late bug":
                await call_next()
                raise KeyError("secret")
            case "late answer":
                await call_next()
                return web.Response(status=418)
            case "twice":
                await call_next()
                await call_next()
        return None

    server = await serve(io)
    bad = (400, '{"code":3,"message":"Bad request"}')
    expected = {
        "refused": (403, '{"code":4,"message":"Thou shall not pass"}'),
        "bug": bad,
        "late bug": bad,
        "late answer": (418, ""),
        "twice": bad,
        "nothing": bad,
    }
    async with raw_client(server.url) as raw:
        for transport, more in (("polling", {}), ("websocket", WEBSOCKET)):
            for case, (status, text) in expected.items():
                headers = {"X-Case": case, "Origin": "https://a.org", **more}
                answer = await raw.request("GET", query=raw.query(transport), headers=headers)
                assert (answer.status, answer.text) == (status, text), (case, transport)
                if status != 418:
                    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.org"
                assert io.engine.clients_count == 0, (case, transport)
    assert [failure.code for failure in failures] == [4, 3, 3, 3, 3] * 2
    assert {failure.context["name"] for failure in failures} == {"MIDDLEWARE_FAILURE"}
    assert failures[0].context["message"] == "Thou shall not pass"
    assert isinstance(failures[1].context["error"], KeyError)
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == 8
    assert "neither called call_next() nor returned" in caplog.text


async def test_middleware_may_return_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A forgotten ``return``, which connect middleware does not need either, would shut everybody out."""
    io = echoing()
    users: list[str] = []

    @io.engine.use
    async def session(request: web.Request, call_next: HandleRequest) -> None:
        request[USER] = "ada"
        await call_next()

    @io.engine.use
    async def look(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        users.append(request[USER])
        return await call_next(request.clone(remote="203.0.113.7"))

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("echo", 1) == 1
    assert set(users) == {"ada"}
    (socket,) = io.sockets.values()
    assert socket.handshake.address == "203.0.113.7"


async def test_middleware_of_aiohttp_will_do(serve: Serve) -> None:
    """Middleware that people have, for sessions or traces, would have to be written again."""
    io = Server()

    @io.engine.use
    @web.middleware
    async def traced(request: web.Request, handler: HandleRequest) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Trace"] = "7"
        return response

    server = await serve(io)
    async with raw_client(server.url) as raw:
        assert (await raw.request("GET")).headers["X-Trace"] == "7"
        assert (await handshake_headers(raw))["X-Trace"] == "7"


async def test_packets_that_middleware_loses_end_the_session(serve: Serve) -> None:
    """A client would go on without the packets of one poll, and never know."""
    io = Server()
    reasons: list[str] = []
    broken: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.engine.use
    async def replace(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        response = await call_next()
        if broken and request.method == "GET":
            broken.pop()
            return web.Response(text="6")
        return response

    server = await serve(io)
    async with raw_client(server.url) as raw:
        await join(raw)
        broken.append("now")
        await io.emit("news", 1)
        assert (await raw.request("GET")).text == "6"
        await until(lambda: reasons)
        assert reasons == ["transport error"]
        assert (await raw.request("GET")).status == 400
    assert io.engine.clients_count == 0


async def test_a_header_that_is_none_ends_the_session(serve: Serve) -> None:
    """A header made of what a client sends could add others, or lose the packets of a poll in silence."""
    io = Server()
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.engine.on("headers")
    def split(headers: CIMultiDict[str], request: web.Request) -> None:
        if "X-Split" in request.headers:
            headers["X-Answer"] = "a\r\nSet-Cookie: evil=1"

    server = await serve(io)
    async with raw_client(server.url) as raw:
        await join(raw)
        await io.emit("news", 1)
        answer = await raw.request("GET", headers={"X-Split": "1"})
        assert (answer.status, "Set-Cookie" in answer.headers) == (500, False)
        await until(lambda: reasons == ["transport error"])
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET", query=raw.query("websocket"), headers={"X-Split": "1", **WEBSOCKET})
        assert (answer.status, "Set-Cookie" in answer.headers) == (500, False)
    assert io.engine.clients_count == 0


async def test_preflights_do_not_pass_middleware(serve: Serve) -> None:
    """Middleware that asks for a cookie would refuse the request by which a browser asks whether it may send one."""
    io = Server(cors_allowed_origins="https://a.org")

    @io.engine.use
    async def strict(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        raise ConnectionRefused("no cookie")

    server = await serve(io)
    async with raw_client(server.url) as raw:
        assert (await raw.request("OPTIONS", headers={"Origin": "https://a.org"})).status == 204


async def test_middleware_may_be_added_while_running(serve: Serve) -> None:
    """As in Node: nothing says that a server must be complete before it starts."""
    io = Server()
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await join(raw)

        @io.engine.use
        async def late(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
            response = await call_next()
            response.headers["X-Late"] = "1"
            return response

        assert (await raw.post("3")).headers["X-Late"] == "1"


async def test_a_server_that_stops_in_the_middle_of_middleware(serve: Serve) -> None:
    """A client would be taken in after the others were told good-bye, and cut off without a word."""
    io = Server()
    inside, gate = asyncio.Event(), asyncio.Event()

    @io.engine.use
    async def slow(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        response = await call_next()
        inside.set()
        await gate.wait()
        return response

    server = await serve(io)
    async with raw_client(server.url) as raw:
        asking = asyncio.create_task(raw.request("GET", query=raw.query("websocket"), headers=WEBSOCKET))
        await inside.wait()
        stopping = asyncio.create_task(io._server.shutdown())
        await eventually(lambda: io._server.eio.table.is_closing)
        gate.set()
        assert (await asking).status == 503
        await stopping
    assert io.engine.clients_count == 0


async def test_a_server_that_stops_while_an_id_is_made(serve: Serve) -> None:
    """The same for a client that polls: it would wait for a server that is not there."""
    io = Server()
    inside, gate = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> str:
        inside.set()
        await gate.wait()
        return "an-id"

    io.engine.generate_id = slow
    server = await serve(io)
    async with raw_client(server.url) as raw:
        asking = asyncio.create_task(raw.request("GET", query=raw.query("polling")))
        await inside.wait()
        await io._server.shutdown()
        gate.set()
        assert (await asking).status == 503
    assert io.engine.clients_count == 0


# -- allow_request


def _sync(allowed: bool) -> AllowRequest:
    return lambda request: allowed


def _async(allowed: bool) -> AllowRequest:
    async def allow(request: web.Request) -> bool:
        await asyncio.sleep(0)
        return allowed

    return allow


@pytest.mark.parametrize("allow", [_sync, _async])
async def test_allow_request(
    serve: Serve, js: JSClients, transport: Transport, allow: Callable[[bool], AllowRequest]
) -> None:
    """Whoever is to be kept out would get a session first."""
    io = echoing(allow_request=allow(True))
    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("echo", 1) == 1

    closed = Server(allow_request=allow(False))
    failures = failures_of(closed)
    stranger = await js.connect((await serve(closed)).url, via=transport, wait=False)
    refused = await stranger.refused()
    if transport.name == "websocket":
        assert "403" in refused["description"]
    else:
        assert refused["status"] == 403
    assert closed.engine.clients_count == 0
    assert [(each.code, each.message) for each in failures] == [(4, "Forbidden")]


async def test_allow_request_is_asked_once_per_connection(serve: Serve, js: JSClients) -> None:
    """A question to a database would be asked with every poll."""
    asked: list[str] = []

    def allow(request: web.Request) -> bool:
        asked.append(request.path_qs)
        return True

    io = echoing(allow_request=allow)
    client = await js.connect((await serve(io)).url, transports=["polling", "websocket"])
    await client.upgraded()
    assert await client.emit_with_ack("echo", 1) == 1
    assert len(asked) == 1


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_a_refusal_has_a_message(serve: Serve, by: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client would not learn what to do about it, or learn about the server's inside."""
    answers: list[Any] = [ConnectionRefused("Thou shall not pass"), ValueError("secret"), None]

    def allow(request: web.Request) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    io = Server(allow_request=allow)
    failures = failures_of(io)
    server = await serve(io)
    async with raw_client(server.url) as raw:
        more = WEBSOCKET if by == "websocket" else {}
        for text in ("Thou shall not pass", "Forbidden", "Forbidden"):
            answer = await raw.request("GET", query=raw.query(by), headers=more)
            assert (answer.status, answer.text) == (403, f'{{"code":4,"message":"{text}"}}')
    assert [failure.context["message"] for failure in failures] == ["Thou shall not pass", None, None]
    assert "unhandled error in allow_request" in caplog.text


# -- events


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_headers_events(serve: Serve, kind: str) -> None:
    """What Node's programs add to answers could not be added, or only to some."""
    io = Server(cookie=True)
    told: list[tuple[str, str]] = []

    def listener(name: str) -> Callable[[CIMultiDict[str], web.Request], Any]:
        def add(headers: CIMultiDict[str], request: web.Request) -> None:
            told.append((name, request.method))
            headers.add("X-" + name, "1")
            headers.add("Set-Cookie", f"{name}=1")

        async def add_later(headers: CIMultiDict[str], request: web.Request) -> None:
            await asyncio.sleep(0)
            add(headers, request)

        return add if kind == "sync" else add_later

    io.engine.on("initial_headers")(listener("initial"))
    io.engine.on("headers")(listener("every"))
    server = await serve(io)
    async with raw_client(server.url) as raw:
        refused = await raw.request("GET", query={"transport": "polling", "EIO": "3"})
        assert "X-every" not in refused.headers
        opened = await raw.request("GET")
        names = [each.partition("=")[0] for each in opened.headers.getall("Set-Cookie")]
        assert names == ["io", "initial", "every"]
        assert told == [("initial", "GET"), ("every", "GET")]
        await join(raw)
        told.clear()
        for answer in (await raw.post("3"), await _poll(io, raw)):
            assert answer.headers.getall("Set-Cookie") == ["every=1"]
        assert told == [("every", "POST"), ("every", "GET")]
        assert "X-initial" not in await handshake_headers(raw)
    async with raw_client(server.url) as raw:
        direct = await handshake_headers(raw)
        assert (direct["X-initial"], direct["X-every"]) == ("1", "1")


async def _poll(io: Server, raw: RawClient) -> Any:
    await io.emit("news")
    return await raw.request("GET")


async def test_a_failing_listener_harms_nobody(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in what only watches would shut everybody out."""
    io = echoing()

    @io.engine.on("headers")
    def broken(headers: CIMultiDict[str], request: web.Request) -> None:
        raise ValueError("broken")

    @io.engine.on("connection_error")
    async def broken_too(failure: ConnectionFailure) -> None:
        raise ValueError("broken")

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    assert await client.emit_with_ack("echo", 1) == 1
    async with raw_client(server.url) as raw:
        assert (await raw.request("GET", query={})).status == 400
    assert "unhandled error in a listener for headers" in caplog.text
    assert "unhandled error in a listener for connection_error" in caplog.text


async def test_connection_errors_are_node_s(serve: Serve) -> None:
    """Whoever watches refusals, to find misconfigured clients and proxies, would see nothing, or other codes."""
    io = Server(transports=["polling", "websocket"], limits=Limits(max_connections=5))
    failures = failures_of(io)
    server = await serve(io)
    eio = {"EIO": "4", "transport": "polling"}
    async with raw_client(server.url) as raw, raw_client(server.url) as other:
        await join(raw)
        session = {**eio, "sid": str(raw.sid)}
        as_websocket = {**session, "transport": "websocket"}
        websocket = await join_websocket(other)
        cases: list[tuple[str, dict[str, str], dict[str, str], int, int, str, dict[str, Any]]] = [
            ("GET", {}, {}, 400, 0, "Transport unknown", {"transport": None}),
            ("GET", {"transport": "tobi"}, {}, 400, 0, "Transport unknown", {"transport": "tobi"}),
            ("GET", {**eio, "sid": "test"}, {}, 400, 1, "Session ID unknown", {"sid": "test"}),
            ("POST", eio, {}, 400, 2, "Bad handshake method", {"method": "POST"}),
            (
                *("GET", {**eio, "transport": "websocket"}, {}, 400, 3, "Bad request"),
                {"name": "TRANSPORT_HANDSHAKE_ERROR"},
            ),
            (
                *("GET", {**eio, "transport": "websocket"}, {**WEBSOCKET, "Sec-WebSocket-Version": "8"}),
                *(426, 3, "Bad request", {"name": "TRANSPORT_HANDSHAKE_ERROR"}),
            ),
            (
                *("GET", as_websocket, {}, 400, 3, "Bad request"),
                {"name": "TRANSPORT_MISMATCH", "transport": "websocket", "previous_transport": "polling"},
            ),
            (
                *("GET", {**eio, "sid": str(other.sid)}, {}, 400, 3, "Bad request"),
                {"name": "TRANSPORT_MISMATCH", "transport": "polling", "previous_transport": "websocket"},
            ),
            ("GET", {"transport": "polling"}, {}, 400, 5, "Unsupported protocol version", {"protocol": None}),
            ("GET", {**eio, "EIO": "3"}, {}, 400, 5, "Unsupported protocol version", {"protocol": "3"}),
            (
                *("GET", eio, {"Origin": "https://evil.org"}, 403, 4, "Forbidden"),
                {"name": "ORIGIN_NOT_ALLOWED", "origin": "https://evil.org"},
            ),
        ]
        for method, query, headers, status, code, message, context in cases:
            answer = await raw.request(method, query=query, headers=headers)
            assert (answer.status, answer.text) == (status, f'{{"code":{code},"message":"{message}"}}')
            failure = failures.pop()
            assert (failure.code, failure.message, failure.context) == (code, message, context)
            assert failure.request.query == query
        for _ in range(3):
            assert (await raw.request("GET", query=eio)).status == 200
        assert not failures
        refused = await raw.request("GET", query=eio)
        assert (refused.status, refused.text) == (503, '{"code":4,"message":"Too many connections"}')
        assert failures.pop().context == {"name": "TOO_MANY_CONNECTIONS"}
        await websocket.send("3")
        assert (await raw.post("3")).text == "ok"


def test_events_of_the_engine_have_names() -> None:
    """A misspelt event would never be heard of."""
    with pytest.raises(ConfigurationError, match="connection_error, initial_headers, headers"):
        Server().engine.on("connection-error")  # type: ignore[call-overload]


# -- ids and counts


async def test_the_clients_are_counted(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A dashboard of a program that comes from Node would be empty."""
    io = Server()
    server = await serve(io)
    assert io.engine.clients_count == 0
    first = await js.connect(server.url, via=transport)
    await first.of("/elsewhere", wait=False)
    await js.connect(server.url, via=transport)
    assert io.engine.clients_count == 2
    await first.disconnect()
    await until(lambda: io.engine.clients_count == 1)


async def test_session_ids_of_one_s_own(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A proxy that finds the server by the session id could not be served."""
    io = echoing()
    made = io.engine.generate_id

    async def with_server(request: web.Request) -> str:
        id = made(request)
        assert isinstance(id, str)
        return f"server-7.{id}"

    io.engine.generate_id = with_server
    client = await js.connect((await serve(io)).url, via=transport)
    assert str((await client.state()).engine_id).startswith("server-7.")
    assert await client.emit_with_ack("echo", 1) == 1


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_session_ids_that_are_none_refuse_the_client(
    serve: Serve, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two clients with one id would get each other's messages; an id with a quote would break the handshake."""
    io = Server()
    failures = failures_of(io)
    ids: list[Any] = ["taken", "taken", 'a"b', "", None, "a b", "é"]
    io.engine.generate_id = lambda request: ids.pop(0)
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
        raw.sid = None
        for _ in ids.copy():
            more = WEBSOCKET if by == "websocket" else {}
            answer = await raw.request("GET", query=raw.query(by), headers=more)
            assert (answer.status, answer.text) == (400, '{"code":3,"message":"Bad request"}')
        answer = await raw.request("GET", query=raw.query(by), headers=more)  # it raises IndexError now
        assert answer.status == 400
    assert {failure.context["name"] for failure in failures} == {"ID_GENERATION_ERROR"}
    assert len(failures) == 7
    assert io.engine.clients_count == 1
    assert "unhandled error in generate_id" in caplog.text
