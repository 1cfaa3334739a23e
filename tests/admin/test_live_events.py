"""Development mode: what is told of sockets while somebody watches, and that nothing is left afterwards."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtframework import Namespace, Server, Socket
from rtframework.admin.live_events import LiveEvents
from rtframework.admin.serialization import AdminSerializer
from rtframework.testing import TestServer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Watching:
    """What is told, without the time of each."""

    def __init__(self, io: Server, silent: str = "/admin") -> None:
        self.told: list[tuple[Any, ...]] = []
        self.live = LiveEvents(io.namespaces, AdminSerializer(), self._tell, silent=silent)

    def _tell(self, event: str, *args: Any) -> None:
        if event == "socket_updated":
            self.told.append((event, *args))
            return
        *shown, when = args
        assert TIME.fullmatch(when), "as JavaScript writes it"
        shown = [each["id"] if event == "socket_connected" else each for each in shown]
        self.told.append((event, *shown))

    def take(self) -> list[tuple[Any, ...]]:
        """What has been told since the last time."""
        told, self.told = self.told, []
        return told


def chat() -> Server:
    """A server with an event that answers by another one."""
    io = Server()

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await socket.emit("said", text)

    return io


def hooks(namespace: Namespace) -> tuple[Any, ...]:
    """What a watch leaves with a namespace."""
    return namespace._watcher, namespace.listeners_any(), namespace.listeners_any_outgoing()


async def test_everything_that_happens_to_a_socket() -> None:
    """Whoever looks for a mistake would not see a part of what happens."""
    io = chat()
    watching = Watching(io)
    async with TestServer(io) as server:
        watching.live.start()
        alice = await server.connect()
        assert watching.take() == [("room_joined", "/", alice.id, alice.id), ("socket_connected", alice.id)]
        await alice.emit("say", "hi")
        assert await alice.receive("said") == "hi"
        assert watching.take() == [
            ("event_received", "/", alice.id, ("say", "hi")),
            ("event_sent", "/", alice.id, ("said", "hi")),
        ]
        await io.sockets[alice.id].join("red")
        await io.sockets[alice.id].leave("red")
        assert watching.take() == [("room_joined", "/", "red", alice.id), ("room_left", "/", "red", alice.id)]
        await alice.disconnect()
        told = watching.take()
        assert sorted(told) == sorted(
            [
                ("socket_disconnected", "/", alice.id, "client namespace disconnect"),
                ("room_left", "/", alice.id, alice.id),
            ]
        )


async def test_the_page_itself_is_shown_without_its_events() -> None:
    """Each event that is shown would be an event to be shown, for ever."""
    io = chat()
    watching = Watching(io, silent="/")
    async with TestServer(io) as server:
        watching.live.start()
        alice = await server.connect()
        await alice.emit("say", "hi")
        assert await alice.receive("said") == "hi"
        assert [each[0] for each in watching.take()] == ["room_joined", "socket_connected"]


@pytest.mark.parametrize("rounds", [1, 3])
async def test_nothing_is_left_when_nobody_watches(rounds: int) -> None:
    """A server would pay for it at every message, for ever after somebody has had a look."""
    io = chat()
    io.of("/other")
    before = {name: hooks(each) for name, each in io.namespaces.items()}
    watching = Watching(io)
    async with TestServer(io) as server:
        for _ in range(rounds):
            watching.live.start()
            assert all(hooks(each) != before[name] for name, each in io.namespaces.items())
            watching.live.stop()
            assert {name: hooks(each) for name, each in io.namespaces.items()} == before
        alice = await server.connect()
        await alice.emit("say", "hi")
        watching.live.look()
        watching.live.introduce(io.of("/other"))
        assert watching.take() == []
        watching.live.stop()


async def test_a_namespace_that_is_made_meanwhile_is_watched() -> None:
    """What happens in a tenant's namespace would be shown only to who opens the page afterwards."""
    io = chat()
    watching = Watching(io)
    async with TestServer(io) as server:
        watching.live.start()
        watching.live.introduce(io.of("/new"))
        bob = await server.connect("/new")
        assert ("socket_connected", bob.id) in watching.take()
        # One of which nobody has told is found at the next look.
        watching.live._watched.pop("/new").stop()  # type: ignore[union-attr]
        watching.live.look()
        carol = await server.connect("/new")
        assert ("socket_connected", carol.id) in watching.take()


async def test_what_nobody_announces_is_seen_at_the_next_look() -> None:
    """A socket's data, or its upgrade to a websocket, would be shown as they were when it came."""
    io = chat()
    watching = Watching(io)
    async with TestServer(io) as server:
        early = await server.connect(transport="polling")
        io.sockets[early.id].data["name"] = "Ada"
        watching.live.start()
        watching.live.look()
        assert watching.take() == [], "what was so at the beginning is no news"
        io.sockets[early.id].data["name"] = "Bob"
        watching.live.look()
        shown = {"id": early.id, "nsp": "/", "transport": "polling", "data": {"name": "Bob"}}
        assert watching.take() == [("socket_updated", shown)]
        watching.live.look()
        assert watching.take() == []
        await early.upgrade()
        watching.live.look()
        assert watching.take() == [("socket_updated", {**shown, "transport": "websocket"})]


async def test_data_that_cannot_be_compared_as_they_are_do_no_harm() -> None:
    """A program that keeps an object of its own in ``data`` would break the page, or be told of at every look."""
    io = chat()
    watching = Watching(io)
    async with TestServer(io) as server:
        alice = await server.connect()
        data: dict[str, Any] = {"lock": object()}
        data["itself"] = data
        io.sockets[alice.id].data.update(data)
        watching.live.start()
        watching.live.look()
        assert watching.take() == []
