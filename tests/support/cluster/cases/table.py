"""The table of cases, and what several of them do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.support.cluster.clients import LightClient
from tests.support.cluster.driven import DrivenServer
from tests.support.cluster.fleet import Fleet
from tests.support.cluster.ledger import Ledger
from tests.support.until import until

Scenario: TypeAlias = Callable[[Fleet], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``needs``: abilities of all servers without which it makes no sense."""

    number: str
    title: str
    run: Scenario
    needs: frozenset[str]

    @property
    def place(self) -> tuple[int, str]:
        """Place in the order of the numbers, of which some have a letter."""
        digits = self.number.rstrip("abcdefghij")
        return int(digits), self.number[len(digits) :]


CASES: Final[dict[str, Case]] = {}


def case(number: str, title: str, *needs: str) -> Callable[[Scenario], Scenario]:
    """Enter the decorated scenario into the table of cases."""

    def enter(run: Scenario) -> Scenario:
        CASES[number] = Case(number, title, run, frozenset(needs))
        return run

    return enter


async def expect(server: DrivenServer, clients: dict[LightClient, int], event: str, **target: Any) -> None:
    """Emit, and fail if a client gets the event more or less often than so many times."""
    await server.emit(event, "argument", **target)
    await server.emit("end", event)
    for client in clients:
        await until(lambda client=client: [event] in [args[:1] for args in client.received("end")])  # type: ignore[misc]
    got = {client.name: len(client.received(event)) for client in clients}
    assert got == {client.name: count for client, count in clients.items()}, f"{event}: {got}"


async def give_offset(client: LightClient, server: DrivenServer) -> None:
    """Send the client an event, so that it has an offset: without one it is never recovered by Node."""
    count = len(client.received("mark"))
    await server.emit("mark")
    await client.wait_for("mark", count + 1)


async def hop(client: LightClient, there: DrivenServer) -> None:
    """Lose the connection and come back to a server, once the one before has kept the session."""
    before = len(client.admissions)
    client.url = there.url
    client.cut()
    await client.admitted(before + 1)


async def flood_both(fleet: Fleet, count: int, interval: float) -> None:
    """Start to emit on both servers."""
    for server in (fleet.a, fleet.b):
        await server.flood(server.name, "n", count=count, interval=interval)


async def balance(fleet: Fleet, *clients: LightClient, count: int) -> Ledger:
    """Wait for the end of ``flood_both`` and for its events, at most a few seconds, and fill a ledger."""
    ledger = Ledger()
    for server in (fleet.a, fleet.b):
        flood = await server.flooded(server.name, timeout=30)
        ledger.flood(server.name, flood.times, raised=flood.raised, uncertain=flood.uncertain)
    with contextlib.suppress(TimeoutError):  # the ledger says what is missing
        await until(lambda: all(len(client.received("n")) >= 2 * count for client in clients), timeout=3)
    for client in clients:
        ledger.client(client.name)
        client.enter(ledger, "n")
    return ledger


async def until_rooms(server: DrivenServer, count: int, room: str) -> None:
    """Wait until a server finds so many sockets in a room."""
    async with asyncio.timeout(5):
        while len(await server.fetch_sockets(rooms=[room])) != count:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.01)


async def until_sockets(server: DrivenServer, nsp: str, count: int) -> None:
    """Wait until a server finds so many sockets in a namespace."""
    async with asyncio.timeout(5):
        while len(await server.fetch_sockets(nsp=nsp, timeout=2)) != count:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.02)
