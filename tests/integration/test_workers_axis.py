"""What every client can do, with two workers behind the port: for each kind of client, by each transport.

The programs of most other tests in this folder have their handlers in the test, where other processes cannot find them.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any, Final, NamedTuple

import pytest

from tests.support.axis_program import LARGEST
from tests.support.js import JSClient, JSClients
from tests.support.port import Port
from tests.support.raw import raw_client
from tests.support.transports import Transport

BLOB: Final = bytes(range(256))

_numbers: Final = itertools.count()


class Kind(NamedTuple):
    """A kind of clients, and the server that serves them."""

    name: str
    path: str
    options: dict[str, Any]


KINDS: Final = (
    Kind("json", "/axis/json", {}),
    Kind("msgpack", "/axis/msgpack", {"parser": "msgpack"}),
    Kind("v2", "/axis/json", {"v2": True}),
    Kind("recovered, own ids", "/axis/own-ids", {}),
)


class Pair(NamedTuple):
    """Clients of different workers, in one room: ``Ada`` and ``Bob``."""

    a: JSClient
    b: JSClient
    room: str


class Clients:
    """Makes clients of one kind that travel in one way."""

    def __init__(self, port: Port, js: JSClients, kind: Kind, transport: Transport) -> None:
        self.kind = kind
        self._port = port
        self._js = js
        self._options: dict[str, Any] = {"via": transport, "path": kind.path, **kind.options}

    async def connect(self, name: str, **options: Any) -> JSClient:
        """Connect somebody."""
        return await self._js.connect(self._port.url, **self._options, query={"name": name}, **options)

    async def pair(self) -> Pair:
        """Connect two to different workers."""
        room = f"room {next(_numbers)} of {self.kind.name}"
        a = await self.connect("Ada")
        here = await a.emit_with_ack("pid")
        async with asyncio.timeout(20):
            while await (b := await self.connect("Bob")).emit_with_ack("pid") == here:
                pass  # it stays: after a few of them, new ones go to the other worker
        for client in (a, b):
            await client.emit_with_ack("enter", room)
        return Pair(a, b, room)

    def args(self, got: list[Any]) -> list[Any]:
        """Return the arguments of a broadcast without the offset that recovery puts behind them."""
        return got[:-1] if self.kind.path.endswith("own-ids") else got


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def clients(port: Port, js: JSClients, request: pytest.FixtureRequest, transport: Transport) -> Clients:
    """Clients of each kind, by each transport."""
    return Clients(port, js, request.param, transport)


async def test_questions_and_answers(clients: Clients) -> None:
    """A call, or its answer, would come out changed or be lost on the way."""
    a, b, room = await clients.pair()
    args = ["grüß dich", 1.5, None, True, {"bytes": [BLOB, b""], "é": [1, {"x": -1}]}, BLOB]
    for client in (a, b):
        assert await client.ack_args("echo", *args) == args
        await client.answer("question", {"got": BLOB})
    assert await b.emit_with_ack("ask me", *args) == {"got": BLOB}
    assert await b.wait_for("question") == args
    await a.answer("question", "of a")
    await b.answer("question", "of b")
    assert await a.emit_with_ack("ask", room, *args) == ["of a", "of b"]
    assert clients.args(await a.wait_for("question")) in (args, args[:-1])
    assert (await b.emit_with_ack("forbidden"))["error"]["code"] == "forbidden"
    assert (await a.emit_with_ack("nothing"))["error"]["code"] == "unknown_event"


async def test_rooms(clients: Clients) -> None:
    """A client would miss what the other one says, get it twice, or after it has left."""
    a, b, room = await clients.pair()
    for number, (one, other) in enumerate([(a, b), (b, a)] * 3):
        await one.emit_with_ack("tell", room, number, BLOB)
        assert clients.args(await other.wait_for("told")) == [number, BLOB]
    for client in (a, b):
        await client.expect_nothing("told")
    await a.emit_with_ack("count", room, 200)
    for client in (a, b):
        got = [clients.args(await client.wait_for("number"))[0] for _ in range(200)]
        assert got == list(range(200))
    await b.emit_with_ack("leave", room)
    await a.emit_with_ack("tell", room, "gone")
    await b.expect_nothing("told")


async def test_who_is_there(clients: Clients) -> None:
    """A program would know, and could throw out, those of one worker only."""
    a, b, room = await clients.pair()
    assert await a.emit_with_ack("names", room) == await b.emit_with_ack("names", room) == ["Ada", "Bob"]
    await a.emit_with_ack("enter", f"{room} of Ada")
    await b.emit_with_ack("throw out", f"{room} of Ada")
    assert await a.disconnected() == "io server disconnect"
    assert clients.args(await b.wait_for("left")) == ["Ada", "server namespace disconnect"]
    assert await b.emit_with_ack("names", room) == ["Bob"]


async def test_namespaces_and_refusals(clients: Clients) -> None:
    """Who is refused by one worker would be let in by the other; or a namespace would end at its worker."""
    a, b, _ = await clients.pair()
    is_old = clients.kind.name == "v2"
    secret: dict[str, Any] = {"query" if is_old else "auth": {"token": "secret"}}
    one, other = await a.of("/guarded", **secret), await b.of("/guarded", **secret)
    assert await one.emit_with_ack("pid") != await other.emit_with_ack("pid")
    assert await other.ack_args("echo", BLOB) == [BLOB]
    await one.emit("news", "é")
    for client in (one, other):
        assert clients.args(await client.wait_for("news")) == ["é"]
    await one.disconnect()
    await other.emit("news", "again")
    assert clients.args(await other.wait_for("news")) == ["again"]
    assert await a.ack_args("echo", 1) == [1]
    mallory = await clients.connect("Mallory", wait=False)
    if is_old:
        assert await mallory.life("error") == [{"code": "banned"}]
    else:
        error = await mallory.refused()
        assert (error["message"], error["data"]) == ("not you", {"code": "banned"})


async def test_large_messages(clients: Clients) -> None:
    """A message in several pieces would be cut, or one beyond the limit end other connections too."""
    a, b, room = await clients.pair()
    text = "grüße " * (LARGEST // 40)
    assert await a.emit_with_ack("echo", text) == text
    blob = BLOB * (LARGEST // 1024)
    await b.emit_with_ack("tell", room, blob, text)
    assert clients.args(await a.wait_for("told")) == [blob, text]
    await b.emit("echo", "x" * (LARGEST + 1))
    await b.disconnected()
    name, _ = clients.args(await a.wait_for("left"))
    assert name == "Bob"
    assert await a.ack_args("echo", 1) == [1]


async def test_the_order_from_the_first_moment_on(clients: Clients) -> None:
    """What a server says at once would come in another order, or be lost in the upgrade."""
    for number in range(4):  # some of them to each worker
        client = await clients.connect(f"number {number}")
        for event in range(50):
            await client.emit("echo", event)
        assert await client.ack_args("echo", "last") == ["last"]
        got = [await client.wait_for("at the beginning") for _ in range(20)]
        assert [each[0] for each in got] == list(range(20))


async def test_session_ids_of_ones_own(port: Port, js: JSClients, transport: Transport) -> None:
    """A program's ids would name no worker, or another one: "Session ID unknown", by chance."""
    clients = Clients(port, js, KINDS[-1], transport)
    for client in (await clients.pair())[:2]:
        id = str((await client.state()).engine_id)
        assert re.fullmatch(rf"[AB]{await client.emit_with_ack('pid')}\.\d+\.[0-9a-f]{{30}}", id), id


@pytest.mark.parametrize("kind", ["/axis/json", "/axis/own-ids"])
async def test_what_polling_does_not_allow(port: Port, kind: str) -> None:
    """A request of a client that makes mistakes would be answered in another way, by chance."""
    for _ in range(4):  # some of them at each worker, and each request over any connection
        async with raw_client(port.url, path=f"{kind}/") as raw:
            await raw.handshake()
            answer = await raw.request("PUT", query=raw.query("polling"))
            assert answer.status == 400
            assert (await raw.post("40")).text == "ok"
            assert str(await raw.receive()).startswith("40")
            answer = await raw.post("4" + "x" * (LARGEST + 1))
            assert answer.status == 413
            answer = await raw.request("GET", query=raw.query("polling"))
            assert answer.status == 400, "the session has ended"
