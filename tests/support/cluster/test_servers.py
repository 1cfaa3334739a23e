"""Driven servers and light clients: a harness that lies makes every test of a cluster worthless."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.cluster.clients import LightClients, Refused, light_clients
from tests.support.cluster.driven import DrivenServer
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import running_node
from tests.support.cluster.python_server import find_factory, in_process, running_python
from tests.support.js import JSError
from tests.support.until import until


@pytest.fixture
async def clients() -> AsyncIterator[LightClients]:
    """Light clients."""
    async with light_clients() as found:
        yield found


async def try_everything(server: DrivenServer, clients: LightClients) -> None:
    """Carry out each command on one server that is alone."""
    client = await clients.connect(server.url, rooms=["red"], data={"n": 1})
    other = await clients.connect(server.url, name="other")
    await server.emit("news", b"\x00", {"deep": [b"x", None]}, rooms=["red"])
    await server.emit("news", "text")
    await server.emit("news", "others", socket=client.sid)
    await server.emit("news", "except", except_=["red"])
    assert await client.wait_for("news", 2) == [[b"\x00", {"deep": [b"x", None]}], ["text"]]
    assert await other.wait_for("news", 3) == [["text"], ["others"], ["except"]]
    found = {each["id"]: each for each in await server.fetch_sockets()}
    assert set(found) == {client.sid, other.sid} == set(await server.do("sockets"))
    assert found[client.sid]["rooms"] == sorted([client.sid, "red"])
    assert (found[client.sid]["data"], found[client.sid]["auth"]["rooms"]) == ({"n": 1}, ["red"])
    assert [each["id"] for each in await server.fetch_sockets(rooms=["red"])] == [client.sid]
    client.answers["how?"] = ["so"]
    assert await server.call(client.sid, "how?") == ["so"]
    answers = await server.emit_with_ack("how?", timeout=0.1)
    assert (answers.responses, answers.complete) == ([["so"]], False)
    assert (await server.emit_with_ack("how?", rooms=["red"])).complete
    await server.sockets_join("blue", rooms=["red"])
    assert len(await server.fetch_sockets(rooms=["blue"])) == 1
    await server.sockets_leave("blue")
    assert await server.fetch_sockets(rooms=["blue"]) == []
    await server.flood("f", "flood", count=20, interval=0.002)
    flood = await server.flooded("f", timeout=5)
    assert (len(flood.times), flood.raised, flood.done) == (20, [], True)
    await client.wait_for("flood", 20)
    assert [args[:2] for args in client.received("flood")] == [["f", number] for number in range(20)]
    assert await client.emit_with_ack("echo", "a") == "a"
    assert await client.emit_with_ack("join", "green") == "joined"
    assert await client.emit_with_ack("leave", "red") == "left"
    assert await client.emit_with_ack("data", {"m": 2}) == "kept"
    assert await other.emit_with_ack("say", ["green"], "said", 1) == "said"
    assert await client.wait_for("said") == [[1]]
    assert (await server.fetch_sockets(rooms=["green"]))[0]["data"] == {"n": 1, "m": 2}
    with pytest.raises(Refused, match="forbidden"):
        await clients.make(server.url, auth={"token": "wrong"}).connect()
    dynamic = await clients.connect(server.url, nsp="/dynamic-1")
    await server.emit("news", "dynamic", nsp="/dynamic-1")
    assert await dynamic.wait_for("news") == [["dynamic"]]
    await server.disconnect_sockets(rooms=["green"])
    await until(lambda: client.ends == ["namespace"])
    assert (await server.logged("disconnect", sid=client.sid))["reason"]
    assert (await server.logged("connection", sid=client.sid))["data"] == {"n": 1}
    await other.emit("drop")
    await until(lambda: other.ends == ["namespace"])
    with pytest.raises(JSError):
        await server.call("nobody", "how?")


async def come_back(server: DrivenServer, clients: LightClients) -> None:
    """Lose a connection and recover, as the JavaScript client does."""
    client = await clients.connect(server.url)
    await server.emit("mark", 1)
    await client.wait_for("mark")
    assert client.events[0].offset == client.offset is not None
    await server.emit("mark", "text")
    await client.wait_for("mark", 2)
    assert client.received("mark") == [[1], ["text"]]
    client.reconnects = False
    client.cut()
    await until(lambda: client.ends == ["transport"])
    await server.logged("disconnect", sid=client.sid)
    await server.emit("mark", 3)
    client.reconnects = True
    await client.connect()
    assert client.recovered
    assert client.admissions[0].sid == client.sid
    assert client.received("mark") == [[1], ["text"], [3]]
    await client.disconnect()
    await client.connect()
    assert not client.recovered


async def test_in_process(clients: LightClients) -> None:
    """The fast form would do something else than a process."""
    async with in_process() as server:
        await try_everything(server, clients)
        await come_back(server, clients)
        client = await clients.connect(server.url)
        await server.kill()
        await until(lambda: client.ends == ["transport"])


async def test_a_python_process(clients: LightClients) -> None:
    """A process would not be killed, frozen or ended as the test says."""
    named = "tests.support.cluster.test_servers:make_adapter"
    async with running_python("p", adapter=named, url="u://", recovery=None, clock=86400) as server:
        await try_everything(server, clients)
        assert abs((await server.flooded("f")).times[0] - time.time()) < 60, "the books are right"
        client = await clients.connect(server.url, reconnects=False)
        server.freeze()
        asked = asyncio.ensure_future(client.emit_with_ack("echo", 1))
        done, _ = await asyncio.wait([asked], timeout=0.1)
        assert not done
        server.thaw()
        assert await asked == 1
        await server.stop()
        await until(lambda: not client.connected)
        assert server.program.wait(0) == 0


@needs("node")
async def test_a_node_process(clients: LightClients) -> None:
    """Node's servers would be driven wrong, and ours be blamed."""
    async with running_node("n", url="", adapter="memory", recovery=None) as server:
        await try_everything(server, clients)
        pid = server.program.pid
        client = await clients.connect(server.url, reconnects=False)
        server.freeze()
        asked = asyncio.ensure_future(client.emit_with_ack("echo", 1))
        done, _ = await asyncio.wait([asked], timeout=0.1)
        assert not done
        server.thaw()
        assert await asked == 1
        await server.kill()
        await until(lambda: not client.connected)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_adapter_is_named() -> None:
    """Whoever writes an adapter could not try it."""
    assert find_factory("rtframework.adapters.memory:MemoryAdapter").__name__ == "MemoryAdapter"


def make_adapter(url: str) -> object:
    """Stand for the factory of an adapter, which gets the URL of Redis."""
    from rtframework.adapters.memory import MemoryAdapter

    assert url == "u://"
    return MemoryAdapter
