"""The tests of a cluster whose clients recover on another server than the one that they have lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest import SkipTest

from ...types import Target
from .cluster_nodes import Flood, offset_of
from .cluster_suite import ClusterSuite
from .suites import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...protocols import Frames, Session
    from .cluster_broker import ClusterBroker
    from .cluster_nodes import ClusterNode


class ClusterRecovery(ClusterSuite):
    """Tests that a client that comes back anywhere has its rooms, its data and all that it has missed, once."""

    def test_a_client_that_moves_during_a_flood_misses_nothing(self) -> None:
        """Events that are emitted while a client changes servers come once and in order, wherever it comes back."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            got: list[tuple[str, int]] = []
            at = nodes[0]
            await at.enter("c", "c", "x")
            async with Flood((nodes[0], nodes[2])) as flood:
                await self._until(lambda: len(nodes[0].heard.of("c")) > 3, "nothing comes")
                begun = {name: len(emits) for name, emits in flood.emits.items()}
                for to in (nodes[1], nodes[2], nodes[0], nodes[1], nodes[1]):
                    offset, before = self._leave(at)
                    got += before
                    await asyncio.sleep(0.02)
                    session = await self._restored(to, "pid of c", offset)
                    check(session.rooms == {"c", "x"}, f"the client is in {session.rooms}")
                    check(session.data == {"of": "c"}, f"its data are {session.data!r}")
                    check(session.sid == "c", f"its id is {session.sid}")
                    missed = _missed(session.missed)
                    got += [(of, number) for of, number, _ in missed]
                    self._last = missed[-1][2] if missed else offset
                    at = to
                    await asyncio.sleep(0.02)
            await self._met(nodes)
            got += self._leave(at)[1]
            Flood.check_own_order(got, "the client")
            for origin, emits in flood.emits.items():
                numbers = {number for of, number in got if of == origin}
                lost = set(range(begun[origin], len(emits))) - numbers
                check(not lost, f"the client has lost {len(lost)} events of {origin}, {sorted(lost)[:5]} for example")

        self._needs_recovery()
        self._run_nodes(3, run)

    _last: str | None = None
    """The offset of the last event that the client has been given at its return."""

    def _leave(self, at: ClusterNode) -> tuple[str | None, list[tuple[str, int]]]:
        """Let the client go. Return its last offset, and what it has received at this server."""
        events = at.heard.of("c")
        offset = next((each.offset for each in reversed(events) if each.offset is not None), self._last)
        at.lose("c")
        at.heard.delivered = [each for each in at.heard.delivered if each.sid != "c"]
        return offset, [(str(each.args[1]), int(each.args[2])) for each in events]

    async def _restored(self, at: ClusterNode, pid: str, offset: str | None) -> Session:
        """Restore a session, as soon as it has been written, and let the socket in."""
        async with asyncio.timeout(self.notice):
            while True:
                session = await at.adapter.restore_session(pid, offset, lambda session: True)
                if session is not None:
                    at.adapter.add(session.sid, session.rooms)
                    at.adapter.keep_session(session)
                    return session
                await asyncio.sleep(0.02)

    def test_what_was_not_for_a_client_is_not_replayed(self) -> None:
        """A client that comes back gets the events of its rooms, and not those of others."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await nodes[0].enter("c", "c", "x")
            await nodes[1].emit("n", "n1", 0)
            await self._until(lambda: bool(nodes[0].heard.of("c")), "nothing comes")
            offset, _ = self._leave(nodes[0])
            for number, target in enumerate(
                (
                    Target(frozenset("x")),
                    Target(frozenset("y")),
                    Target(except_=frozenset("x")),
                    Target(frozenset("xy"), frozenset("z")),
                    Target(volatile=True),
                    Target(),
                )
            ):
                await nodes[1].emit("n", "n1", number, target=target)
            await self._met(nodes)
            session = await self._restored(nodes[1], "pid of c", offset)
            numbers = [number for _, number, _ in _missed(session.missed)]
            check(numbers == [0, 3, 5], f"{numbers} of 6 events were replayed")

        self._needs_recovery()
        self._run_nodes(2, run)

    def test_a_session_is_used_once(self) -> None:
        """Two connections of one client, at two servers at a time, do not both become it."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            for number in range(10):
                sid = f"c{number}"
                await nodes[0].enter(sid, sid)
                await nodes[0].emit("n", "n0", number)
                offset = nodes[0].heard.of(sid)[-1].offset
                nodes[0].lose(sid)
                await self._met(nodes)
                found = await asyncio.gather(
                    *(
                        node.adapter.restore_session(f"pid of {sid}", offset, lambda session: True)
                        for node in (nodes[1], nodes[2], nodes[1])
                    )
                )
                count = sum(each is not None for each in found)
                check(count == 1, f"{count} of three attempts have got the session")

        self._needs_recovery()
        self._run_nodes(3, run)

    def test_a_refused_session_stays(self) -> None:
        """Who tries a stranger's private id does not take the stranger's session away."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await nodes[0].enter("c", "c")
            await nodes[0].emit("n", "n0", 0)
            offset = nodes[0].heard.of("c")[-1].offset
            nodes[0].lose("c")
            asked: list[Session] = []

            def refuse(session: Session) -> bool:
                asked.append(session)
                return False

            async with asyncio.timeout(self.notice):
                while not asked:
                    got = await nodes[1].adapter.restore_session("pid of c", offset, refuse)
                    check(got is None, "a refused session was handed out")
            check(asked[0].sid == "c", f"the session of {asked[0].sid} was shown")
            check(await self._restored(nodes[1], "pid of c", offset) is not None, "it is gone")

        self._needs_recovery()
        self._run_nodes(2, run)

    def test_clients_of_a_server_that_died_are_recovered(self) -> None:
        """A crash costs no client its session: it was written down while the client was connected."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await nodes[1].enter("c", "c", "x")
            await self._met(nodes)
            await nodes[0].emit("n", "n0", 0, target=Target(frozenset("x")))
            await self._until(lambda: bool(nodes[1].heard.of("c")), "nothing comes")
            offset = nodes[1].heard.of("c")[-1].offset
            await broker.crash("n1")
            await nodes[2].emit("n", "n2", 1, target=Target(frozenset("x")))
            session = await self._restored(nodes[0], "pid of c", offset)
            check(session.rooms >= {"c"}, f"the client is in {session.rooms}")
            check(session.origin == nodes[1].backbone.node, f"its server was {session.origin}")
            numbers = [number for _, number, _ in _missed(session.missed)]
            check(numbers == [1], f"{numbers} were replayed, and 1 was missed")

        self._needs_recovery()
        self._run_nodes(3, run, "crash")

    def test_a_connection_that_is_dead_and_not_noticed_is_replaced(self) -> None:
        """A client that has come back elsewhere is not in its rooms twice."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await nodes[0].enter("c", "c")
            await self._met(nodes)
            await nodes[1].emit("n", "n1", 0)
            await self._until(lambda: bool(nodes[0].heard.of("c")), "nothing comes")
            offset = nodes[0].heard.of("c")[-1].offset
            await self._restored(nodes[1], "pid of c", offset)
            await self._until(lambda: nodes[0].heard.replaced == ["c"], "the old server keeps the dead connection")
            check(nodes[0].adapter.rooms("c") == frozenset(), "the old server keeps the socket")
            await nodes[0].emit("n", "n0", 1)
            await self._met(nodes)
            got = [each.args[2] for node in nodes for each in node.heard.of("c")]
            check(got == [0, 1], f"the client has got {got}")

        self._needs_recovery()
        self._run_nodes(2, run)

    def test_a_forgotten_session_is_gone(self) -> None:
        """Who has left for good cannot come back by an id that somebody has kept."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await nodes[0].enter("c", "c")
            await nodes[0].emit("n", "n0", 0)
            offset = nodes[0].heard.of("c")[-1].offset
            await self._met(nodes)
            nodes[0].adapter.remove_all("c")
            nodes[0].adapter.forget_session("pid of c")
            await self._met(nodes)
            got = await nodes[1].adapter.restore_session("pid of c", offset, lambda session: True)
            check(got is None, "the session was handed out")

        self._needs_recovery()
        self._run_nodes(2, run)

    def _needs_recovery(self) -> None:
        if not self.recovers:
            raise SkipTest("the adapter keeps no sessions: recovers is False")


def _missed(frames: Sequence[Frames]) -> list[tuple[str, int, str | None]]:
    """Return the origin, the number and the offset of the flood's events among missed packets."""
    packets = [(frame, frame.packet.data) for frame in frames]  # type: ignore[attr-defined]
    return [(str(data[1]), int(data[2]), offset_of(frame, 3)) for frame, data in packets if data[0] == "n"]
