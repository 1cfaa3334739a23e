"""The conformance suite of presence: stores that know who is in the rooms of several servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import SkipTest

from ...adapters.presence import Presence
from ...exceptions import ClusterUnavailable
from ...options import Recovery
from .suites import check

if TYPE_CHECKING:
    from ...server import Server
    from ...types import Handshake
    from ..client import TestClient
    from ..server import TestServer
    from .cluster_broker import ClusterBroker

ROOM = "chat:1"
"""The room of most tests."""


class _Anybody:
    """Believes every client."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the user that the client names."""
        return handshake.auth["user"]


class Visitor:
    """A client, and who is in each room as it was told. ``doubled``: what it was told, though it was so already."""

    client: TestClient

    def __init__(self, place: Place, client: TestClient, user: str) -> None:
        self.place = place
        self.user = user
        self.rooms: set[str] = set()
        self.lists: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []
        self.doubled: list[tuple[str, str]] = []
        self.strangers: list[str] = []
        """Users who have said something without being in the list."""
        self._use(client)

    def _use(self, client: TestClient) -> None:
        self.client = client
        client.on("presence", self._list)
        client.on("presence_join", lambda it, *offset: self._diff("join", it))
        client.on("presence_leave", lambda it, *offset: self._diff("leave", it))
        client.on("presence_update", lambda it, *offset: self._diff("update", it))
        client.on("said", self._hear)

    def _list(self, it: dict[str, Any]) -> None:
        self.lists[it["room"]] = {each["user"]: each["meta"] for each in it["members"]}

    def _diff(self, kind: str, it: dict[str, Any]) -> None:
        people, user = self.lists.setdefault(it["room"], {}), it["user"]
        self.told.append((kind, user))
        if (user in people) is (kind == "join"):
            self.doubled.append((kind, user))
        if kind == "leave":
            people.pop(user, None)
        else:
            people[user] = it["meta"]

    def _hear(self, room: str, user: str, *offset: str) -> None:
        if user not in self.lists.get(room, {}):
            self.strangers.append(user)

    async def join(self, room: str = ROOM) -> None:
        """Join a room; return when the server has answered."""
        self.rooms.add(room)
        await self.client.emit_with_ack("join", room, within=self.place.patience)

    async def leave(self, room: str = ROOM) -> None:
        """Leave a room."""
        self.rooms.discard(room)
        await self.client.emit_with_ack("leave", room, within=self.place.patience)

    async def come_back(self) -> None:
        """Connect anew, as the stock client does, if the server has closed the connection; join the rooms again."""
        if self.client.connected:
            return
        self._use(await self.place.connect(self.user))
        for room in self.rooms:
            await self.client.emit("join", room)


class Place:
    """One server, and its clients."""

    def __init__(self, io: Server, server: TestServer, name: str, patience: float) -> None:
        self.io = io
        self.server = server
        self.name = name
        self.patience = patience

    async def connect(self, user: str) -> TestClient:
        """Connect a client."""
        return await self.server.connect(auth={"user": user}, within=self.patience)

    async def visitor(self, user: str, *rooms: str) -> Visitor:
        """Connect a client, which joins rooms."""
        visitor = Visitor(self, await self.connect(user), user)
        for room in rooms:
            await visitor.join(room)
        return visitor

    async def users(self, room: str = ROOM) -> list[str]:
        """Return who is in a room, as the server says."""
        return [each.user for each in await self.io.presence(room)]


Scenario: TypeAlias = "Callable[[ClusterBroker, list[Place]], Awaitable[None]]"


class PresenceConformance:
    """Tests of a backbone that is a :class:`~rtframework.protocols.KeepsPresence`: several servers, and who is there.

    Implement ``broker()``, which returns a new :class:`ClusterBroker`; its faults are needed by some tests, which are
    skipped without them. ``servers``: how many its broker can join; 1 for a store of one server. ``patience``: seconds
    that a change may take. ``notice``: seconds in which a server that was killed has to be noticed. ``grace``: seconds
    that a lost client has to come back, in the tests. ``recovers``: clients can be recovered on another server.
    """

    servers: int = 3
    patience: float = 5.0
    notice: float = 21.0
    grace: float = 0.4
    recovers: bool = False

    def broker(self) -> ClusterBroker:
        """Return a new broker, not started."""
        raise NotImplementedError("give the suite a broker()")

    # --- one server, or several ---------------------------------------------------------------------------------------

    def test_everybody_is_told_who_comes_and_goes(self) -> None:
        """A list would be short by the people of other servers, or keep people who have gone."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            visitors = []
            for number in range(6):
                visitors.append(await places[number % len(places)].visitor(f"u{number}", ROOM))
                await self._agree(visitors, places)
            check(visitors[0].told == [("join", f"u{number}") for number in range(1, 6)], f"told {visitors[0].told}")
            while len(visitors) > 1:
                await visitors.pop().leave()
                await self._agree(visitors, places)
            check(not visitors[0].doubled, f"told twice: {visitors[0].doubled}")

        self._run(self.servers, run)

    def test_several_tabs_are_one_user(self) -> None:
        """A user would come once for each tab, or go with the first that is closed."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher = await places[0].visitor("watcher", ROOM)
            tabs = [await place.visitor("ada", ROOM) for place in (*places, places[0])]
            (ada,) = [each for each in await places[0].io.presence(ROOM) if each.user == "ada"]
            check(ada.tabs == len(tabs), f"{ada.tabs} tabs, and not {len(tabs)}")
            for tab in tabs[:-1]:
                await tab.leave()
            await self._agree([watcher, tabs[-1]], places)
            check(watcher.told == [("join", "ada")], f"told {watcher.told}")
            await tabs[-1].leave()
            await self._agree([watcher], places)
            check(watcher.told == [("join", "ada"), ("leave", "ada")], f"told {watcher.told}")

        self._run(1, run)

    def test_a_lost_client_has_time_to_come_back(self) -> None:
        """People would flicker with every bad connection, or stay when they are gone."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher = await places[-1].visitor("watcher", ROOM)
            ada = await places[0].visitor("ada", ROOM)
            await ada.client.lose_connection()
            await self._until(lambda: _tabs(places[-1], "ada", 0), "a lost tab still counts")
            again = await places[-1].visitor("ada", ROOM)
            await asyncio.sleep(2 * self.grace)
            check(watcher.told == [("join", "ada")], f"told {watcher.told}, and it is back")
            await again.client.lose_connection()
            await asyncio.sleep(0)
            check(watcher.told == [("join", "ada")], "told at once")
            await self._agree([watcher], places)
            check(watcher.told == [("join", "ada"), ("leave", "ada")], f"told {watcher.told}")

        self._run(1, run)

    def test_meta_is_the_users_and_is_changed_for_all(self) -> None:
        """A status would be seen by some, or be lost with the tab that has set it."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher = await places[-1].visitor("watcher", ROOM)
            ada = await places[0].visitor("ada", ROOM)
            meta: dict[str, Any] = {"text": 'é\u2028\U0001f600\x00"\\\n', "list": [1.5, None, {}], "of": "ada"}
            await ada.client.emit_with_ack("meta", ROOM, meta, within=self.patience)
            await self._until(lambda: watcher.lists[ROOM].get("ada") == meta, "not told")
            tab = await places[-1].visitor("ada", ROOM)
            check(tab.lists[ROOM]["ada"] == meta, f"a new tab has {tab.lists[ROOM]['ada']!r}")
            await ada.leave()
            late = await places[0].visitor("late", ROOM)
            check(late.lists[ROOM]["ada"] == meta, f"after it has left: {late.lists[ROOM]['ada']!r}")
            check(watcher.told == [("join", "ada"), ("update", "ada"), ("join", "late")], f"told {watcher.told}")

        self._run(1, run)

    def test_names_of_any_kind(self) -> None:
        """A user or a room could be another one, by what is in its name."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            names = [
                "a",
                "a b",
                "1:a",
                "b#c",
                "/,chat:1",
                '"},{',
                "\x00",
                "\n",
                "é",
                "\U0001f600",
                "n" * 5_000,
                "%s",
                "-",
            ]
            rooms = ["chat:1", "chat:1,chat:1", "chat: ", "chat:\n", "chat:\x00", "chat:é", "chat:%s", "chat:{x}"]
            visitors = [await places[0].visitor(name, *rooms) for name in names]
            for room in rooms:
                found = await places[-1].users(room)
                check(found == sorted(names), f"in {room!r}: {found!r}")
            page = await places[-1].io.presence(ROOM, limit=5)
            rest = await places[-1].io.presence(ROOM, after=page[-1].user)
            check([each.user for each in (*page, *rest)] == sorted(names), "the pages are not the whole")
            await visitors[0].leave(rooms[1])
            check("a" in await places[-1].users(ROOM), "left a room that it had not")
            for visitor in visitors:
                await visitor.client.disconnect()
            for room in rooms:
                await self._until(lambda room=room: _is_empty(places[-1], room), f"{room!r} has ghosts")  # type: ignore[misc]

        self._run(1, run)

    def test_nobody_speaks_who_is_not_in_the_list(self) -> None:
        """A page would show a message by somebody it does not know."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watchers = [await place.visitor(f"watcher{number}", ROOM) for number, place in enumerate(places)]
            talkers = [await place.visitor(f"talker{number}") for number, place in enumerate((*places, *places))]

            async def talk(talker: Visitor) -> None:
                for _ in range(8):
                    await talker.client.emit_with_ack("visit", ROOM, within=self.patience)

            await asyncio.gather(*map(talk, talkers))
            await self._agree(watchers, places)
            for watcher in watchers:
                check(not watcher.strangers, f"{set(watcher.strangers)} spoke without being there")
                check(not watcher.doubled, f"told twice: {watcher.doubled}")
                joins = sum(kind == "join" and user.startswith("talker") for kind, user in watcher.told)
                check(joins == 8 * len(talkers), f"{joins} joins were told")

        self._run(self.servers, run)

    def test_a_server_that_stops_gives_its_clients_time(self) -> None:
        """A new version of a program would make everybody leave and come."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher = await places[0].visitor("watcher", ROOM)
            await places[1].visitor("ada", ROOM)
            await places[1].visitor("bob", ROOM)
            await places[1].server.stop()
            ada = await places[0].visitor("ada", ROOM)
            await self._agree([watcher, ada], places[:1])
            expected = [("join", "ada"), ("join", "bob"), ("leave", "bob")]
            check(watcher.told == expected, f"told {watcher.told}")

        self._run(2, run)

    def test_another_server_puts_somebody_into_a_room(self) -> None:
        """A user who was moved by a program on another server would be in the room, and in no list."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher = await places[0].visitor("watcher", ROOM)
            ada = await places[-1].visitor("ada")
            await self._until(lambda: _has_sockets(places[0], 2), "the servers do not hear each other")
            await places[0].io.user("ada").join(ROOM)
            await self._agree([watcher, ada], places)
            await places[0].io.user("ada").leave(ROOM)
            await self._agree([watcher], places)
            await places[0].io.user("ada").join(ROOM)
            await self._agree([watcher, ada], places)
            await places[0].io.user("ada").disconnect(reason="spam")
            await self._agree([watcher], places)
            expected = [("join", "ada"), ("leave", "ada")] * 2
            check(watcher.told == expected, f"told {watcher.told}")

        self._run(1, run)

    def test_a_client_that_is_recovered_elsewhere_stays(self) -> None:
        """A client's old server would take it out of the list, or tell that it has come."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher, ada = await self._recovered_elsewhere(places)
            await asyncio.sleep(2 * self.grace)
            await self._agree([watcher], places, users={"watcher", "ada"})
            check(watcher.told == [("join", "ada")], f"told {watcher.told}, and it is back")
            check(await _tabs(places[1], "ada", 1), "it is not one tab")
            await ada.leave()
            await self._agree([watcher], places)

        self._run(2, run)

    def test_a_client_that_is_recovered_elsewhere_leaves_at_once(self) -> None:
        """A client's old server would keep it in the list, because it may come back."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watcher, ada = await self._recovered_elsewhere(places)
            await ada.leave()
            await self._agree([watcher], places)
            check(watcher.told == [("join", "ada"), ("leave", "ada")], f"told {watcher.told}")

        self._run(2, run, grace=20 * self.patience)

    async def _recovered_elsewhere(self, places: list[Place]) -> tuple[Visitor, Visitor]:
        """Return a watcher, and a client that has come from one server to another."""
        if not self.recovers:
            raise SkipTest("clients cannot be recovered")
        watcher = await places[0].visitor("watcher", ROOM)
        ada = await places[0].visitor("ada", ROOM)
        await watcher.client.emit("say", ROOM)
        await self._until(lambda: ada.client._offset is not None, "nothing was said")
        await ada.client.lose_connection()
        auth = {"user": "ada", "pid": ada.client._pid, "offset": ada.client._offset}
        again = Visitor(places[1], await places[1].server.connect(auth=auth, within=self.patience), "ada")
        check(again.client.id == ada.client.id, "it was not recovered")
        return watcher, again

    # --- faults -------------------------------------------------------------------------------------------------------

    def test_the_people_of_a_killed_server_leave_once(self) -> None:
        """A crash would leave ghosts in every room."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            watchers = [await place.visitor(f"watcher{number}", ROOM) for number, place in enumerate(places[:2])]
            await places[2].visitor("ada", ROOM)
            await places[2].visitor("eve", ROOM)
            await broker.crash(places[2].name)
            eve = await places[1].visitor("eve", ROOM)
            await self._agree([*watchers, eve], places[:2], self.notice)
            for watcher in watchers:
                leaves = [user for kind, user in watcher.told if kind == "leave"]
                check(leaves == ["ada"], f"left: {leaves}")

        self._run(3, run, "crash")

    def test_a_broken_connection_costs_nobody_the_list(self) -> None:
        """A moment without the broker would leave ghosts, or hide people, until somebody joins again."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            await self._through_outage(broker, places, lambda: broker.cut(places[0].name), None)

        self._run(2, run, "cut")

    def test_a_broker_that_dies_and_is_back(self) -> None:
        """Who comes or goes meanwhile would be a ghost, or never be seen."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            await self._through_outage(broker, places, broker.kill, broker.revive)

        self._run(2, run, "kill", "revive")

    def test_a_broker_that_forgets_everything(self) -> None:
        """All people would be gone from the lists of clients that join later."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            await self._through_outage(broker, places, broker.kill, lambda: broker.revive(empty=True))

        self._run(2, run, "kill", "revive")

    def test_a_broker_that_goes_back_in_time(self) -> None:
        """A failover to a replica that lags would leave ghosts, and lose people."""

        async def run(broker: ClusterBroker, places: list[Place]) -> None:
            stays = [await place.visitor(f"stays{number}", ROOM) for number, place in enumerate(places)]
            leaves = [await place.visitor(f"leaves{number}", ROOM) for number, place in enumerate(places)]
            await self._agree([*stays, *leaves], places)
            await broker.save()
            for visitor in leaves:
                await visitor.leave()
            comes = [await place.visitor(f"comes{number}", ROOM) for number, place in enumerate(places)]
            await self._agree([*stays, *comes], places)
            await broker.rewind()
            await self._agree([*stays, *comes], places, self.notice)

        self._run(2, run, "save", "rewind")

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _through_outage(
        self,
        broker: ClusterBroker,
        places: list[Place],
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """Let people come and go while something is broken, and see that all lists are right in the end."""
        stays = [await place.visitor(f"stays{number}", ROOM) for number, place in enumerate(places)]
        leaves = [await place.visitor(f"leaves{number}", ROOM) for number, place in enumerate(places)]
        lost = [await place.visitor(f"lost{number}", ROOM) for number, place in enumerate(places)]
        await begin()
        comes = [await place.visitor(f"comes{number}") for number, place in enumerate(places)]
        for visitor in comes:
            visitor.rooms.add(ROOM)
            await visitor.client.emit("join", ROOM)
        for visitor in leaves:
            await visitor.client.emit("leave", ROOM)
        for visitor in lost:
            await visitor.client.lose_connection()
        if end is not None:
            await asyncio.sleep(self.grace)
            await end()
        await self._agree([*stays, *comes], places, self.notice)

    async def _agree(
        self,
        visitors: Sequence[Visitor],
        places: Sequence[Place],
        timeout: float | None = None,
        users: set[str] | None = None,
    ) -> None:
        """Wait until the list of each visitor, and of each server, is that of the visitors, or of ``users``.

        Visitors come back meanwhile: who can be recovered is cut off by a server that may have missed something.
        """
        expected = {each.user for each in visitors} if users is None else users

        async def agree() -> bool:
            for visitor in visitors:
                await visitor.come_back()
            try:
                found = [set(await place.users()) for place in places]
            except ClusterUnavailable:
                return False
            return all(each == expected for each in (*found, *(set(each.lists.get(ROOM, ())) for each in visitors)))

        try:
            await self._until(agree, "", timeout)
        except AssertionError:
            lists = {each.user: sorted(each.lists.get(ROOM, ())) for each in visitors}
            raise AssertionError(f"not {sorted(expected)}: {lists}") from None

    async def _until(
        self, condition: Callable[[], bool | Awaitable[bool]], message: str, timeout: float | None = None
    ) -> None:
        try:
            async with asyncio.timeout(self.patience if timeout is None else timeout):
                while True:
                    found = condition()
                    if found if isinstance(found, bool) else await found:
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(message) from None

    def _run(self, count: int, scenario: Scenario, *needed: str, grace: float | None = None) -> None:
        if count > self.servers:
            raise SkipTest(f"it takes {count} servers")

        async def run() -> None:
            broker = self.broker()
            broker.can(*needed)
            await broker.start()
            try:
                async with self._serving(
                    broker, max(count, min(2, self.servers)), self.grace if grace is None else grace
                ) as places:
                    await scenario(broker, places)
            finally:
                await broker.stop()

        asyncio.run(run())

    @contextlib.asynccontextmanager
    async def _serving(self, broker: ClusterBroker, count: int, grace: float) -> AsyncIterator[list[Place]]:
        async with contextlib.AsyncExitStack() as stack:
            places = []
            for name in (f"n{number}" for number in range(count)):
                io = _program(broker, name, grace, Recovery(skip_middlewares=True) if self.recovers else None)
                server = await stack.enter_async_context(_testing().TestServer(io))
                places.append(Place(io, server, name, self.patience + self.notice))
            yield places


def _program(broker: ClusterBroker, name: str, grace: float, recovery: Recovery | None) -> Server:
    rules = [Presence("chat:{id}", meta=lambda socket: {"of": socket.user}, grace=grace, max_meta=100_000)]
    io: Server = import_module("rtframework").Server(
        auth=_Anybody(), adapter=broker.backbone(name), presence=rules, connection_state_recovery=recovery
    )

    @io.on("join")
    async def join(socket: Any, room: str) -> None:
        await socket.join(room)

    @io.on("leave")
    async def leave(socket: Any, room: str) -> None:
        await socket.leave(room)

    @io.on("visit")
    async def visit(socket: Any, room: str) -> None:
        await socket.join(room)
        await io.to(room).emit("said", room, socket.user)
        await socket.leave(room)

    @io.on("say")
    async def say(socket: Any, room: str) -> None:
        await io.to(room).emit("said", room, socket.user)

    @io.on("meta")
    async def change(socket: Any, room: str, meta: Any) -> None:
        await socket.update_presence(room, meta)

    return io


def _testing() -> Any:
    """Return the package that has this suite: it is there when a test runs."""
    return import_module("rtframework.testing")


async def _tabs(place: Place, user: str, tabs: int) -> bool:
    return any((each.user, each.tabs) == (user, tabs) for each in await place.io.presence(ROOM))


async def _has_sockets(place: Place, count: int) -> bool:
    return len(await place.io.fetch_sockets()) == count


async def _is_empty(place: Place, room: str) -> bool:
    return not await place.users(room)
