"""The namespace of the Admin UI: who comes in, what it is told and may do, and that it costs nothing unwatched."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rtframework import ConfigurationError, History, Server
from rtframework.testing import Clock, TestServer
from tests.support.in_process import NOT_ON_UVLOOP


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"username": "ada"},
        {"password": "right"},
        {"username": "", "password": "right"},
        {"username": "ada", "password": ""},
        {"username": "ada", "password": "right", "auth": False},
        {"auth": True},
        {"auth": {"type": "basic"}},
        {"username": "ada", "password": "$2b$10$tooshort"},
        {"auth": False, "mode": "debug"},
        {"auth": False, "namespace": "admin"},
    ],
)
def test_a_door_that_stands_open_by_mistake(given: dict[str, Any]) -> None:
    """A forgotten password would let everybody see and disconnect every client."""
    with pytest.raises(ConfigurationError):
        Server().instrument(**given)


def test_it_keeps_no_history() -> None:
    """What an administrator sees would be kept with what is said in rooms."""
    io = Server(history=History("a"))
    io.instrument(auth=False)
    assert io.of("/admin")._history is None
    assert io.of("/")._history is not None


# --- what it is told --------------------------------------------------------------------------------------------------


def instrumented(**options: Any) -> Server:
    """A server that the Admin UI shows, without a password."""
    io = Server(**options.pop("server", {}))
    io.instrument(auth=False, **options)
    return io


@NOT_ON_UVLOOP
@pytest.mark.parametrize("mode", ["production", "development"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_the_page_is_told_what_it_may_do(mode: Any, read_only: bool) -> None:
    """Buttons would be shown that do nothing, or be missing."""
    io = instrumented(mode=mode, read_only=read_only)
    async with TestServer(io, clock=Clock()) as server:
        page = await server.connect("/admin")
        features = set((await page.receive("config"))["supportedFeatures"])
        assert ("ALL_EVENTS" in features) is (mode == "development")
        assert ({"EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"} <= features) is not read_only
        assert "AGGREGATED_EVENTS" in features
        answered = await page.emit_with_ack("emit", "/", None, "news")
        refused = {"error": {"code": "unknown_event", "message": "no handler for 'emit'"}}
        assert answered == (refused if read_only else None)


@NOT_ON_UVLOOP
async def test_figures_come_every_two_seconds_to_all_pages() -> None:
    """A page would stand still, or a second one double the pace of both."""
    io = instrumented()
    async with TestServer(io, clock=Clock()) as server:
        first = await server.connect("/admin")
        second = await server.connect("/admin")
        for page in (first, second):
            assert (await page.receive("server_stats"))["clientsCount"] in (1, 2)
        for _ in range(3):
            await server.clock.advance(2)
            for page in (first, second):
                assert (await page.receive("server_stats"))["clientsCount"] == 2
        await server.clock.advance(1.9)
        await first.receive_nothing("server_stats")


@NOT_ON_UVLOOP
async def test_the_timer_runs_only_while_a_page_is_open() -> None:
    """A server would do something every two seconds for ever after somebody has had a look."""
    io = instrumented()
    admin: Any = io.of("/admin")
    async with TestServer(io, clock=Clock()) as server:
        assert admin._timer is None
        first, second = await server.connect("/admin"), await server.connect("/admin")
        assert admin._timer is not None
        await first.disconnect()
        assert admin._timer is not None
        await second.disconnect()
        assert admin._timer is None
        await server.connect("/admin")
        assert admin._timer is not None


# --- what it may do ---------------------------------------------------------------------------------------------------


@NOT_ON_UVLOOP
@pytest.mark.parametrize("one", [True, False], ids=["one socket", "all"])
async def test_commands_reach_whom_they_name(one: bool) -> None:
    """A button for one client would disconnect all of them."""
    io = instrumented()
    async with TestServer(io, clock=Clock()) as server:
        page = await server.connect("/admin")
        alice, bob = await server.connect(), await server.connect()
        whom = alice.id if one else None
        await page.emit_with_ack("join", "/", ["red", "blue"], whom)
        assert io.sockets[alice.id].rooms >= {"red", "blue"}
        assert (io.sockets[bob.id].rooms >= {"red", "blue"}) is not one
        await page.emit_with_ack("leave", "/", "red", whom)
        assert "red" not in io.sockets[alice.id].rooms
        await page.emit_with_ack("emit", "/", "blue", "news", 1, [2])
        assert await alice.receive("news") == (1, [2])
        await page.emit_with_ack("_disconnect", "/", False, whom)
        assert set(io.sockets) == ({bob.id} if one else set())
        assert page.connected


@NOT_ON_UVLOOP
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("emit", "/nowhere", None, "news"), "unknown_namespace"),
        (("emit", "/", None, "disconnect"), "reserved_event"),
        (("emit", "/", None, ""), "reserved_event"),
        (("join", "/", 5, None), "invalid_payload"),
        (("_disconnect", "/", "yes"), "invalid_payload"),
        (("emit", 5, None, "news"), "invalid_payload"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(args: tuple[Any, ...], code: str) -> None:
    """A page of another version would cause tracebacks in the server's log."""
    async with TestServer(instrumented(), clock=Clock()) as server:
        page = await server.connect("/admin")
        event, *rest = args
        assert (await page.emit_with_ack(event, *rest))["error"]["code"] == code


@NOT_ON_UVLOOP
async def test_who_did_what_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could say who has disconnected all clients."""
    caplog.set_level(logging.INFO, "rtframework.admin")
    io = Server()
    io.instrument(username="ada", password="right")
    async with TestServer(io, clock=Clock()) as server:
        page = await server.connect("/admin", auth={"username": "ada", "password": "right"}, address="192.0.2.7")
        await page.emit_with_ack("_disconnect", "/", True, "room")
        record = caplog.records[-1]
        assert record.message == "Admin UI: disconnect, in /, to 'room', by 'ada' from 192.0.2.7"
        fields = {name: getattr(record, name) for name in ("nsp", "address", "user", "room")}
        assert fields == {"nsp": "/", "address": "192.0.2.7", "user": "ada", "room": "room"}
