"""The tests of a cluster whose broker fails, or whose servers do."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING
from unittest import SkipTest

from ...exceptions import AckTimeout, ClusterUnavailable, FetchTimeout
from ...types import Packet, PacketType, Target
from .cluster_nodes import EVERYBODY, NSP
from .cluster_suite import ClusterSuite
from .suites import check

if TYPE_CHECKING:
    from .cluster_broker import ClusterBroker
    from .cluster_nodes import ClusterNode


class ClusterFaults(ClusterSuite):
    """Tests that an event comes once and in order, or is told to be lost, whatever fails."""

    # --- the broker is away -------------------------------------------------------------------------------------------

    def test_emits_while_the_broker_is_down(self) -> None:
        """What is emitted during a crash of the broker comes once and in order, or the program is told."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def crash(seconds: float) -> None:
                await broker.kill()
                await asyncio.sleep(seconds)
                await broker.revive()

            await self._flood_through(nodes, crash)

        self._run_nodes(3, run, "kill", "revive")

    def test_emits_while_the_broker_is_frozen(self) -> None:
        """What is emitted while the broker does nothing comes once and in order, or the program is told."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def freeze(seconds: float) -> None:
                await broker.freeze()
                await asyncio.sleep(seconds)
                await broker.thaw()

            await self._flood_through(nodes, freeze)

        self._run_nodes(3, run, "freeze", "thaw")

    def test_emits_while_connections_end(self) -> None:
        """Connections that end again and again lose nothing, double nothing and change no order."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def cut(seconds: float) -> None:
                end = time.monotonic() + seconds
                number = 0
                while time.monotonic() < end:
                    await broker.cut(nodes[number % len(nodes)].name)
                    await asyncio.sleep(0.1)
                    number += 1

            await self._flood_through(nodes, cut)

        self._run_nodes(3, run, "cut")

    def test_emits_while_a_server_is_isolated(self) -> None:
        """The clients of a server that the broker could not be reached from have everything afterwards, or are told."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def isolate(seconds: float) -> None:
                await broker.isolate("n1")
                await asyncio.sleep(seconds)
                await broker.rejoin("n1")

            await self._flood_through(nodes, isolate)

        self._run_nodes(3, run, "isolate", "rejoin")

    def test_a_lost_reply_doubles_nothing(self) -> None:
        """An event that the broker has taken, without a word to the server, comes once."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def lose(seconds: float) -> None:
                for _ in range(3):
                    await broker.lose_reply("n0")
                    await asyncio.sleep(0.1)

            await self._flood_through(nodes, lose)

        self._run_nodes(2, run, "lose_reply")

    def test_nobody_has_what_raises(self) -> None:
        """A program that is told that nobody has an event can emit it again: nobody gets it later after all."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await broker.kill()
            start = time.monotonic()
            try:
                await nodes[0].emit("n", "n0", 0)
            except ClusterUnavailable as error:
                local = error.local
            else:
                raise AssertionError("emit() returned without a broker")
            took = time.monotonic() - start
            check(took < self.publish_timeout + self.patience, f"emit() raised after {took:.1f} s")
            await broker.revive()
            await self._met(nodes, self.notice)
            for node in nodes:
                got = len(node.heard.of(node.listener))
                expected = 1 if local and node is nodes[0] else 0
                check(got == expected, f"{node.name} has what raised {got} times, with local={local}")
            told = [state for each in nodes for state in each.heard.states]
            check(False in told, "no server was told that the broker is away")
            for node in nodes:  # which may hear all before it knows that it does
                is_up = partial(_is_up, node)
                await self._until(is_up, f"{node.name} takes the broker for away")

        self._run_nodes(2, run, "kill", "revive")

    # --- the broker loses messages ------------------------------------------------------------------------------------

    def test_a_broker_that_comes_back_empty_is_a_gap(self) -> None:
        """Clients would take what they have for complete after a restart without data; one gap tells each server."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await broker.kill()
            await broker.revive(empty=True)
            await self._met(nodes, self.notice)
            await self._told(nodes)
            await self._flood_through(nodes, _nothing, durable=False)

        self._needs_stream()
        self._run_nodes(3, run, "kill", "revive")

    def test_an_emptied_broker_is_a_gap(self) -> None:
        """Who deletes a broker's data deletes what a server had not read: that one is told, once."""
        self._loses_unread("empty")

    def test_what_was_trimmed_before_it_was_read_is_a_gap(self) -> None:
        """A server that was too slow for the stream's length is told of the gap, once, and nobody else is."""
        self._loses_unread("trim")

    def _loses_unread(self, how: str) -> None:
        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await broker.isolate("n1")
            for number in range(20):
                await nodes[0].emit("n", "n0", number)
            await self._delivered(nodes[2], 20)
            await (broker.trim() if how == "trim" else broker.empty())
            await broker.rejoin("n1")
            await self._met(nodes, self.notice)
            got = [each.args[2] for each in nodes[1].heard.of(nodes[1].listener)]
            check(got == list(range(len(got))) or got[-1] == 19, f"n1 got {got}")
            check(len(got) < 20, f"nothing was lost: {how}() or isolate() has no effect")
            await self._told(nodes[1:2])
            for node in (nodes[0], nodes[2]):
                most = 0 if how == "trim" else 1  # the last thing that it has read is gone
                check(len(node.heard.gaps) <= most, f"{node.name} was told of a gap, and has everything")

        self._needs_stream()
        self._run_nodes(3, run, "isolate", "rejoin", how)

    def test_an_older_history_is_a_gap(self) -> None:
        """A failover to a replica that lags loses the last messages; one gap tells also the server that had none."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await broker.save()
            await broker.isolate("n2")
            for number in range(5):
                await nodes[number % 2].emit("n", "lost", number)
            for node in nodes[:2]:
                await self._delivered(node, 5)
            await broker.rewind()
            await broker.rejoin("n2")
            await self._met(nodes, self.notice)
            await self._told(nodes)

        self._needs_stream()
        self._run_nodes(3, run, "save", "rewind", "isolate", "rejoin")

    def test_a_trimmed_stream_that_was_read_is_no_gap(self) -> None:
        """Clients are not sent away because a broker has thrown away what all servers have."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            for number in range(20):
                await nodes[0].emit("n", "n0", number)
            await self._met(nodes)
            await broker.trim()
            for node in nodes:
                await broker.cut(node.name)
            await self._met(nodes, self.notice)
            for node in nodes:
                check(not node.heard.gaps, f"{node.name} was told of a gap, and has everything")

        self._run_nodes(2, run, "trim", "cut")

    def test_rubbish_stops_nobody(self) -> None:
        """A message that no server understands costs that message, not the server."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def spoil(seconds: float) -> None:
                await broker.rubbish()

            await self._flood_through(nodes, spoil)
            for node in nodes:
                stray = [each for each in node.heard.delivered if each.args[0] not in ("n", "mark")]
                check(not stray, f"{node.name} has delivered rubbish: {stray!r:.200}")

        self._run_nodes(2, run, "rubbish")

    # --- one server ---------------------------------------------------------------------------------------------------

    def test_a_deaf_server_finds_out(self) -> None:
        """A server whose subscription has died on a connection that lives would say nothing for ever."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async def deafen(seconds: float) -> None:
                await broker.deafen("n1")

            await self._flood_through(nodes, deafen, timeout=self.notice)

        if not self.thorough:
            raise SkipTest("takes as long as a server needs to find out: set thorough = True")
        self._run_nodes(2, run, "deafen")

    def test_requests_end_in_time_while_a_server_is_isolated(self) -> None:
        """A request ends when its time is over, with the answers of those that can answer, and says who is missing."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            for node in nodes:
                node.heard.answers = lambda sid: [sid]
            await broker.isolate("n2")
            asker, there = nodes[0].adapter, {nodes[0].listener, nodes[1].listener}
            missing = (nodes[2].backbone.node,)
            start = time.monotonic()
            try:
                async with asyncio.timeout(0.3 + self.patience):
                    await asker.fetch_sockets(EVERYBODY, 0.3)
            except FetchTimeout as error:
                found = {each.id for each in error.sockets}
                check(found == there, f"of the sockets came {sorted(found)}")
                check(bool(error.missing), "nobody is missing")
                check(not self.named or tuple(error.missing) == missing, f"{error.missing!r} are missing")
            else:
                raise AssertionError("fetch_sockets() did not say that a server is missing")
            try:
                await asker.broadcast_with_ack(Packet(PacketType.EVENT, NSP, ["q"]), EVERYBODY, 0.3)
            except AckTimeout as error:
                check(there <= set(error.responses), f"answers came of {sorted(error.responses)}")
            else:
                raise AssertionError("broadcast_with_ack() did not say that a server is missing")
            try:
                await asker.server_side_emit_with_ack(["who?"], 0.3)
            except AckTimeout as error:
                answers = list(error.responses.values())
                check(answers == [nodes[1].backbone.node], f"the servers answered {answers!r}")
            else:
                raise AssertionError("server_side_emit_with_ack() did not say that a server is missing")
            took = time.monotonic() - start
            check(took < 0.9 + self.patience, f"three requests of 0.3 s took {took:.1f} s")
            await broker.rejoin("n2")
            await self._met(nodes, self.notice)
            found = {each.id for each in await asker.fetch_sockets(EVERYBODY, self.notice)}
            check(found == {*there, nodes[2].listener}, f"later came {sorted(found)}")

        self._run_nodes(3, run, "isolate", "rejoin")

    def test_others_go_on_when_a_server_dies(self) -> None:
        """The clients of the other servers notice nothing, and no request waits for the dead for ever."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await broker.crash("n2")
            left = nodes[:2]
            await self._flood_through(left, _nothing)

            async def found() -> set[str]:
                try:
                    return {each.id for each in await nodes[0].adapter.fetch_sockets(Target(), self.patience)}
                except FetchTimeout as error:
                    return {each.id for each in error.sockets}

            check(await found() == {each.listener for each in left}, "not the sockets of those that live")

        self._run_nodes(3, run, "crash")

    async def _delivered(self, node: ClusterNode, count: int) -> None:
        await self._until(lambda: len(node.heard.of(node.listener)) == count, f"{node.name} has not got all")

    def _needs_stream(self) -> None:
        if not self.durable:
            raise SkipTest("the broker keeps no messages that it could lose: durable is False")


async def _nothing(seconds: float) -> None:
    pass


def _is_up(node: ClusterNode) -> bool:
    return node.backbone.health.up
