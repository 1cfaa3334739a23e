"""Workers as processes of their own, joined by a broker in this one, with real clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from rtframework.workers.backbone import DIRECTORY
from rtframework.workers.broker import Broker
from tests.support.js import JSClients
from tests.support.proxy import running_proxy
from tests.support.server import SubprocessServer
from tests.support.transports import Transport
from tests.support.workers import running_broker

PROGRAM: Final = Path(__file__).parent.parent / "support" / "worker_program.py"


@contextlib.asynccontextmanager
async def workers(count: int, *, recovery: bool = False) -> AsyncIterator[tuple[Broker, list[SubprocessServer]]]:
    """Run workers, each on a port of its own."""
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(running_broker())
        env = {DIRECTORY: str(broker.directory), "RECOVERY": "1" if recovery else ""}
        servers = [SubprocessServer(PROGRAM, env=env) for _ in range(count)]
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        yield broker, servers


@pytest.mark.parametrize("recovery", [False, True])
async def test_workers_are_one_server(js: JSClients, transport: Transport, recovery: bool) -> None:
    """A room, a question or a kick would end at the worker that somebody happens to be on."""
    async with workers(2, recovery=recovery) as (_, (one, two)):
        a = await js.connect(one.url, via=transport, auth={"name": "a", "rooms": ["x"]})
        b = await js.connect(two.url, via=transport, auth={"name": "b", "rooms": ["x", "y"]})
        c = await js.connect(two.url, via=transport, auth={"name": "c", "rooms": ["y"]})
        clients = {"a": a, "b": b, "c": c}
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "abc"),
            ({"to": ["x"]}, "ab"),
            ({"to": ["x", "y"]}, "abc"),
            ({"to": ["x", "y"], "except": ["y"]}, "a"),
            ({"except": ["x"]}, "c"),
            ({"to": ["x"], "volatile": True}, "ab"),
            ({"local": True}, "a"),
            ({"to": ["nobody"]}, ""),
        )
        for number, (options, expected) in enumerate(cases):
            await a.emit_with_ack("emit", options, ["case", number, {"bytes": b"\x00\xff"} if number % 2 else "é"])
            for name in expected:
                assert (await clients[name].wait_for("case"))[0] == number, (options, name)
        for client in clients.values():
            await client.expect_nothing("case")
        await b.answer("question", "b!")
        await a.answer("question", "a!")
        assert await a.emit_with_ack("ask", "x", "well?") == ["a!", "b!"]
        assert await a.emit_with_ack("who") == await c.emit_with_ack("who") == ["a", "b", "c"]
        assert await a.emit_with_ack("ping others") == 1
        await a.emit_with_ack("gather", "y", "z")
        for client in (b, c):
            assert (await client.wait_for("welcome"))[0] == "z"
        await a.expect_nothing("welcome")
        await a.emit_with_ack("kick", "z")
        assert await b.disconnected() == await c.disconnected() == "io server disconnect"
        assert await a.emit_with_ack("who") == ["a"]


async def test_a_client_of_a_worker_that_was_killed_goes_on_at_another(js: JSClients, transport: Transport) -> None:
    """Who was connected to a process that died would lose what was sent until the client came back, or get it twice."""
    async with workers(3, recovery=True) as (broker, (one, two, three)):
        talker = await js.connect(two.url, via=transport, auth={"name": "talker"})
        async with running_proxy(one.url) as proxy:
            client = await js.connect(proxy.url, via=transport, auth={"name": "client", "rooms": ["x"]})
            sid = await client.id()
            await talker.emit_with_ack("flood", "x", 0, 50)
            assert [(await client.wait_for("n"))[0] for _ in range(50)] == list(range(50))
            await one.kill()
            proxy.lead_to(three.url)
            await client.disconnected()
            await talker.emit_with_ack("flood", "x", 50, 100)
            await talker.emit_with_ack("flood", "elsewhere", 1000, 1)
            await client.open()
            assert (await client.reconnected())["recovered"]
            await talker.emit_with_ack("flood", "x", 150, 50)
            rest = [(await client.wait_for("n"))[0] for _ in range(150)]
            assert rest == list(range(50, 200))
            await client.expect_nothing("n")
            assert await client.id() == sid
            assert await talker.emit_with_ack("who") == ["client", "talker"]
            assert len(broker.members) == 2


async def test_nothing_is_lost_or_doubled_when_a_worker_is_killed_amid_a_flood(js: JSClients) -> None:
    """What was on its way to a process that died would be missing, or come again after the client is back."""
    async with workers(3, recovery=True) as (_, (one, two, three)):
        talkers = [await js.connect(each.url, auth={"name": each.url}) for each in (two, three)]
        async with running_proxy(one.url) as proxy:
            clients = [
                await js.connect(
                    proxy.url,
                    auth={"name": f"c{number}", "rooms": ["x"]},
                    reconnection=True,
                    reconnectionDelay=50,
                    reconnectionDelayMax=200,
                )
                for number in range(5)
            ]
            floods = [
                asyncio.create_task(talker.emit_with_ack("flood", "x", 10_000 * number, 2_000))
                for number, talker in enumerate(talkers)
            ]
            for client in clients:  # each has an offset, and much is still to come
                await client.wait_for("n")
            proxy.lead_to(three.url)
            await one.kill()
            for flood in floods:
                await flood
            for client in clients:
                assert (await client.reconnected())["recovered"]
            for talker in talkers:
                await talker.emit_with_ack("emit", {"to": ["x"]}, ["end"])
            for client in clients:
                for _ in talkers:
                    await client.wait_for("end")
                got = [event[0] for event in client.received("n")]
                for number in range(len(talkers)):
                    first = 10_000 * number
                    assert [each for each in got if each // 10_000 == number] == list(range(first, first + 2_000))
