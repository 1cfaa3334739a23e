"""``AsyncServer``: python-socketio's API where ours promises more than python-socketio does."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.exceptions import DisconnectedError

from rtframework import ConfigurationError, ConnectionRefused, EncodeError, JSONSerializer, Limits, Server
from rtframework.engine import AsyncServer
from tests.conftest import Serve, ServeProgram
from tests.support.js import JSClients
from tests.support.libraries import LIBRARIES, MAKERS
from tests.support.pyclient import PyClients
from tests.support.raw import RawClient, RawWebSocket, raw_client
from tests.support.transports import POLLING, WEBSOCKET, Transport
from tests.support.until import until

LOGGER: Final = "socketio.server"


def nothing_left(sio: AsyncServer) -> bool:
    """Whether no client, session, room or callback of anybody is kept."""
    return not (
        sio.eio.sockets
        or sio.eio.connections
        or sio.environ
        or list(sio.manager.get_namespaces())
        or sio.manager.callbacks
        or sio._programs._members
    )


async def join(raw: RawClient, packet: str = "40") -> RawWebSocket:
    """A websocket whose client was let into a namespace."""
    websocket, _ = await raw.open_websocket()
    await websocket.send(packet)
    answer = await websocket.receive()
    assert str(answer).startswith("40"), answer
    return websocket


# --- being let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manager", [None, socketio.AsyncManager], ids=["ours", "python-socketio's"])
async def test_a_connect_handler_that_fails_lets_nobody_in(
    manager: Callable[[], Any] | None,
    serve: Serve,
    js: JSClients,
    transport: Transport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client without a token would sit in the namespace and read every broadcast."""
    sio = AsyncServer(client_manager=manager() if manager else None)

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        await sio.enter_room(sid, "all")
        assert auth["token"]

    url = (await serve(sio)).url
    client = await js.connect(url, via=transport, auth={"no": "token"}, wait=False)
    refused = await client.refused()
    assert refused["message"] == "Internal server error"
    await sio.emit("secret")
    await sio.emit("secret", room="all")
    await client.expect_nothing("secret")
    assert list(sio.manager.get_participants("/", None)) == []
    assert [record.message for record in caplog.records if record.exc_info] == [
        "unhandled error in the connect handler of /"
    ]
    await client.close_engine()
    await until(lambda: nothing_left(sio))


@pytest.mark.parametrize("manager", [None, socketio.AsyncManager], ids=["ours", "python-socketio's"])
async def test_nobody_receives_before_being_let_in(
    manager: Callable[[], Any] | None, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """What goes to everybody would reach those whose password is still being checked."""
    sio = AsyncServer(client_manager=manager() if manager else None)
    asked, decided = asyncio.Event(), asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> bool:
        await sio.enter_room(sid, "all")
        if auth:
            await sio.emit("first", to=sid)
            asked.set()
            await decided.wait()
        return auth.get("name") != "Mallory" if auth else True

    @sio.event
    async def elsewhere(sid: str) -> None: ...

    sio.on("connect", lambda sid, environ: True, namespace="/open")
    url = (await serve(sio)).url
    for name, let_in in (("Ada", True), ("Mallory", False)):
        asked.clear()
        decided.clear()
        bystander = await js.connect(url + "/open", via=transport)
        client = await bystander.of("/", wait=False, auth={"name": name})
        async with asyncio.timeout(5):
            await asked.wait()
        await sio.emit("news", (1, b"binary"))
        await sio.emit("news", 2, room="all")
        await sio.emit("news", 3, namespace="/open")
        # Another namespace of the same connection goes on meanwhile.
        assert await bystander.wait_for("news") == [3]
        assert client.inbox.log == []
        decided.set()
        if let_in:
            await client.connected()
            assert await client.wait_for("first") == []
            assert await client.wait_for("news") == [1, b"binary"]
            assert await client.wait_for("news") == [2]
            assert [item.name for item in client.inbox.log if item.name != "open"] == [
                "connect",
                "first",
                "news",
                "news",
            ]
        else:
            await client.refused()
            await bystander.barrier()
            assert client.received("news") == []
            assert client.received("first") == []
        await bystander.close_engine()
        await until(lambda: nothing_left(sio))


async def test_an_unknown_namespace_is_refused_with_a_message(serve: Serve, js: JSClients) -> None:
    """``err.message`` would be empty in the browser, and nobody would know why."""
    url = (await serve(AsyncServer())).url
    client = await js.connect(url + "/unknown", via=WEBSOCKET, wait=False)
    assert (await client.refused())["message"] == "Invalid namespace"


async def test_connect_handlers_are_called_once_and_with_what_they_take(serve: Serve, py: PyClients) -> None:
    """A TypeError inside a handler would run it again; an old handler would fail as soon as a client sends auth."""
    sio = AsyncServer(namespaces="*")
    calls: list[str] = []

    @sio.on("connect", namespace="/old")
    def old(sid: str, environ: dict[str, Any]) -> None:
        calls.append("old")

    @sio.on("connect", namespace="/new")
    async def new(sid: str, environ: dict[str, Any], auth: Any) -> None:
        calls.append(f"new {auth}")

    @sio.on("connect", namespace="/broken")
    async def broken(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        calls.append("broken")
        raise TypeError("inside")

    url = (await serve(sio)).url
    await py.connect(url, nsp="/old", via=WEBSOCKET, auth={"a": 1})
    await py.connect(url, nsp="/new", via=WEBSOCKET, auth={"a": 1})
    await py.connect(url, nsp="/new", via=WEBSOCKET)
    with pytest.raises(AssertionError, match="Internal server error"):
        await py.connect(url, nsp="/broken", via=WEBSOCKET)
    assert calls == ["old", "new {'a': 1}", "new None", "broken"]


async def test_refusals_that_only_ours_knows(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """The framework's exception would count as a mistake; a refusal that cannot be sent would refuse nobody."""
    sio = AsyncServer()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        if auth["how"] == "ours":
            raise ConnectionRefused("no", {"code": 1})
        if auth["how"] == "cancelled":
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        raise Refused("no", {"cannot": object()})

    url = (await serve(sio)).url
    told = {}
    for how in ("ours", "cancelled", "unsendable"):
        client = await js.connect(url, via=WEBSOCKET, auth={"how": how}, wait=False)
        told[how] = await client.refused()
    assert told["ours"]["message"] == "no"
    assert told["ours"]["data"] == {"code": 1}
    assert told["cancelled"]["message"] == "Internal server error"
    assert told["unsendable"]["message"] == "Connection rejected by server"
    assert list(sio.manager.get_participants("/", None)) == []


async def test_always_connect_and_then_refuse(serve: Serve, js: JSClients) -> None:
    """The client would stay, or take the refusal for a broken packet and come back for ever."""
    sio = AsyncServer(always_connect=True)
    gone: list[str] = []

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> bool:
        await sio.emit("hello", to=sid)
        return False

    @sio.event
    async def disconnect(sid: str) -> None:
        gone.append(sid)

    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    assert await client.wait_for("hello") == []
    assert await client.disconnected() == "io server disconnect"
    await until(lambda: nothing_left(sio))
    assert gone == []


async def test_a_client_that_leaves_while_it_is_asked_is_taken_down(serve: Serve) -> None:
    """What a connect handler set up would stay for ever, or be taken down while it is being set up."""
    sio = AsyncServer()
    seen: list[Any] = []
    asked, decided = asyncio.Event(), asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await sio.save_session(sid, {"n": 1})
        asked.set()
        await decided.wait()
        seen.append("connected")

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        seen.append((reason, await sio.get_session(sid)))

    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        async with asyncio.timeout(5):
            await asked.wait()
        await websocket.close()
        await until(lambda: not sio.eio.connections)
        assert seen == []
        decided.set()
        await until(lambda: nothing_left(sio))
    assert seen == ["connected", ("transport close", {"n": 1})]


async def test_a_slow_connect_handler_holds_up_nothing_else(serve: Serve) -> None:
    """The client's heartbeat and its other namespaces would wait for a slow database."""
    sio = AsyncServer(ping_interval=0.1, ping_timeout=0.2)
    release = asyncio.Event()

    @sio.on("connect", namespace="/slow")
    async def slow(sid: str, environ: dict[str, Any]) -> None:
        await release.wait()

    @sio.event
    async def quick(sid: str) -> str:
        return "yes"

    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        await websocket.send("40/slow,")
        await websocket.send('421["quick"]')
        assert await websocket.receive() == '431["yes"]'
        while websocket.pings < 4:
            with pytest.raises(TimeoutError):
                await websocket.receive(timeout=0.1)
        release.set()
        assert str(await websocket.receive()).startswith("40/slow,")


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error"])
async def test_reserved_names_run_no_lifecycle_handler(name: str, serve: Serve) -> None:
    """A client could forge its own environ, or have itself taken for gone."""
    sio = AsyncServer()
    calls: list[tuple[Any, ...]] = []
    sio.on("connect", lambda *args: calls.append(args))
    sio.on("*", lambda *args: calls.append(args))
    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        await websocket.send(f'42["{name}",{{"forged":true}},{{}}]')
        await websocket.closed()
    assert len(calls) == 1


@pytest.mark.parametrize("serializer", ["default", "msgpack"])
@pytest.mark.parametrize("manager", [None, socketio.AsyncManager], ids=["ours", "python-socketio's"])
async def test_events_may_be_named_by_integers(
    manager: Callable[[], Any] | None, serializer: Any, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """A page whose events are a numeric enum would lose its connection, which python-socketio serves."""
    sio = AsyncServer(client_manager=manager() if manager else None, serializer=serializer)

    @sio.on(1)
    async def one(sid: str, text: str, data: bytes) -> str:
        await sio.emit(2, (text, data), to=sid)
        return f"number: {await sio.call(3, to=sid)}"

    sio.on("1", lambda sid: "string")
    url = (await serve(sio)).url
    if serializer == "msgpack":
        client = await js.connect(url, via=transport, parser="msgpack")
    else:
        client = await js.connect(url, via=transport)
    await client.answer(3, "answer")
    assert await client.emit_with_ack(1, "x", b"y") == "number: answer"
    assert await client.wait_for(2) == ["x", b"y"]
    assert await client.emit_with_ack("1") == "string"


@pytest.mark.parametrize("namespace", ["/", "*"])
async def test_an_event_called_star_is_an_event(namespace: str, serve: Serve, py: PyClients) -> None:
    """A catch-all handler would take what a client says for what the server says."""
    sio = AsyncServer()
    sio.on("*", lambda *args: args, namespace=namespace)
    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    prefix = ["*"] if namespace == "/" else ["*", "/"]
    assert await client.ack_args("*", "another's sid", 1) == [*prefix, client.id(), "another's sid", 1]
    assert not sio._serves("*")
    plain = await py.connect((await serve(AsyncServer())).url, via=WEBSOCKET)
    await plain.emit("*")
    await plain.barrier()


async def test_a_handler_that_fails_harms_nothing_else(
    serve: Serve, py: PyClients, caplog: pytest.LogCaptureFixture
) -> None:
    """One mistake in one handler would end the connection, or go unseen."""
    sio = AsyncServer()

    @sio.event
    async def fail(sid: str) -> None:
        raise RuntimeError("a mistake")

    @sio.event
    async def unsendable(sid: str) -> object:
        return object()

    @sio.event
    async def fine(sid: str) -> str:
        return "fine"

    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    answers: list[Any] = []
    await client.client.emit("fail", callback=lambda *args: answers.append(args))
    await client.client.emit("unsendable", callback=lambda *args: answers.append(args))
    assert await client.emit_with_ack("fine") == "fine"
    assert answers == []  # as with python-socketio: there is no answer that a client could tell from a real one
    assert [record.message for record in caplog.records if record.name == LOGGER] == [
        "unhandled error in the handler of 'fail' in /",
        "the acknowledgement of 'unsendable' in / cannot be sent",
    ]


async def test_a_cancelled_wait_is_an_answer_without_a_value(serve: Serve, py: PyClients) -> None:
    """As with python-socketio: the client would wait for ever."""
    sio = AsyncServer()

    @sio.event
    async def give_up(sid: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, future.cancel)
        await future

    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    assert await client.ack_args("give_up") == []


async def test_events_in_turn_hold_up_no_heartbeat_and_no_answer(serve: Serve) -> None:
    """A slow handler would have its own client disconnected, and ``call`` in a handler would wait for itself."""
    sio = AsyncServer(async_handlers=False, ping_interval=0.1, ping_timeout=0.2)
    seen: list[Any] = []

    @sio.event
    async def slow(sid: str) -> None:
        seen.append(await sio.call("question", to=sid, timeout=5))
        await sio.sleep(0.5)
        seen.append("slow")

    @sio.event
    async def quick(sid: str) -> str:
        seen.append("quick")
        return "done"

    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        await websocket.send('42["slow"]')
        await websocket.send('427["quick"]')
        assert str(await websocket.receive()) == '421["question"]'
        await websocket.send("431[5]")
        assert await websocket.receive() == '437["done"]'
        assert websocket.pings >= 3
    assert seen == [5, "slow", "quick"]


async def test_an_event_in_turn_may_send_its_client_away(serve: Serve, js: JSClients) -> None:
    """The handler would wait for the disconnect handler, and that for the handler."""
    sio = AsyncServer(async_handlers=False)
    seen: list[str] = []

    @sio.event
    async def go(sid: str) -> None:
        await sio.disconnect(sid)
        seen.append("sent away")

    @sio.event
    async def after(sid: str) -> None:
        seen.append("after")

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        seen.append(reason)

    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    await client.emit("go")
    await client.emit("after")
    assert await client.disconnected() == "io server disconnect"
    await until(lambda: nothing_left(sio))
    assert seen == ["server disconnect", "sent away"]


async def test_an_answer_to_no_question_is_harmless(serve: Serve) -> None:
    """Number 0 would break every later question to this client."""
    sio = AsyncServer()
    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        ((sid, _),) = sio.manager.get_participants("/", None)
        for id in (0, 1, 99):
            await websocket.send(f"43{id}[]")
        await websocket.send("40/unknown,")
        await websocket.receive()  # the answers have been heard
        answer = asyncio.create_task(sio.call("question", to=sid, timeout=5))
        question = str(await websocket.receive())
        assert question.endswith('["question"]')
        await websocket.send(f'43{question.removeprefix("42").partition("[")[0]}["yes"]')
        assert await answer == "yes"


# --- who gets what --------------------------------------------------------------------------------------------------


async def test_an_empty_list_of_rooms_is_nobody(serve: Serve, js: JSClients) -> None:
    """A message for the members of an empty group would reach everybody."""
    sio = AsyncServer()
    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    empty: tuple[Any, ...] = ([], (), set(), "")
    for to in empty:
        await sio.emit("private", to=to)
        await sio.emit("private", room=to)
    await client.expect_nothing("private")
    await sio.emit("public", to=None)
    await client.wait_for("public")


async def test_a_set_of_rooms_and_of_clients_to_skip(serve: Serve, js: JSClients) -> None:
    """Sets are what programs keep these in."""
    sio = AsyncServer()
    url = (await serve(sio)).url
    ada, ben = await js.connect(url, via=WEBSOCKET), await js.connect(url, via=WEBSOCKET)
    a, b = await ada.id(), await ben.id()
    await sio.emit("one", to={a, b}, skip_sid={b})
    await ada.wait_for("one")
    await ben.expect_nothing("one")


async def test_polling_and_websocket_clients_in_one_room_get_the_same_bytes(serve: Serve, js: JSClients) -> None:
    """A picture would be broken for one of them."""
    sio = AsyncServer(client_manager=socketio.AsyncManager())
    url = (await serve(sio)).url
    clients = [await js.connect(url, via=via) for via in (POLLING, WEBSOCKET, POLLING)]
    await sio.emit("picture", {"png": b"\x00\xff\x80"})
    for client in clients:
        assert await client.wait_for("picture") == [{"png": b"\x00\xff\x80"}]


async def test_what_json_can_and_cannot_carry(serve: Serve, js: JSClients) -> None:
    """What python-socketio sends would raise; what no browser can read would be sent and end every connection."""
    sio = AsyncServer()

    class Name(str):
        __slots__ = ()

    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    await sio.emit("data", {None: 1, True: Name("x"), 5: Name("y"), "b": [b"z"]})
    assert await client.wait_for("data") == [{"null": 1, "true": "x", "5": "y", "b": [b"z"]}]
    for wrong in (math.nan, {None: math.inf}, object()):
        with pytest.raises(EncodeError):
            await sio.emit("data", wrong)
    await client.expect_nothing("data")


# --- call -----------------------------------------------------------------------------------------------------------


async def test_call_ends_when_the_client_leaves(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A handler would wait out a minute for somebody who has gone."""
    sio = AsyncServer()
    client = await js.connect((await serve(sio)).url, via=transport)
    sid = await client.id()
    asking = asyncio.create_task(sio.call("question", to=sid, timeout=60))
    await client.wait_for("question")
    await client.disconnect()
    with pytest.raises(DisconnectedError):
        await asyncio.wait_for(asking, 5)
    with pytest.raises(DisconnectedError):
        await sio.call("question", to=sid)
    with pytest.raises(DisconnectedError):
        await sio.call("question", to="nobody")
    with pytest.raises(ValueError, match="broadcast"):
        await sio.call("question")
    await until(lambda: nothing_left(sio))


async def test_a_question_that_timed_out_leaves_nothing(serve: Serve, js: JSClients) -> None:
    """Each unanswered question would stay in memory as long as its client."""
    sio = AsyncServer()
    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    await client.silent("question")
    for _ in range(3):
        with pytest.raises(socketio.exceptions.TimeoutError):
            await sio.call("question", to=await client.id(), timeout=0.01)
    assert not any(sio.manager.callbacks.values())


async def test_call_to_a_room_takes_the_first_answer(serve: Serve, js: JSClients) -> None:
    """python-socketio allows it."""
    sio = AsyncServer()
    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    await sio.enter_room(await client.id(), "room")
    await client.answer("question", "yes")
    assert await sio.call("question", to="room", timeout=5) == "yes"


# --- leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manager", [None, socketio.AsyncManager], ids=["ours", "python-socketio's"])
async def test_a_disconnect_handler_that_fails_leaves_no_ghost(
    manager: Callable[[], Any] | None,
    serve: Serve,
    js: JSClients,
    transport: Transport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client would stay in its rooms, with session and environ, for ever."""
    sio = AsyncServer(client_manager=manager() if manager else None)

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        raise RuntimeError("a mistake")

    url = (await serve(sio)).url
    client = await js.connect(url, via=transport)
    await client.disconnect()
    await until(lambda: nothing_left(sio))
    second = await js.connect(url, via=transport)
    await sio.disconnect(await second.id())
    assert await second.disconnected() == "io server disconnect"
    await until(lambda: nothing_left(sio))
    assert [r.message for r in caplog.records if r.exc_info] == ["unhandled error in the disconnect handler of /"] * 2


async def test_why_a_client_has_left(serve: Serve, js: JSClients) -> None:
    """Programs compare with ``sio.reason``."""
    sio = AsyncServer(ping_interval=0.1, ping_timeout=0.1)
    reasons: list[str] = []
    sio.on("disconnect", lambda sid, reason: reasons.append(reason))
    server = await serve(sio)
    async with raw_client(server.url) as raw:
        websocket = await join(raw)
        await websocket.send("41")
        await until(lambda: reasons == [sio.reason.CLIENT_DISCONNECT])
    for spoil, reason in (
        ("nothing", sio.reason.PING_TIMEOUT),
        ("close", sio.reason.TRANSPORT_CLOSE),
        ("rubbish", sio.reason.TRANSPORT_ERROR),
        ("server", sio.reason.SERVER_DISCONNECT),
        ("shutdown", sio.reason.SERVER_DISCONNECT),
    ):
        reasons.clear()
        async with raw_client(server.url) as raw:
            websocket = await join(raw)
            if spoil == "nothing":
                websocket.answer_pings = False
                await websocket.closed()
            elif spoil == "close":
                await websocket.close()
            elif spoil == "rubbish":
                await websocket.send("4rubbish")
            elif spoil == "server":
                ((_, eio_sid),) = sio.manager.get_participants("/", None)
                await sio.eio.disconnect(eio_sid)
            else:
                await sio.shutdown()
            await until(lambda: reasons)
            assert reasons == [reason], spoil
    await until(lambda: nothing_left(sio))


async def test_what_a_disconnect_handler_can_still_ask(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A program could not tell who it was that left."""
    sio = AsyncServer()
    seen: list[Any] = []

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        environ["mark"] = "mine"
        await sio.enter_room(sid, "room")
        await sio.save_session(sid, {"name": "Ada"})

    @sio.event
    async def disconnect(sid: str) -> None:
        await sio.sleep(0.01)
        environ = sio.get_environ(sid)
        seen.extend([await sio.get_session(sid), set(sio.rooms(sid)) - {sid}, environ["mark"], sio.transport(sid)])
        assert not sio.manager.is_connected(sid, "/")
        await sio.emit("to the dead", to=sid)

    client = await js.connect((await serve(sio)).url, via=transport)
    await client.disconnect()
    await until(lambda: nothing_left(sio))
    assert seen == [{"name": "Ada"}, {"room"}, "mine", transport.final]


async def test_who_comes_back_on_the_same_connection_is_somebody_new(serve: Serve) -> None:
    """The next one to sign in would find the session of the one before."""
    sio = AsyncServer()
    seen: list[Any] = []
    go = asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        seen.append(dict(await sio.get_session(sid)))
        await sio.save_session(sid, {"name": "Ada"})

    @sio.event
    async def disconnect(sid: str) -> None:
        await go.wait()

    sio.on("connect", lambda sid, environ: None, namespace="/other")
    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        await websocket.send("41")
        go.set()
        await websocket.send("40/other,")
        await websocket.receive()
        await until(lambda: "/" not in sio.manager.get_namespaces())
        await websocket.send("40")
        await websocket.receive()
        # … and if it comes back while the disconnect handler still runs, it is let in.
        go.clear()
        await websocket.send("41")
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40")
        go.set()
        await until(lambda: len(list(sio.manager.get_participants("/", None))) == 1)
        ((sid, eio_sid),) = sio.manager.get_participants("/", None)
        assert sio.manager.sid_from_eio_sid(eio_sid, "/") == sid
        assert await sio.get_session(sid) == {"name": "Ada"}
    assert seen[:2] == [{}, {}]


async def test_connections_leave_no_memory_behind(serve: Serve) -> None:
    """A server would grow with each client that ever came."""
    sio = AsyncServer()
    sio.on("connect", lambda sid, environ: None)
    sessions: list[weakref.ref[Any]] = []
    server = await serve(sio)
    for number in range(20):
        async with raw_client(server.url) as raw:
            websocket = await join(raw)
            ((_, eio_sid),) = sio.manager.get_participants("/", None)
            sessions.append(weakref.ref(sio.eio.sockets[eio_sid]))
            if number % 2:
                await websocket.send("41")
        await until(lambda: nothing_left(sio))
    gc.collect()
    assert sum(ref() is not None for ref in sessions) <= 1


# --- environ, cookies, origins --------------------------------------------------------------------------------------


async def test_environ_tells_the_clients_own_address(serve: Serve) -> None:
    """Every client would come from 127.0.0.1, whatever is in front of the server."""
    sio = AsyncServer()
    environs: list[dict[str, Any]] = []
    sio.on("connect", lambda sid, environ: environs.append(environ))

    @web.middleware
    async def behind_proxy(request: web.Request, handler: Any) -> Any:
        return await handler(request.clone(remote="203.0.113.7", scheme="https"))

    app = web.Application(middlewares=[behind_proxy])
    sio.attach(app)
    async with raw_client((await serve(app)).url) as raw:
        await raw.handshake(query={"room": "a b"}, headers={"X-Two": "1", "Cookie": "a=b"})
        await raw.post("40")
        await raw.poll()
        (environ,) = environs
        assert environ["REMOTE_ADDR"] == "203.0.113.7"
        assert environ["wsgi.url_scheme"] == "https"
        assert environ["HTTP_COOKIE"] == "a=b"
        assert environ["HTTP_X_TWO"] == "1"
        assert environ["QUERY_STRING"].endswith("room=a b")
        assert environ["aiohttp.request"].app is app
        (eio_sid,) = sio.environ
        assert sio.environ[eio_sid] is environ
        assert len(sio.environ) == 1


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (None, None),
        ("io", "io={sid}; path=/; SameSite=Lax"),
        ({"name": "sid", "HttpOnly": True, "Max-Age": lambda: "60"}, "sid={sid}; HttpOnly; Max-Age=60"),
    ],
)
async def test_a_cookie_with_the_session_id(cookie: Any, expected: str | None, serve: Serve) -> None:
    """Load balancers that are sticky by cookie would send the next request elsewhere."""
    async with raw_client((await serve(AsyncServer(cookie=cookie))).url) as raw:
        answer = await raw.request("GET")
        sid = json.loads(answer.text[1:])["sid"]
        assert answer.headers.get("Set-Cookie") == (expected and expected.format(sid=sid))


HERE: Final = "http://{host}"
THERE: Final = "https://friend.example"
EVIL: Final = "https://evil.example"


def _by_origin(origin: str) -> bool:
    return origin == THERE


def _by_environ(origin: str, environ: Mapping[str, Any]) -> bool:
    return origin == THERE and environ["REQUEST_METHOD"] == "GET"


@pytest.mark.parametrize(
    ("allowed", "accepted"),
    [
        (None, {HERE}),
        ("*", {HERE, THERE, EVIL}),
        (["*"], {HERE, THERE, EVIL}),
        ([], {HERE, THERE, EVIL}),
        (THERE, {THERE}),
        ([THERE, "https://other.example"], {THERE}),
        (_by_origin, {THERE}),
        (_by_environ, {THERE}),
    ],
    ids=["none", "star", "list-star", "off", "one", "list", "function", "function-environ"],
)
async def test_origins(allowed: Any, accepted: set[str], serve: Serve) -> None:
    """Pages that the program did not name could connect with the cookies of its users."""
    server = await serve(AsyncServer(cors_allowed_origins=allowed))
    host = server.url.removeprefix("http://")
    for origin in (HERE, THERE, EVIL):
        async with raw_client(server.url) as raw:
            answer = await raw.request("GET", headers={"Origin": origin.format(host=host)})
            assert answer.status == (200 if origin in accepted else 403), origin
            told = answer.headers.get("Access-Control-Allow-Origin")
            if allowed == [] or origin not in accepted:
                assert told is None
            elif origin != HERE:
                assert told == origin
    async with raw_client(server.url) as raw:
        assert (await raw.request("GET")).status == 200  # not from a page


async def test_the_own_host_behind_a_proxy(serve: Serve) -> None:
    """A proxy that sets X-Forwarded-Host and not Host, which python-socketio allows, would lock its own page out."""
    server = await serve(AsyncServer())
    async with raw_client(server.url) as raw:
        headers = {"Origin": "https://app.example", "X-Forwarded-Host": "app.example, proxy.internal"}
        assert (await raw.request("GET", headers=headers)).status == 200
        assert (await raw.request("GET", headers={**headers, "Origin": EVIL})).status == 403


# --- options --------------------------------------------------------------------------------------------------------


async def test_engine_options(serve: Serve) -> None:
    """Options that programs give would be dropped in silence."""
    sio = AsyncServer(
        ping_interval=(0.5, 0.25),
        ping_timeout=0.3,
        max_http_buffer_size=12_345,
        transports="websocket",
        namespaces="/a",
    )
    async with raw_client((await serve(sio)).url) as raw:
        assert (await raw.request("GET")).status == 400
        websocket, opened = await raw.open_websocket()
        assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (750, 300, 12_345)
        await websocket.send("40/,")
        assert await websocket.receive() == '44{"message":"Invalid namespace"}'
        await websocket.send("40/a,")
        assert str(await websocket.receive()).startswith("40/a,")
    assert sio.async_mode == "aiohttp"
    assert sio.eio.ping_interval == 0.5
    assert sio.is_asyncio_based()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"async_mode": "asgi"}, "aiohttp"),
        ({"limits": {"max_rooms": 5}}, r"limits is a Limits, not .*: write limits=Limits\(max_outbox=\.\.\.\)"),
        ({"transports": ["smoke"]}, "transports"),
        ({"serializer": "yaml"}, "serializer"),
        ({"serializer": JSONSerializer(), "json": json}, "json"),
        ({"serializer": JSONSerializer(), "client_manager": socketio.AsyncManager()}, "Manager"),
        ({"ping_timeout": -1}, "ping_timeout"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    """A mistake would show with the first client, if at all."""
    with pytest.raises(ConfigurationError, match=message):
        AsyncServer(**options)


def test_what_is_not_there_says_so() -> None:
    """The Admin UI would be half there."""
    with pytest.raises(ConfigurationError, match="instrument"):
        AsyncServer().instrument()


async def test_a_serializer_of_ours(serve: Serve, js: JSClients) -> None:
    """A program could not use what the framework's serializers can."""
    sio = AsyncServer(serializer=JSONSerializer(enc_hook=str))
    client = await js.connect((await serve(sio)).url, via=WEBSOCKET)
    await sio.emit("path", Path("a/b"))
    assert await client.wait_for("path") == ["a/b"]


async def test_json_modules_are_each_servers_own(serve: Serve, py: PyClients) -> None:
    """A second server, and every client of the process, would change its format with the first."""

    class Shouting:
        @staticmethod
        def dumps(data: Any, **options: Any) -> str:
            return json.dumps(data, **options).upper()

        @staticmethod
        def loads(text: str) -> Any:
            return json.loads(text.upper())

    before = socketio.packet.Packet.json
    loud, quiet = AsyncServer(json=Shouting), AsyncServer()
    for sio in (loud, quiet):
        sio.on("*", lambda event, sid, *args: (event, *args))
    clients = [await py.connect((await serve(sio)).url, via=WEBSOCKET) for sio in (quiet,)]
    assert await clients[0].ack_args("a", "b") == ["a", "b"]
    assert socketio.packet.Packet.json is before
    assert loud.packet_class.json is Shouting
    assert loud.manager.json is Shouting
    async with raw_client((await serve(loud)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        assert str(await websocket.receive()).startswith('40{"SID":')
        await websocket.send('421["a","b"]')
        assert await websocket.receive() == '431["A","B"]'


def test_loggers(caplog: pytest.LogCaptureFixture) -> None:
    """python-socketio's loggers would be set up for the whole process by a server that was told nothing."""
    logger = logging.getLogger(LOGGER)
    handlers, level = list(logger.handlers), logger.level
    assert AsyncServer().logger is logger
    assert (list(logger.handlers), logger.level) == (handlers, level)
    own = logging.getLogger("tests.own")
    sio = AsyncServer(logger=own, engineio_logger=own)
    assert sio.logger is own
    assert sio.eio.logger is own
    try:
        AsyncServer(logger=True)
        assert logger.isEnabledFor(logging.INFO)
        assert len(logger.handlers) == len(handlers) + 1
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_it_is_silent_unless_it_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    """A healthy server would say at each start that it has started; or ``engineio_logger`` would not say it."""
    with caplog.at_level(logging.INFO):
        AsyncServer(logger=logging.getLogger("tests.own"))
        assert caplog.messages == []
        AsyncServer(engineio_logger=logging.getLogger("tests.own"))
        assert caplog.messages == ["Server initialized for aiohttp."]


async def test_an_unknown_namespace_is_told(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error in the name of a namespace would look like a network that does not work."""
    client = await js.connect((await serve(AsyncServer())).url + "/amdin", wait=False)
    await client.life("connect_error")
    (said,) = [each for each in caplog.messages if "namespace" in each]
    assert said.startswith("refused a client that asks for the namespace '/amdin': a handler with namespace='/amdin'")


def test_handlers_are_described() -> None:
    """A handler that blocks the event loop would be a name without an event."""
    sio = AsyncServer()

    @sio.on("message")
    async def message(sid: str, data: Any) -> None: ...

    class Admin(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_ban(self, sid: str) -> None: ...

    sio.register_namespace(Admin("/admin"))
    sio.on("built-in", len)
    said = sorted(text.partition(" (tests/engine")[0] for text in sio.eio.watchdog.describe().values())
    assert said == ["handler message of 'message'", "handler on_ban of 'ban' in /admin"]


async def test_what_happens_is_told_to_a_logger_that_wants_it(
    serve: Serve, py: PyClients, caplog: pytest.LogCaptureFixture
) -> None:
    """``logger=True`` is how people look at what goes on."""
    own = logging.getLogger("tests.own")
    caplog.set_level(logging.INFO, "tests.own")
    sio = AsyncServer(logger=own)
    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    sid = client.id()
    await sio.emit("news")
    await client.emit("hello")
    await client.barrier()
    await sio.disconnect(sid)
    assert [record.getMessage() for record in caplog.records if record.name == "tests.own"] == [
        "Server initialized for aiohttp.",
        'emitting event "news" to all [/]',
        f'received event "hello" from {sid} [/]',
        f"Disconnecting {sid} [/]",
    ][1 - ("Server initialized for aiohttp." in caplog.messages) :]


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_limits_hold_for_programs_too(serve: Serve, py: PyClients) -> None:
    """A client that chooses its rooms could fill the memory with them."""
    sio = AsyncServer(limits=Limits(max_rooms=3, max_room_name=5, max_outbox=5_000))
    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    sid = client.id()
    await sio.enter_room(sid, "a")
    await sio.enter_room(sid, "b")
    await sio.enter_room(sid, "b")
    with pytest.raises(ValueError, match="3 rooms"):
        await sio.enter_room(sid, "c")
    await sio.leave_room(sid, "a")
    with pytest.raises(ValueError, match="5 characters"):
        await sio.enter_room(sid, "abcdef")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_everybodys_room_is_no_room(library: str, serve: Serve) -> None:
    """A room called None would be listed, count against the limit, or throw a client out of everything."""
    sio = MAKERS[library](**({"limits": Limits(max_rooms=1)} if library == "rtframework" else {}))
    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        ((sid, _),) = sio.manager.get_participants("/", None)
        await sio.enter_room(sid, None)
        with pytest.raises(KeyError):
            await sio.enter_room("nobody", None)
        with pytest.raises(ValueError, match="not connected to requested namespace"):
            await sio.enter_room(sid, None, namespace="/other")
        await sio.leave_room("nobody", None)
        await sio.close_room(None, namespace="/other")
        if library == "rtframework":  # python-socketio takes the client out of the namespace, without a word to it
            await sio.leave_room(sid, None)
            await sio.close_room(None)
        assert sio.rooms(sid) == [sid]
        assert sio.manager.is_connected(sid, "/")
        await sio.emit("news")
        assert await websocket.receive() == '42["news"]'


async def test_what_waits_for_a_client_that_is_not_in_yet_is_bounded(serve: Serve) -> None:
    """A connect handler that hangs would collect every broadcast of the server."""
    sio = AsyncServer(limits=Limits(max_outbox=5_000))
    asked, forever = asyncio.Event(), asyncio.Event()
    reasons: list[str] = []

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        asked.set()
        await forever.wait()

    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        async with asyncio.timeout(5):
            await asked.wait()
        for _ in range(10):
            await sio.emit("news", "x" * 1_000)
        packets, _ = await websocket.closed()
        assert packets == []
    forever.set()
    await until(lambda: nothing_left(sio))
    assert reasons == []


async def test_attachments_are_bounded_with_any_packet_class(serve: Serve) -> None:
    """One packet could announce a million attachments, each of them kept."""
    sio = AsyncServer(serializer=socketio.packet.Packet)
    async with raw_client((await serve(sio)).url) as raw:
        websocket = await join(raw)
        await websocket.send('4511-["a"]')
        await websocket.closed()


class TestPacket(socketio.packet.Packet):  # type: ignore[misc]  # socketio is not typed
    """A program's own packet class."""

    __test__ = False


class SpacedJSON:
    """A json module that does not heed ``separators``."""

    dumps = staticmethod(lambda data, **options: json.dumps(data))
    loads = staticmethod(json.loads)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"serializer": TestPacket},
        {"json": SpacedJSON},
        {"client_manager": socketio.AsyncManager},
        {"client_manager": socketio.AsyncManager, "json": SpacedJSON},
    ],
    ids=["standard", "packet class", "json module", "manager", "manager and json module"],
)
async def test_what_clients_refuse_is_refused_at_the_emit(serve: Serve, js: JSClients, options: dict[str, Any]) -> None:
    """One emit would disconnect every client that receives it."""
    manager = options.get("client_manager")
    sio = AsyncServer(**options | ({"client_manager": manager()} if manager else {}))

    @sio.event
    async def ask(sid: str, number: int) -> Any:
        return (wrong[number],)

    wrong: list[Any] = [
        [b"x"] * 11,
        [{"_placeholder": True, "num": 5}, b"picture"],
        {"a": [{"_placeholder": True, "num": 0}], "b": {None: b"picture"}},
        [{"_placeholder": 1}, b"picture"],
    ]
    right: list[Any] = [
        [b"x"] * 10,
        {"placeholder": True, "b": b"picture", "text": '"_placeholder":'},
        {"_placeholder": True, "num": 0},
    ]
    url = (await serve(sio)).url
    client = await js.connect(url, via=WEBSOCKET)
    sid = await client.id()
    for data in wrong:
        with pytest.raises(EncodeError):
            await sio.emit("news", data)
        with pytest.raises(EncodeError):
            await sio.emit("news", (1, data), to=sid, callback=lambda: None)
        with pytest.raises(EncodeError):
            await sio.call("news", data, to=sid)
    for number in range(len(wrong)):
        await client.emit("ask", number)
    for data in right:
        await sio.emit("news", data)
        assert await client.wait_for("news") == [data]
    await client.barrier()
    assert sio.manager.is_connected(sid, "/")


# --- with the application -------------------------------------------------------------------------------------------


async def test_mounted_by_hand(serve: Serve, js: JSClients) -> None:
    """Programs that route to ``handle_request`` themselves would not be served."""
    sio = AsyncServer()
    app = web.Application()
    app.router.add_route("*", "/live/", sio.handle_request)
    server = await serve(app)
    client = await js.connect(server.url, via=WEBSOCKET, path="/live")
    await sio.emit("hello")
    await client.wait_for("hello")
    await client.disconnect()
    await sio.shutdown()
    assert nothing_left(sio)


async def test_one_of_two_applications_stops(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A second listener, for a health check or another port, would take the clients of the first with it."""
    sio = AsyncServer()
    gone: list[str] = []

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        gone.append(reason)

    @sio.event
    async def echo(sid: str, number: int) -> int:
        return number

    stopping, outer = web.Application(), web.Application()
    sio.attach(stopping)
    inner = web.Application()
    sio.attach(inner)
    outer.add_subapp("/inner/", inner)
    first, second = await serve(stopping), await serve(outer)
    leaves = await js.connect(first.url, via=transport)
    stays = await js.connect(second.url, via=transport, path="/inner/socket.io")
    assert len(list(sio.manager.get_participants("/", None))) == 2
    await first.stop()
    assert await leaves.disconnected() in ("transport close", "transport error")
    await until(lambda: gone == ["server disconnect"])
    assert await stays.emit_with_ack("echo", 1) == 1
    late = await js.connect(second.url, via=transport, path="/inner/socket.io")
    await sio.emit("news")
    assert await late.wait_for("news") == []
    assert await stays.wait_for("news") == []
    await second.stop()
    await until(lambda: nothing_left(sio))
    assert gone == ["server disconnect"] * 3


async def test_one_of_two_servers_stops(serve: Serve, js: JSClients) -> None:
    """Two servers of one process would not be two."""
    one, two = AsyncServer(), AsyncServer()

    @two.event
    async def echo(sid: str, number: int) -> int:
        return number

    first, second = await serve(one), await serve(two)
    leaves, stays = await js.connect(first.url, via=WEBSOCKET), await js.connect(second.url, via=WEBSOCKET)
    await first.stop()
    await leaves.disconnected()
    assert await stays.emit_with_ack("echo", 1) == 1
    await js.connect(second.url, via=WEBSOCKET)


async def test_an_application_that_stops_does_not_wait_for_who_is_gone(serve: Serve) -> None:
    """A client that does not come for its last packet would hold up the stop, or be left behind."""
    sio = AsyncServer()
    apps = [web.Application(), web.Application()]
    for app in apps:
        sio.attach(app)
    first, second = await serve(apps[0]), await serve(apps[1])
    async with raw_client(first.url) as silent, raw_client(second.url) as other:
        await silent.handshake()
        await silent.post("40")
        await silent.receive()
        await other.handshake()
        async with asyncio.timeout(1.5):
            await first.stop()
        assert list(sio.eio.sockets) == [other.sid]


def test_a_path_that_is_taken() -> None:
    """The second server would never see a request."""
    app = web.Application()
    AsyncServer().attach(app, "chat")
    with pytest.raises(ConfigurationError, match="the path /chat of this application is taken"):
        AsyncServer().attach(app, "/chat/")
    with pytest.raises(ConfigurationError, match="is taken"):
        Server().attach(app, "/chat")
    AsyncServer().attach(app)


async def test_shutdown_tells_everybody_and_leaves_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Restarting the server would take a minute, and clients would notice by a timeout."""
    sio = AsyncServer()
    gone: list[tuple[str, Any]] = []

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        await sio.sleep(0.01)
        gone.append((reason, (await sio.get_session(sid))["n"]))

    server = await serve(sio)
    clients = [await js.connect(server.url, via=transport) for _ in range(5)]
    for number, client in enumerate(clients):
        await sio.save_session(await client.id(), {"n": number})
    asking = asyncio.create_task(sio.call("question", to=await clients[0].id()))
    await clients[0].wait_for("question")
    async with asyncio.timeout(5):
        await server.stop()
    assert sorted(gone) == [("server disconnect", number) for number in range(5)]
    with pytest.raises(DisconnectedError):
        await asking
    for client in clients:
        await client.disconnected()
    assert nothing_left(sio)


async def test_a_disconnect_handler_that_hangs_does_not_hold_up_shutdown(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """The process would never end."""
    sio = AsyncServer()

    @sio.event
    async def disconnect(sid: str) -> None:
        await asyncio.Event().wait()

    server = await serve(sio)
    client = await js.connect(server.url, via=WEBSOCKET)
    async with asyncio.timeout(6):
        await server.stop()
    await client.disconnected()
    assert nothing_left(sio)
    assert "disconnect handlers did not end in time and are cancelled: 1" in caplog.messages


async def test_the_process_ends_at_sigterm(
    tmp_path: Path, serve_program: ServeProgram, js: JSClients, transport: Transport
) -> None:
    """Deployments would kill it, after waiting for ten seconds or more."""
    program = tmp_path / "server.py"
    program.write_text(
        "import os\n"
        "from aiohttp import web\n"
        "from rtframework.engine import AsyncServer\n"
        "sio = AsyncServer()\n"
        "async def forever():\n"
        "    while True:\n"
        "        await sio.sleep(60)\n"
        "@sio.event\n"
        "async def connect(sid, environ):\n"
        "    sio.start_background_task(forever)\n"
        "app = web.Application()\n"
        "sio.attach(app)\n"
        "web.run_app(app, host='127.0.0.1', port=int(os.environ['PORT']))\n"
    )
    root = str(Path(__file__).parent.parent.parent)
    server = await serve_program(program, env={"PYTHONPATH": root}, python=sys.executable)
    clients = [await js.connect(server.url, via=transport) for _ in range(5)]
    loop = asyncio.get_running_loop()
    started = loop.time()
    await server.stop()
    assert loop.time() - started < 5
    for client in clients:
        await client.disconnected()


async def test_background_tasks_are_not_lost_to_the_garbage_collector(serve: Serve) -> None:
    """A ticker that nobody holds would stop one day."""
    sio = AsyncServer()
    waiting: list[weakref.ref[asyncio.Future[None]]] = []

    async def work() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))
        await future

    sio.start_background_task(work)
    await asyncio.sleep(0)
    gc.collect()
    future = waiting[0]()
    assert future is not None
    future.set_result(None)


async def test_a_subclass_may_look_at_every_event(serve: Serve, py: PyClients) -> None:
    """Programs that override the one place where all events pass would be passed over."""
    seen: list[str] = []

    class Watched(AsyncServer):
        async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
            seen.append(event)
            return await super()._trigger_event(event, namespace, *args)

    sio = Watched()
    client = await py.connect((await serve(sio)).url, via=WEBSOCKET)
    await client.emit("hello")
    await client.barrier()
    await client.disconnect()
    await until(lambda: nothing_left(sio))
    assert seen == ["connect", "hello", "disconnect"]


def test_the_drop_in_names_the_keywords_that_it_ignores() -> None:
    """A program with ``aync_mode=`` would not start, or nobody would hear that an option has no effect."""
    with pytest.warns(UserWarning, match=r"no aync_mode= and ignores it: did you mean async_mode=\?") as seen:
        AsyncServer(aync_mode="aiohttp")
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="no something_else= and ignores it: leave it out"):
        AsyncServer(something_else=1)


def test_the_drop_in_warns_of_origins_that_match_nothing() -> None:
    """A program that has run with python-socketio would not start for an entry that has never had an effect."""
    with pytest.warns(UserWarning, match='Write "http://localhost:5173"'):
        AsyncServer(cors_allowed_origins=["https://a.org", "localhost:5173"])


def test_a_size_may_be_a_float() -> None:
    """``max_http_buffer_size=1e8``, as in python-socketio's own examples, would not start."""
    limits = AsyncServer(max_http_buffer_size=1e6)._engine_options.limits
    assert limits.max_http_buffer_size == 1_000_000
