"""Programs of python-socketio's run on our ``AsyncServer`` as they do on python-socketio's own.

Each test runs a program of this folder on both libraries, with a Python and a JavaScript client, by polling and by
websocket, and expects the same.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import engineio
import pytest
import socketio

from tests.conftest import Serve
from tests.programs import MakeServer, background, catch_all, chat, classes, door, formats, in_turn, questions, rooms
from tests.support.js import ConnectError, JSClients
from tests.support.libraries import LIBRARIES, MAKERS, OURS, UPSTREAM, Visitors, id_of
from tests.support.pyclient import PyClients
from tests.support.transports import POLLING, WEBSOCKET, Transport
from tests.support.until import until


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """The library that serves."""
    return str(request.param)


@pytest.fixture
def make_server(library: str) -> MakeServer:
    """What a program makes its server with."""
    return MAKERS[library]


@pytest.fixture(
    params=[("js", POLLING), ("js", WEBSOCKET), ("py", POLLING), ("py", WEBSOCKET)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def visitors(request: pytest.FixtureRequest, js: JSClients, py: PyClients) -> Visitors:
    """Clients of each kind on each transport."""
    kind, via = request.param
    return Visitors(kind, via, js, py)


async def test_a_chat(make_server: MakeServer, visitors: Visitors, js: JSClients, serve: Serve) -> None:
    """The program that everybody starts with would not run: session, rooms, environ, skip_sid, refusal, reason."""
    program = chat.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    ada = await visitors.connect(url, auth={"name": "Ada"})
    assert await ada.wait_for("welcome") == [{"you": await id_of(ada)}]
    ben = await visitors.connect(url, auth={"name": "Ben"})
    assert await ada.wait_for("joined") == ["Ben"]
    assert await ben.emit_with_ack("message", {"text": "hello"}) == "ok"
    assert await ada.wait_for("message") == ["Ben", "hello"]
    assert await ben.emit_with_ack("message", {"text": "again"}) == "ok"
    assert await ben.ack_args("whoami") == ["Ben", 2, visitors.via.final, True, ["lobby"]]
    await ben.expect_nothing("message")
    await ben.expect_nothing("joined")
    with pytest.raises(ConnectError, match="who are you") as refused:
        # By JavaScript in any case: a Python client that polls python-socketio takes half a minute to give up.
        await js.connect(url, via=visitors.via, auth={"nobody": 1}, extraHeaders={"X-Language": "en"})
    assert (refused.value.message, refused.value.data) == ("who are you?", {"code": 401})
    await ada.emit_with_ack("kick", await id_of(ben))
    await ben.disconnected()
    assert await ada.wait_for("left") == ["Ben"]
    await until(lambda: program.of("kicked"))
    assert program.of("connect") == [("GET", "/socket.io/", "en")] * 2
    assert program.of("disconnect") == [("Ben", "server disconnect", True, True)]


async def test_a_client_says_good_bye(
    make_server: MakeServer, js: JSClients, serve: Serve, transport: Transport
) -> None:
    """A program would not tell a client that went on purpose from one that was lost."""
    program = chat.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await js.connect(url, via=transport, auth={"name": "Ada"}, extraHeaders={"X-Language": "en"})
    await client.disconnect()
    await until(lambda: program.of("disconnect"))
    assert program.of("disconnect") == [("Ada", "client disconnect", True, True)]


async def test_class_based_namespaces(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Programs that keep a namespace in a class would not run, or their old two-argument handlers would not."""
    program = classes.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    ada, ben = await visitors.connect(url, "/board"), await visitors.connect(url, "/board")
    assert await ada.emit_with_ack("draw", 1, 2) == {"x": 1, "y": 2}
    assert await ben.wait_for("drawn") == [1, 2]
    assert await ada.emit_with_ack("join", "red") == ["red"]
    assert await ada.wait_for("message") == ["hello"]
    assert await ada.emit_with_ack("leave", "red") == []
    assert await ada.emit_with_ack("override") == "function"
    assert await ada.ack_args("unknown") == []  # a class answers what it has no method for
    await ben.answer("question", "because")
    assert await ben.emit_with_ack("ask_me") == "because"
    await ben.expect_nothing("message")
    await ada.emit("go")
    await ada.disconnected()
    assert program.of("connect") == [("/board", "GET")] * 2
    await until(lambda: program.of("disconnect"))
    assert program.of("disconnect") == [("/board",)]


async def test_a_namespace_that_dispatches_by_itself(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """``trigger_event`` is python-socketio's documented way to add middleware."""
    program = classes.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url, "/switch")
    assert await client.emit_with_ack("shout:hey") == "HEY"
    assert await client.emit_with_ack("plain") == "plain"
    assert program.of("connect") == [("/switch", 3)]


async def test_catch_all_handlers(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Events would reach another handler than on python-socketio, or with other arguments."""
    program = catch_all.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    known = await visitors.connect(url, "/known", auth={"a": 1})
    assert await known.emit_with_ack("exact", 1) == ["exact", 1]
    assert await known.emit_with_ack("other", 1, 2) == ["any event", "other", 1, 2]
    new = await visitors.connect(url, "/new")
    assert await new.emit_with_ack("exact", 1) == ["any namespace", "/new", 1]
    assert await new.emit_with_ack("from_class", 1) == ["class", "/new", 1]
    assert program.of("connect") == [("/known", {"a": 1}), ("/new", None)]


async def test_the_widest_catch_all(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """A program that logs or forwards everything has one handler for it."""
    url = (await serve(catch_all.build_widest(make_server), shutdown_timeout=0.1)).url
    client = await visitors.connect(url, "/somewhere")
    assert await client.emit_with_ack("anything", {"a": [1]}) == ["anything", "/somewhere", {"a": [1]}]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("false", {"message": "Connection rejected by server"}),
        ("bare", {"message": "Connection rejected by server"}),
        ("message", {"message": "go away"}),
        ("data", {"message": "go away", "data": {"code": 7}}),
        ("more", {"message": "go away", "data": [1, 2]}),
        ("builtin", {"message": "Connection refused by server"}),
    ],
)
async def test_refusals(how: str, told: dict[str, Any], make_server: MakeServer, js: JSClients, serve: Serve) -> None:
    """Clients show these messages to people and act on the data."""
    program = door.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await js.connect(url, via=WEBSOCKET, auth={"how": how}, wait=False)
    refused = await client.refused()
    assert {key: refused[key] for key in ("message", "data") if refused.get(key) is not None} == told
    await client.disconnect()
    second = await js.connect(url, via=WEBSOCKET, auth={"how": "let me in"})
    assert await second.wait_for("early") == [1]
    await second.disconnect()
    await until(lambda: program.of("disconnect"))
    assert program.of("disconnect") == [()]  # the one that was refused has not left, because it never came


async def test_always_connect(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Clients that cannot bear an event before CONNECT need it."""
    program = door.build(make_server, always_connect=True)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url, auth={"how": "come in"})
    assert await client.wait_for("early") == [1]
    assert await client.emit_with_ack("ping_me") == "pong"


async def test_acknowledgements(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Values would be changed on the way, or answers have another shape."""
    program = questions.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url)
    args = [1, -2.5, "zürich 😀", None, True, [1, [2]], {"a": {"b": [b"\x00\xff"]}}, b"top"]
    assert await client.ack_args("echo", *args) == args
    assert await client.ack_args("echo") == []
    assert await client.ack_args("one") == [
        {"bytes": [b"\x00\xff", {"deep": b""}], "text": "zürich 😀", "number": 1.5, "none": None}
    ]
    assert await client.ack_args("a_list") == [[1, 2]]
    assert await client.ack_args("nothing") == []
    await client.emit("several")
    assert await client.wait_for("args") == [1, [2], {"three": b"3"}]
    assert await client.wait_for("args") == [[1, 2]]
    assert await client.wait_for("args") == []
    assert await client.wait_for("message") == ["text"]


async def test_questions_to_clients(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """``call`` and callbacks would not get the client's answer, or not in the shape it has there."""
    program = questions.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url)
    await client.answer("question", b"bytes")
    assert await client.emit_with_ack("ask", 1) == ["one", b"bytes"]
    await client.emit("ask_back")
    await until(lambda: len(program.seen) == 2)
    assert sorted(program.seen) == [("answered", b"bytes"), ("slowly", b"bytes")]
    await client.answer("question", 1, 2)
    assert await client.emit_with_ack("ask", 1) == ["tuple", 1, 2]
    await client.answer("question")
    assert await client.emit_with_ack("ask", 1) == ["one", None]


async def test_a_question_that_nobody_answers(make_server: MakeServer, js: JSClients, serve: Serve) -> None:
    """A handler would wait for ever."""
    url = (await serve(questions.build(make_server), shutdown_timeout=0.1)).url
    client = await js.connect(url, via=WEBSOCKET)
    await client.silent("silence")
    assert await client.emit_with_ack("ask_in_vain") == "timeout"


async def test_rooms(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Somebody would get what is not for them, or not get what is."""
    program = rooms.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    ada, ben, cal = [await visitors.connect(url) for _ in range(3)]
    a, b, c = [await id_of(each) for each in (ada, ben, cal)]
    await ada.emit_with_ack("enter", "red", 7)
    await ben.emit_with_ack("enter", "red", "blue")
    assert await ada.emit_with_ack("who", "red") == sorted([a, b])
    assert await ada.emit_with_ack("who", ["red", "blue"]) == sorted([a, b])
    assert await ada.emit_with_ack("who", None) == sorted([a, b, c])
    assert set(await ada.emit_with_ack("mine")) == {"red", 7}
    assert await ada.emit_with_ack("looks", "red") == [True, True, True, True]
    number = 0

    async def tell(options: dict[str, Any], *expected: Any) -> None:
        nonlocal number
        number += 1
        await ada.emit_with_ack("tell", options, number)
        for each in expected:
            assert await each.wait_for("told") == [number]
        for each in (ada, ben, cal):
            if each not in expected:
                await each.expect_nothing("told")

    await tell({}, ada, ben, cal)
    await tell({"to": "red"}, ada, ben)
    await tell({"room": "red"}, ada, ben)
    await tell({"to": 7}, ada)
    await tell({"to": ["red", "blue"]}, ada, ben)
    await tell({"to": ["red", c]}, ada, ben, cal)
    await tell({"to": b}, ben)
    await tell({"to": "nobody is here"})
    await tell({"skip_sid": a}, ben, cal)
    await tell({"to": "red", "skip_sid": [a, c]}, ben)
    await tell({"namespace": "/elsewhere"})
    await ben.emit_with_ack("leave", "red")
    await tell({"to": "red"}, ada)
    await ada.emit_with_ack("close", "red")
    await tell({"to": "red"})
    assert await ada.emit_with_ack("mine") == [7]
    assert await ada.emit_with_ack("trespass", b) == ["ValueError", "ValueError"]


async def test_rooms_are_left_with_the_connection(make_server: MakeServer, js: JSClients, serve: Serve) -> None:
    """Those who went would be counted and sent to for ever."""
    program = rooms.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    ada, ben = await js.connect(url, via=WEBSOCKET), await js.connect(url, via=WEBSOCKET)
    await ada.emit_with_ack("enter", "red")
    await ben.disconnect()
    await until(lambda: len(list(program.sio.manager.get_participants("/", None))) == 1)
    await ada.disconnect()
    await until(lambda: not list(program.sio.manager.get_namespaces()))


async def test_background_tasks(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Programs that push by themselves would not run; a handler that waits would block its client."""
    program = background.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url)
    assert await client.emit_with_ack("start", 3) == "done"
    assert client.received("tick") == [[0], [1], [2]]
    waiting = asyncio.create_task(client.emit_with_ack("wait"))
    await until(lambda: program.of("waiting"))
    await client.emit("arrive")
    assert await waiting == "arrived"


async def test_events_in_turn(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """A program that relies on ``async_handlers=False`` would find its events mixed up."""
    program = in_turn.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url)
    for number in range(4):
        await client.emit("step", number)
    assert await client.emit_with_ack("step", 4) == 4
    assert program.seen == [(word, number) for number in range(5) for word in ("begin", "end")]


async def test_events_before_the_good_bye_are_served_before_it(
    make_server: MakeServer, js: JSClients, serve: Serve
) -> None:
    """A last "save" would be served after the disconnect handler has thrown away what it belongs to."""
    program = in_turn.build(make_server)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await js.connect(url, via=WEBSOCKET)
    await client.emit("step", 0)
    await client.emit("step", 1)
    await client.disconnect()
    await until(lambda: program.of("disconnect"))
    assert program.seen == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1), ("disconnect",)]


async def test_msgpack(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """Clients with the msgpack parser could not talk to the program."""
    program = formats.build(make_server, serializer="msgpack")
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await visitors.connect(url, msgpack=True)
    args = [1, "two", {"three": [b"\x00", None, 4.5]}]
    assert await client.ack_args("echo", *args) == args
    assert await client.wait_for("echoed") == args


async def test_msgpack_with_extensions(library: str, make_server: MakeServer, py: PyClients, serve: Serve) -> None:
    """Types that a program has taught msgpack would not pass."""
    program = formats.build(make_server, serializer=formats.ComplexPacket)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await py.connect(url, via=WEBSOCKET, serializer="msgpack")
    client.client.packet_class = formats.ComplexPacket
    assert await client.ack_args("echo", 1 + 2j) == [1 + 2j]
    assert program.of("echo") == [(1 + 2j,)]


async def test_a_packet_class(make_server: MakeServer, visitors: Visitors, serve: Serve) -> None:
    """A program's own packet class would be passed over."""
    url = (await serve(formats.build(make_server, serializer=formats.UpperPacket), shutdown_timeout=0.1)).url
    client = await visitors.connect(url)
    assert await client.ack_args("echo", 1, b"2") == [1, b"2"]
    assert await client.wait_for("echoed") == ["marked", 1, b"2"]


async def test_a_json_module(
    make_server: MakeServer, js: JSClients, serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's own JSON would be passed over, in one direction or both."""
    for packet_class in (socketio.packet.Packet, engineio.packet.Packet):  # python-socketio sets it for the process
        monkeypatch.setattr(packet_class, "json", packet_class.json)
    program = formats.build(make_server, json=formats.DateJSON)
    url = (await serve(program, shutdown_timeout=0.1)).url
    client = await js.connect(url, via=transport)
    assert await client.ack_args("echo", {"date": "2026-01-02"}, 1) == [{"date": "2026-01-02"}, 1]
    assert program.of("echo") == [(datetime.date(2026, 1, 2), 1)]


def test_both_libraries_are_tried() -> None:
    """A table that lost one of them would prove nothing."""
    assert set(MAKERS) == {UPSTREAM, OURS}
