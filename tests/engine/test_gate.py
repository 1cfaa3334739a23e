"""The gate for new connections: who is turned away, and with which status."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework import Handshake, Limits, RateLimit
from rtframework.engine import gate as module
from rtframework.engine.connection_table import ConnectionTable
from rtframework.engine.gate import Gate
from rtframework.engine.transports.polling import PollingTransport
from rtframework.engine.versions import Version4
from rtframework.options import EngineOptions
from tests.support.clients import held_clock


class Handler:
    """Takes everything."""

    def receive(self, data: str | bytes) -> None: ...

    def ended(self, reason: str) -> None: ...


class House:
    """A table, and the gate in front of it."""

    def __init__(self, limits: Limits | None = None, rate_limit: RateLimit | None = None) -> None:
        options = EngineOptions(limits=limits or Limits(), rate_limit=rate_limit or RateLimit())
        self.table = ConnectionTable(options, lambda connection, handshake: Handler(), lambda connection: None)
        self.gate = Gate(options.limits, self.table)

    def open(self, sid: str, address: str) -> None:
        """One more connection."""
        self.table.open(sid, Version4.connection, PollingTransport(), Handshake(address=address))

    def status(self, address: str = "203.0.113.7", *, again: bool = False) -> tuple[int, int] | None:
        """The status and ``Retry-After`` for a request; ``None`` if it may pass."""
        closed = self.gate.closed_for(request_of(address), again=again)
        return None if closed is None else (closed.status, closed.retry_after)

    @property
    def limited(self) -> dict[str, int]:
        """The limits that were reached."""
        return {limit: count for limit, count in self.table.counts.limited.items() if count}


def request_of(address: str) -> web.Request:
    """A request of an address."""
    return make_mocked_request("GET", "/socket.io/").clone(remote=address)


async def test_the_number_of_connections_is_bounded() -> None:
    """A server would take more than its memory has room for."""
    house = House(Limits(max_connections=2))
    house.open("a", "203.0.113.7")
    assert house.status() is None
    house.open("b", "203.0.113.7")
    assert house.status() == (503, 5)
    house.table.by_sid["a"].lost("gone")
    assert house.status() is None
    assert house.limited == {"max_connections": 1}
    await house.table.shutdown("over", 0.1)


async def test_without_a_number_descriptors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would run out of file descriptors, and write nothing but errors."""
    number = 167
    monkeypatch.setattr(module, "highest_number", lambda: 168)
    monkeypatch.setattr(module, "number_of", lambda request: number)
    house = House()
    assert house.status() is None
    number = 168
    assert house.status() == (503, 5)
    closed = house.gate.closed_for(request_of("203.0.113.7"))
    assert closed is not None
    assert closed.hang_up, "the descriptor would stay in use"
    assert House(Limits(max_connections=1)).status() is None
    monkeypatch.setattr(module, "highest_number", lambda: None)
    assert House().status() is None


async def test_an_address_has_its_share() -> None:
    """One client would take all places; of IPv6 it has 2^64 addresses."""
    house = House(Limits(max_connections_per_address=2))
    house.open("a", "2001:db8::1")
    house.open("b", "2001:db8::2")
    assert house.status("2001:db8::3") == (429, 5)
    assert house.status("2001:db8:0:1::1") is None
    assert house.status() is None
    house.table.by_sid["a"].lost("gone")
    assert house.status("2001:db8::3") is None
    assert house.limited == {"max_connections_per_address": 1}
    await house.table.shutdown("over", 0.1)


async def test_handshakes_have_a_rate() -> None:
    """A client that connects again and again would cost as much as a thousand that stay."""
    house = House(rate_limit=RateLimit(handshakes="2/10s"))
    async with held_clock() as clock:
        assert [house.status() for _ in range(3)] == [None, None, (429, 5)]
        assert house.status("203.0.113.8") is None
        await clock.advance(3)
        assert house.status() == (429, 2)
        assert house.status(again=True) is None, "asked twice about one handshake"
        await clock.advance(2)
        assert house.status() is None
    assert house.limited == {"handshakes": 2}


async def test_a_ban_keeps_an_address_out() -> None:
    """Somebody who was thrown out would be back at once."""
    house = House()
    async with held_clock() as clock:
        house.table.guard.bans.add("2001:db8::1", 60)
        await clock.advance(0.5)
        assert house.status("2001:db8::2") == (403, 60)
        assert house.status() is None
        await clock.advance(60)
        assert house.status("2001:db8::2") is None
    assert house.limited == {"banned": 1}


async def test_a_server_that_closes_says_so_first() -> None:
    """A client would be told to come back to a server that stops."""
    house = House(Limits(max_connections=1))
    house.open("a", "203.0.113.7")
    await house.table.shutdown("over", 0.1)
    assert house.status() == (503, 0)


def test_an_answer_says_when_to_come_back() -> None:
    """Clients would ask again at once."""
    headers: Any = {"Access-Control-Allow-Origin": "*"}
    assert module.CLOSING.headers(headers) == headers
    assert module._FULL.headers(headers) == {**headers, "Retry-After": "5"}
