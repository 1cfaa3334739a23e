"""Server-sent events over the wire: who may read what, what is refused, and events by POST."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtframework import (
    ClusterUnavailable,
    ConfigurationError,
    ConnectionRefused,
    History,
    Limits,
    Rate,
    RateLimit,
    Recovery,
    Server,
    Socket,
)
from rtframework.adapters.memory_history import MemoryHistory
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.event_source import stream
from tests.support.js import JSClients
from tests.support.server import RunningServer


async def serve_events(serve: Serve, io: Server, **options: Any) -> RunningServer:
    """Serve Socket.IO and server-sent events."""
    app = web.Application()
    io.attach(app)
    io.attach_sse(app, **options)
    return await serve(app)


async def status_of(url: str, method: str = "GET", **request: Any) -> tuple[int, Any]:
    """Send a request. Return the status of the response, and its body if that is JSON."""
    async with aiohttp.ClientSession() as http, http.request(method, url, **request) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json and method != "HEAD" else None


# --- rooms ------------------------------------------------------------------------------------------------------------


async def test_rooms_that_the_program_allows_are_read(serve: Serve, js: JSClients) -> None:
    """Pages could not subscribe to anything."""
    io = Server()
    server = await serve_events(serve, io, rooms=["a", "b"])
    node = await js.connect(server.url)
    async with stream(f"{server.url}/events?room=a&room=b") as events:
        connect = await events.data("connect")
        assert connect["rooms"] == ["a", "b"]
        assert io.sockets[connect["sid"]].rooms == {"a", "b", connect["sid"]}
        await io.to("a").emit("said", "hi")
        await io.to("c").emit("said", "not for it")
        await io.emit("all", 1, {"x": None})
        assert await events.data() == "hi"
        assert await events.data("all") == [1, {"x": None}]
        assert await node.wait_for("all") == [1, {"x": None}]
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert events.response.headers["X-Accel-Buffering"] == "no"
        assert "no-store" in events.response.headers["Cache-Control"]
        assert events.text.startswith("retry: 3000\n")


async def test_no_room_is_read_that_the_program_has_not_allowed(serve: Serve) -> None:
    """Whoever knows the name of a room could listen in."""
    io = Server()
    server = await serve_events(serve, io)
    forbidden = (403, {"message": "These rooms may not be read", "data": {"code": "rooms_not_allowed"}})
    assert await status_of(f"{server.url}/events?room=secret") == forbidden
    async with stream(f"{server.url}/events") as events:
        assert (await events.data("connect"))["rooms"] == []
    listed = Server()
    server = await serve_events(serve, listed, rooms=["a"])
    assert await status_of(f"{server.url}/events?room=a&room=secret") == forbidden
    await eventually(lambda: not (io.sockets or listed.sockets))


async def test_a_function_says_which_rooms_a_socket_may_read(serve: Serve) -> None:
    """Permissions could not depend on the user, or on a database."""
    asked: list[list[str]] = []

    async def rooms(socket: Socket, names: list[str]) -> Any:
        asked.append(names)
        await asyncio.sleep(0)
        if "all" in names:
            return True
        if "none" in names:
            return False
        return [f"match:{name}" for name in names if name.isdigit()]

    io = Server()
    server = await serve_events(serve, io, rooms=rooms)
    async with stream(f"{server.url}/events?room=7&room=x&room=7") as events:
        connect = await events.data("connect")
        assert connect["rooms"] == ["match:7"]
        assert io.sockets[connect["sid"]].rooms == {"match:7", connect["sid"]}
    async with stream(f"{server.url}/events?room=all&room=b") as events:
        assert (await events.data("connect"))["rooms"] == ["all", "b"]
    for names in ("room=none", "room=x"):
        assert (await status_of(f"{server.url}/events?{names}"))[0] == 403
    assert asked == [["7", "x"], ["all", "b"], ["none"], ["x"]]


async def test_a_function_that_fails_lets_nobody_in(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A failure of the database would open all rooms."""

    def rooms(socket: Socket, names: list[str]) -> Any:
        if names == ["text"]:
            return "text"
        raise ConnectionRefused("no", {"code": "x"}) if names == ["no"] else OSError("no database")

    io = Server()
    server = await serve_events(serve, io, rooms=rooms)
    assert await status_of(f"{server.url}/events?room=no") == (403, {"message": "no", "data": {"code": "x"}})
    assert (await status_of(f"{server.url}/events?room=a"))[0] == 500
    assert (await status_of(f"{server.url}/events?room=text"))[0] == 500
    assert "no database" in caplog.text
    assert not io.sockets


@pytest.mark.parametrize("query", ["room=", "room=a&room=", "&".join(f"room={n}" for n in range(51))])
async def test_too_many_rooms_are_refused(serve: Serve, query: str) -> None:
    """One request could put a socket into thousands of rooms."""
    io = Server()
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    status, told = await status_of(f"{server.url}/events?{query}")
    assert (status, told["data"]["code"]) == (400, "too_many_rooms")


@pytest.mark.parametrize(("query", "code"), [("room=$u", "reserved_room"), (f"room={'x' * 300}", "room_name_too_long")])
async def test_names_that_are_no_rooms_are_refused(serve: Serve, query: str, code: str) -> None:
    """A client could read what is for another user."""
    io = Server(limits=Limits(max_room_name=256))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    status, told = await status_of(f"{server.url}/events?{query}")
    assert (status, told["data"]["code"]) == (400, code)


# --- who is let in ----------------------------------------------------------------------------------------------------


async def test_a_connection_handler_joins_and_emits_before_anything_else(serve: Serve) -> None:
    """A page could miss what is said between its connect and its rooms."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")
        await socket.emit("welcome", socket.conn.transport, socket.handshake.query["name"])

    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events?name=ada") as events:
        assert (await events.next()).event == "connect"
        assert await events.data() == ["sse", "ada"]
        await io.to("lobby").emit("said", 1)
        assert await events.data() == 1


async def test_a_handler_may_go_on_when_it_has_accepted(serve: Serve) -> None:
    """A handler that emits for as long as the client is there is what streams are made for."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.accept()
        while socket.connected:
            await socket.emit("tick")
            await asyncio.sleep(0.01)

    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        assert [(await events.next()).event for _ in range(3)] == ["connect", "tick", "tick"]


@pytest.mark.parametrize(
    ("code", "status"), [("unauthorized", 401), ("expired", 401), ("too_many_connections", 429), ("banned", 403)]
)
async def test_a_refusal_has_a_status(serve: Serve, code: str, status: int) -> None:
    """EventSource would come back for ever, and scripts would take a refusal for a stream."""
    io = Server()

    @io.use
    async def refuse(socket: Socket, call_next: Any) -> None:
        raise ConnectionRefused("no", {"code": code})

    server = await serve_events(serve, io)
    assert await status_of(f"{server.url}/events") == (status, {"message": "no", "data": {"code": code}})
    await eventually(lambda: not io._server.eio.connections)
    async with stream(f"{server.url}/events") as events:
        if status == 429:  # it passes: EventSource is to come back
            await events.until("retry: 3000\n: 429 Too Many Requests\n\n")
            assert events.status == 200
        else:
            assert events.status == status


async def test_a_refusal_for_a_time_says_when_to_come_back(serve: Serve) -> None:
    """Clients that were refused by a rate would come back too early, and be refused again."""
    io = Server()

    @io.use
    async def refuse(socket: Socket, call_next: Any) -> None:
        raise ConnectionRefused("no", {"code": "rate_limited", "retry_after": 6.5})

    server = await serve_events(serve, io)
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/events") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
    async with stream(f"{server.url}/events") as events:
        await events.until("retry: 7000\n: 429 Too Many Requests\n\n")


async def test_a_question_is_answered_at_once(serve: Serve) -> None:
    """A program would wait for the answer of a client that has no way to give one, and for ever without a timeout."""
    io = Server()
    server = await serve_events(serve, io, rooms=["a"])
    async with stream(f"{server.url}/events?room=a") as events:
        sid = (await events.data("connect"))["sid"]
        answer = await io.sockets[sid].emit_with_ack("vote", 1)
        assert answer["error"]["code"] == "cannot_answer"
        assert await events.data("vote") == 1
        answers = await io.to("a").timeout(3600).emit_with_ack("vote", 2)
        assert [each["error"]["code"] for each in answers.values()] == ["cannot_answer"]
        assert await events.data("vote") == 2


async def test_a_refusal_whose_data_cannot_be_sent(serve: Serve) -> None:
    """A mistake in the data of a refusal would be a 500 without a word."""
    io = Server()

    @io.use
    async def refuse(socket: Socket, call_next: Any) -> None:
        raise ConnectionRefused("no", {"code": "x", "what": object()})

    server = await serve_events(serve, io)
    assert await status_of(f"{server.url}/events") == (403, {"message": "no"})


async def test_who_is_refused_too_often_is_told_of_the_last_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed for that, and it would hear that it was not let in in time."""
    rate = Rate(1 / 3600, burst=1)
    monkeypatch.setattr("rtframework.limits.rates.REFUSALS", {"connection": rate, "address": rate})
    io = Server()
    server = await serve_events(serve, io)
    for _ in range(3):
        assert (await status_of(f"{server.url}/events?room=a"))[0] == 403
    assert io.stats().limited["refusals"] == 2


async def test_an_unknown_namespace_is_404_and_others_may_be_asked_for(serve: Serve) -> None:
    """Pages of another namespace had no streams."""
    io = Server()
    io.of("/news").on("connection")(lambda socket: socket.emit("hello", socket.nsp))
    server = await serve_events(serve, io)
    assert await status_of(f"{server.url}/events?nsp=/nowhere") == (404, {"message": "Invalid namespace"})
    async with stream(f"{server.url}/events?nsp=/news") as events:
        assert await events.data("hello") == "/news"
        await io.emit("not for it")
        await io.of("/news").emit("news", 1)
        assert await events.data() == 1


async def test_a_server_that_drains_sends_clients_back_later(serve: Serve) -> None:
    """EventSource gives up for good at a 503: every deployment would end all pages' streams."""
    io = Server()
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        await io.drain(0.1)
        await events.end()
        assert events.ended
    async with stream(f"{server.url}/events") as events:
        await events.end()
        assert (events.status, events.text) == (200, "retry: 3000\n: 503 Service Unavailable\n\n")
    assert (await status_of(f"{server.url}/events", headers={"Accept": "*/*"}))[0] == 503


async def test_a_client_that_leaves_while_it_is_asked_leaves_nothing(serve: Serve) -> None:
    """Each visit would keep a connection until the timeout."""
    io = Server()
    entered, released = asyncio.Event(), asyncio.Event()

    @io.use
    async def slowly(socket: Socket, call_next: Any) -> None:
        entered.set()
        await released.wait()
        await call_next()

    server = await serve_events(serve, io)
    async with aiohttp.ClientSession() as http:
        asked = asyncio.create_task(http.get(f"{server.url}/events"))
        await entered.wait()
        asked.cancel()
        await asyncio.wait([asked])
    await eventually(lambda: not io._server.eio.connections)
    released.set()


async def test_a_client_that_is_not_let_in_in_time_is_told(serve: Serve) -> None:
    """Its request would wait for ever."""
    io = Server(connect_timeout=0.05)
    io.use(lambda socket, call_next: asyncio.Event().wait())
    server = await serve_events(serve, io)
    assert (await status_of(f"{server.url}/events"))[0] == 503


async def test_a_disconnected_client_is_told_to_stay_away(serve: Serve) -> None:
    """EventSource would come back at once, however often it is thrown out."""
    io = Server()
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        sid = (await events.data("connect"))["sid"]
        await io.sockets[sid].disconnect()
        gone = await events.next("disconnect")
        await events.end()
        assert events.ended
    async with stream(f"{server.url}/events", last_id=gone.id) as again:
        assert again.status == 204
    async with stream(f"{server.url}/events?lastEventId={gone.id}") as anew:  # a page that asks by itself may come
        assert anew.status == 200


# --- HTTP -------------------------------------------------------------------------------------------------------------


async def test_methods_types_and_paths(serve: Serve) -> None:
    """Tools that ask with HEAD, or for another type, would open streams that nobody reads."""
    io = Server()
    server = await serve_events(serve, io)
    url = f"{server.url}/events"
    assert (await status_of(url, "HEAD"))[0] == 200
    assert (await status_of(url, "PUT"))[0] == 405
    assert (await status_of(url + "/x"))[0] == 404
    for accept in ("image/png", "application/xml, text/event-stream;q=0", "text/html"):
        assert (await status_of(url, headers={"Accept": accept}))[0] == 406
    assert not io._server.eio.connections
    for accept in (
        "",
        "*/*",
        "text/*",
        "text/html, */*;q=0.1",
        "Text/Event-Stream",
        "text/event-stream; charset=utf-8",
    ):
        async with stream(url, Accept=accept) as events:
            assert events.status == 200, accept
            await events.next("connect")


async def test_pages_of_other_hosts_are_checked(serve: Serve) -> None:
    """Any page could read with the cookies of its visitors."""
    io = Server(cors_allowed_origins=["https://app.example"])
    server = await serve_events(serve, io)
    assert (await status_of(f"{server.url}/events", headers={"Origin": "https://evil.example"}))[0] == 403
    async with stream(f"{server.url}/events", Origin="https://app.example") as events:
        await events.next("connect")
        assert events.response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert events.response.headers["Access-Control-Allow-Credentials"] == "true"
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with aiohttp.ClientSession() as http, http.options(f"{server.url}/events", headers=headers) as preflight:
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_headers_of_the_program_are_sent(serve: Serve) -> None:
    """Middleware and signals would see a stream and change nothing."""
    io = Server()

    @io.engine.on("headers")
    def add(headers: Any, request: web.Request) -> None:
        headers["X-Engine"] = "1"

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Application"] = "2"

    app = web.Application()
    app.on_response_prepare.append(prepare)
    io.attach_sse(app)
    server = await serve(app)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        assert (events.response.headers["X-Engine"], events.response.headers["X-Application"]) == ("1", "2")


async def test_http_1_0_has_no_chunks(serve: Serve) -> None:
    """Old proxies would hand the lengths of chunks on as data."""
    io = Server()
    server = await serve_events(serve, io)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /events HTTP/1.0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Transfer-Encoding" not in head
    assert (await reader.readuntil(b"\n\n")).startswith(b"retry: 3000\nevent: connect\n")
    await io.emit("tick", 1)
    assert await reader.readuntil(b"\n\n") == b"event: tick\ndata: 1\n\n"
    await io.drain(0.1)
    assert await reader.read() == b""
    writer.close()


async def test_padding_comes_first(serve: Serve) -> None:
    """Proxies that hold back the first kilobytes would keep a page waiting."""
    io = Server()
    server = await serve_events(serve, io, padding=2048, retry=0.5)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        assert events.text.startswith("retry: 500\n:" + " " * 2048 + "\nevent: connect\n")


async def test_secrets_of_the_query_are_not_in_the_access_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads logs could take a ticket or a session."""
    caplog.set_level("INFO", "aiohttp.access")
    io = Server()
    server = await serve_events(serve, io)
    query = "ticket=SECRET1&room=x&lastEventId=SECRET2&%74oken=SECRET3"
    assert (await status_of(f"{server.url}/events?{query}"))[0] == 403
    assert (await status_of(f"{server.url}/events?sid=SECRET4", "POST", data=b"[]"))[0] == 404
    lines = [each.getMessage() for each in caplog.records if each.name == "aiohttp.access"]
    assert "ticket=***&room=x" in lines[0]
    assert not any("SECRET" in line for line in lines)


# --- POST -------------------------------------------------------------------------------------------------------------


async def test_an_event_by_post_is_answered(serve: Serve) -> None:
    """Clients that cannot hold websockets could only listen."""
    io = Server()

    @io.on("say")
    async def say(socket: Socket, text: str) -> dict[str, Any]:
        await io.emit("said", text)
        return {"ok": text, "sid": socket.id}

    @io.on("pair")
    async def pair(socket: Socket) -> tuple[int, int]:
        return 1, 2

    io.on("nothing")(lambda socket: None)
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        connect = await events.data("connect")
        assert await events.post("say", "hi") == (200, {"ok": "hi", "sid": connect["sid"]})
        assert await events.data("said") == "hi"
        assert await events.post("pair") == (200, [1, 2])
        assert await events.post("nothing") == (200, None)
        assert "ok" not in events.text
        url = f"{server.url}/events?sid={connect['session']}"
        assert (await status_of(url, "POST", data='["say","ho"]'))[1]["ok"] == "ho"


async def test_errors_have_a_status(serve: Serve) -> None:
    """``fetch`` would take each answer for a success."""
    io = Server(rate_limit=RateLimit(events="3/h"))
    io.on("one")(lambda socket, number: int(number))
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        status, told = await events.post("nobody")
        assert (status, told["error"]["code"]) == (404, "unknown_event")
        status, told = await events.post("one")
        assert (status, told["error"]["code"]) == (400, "invalid_payload")
        status, told = await events.post("one", "x")
        assert (status, told["error"]["code"]) == (500, "internal_error")
        status, told = await events.post("one", 1)
        assert (status, told["error"]["code"]) == (429, "rate_limited")


@pytest.mark.parametrize(
    "body", ["", "x", "1", "{}", '{"event":1.5}', '{"event":"a","args":1}', '{"event":"a","id":1}', "[]", '["connect"]',
             b"\xff", "[" * 100_000, '["a",NaN]']
)  # fmt: skip
async def test_a_body_that_is_no_event_is_refused(serve: Serve, body: Any) -> None:
    """A mistake would end the stream, or be served as something else."""
    io = Server()
    io.on("a")(lambda socket: 1)
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        session = (await events.data("connect"))["session"]
        url = f"{server.url}/events?sid={session}"
        status, told = await status_of(url, "POST", data=body)
        assert (status, told["error"]["code"]) == (400, "invalid_body")
        assert await events.post("a") == (200, 1)


async def test_a_post_has_to_know_the_stream(serve: Serve) -> None:
    """Anybody could speak for anybody."""
    io = Server()
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        connect = await events.data("connect")
        for sid in ("", connect["sid"], "x" * 20):
            assert (await status_of(f"{server.url}/events?sid={sid}", "POST", data=b"[]"))[0] == 404
        url = f"{server.url}/events?sid={connect['session']}"
        assert (await status_of(url, "POST", data=b"x", headers={"Content-Encoding": "gzip"}))[0] == 415
        assert (await status_of(f"{server.url}/socket.io/?EIO=4&transport=polling&sid={connect['session']}"))[0] == 400
        assert await events.post("unknown") == (
            404,
            {"error": {"code": "unknown_event", "message": "no handler for 'unknown'"}},
        )


async def test_a_post_is_bounded(serve: Serve) -> None:
    """A client could fill the memory with one body."""
    io = Server(max_http_buffer_size=2000)
    io.on("a")(lambda socket, text: len(text))
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        assert await events.post("a", "x" * 1900) == (200, 1900)
        url = f"{server.url}/events?sid={json.loads(events.events[0].data)['session']}"
        assert (await status_of(url, "POST", data=json.dumps(["a", "x" * 2000])))[0] == 413


async def test_a_handler_that_takes_long_is_not_awaited_for_ever(serve: Serve) -> None:
    """Requests would pile up in front of a handler that hangs."""
    io = Server()
    io.on("slow")(lambda socket: asyncio.Event().wait())
    server = await serve_events(serve, io, ack_timeout=0.05)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        status, told = await events.post("slow")
        assert (status, told["error"]["code"]) == (504, "ack_timeout")
        connection: Any = io._server.eio.connections[json.loads(events.events[0].data)["session"]]
        assert not connection.client._questions


async def test_a_post_ends_with_its_stream(serve: Serve) -> None:
    """It would wait for an answer that cannot come."""
    io = Server()
    io.on("leave")(lambda socket: socket.disconnect())
    io.on("wait")(lambda socket: asyncio.Event().wait())
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        waiting = asyncio.create_task(events.post("wait"))
        await eventually(lambda: any(each.tasks for each in [io._server.eio]))
        assert (await events.post("leave"))[0] in (200, 410)
        assert (await waiting)[0] == 410


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rooms": "a"}, {"namespace": "chat"}, {"heartbeat": "1"}, {"retry": 1e9}])
def test_mistakes_in_options_are_told(options: Any) -> None:
    """A room would be taken for a list of letters."""
    with pytest.raises(ConfigurationError):
        Server().attach_sse(web.Application(), **options)


# --- history ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [None, Recovery(max_disconnection_duration=0.001)])
async def test_rooms_with_history_are_resumed_from_it(serve: Serve, recovery: Recovery | None) -> None:
    """A stream could be resumed for the two minutes of a session only."""
    io = Server(history=History("chat:{room}"), connection_state_recovery=recovery)
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    url = f"{server.url}/events?room=chat:1&room=chat:2"
    await io.to("chat:1").emit("said", "before")
    async with stream(url) as events:
        await events.next("connect")
        await io.to("chat:1").emit("said", 1, 1)
        last = await events.next("said")
        assert last.data == "[1,1]"
    await eventually(lambda: not io.sockets)
    await asyncio.sleep(0.01)
    await io.to("chat:2").emit("said", 2)
    await io.to("chat:1", "chat:2").emit("said", 3)
    await io.to("chat:1").emit("said", 4)
    async with stream(url, last_id=last.id) as events:
        assert not (await events.data("connect"))["recovered"]
        assert [await events.data() for _ in range(3)] == [2, 3, 4]
        await io.to("chat:2").emit("said", 5)
        assert await events.data() == 5
        got = list(events.events)
    for index, wanted in ((0, [2, 3, 4, 5]), (2, [4, 5]), (4, [])):  # from each moment of it
        await eventually(lambda: not io.sockets)
        await asyncio.sleep(0.01)
        async with stream(url, last_id=got[index].id) as events:
            await events.next("connect")
            assert [await events.data() for _ in wanted] == wanted
            await io.to("chat:9").emit("not for it")
            await io.emit("end")
            assert (await events.next()).event == "end"


async def test_a_stream_may_begin_with_what_was_said(serve: Serve) -> None:
    """A page would be empty until something happens."""
    io = Server(history=History("chat:{room}"))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    for number in range(5):
        await io.to("chat:1").emit("said", number)
    async with stream(f"{server.url}/events?room=chat:1&history=2") as events:
        assert (await events.next("connect")).id == ""  # cut off here, it begins anew
        assert [await events.data() for _ in range(2)] == [3, 4]
        await io.to("chat:1").emit("said", 5)
        assert await events.data() == 5
    async with stream(f"{server.url}/events?room=chat:1&history=2", last_id=events.events[1].id) as again:
        await again.next("connect")
        assert [await again.data() for _ in range(2)] == [4, 5]
    assert (await status_of(f"{server.url}/events?history=x"))[0] == 400


async def test_a_client_that_came_before_the_first_event_misses_none(serve: Serve) -> None:
    """A cut before anything was said would lose the first events."""
    io = Server(history=History("chat:{room}"))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    async with stream(f"{server.url}/events?room=chat:1") as events:
        id = (await events.next("connect")).id
    await io.to("chat:1").emit("said", 1)
    async with stream(f"{server.url}/events?room=chat:1", last_id=id) as events:
        await events.next("connect")
        assert await events.data() == 1
        assert "gap" not in events.text


async def test_what_history_has_discarded_is_said(serve: Serve) -> None:
    """A page would take a part for the whole."""
    io = Server(history=History("chat:{room}", size=3, page=2))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    url = f"{server.url}/events?room=chat:1&room=other"
    async with stream(url) as events:
        first = await events.next("connect")
        await io.to("chat:1").emit("said", 0)
        last = await events.next("said")
    await eventually(lambda: not io.sockets)
    for number in range(1, 4):
        await io.to("chat:1").emit("said", number)
    async with stream(url, last_id=last.id) as events:
        await events.next("connect")
        assert await events.data("gap") == {"rooms": ["other"]}  # all three of the room are there
        assert [await events.data() for _ in range(3)] == [1, 2, 3]
    await io.to("chat:1").emit("said", 4)
    for id in (first.id, last.id):
        async with stream(url, last_id=id) as events:
            await events.next("connect")
            assert await events.data("gap") == {"rooms": ["chat:1", "other"]}
            assert [await events.data() for _ in range(3)] == [2, 3, 4]


async def test_no_hole_and_nothing_twice_under_a_flood(serve: Serve) -> None:
    """What is said while a page of history is read would be lost, or come twice."""
    io = Server(history=History("chat:{room}", size=10_000))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    url = f"{server.url}/events?room=chat:1&room=chat:2"
    got: list[int] = []
    last_id = ""
    async with stream(url) as events:
        last_id = (await events.next("connect")).id

    async def flood() -> None:
        for number in range(1000):
            await io.to(f"chat:{number % 3 % 2 + 1}").emit("n", number)
            await asyncio.sleep(0.0005)

    flooding = asyncio.create_task(flood())
    while len(got) < 1000:
        async with stream(url, last_id=last_id) as events:
            await events.next("connect")
            for _ in range(min(100, 1000 - len(got))):
                event = await events.next()
                got.append(json.loads(event.data))
                last_id = event.id
    await flooding
    assert got == list(range(1000))


async def test_a_history_that_cannot_be_read_is_asked_later(serve: Serve) -> None:
    """A stream would begin with a hole that nobody is told of, or never come back."""

    class Store:
        """A store of the program's own, which is not read."""

        def __init__(self) -> None:
            self._kept = MemoryHistory()

        async def start(self) -> None:
            """Do nothing."""

        close = start

        async def append(self, nsp: str, rooms: Any, entry: Any) -> str:
            """Keep an entry."""
            return self._kept.add(nsp, rooms, entry)

        async def read(self, nsp: str, room: Any, query: Any) -> Any:
            """Fail."""
            raise ClusterUnavailable("no")

        async def clear(self, nsp: str, room: str) -> None:
            """Do nothing."""

    io = Server(history=History("chat:{room}", store=Store()))
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    assert (await status_of(f"{server.url}/events?room=chat:1"))[0] == 503
    async with stream(f"{server.url}/events?room=chat:1") as events:
        await events.end()
        assert events.text == "retry: 3000\n: 503 Service Unavailable\n\n"
    assert not io.sockets
