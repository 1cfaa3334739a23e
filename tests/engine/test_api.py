"""``io.engine`` by itself; what it changes for clients is in ``integration/test_engine.py``."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from rtframework import ConfigurationError, Server
from rtframework.engine.api import EngineIO
from rtframework.protocols import HandleRequest
from tests.conftest import Serve
from tests.engine import engine_of, join, raw_client


async def pass_on(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
    """Middleware that changes nothing."""
    return await call_next()


def test_decorators_give_back_what_they_are_given() -> None:
    """A function could not be used, or tested, by its name any more."""
    engine = Server().engine
    assert engine.use(pass_on) is pass_on
    assert engine.on("headers")(print) is print


def test_events_that_are_not_there_are_mistakes() -> None:
    """A typing error would be a listener that nobody calls."""
    with pytest.raises(ConfigurationError, match="connection_error, initial_headers, headers"):
        Server().engine.on("header")  # type: ignore[call-overload]


def test_habits_from_node_are_mistakes() -> None:
    """A function would be refused in words that do not say what to write; another would never be called."""
    engine: Any = Server().engine
    with pytest.raises(TypeError, match=r"write @io\.engine\.on\('headers'\) above the function"):
        engine.on("headers", print)
    with pytest.raises(AttributeError, match="generateId"):
        engine.generateId = print


@pytest.mark.parametrize(
    "arrange",
    [lambda engine: engine.use(pass_on), lambda engine: engine.on("headers")(print)],
    ids=["middleware", "headers"],
)
def test_only_who_has_something_in_front_pays_for_it(arrange: object) -> None:
    """Each request would take the long way for nothing."""
    io = Server()
    inside = engine_of(io)
    assert inside._front == inside._serve
    io.engine.on("connection_error")(print)
    assert inside._front == inside._serve
    arrange(io.engine)  # type: ignore[operator]
    assert inside._front == inside._pass_front


def test_ids_are_generated_by_the_engine_unless_a_program_does() -> None:
    """Session ids that a program makes would not be used, or there would be none."""
    engine: EngineIO = Server().engine
    request: web.Request = object()  # type: ignore[assignment]
    made = {engine.generate_id(request) for _ in range(10)}
    assert len(made) == 10
    engine.generate_id = lambda request: "mine"
    assert engine.generate_id(request) == "mine"


async def test_clients_are_counted(serve: Serve) -> None:
    """A health check would show nothing."""
    io = Server()
    server = await serve(io)
    async with raw_client(server.url) as raw:
        assert io.engine.clients_count == 0
        await join(raw)
        assert io.engine.clients_count == 1


async def test_bans_are_listed_and_lifted() -> None:
    """Nobody could see who is kept out, or let somebody in again."""
    engine = Server().engine
    assert engine.bans == {}
    engine.ban("2001:db8::1", 60)
    ((key, left),) = engine.bans.items()
    assert key == "2001:db8::/64"
    assert 59 < left <= 60
    assert engine.unban(key)
    assert not engine.unban("2001:db8::1")
    with pytest.raises(ConfigurationError, match="an address is"):
        engine.ban("example.org", 60)


async def test_a_ban_closes_the_connections_of_its_address(serve: Serve) -> None:
    """Somebody who was banned would stay for as long as the connection holds."""
    io = Server(trusted_proxies="127.0.0.1")
    server = await serve(io)
    headers = {"X-Forwarded-For": "203.0.113.7"}
    async with raw_client(server.url) as there, raw_client(server.url) as other:
        await there.handshake(headers=headers)
        await other.handshake()
        io.engine.ban("203.0.113.7", 60)
        assert await there.poll() == ["1"]
        assert (await other.post("40")).text == "ok"
        answer = await there.request("GET", query={"EIO": "4", "transport": "polling"}, headers=headers)
        assert (answer.status, answer.headers["Retry-After"]) == (403, "60")
