"""Cases 1 to 7: what is emitted, by servers and by emitters, and what of it is on the wire."""

from __future__ import annotations

import base64
import datetime
import json
import math
from typing import Any, Final

import msgpack
import socketio

from tests.support.cluster.cases.table import (
    case,
    expect,
    until_rooms,
)
from tests.support.cluster.fleet import RECOVERY, REMOTE, STREAM, Fleet
from tests.support.js import JSError
from tests.support.until import until


@case("1", "emit, to, except, several rooms: exactly once each")
async def emits(fleet: Fleet) -> None:
    """Events would come twice, or not at all."""
    for here, there in fleet.ways():
        both = await fleet.connect(there, rooms=["red", "blue"])
        red = await fleet.connect(there, rooms=["red"])
        own = await fleet.connect(here, rooms=["blue"])
        await expect(here, {both: 1, red: 1, own: 1}, f"all by {here.name}")
        await expect(here, {both: 1, red: 1, own: 0}, f"room by {here.name}", rooms=["red"])
        await expect(here, {both: 1, red: 1, own: 1}, f"rooms by {here.name}", rooms=["red", "blue"])
        if REMOTE in fleet.abilities:
            await expect(here, {both: 0, red: 1, own: 0}, f"except by {here.name}", except_=["blue"])
            await expect(here, {both: 1, red: 1, own: 0}, f"sender by {here.name}", socket=own.sid)
            await expect(here, {both: 0, red: 0, own: 1}, f"local by {here.name}", local=True)
            await expect(here, {both: 1, red: 1, own: 1}, f"volatile by {here.name}", volatile=True)


@case("2", "bytes inside of objects and arrays")
async def binary(fleet: Fleet) -> None:
    """Pictures and sounds would arrive as rubbish."""
    value = {"list": [b"\x00\xff", {"deep": b"abc"}], "text": "t"}
    for here, there in fleet.ways():
        client, own = await fleet.connect(there), await fleet.connect(here)
        await here.emit("bytes", value, b"")
        for each in (client, own):
            assert await each.wait_for("bytes") == [[value, b""]]


@case("3", "values that JSON lacks: all get the same or the emit raises, and the next event arrives")
async def values(fleet: Fleet) -> None:
    """One odd value would stop a reader, or be different for the clients of another server."""
    odd = {
        "unicode": "žluťoučký 🐎 \u2028",
        "nan": math.nan,
        "large": 2**53 - 1,
        "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        "none": None,
        "nested": {"a": [None, 1.5, True]},
    }
    for here, there in fleet.ways():
        clients = [await fleet.connect(there), await fleet.connect(here)]
        for name, value in odd.items():
            sent = True
            try:
                await here.emit(f"odd {name}", value)
            except JSError:
                sent = False
            await here.emit(f"after {name}")
            for client in clients:
                await client.wait_for(f"after {name}")
            got = [client.received(f"odd {name}") for client in clients]
            assert got[0] == got[1], f"{name}: {got}"
            assert len(got[0]) == sent, f"{name}: {got}"


GOLDEN: Final = {
    "text": '{"packet":{"type":2,"data":["e","t",1,null]},"opts":{"rooms":["r"],"except":["x"],"flags":{}}}',
    "all": '{"packet":{"type":2,"data":["e"]},"opts":{"rooms":[],"except":[],"flags":{}}}',
    "bytes": "gqZwYWNrZXSCpHR5cGUCpGRhdGGSoWXEAwECA6RvcHRzg6Vyb29tc5CmZXhjZXB0kKVmbGFnc4A=",
}
"""Field ``data`` of entries, as Node writes it: a golden vector to read and to write."""


@case("4", "bytes on the wire are Node's", STREAM)
async def golden(fleet: Fleet) -> None:
    """A server of the other kind would misread what this one writes."""
    for here, there in fleet.ways():
        clients = [await fleet.connect(there), await fleet.connect(here)]
        await fleet.redis.trim(1)  # to nothing would be a gap, for which clients are closed
        kept = len(await fleet.redis.entries())
        await here.emit("e", "t", 1, None, rooms=["r"], except_=["x"])
        await here.emit("e")
        await here.emit("e", b"\x01\x02\x03")
        for client in clients:  # the emitter's own, too: it would hear of the last one while the next part goes on
            await client.wait_for("e", 2)
        found = [fields for _, fields in (await fleet.redis.entries())[kept:]]
        for fields, wanted in zip(found, GOLDEN.values(), strict=True):
            assert fields["nsp"] == "/"
            assert fields["type"] == "3"
            assert len(fields["uid"]) == 16
            assert _loaded(fields["data"]) == _loaded(wanted), fields
            assert here.kind != "node" or fields["data"] == wanted, "the golden vector itself"
    for here, there in fleet.ways():
        # One of the other server, too: what it has got, no client that comes to it next gets once more.
        clients = [await fleet.connect(there), await fleet.connect(here)]
        for wanted in GOLDEN.values():
            fields = {"uid": "0123456789abcdef", "nsp": "/", "type": "3", "data": wanted.replace('"x"', '"y"')}
            await fleet.redis.command("XADD", "socket.io", "*", *[text for pair in fields.items() for text in pair])
        for client in clients:
            await client.wait_for("e", 2)
            assert client.received("e") == [[], [b"\x01\x02\x03"]]


@case("7b", "python-socketio's emitter: a manager that is write_only")
async def python_socketio_emitter(fleet: Fleet) -> None:
    """Workers of Celery and Django that emit today would reach nobody."""
    clients = [await fleet.connect(server, rooms=["red"]) for server in (fleet.a, fleet.b)]
    manager = socketio.AsyncRedisManager(fleet.redis.url, write_only=True)
    try:
        await manager.emit("news", {"n": [1, None], "b": b"x"}, namespace="/", room="red")
        await manager.emit("news", ("two", 2), namespace="/", room=clients[0].sid)
        assert await clients[0].wait_for("news", 2, timeout=1) == [[{"n": [1, None], "b": b"x"}], ["two", 2]]
        assert await clients[1].wait_for("news", timeout=1) == [[{"n": [1, None], "b": b"x"}]]
    finally:
        await manager.redis.aclose()


def _loaded(text: str) -> Any:
    if text.startswith("{"):
        return json.loads(text)
    return msgpack.unpackb(base64.b64decode(text))


@case("5", "keys that are absent stay absent, and a client gets an offset", STREAM)
async def absent(fleet: Fleet) -> None:
    """Node takes a key that is null for one that is there: a broadcast would wait for answers, or get no offset."""
    for here, there in fleet.ways():
        client = await fleet.connect(there)
        await fleet.redis.trim(1)  # to nothing would be a gap, for which clients are closed
        await here.emit("plain")
        await here.emit("flagged", volatile=True)
        await client.wait_for("plain")
        await client.wait_for("flagged")
        (_, plain), (_, flagged) = (await fleet.redis.entries())[-2:]
        data = json.loads(plain["data"])
        assert set(data) == {"opts", "packet"}
        assert set(data["packet"]) == {"type", "data"}
        assert data["opts"]["flags"] == {}
        assert json.loads(flagged["data"])["opts"]["flags"] == {"volatile": True}
        assert RECOVERY not in fleet.abilities or client.events[0].offset is not None


@case("6", "the emitter of streams", STREAM)
async def streams_emitter(fleet: Fleet) -> None:
    """Workers that are no servers could not reach clients."""

    async def publish(type: int, data: dict[str, Any]) -> None:
        fields = ("uid", "emitter", "nsp", "/", "type", str(type), "data", json.dumps(data))
        await fleet.redis.command("XADD", "socket.io", "MAXLEN", "~", 10000, "*", *fields)

    def opts(*rooms: str) -> dict[str, Any]:
        return {"rooms": list(rooms), "except": [], "flags": {}}

    clients = [await fleet.connect(server, rooms=["red"]) for server in (fleet.a, fleet.b)]
    await publish(3, {"packet": {"type": 2, "data": ["news", 1], "nsp": "/"}, "opts": opts("red")})
    await publish(4, {"opts": opts("red"), "rooms": ["blue"]})
    await publish(3, {"packet": {"type": 2, "data": ["news", 2], "nsp": "/"}, "opts": opts("blue")})
    await publish(5, {"opts": opts("red"), "rooms": ["blue"]})
    await publish(3, {"packet": {"type": 2, "data": ["news", 3], "nsp": "/"}, "opts": opts("blue")})
    await publish(9, {"packet": ["told", "by emitter"]})
    await publish(3, {"packet": {"type": 2, "data": ["news", 4], "nsp": "/"}, "opts": opts("red")})
    for client in clients:
        assert await client.wait_for("news", 3) == [[1], [2], [4]]
    for server in (fleet.a, fleet.b):
        await server.logged("told", args=["by emitter"])
    await publish(6, {"opts": opts("red"), "close": False})
    for client in clients:
        await until(lambda client=client: client.ends == ["namespace"])  # type: ignore[misc]


@case("7", "@socket.io/redis-emitter, the classic one", REMOTE)
async def classic_emitter(fleet: Fleet) -> None:
    """The emitters that most programs have today would reach nobody."""
    emitter = await fleet.emitter()
    clients = [await fleet.connect(server, rooms=["red"]) for server in (fleet.a, fleet.b)]
    await emitter.emitter("emit", "news", 1, {"b": b"x"}, rooms=["red"])
    for client in clients:
        assert await client.wait_for("news", timeout=1) == [[1, {"b": b"x"}]]
    await emitter.emitter("socketsJoin", "blue", rooms=["red"])
    for server in (fleet.a, fleet.b):
        await until_rooms(server, 2, "blue")
    await emitter.emitter("serverSideEmit", "told", "by emitter")
    await fleet.b.logged("told", args=["by emitter"])
