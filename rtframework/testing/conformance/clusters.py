"""The conformance suite of adapters that join several servers."""

from __future__ import annotations

import asyncio
import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ...types import Packet, PacketType, Target
from .cluster_faults import ClusterFaults
from .cluster_nodes import EVERYBODY, NSP, Flood
from .cluster_recovery import ClusterRecovery
from .suites import check

if TYPE_CHECKING:
    from .cluster_broker import ClusterBroker
    from .cluster_nodes import ClusterNode


class ClusterConformance(ClusterFaults, ClusterRecovery):
    """Tests of a :class:`~rtframework.protocols.Backbone` and its adapters: several servers that are one.

    Implement ``broker()``, which returns a new :class:`ClusterBroker`, and say by attributes what the adapter can do;
    times are in seconds. All tests of :class:`AdapterConformance` are run, too, on one server. Tests that need what
    the broker or the adapter cannot do are skipped, with the reason.

    ``ordered``: all servers deliver in one order, not only in the order of each emitter. ``durable``: the broker keeps
    messages for servers that are away, so an outage loses nothing; without it, what is lost has to be told by a gap.
    ``recovers``: the adapter keeps sessions and missed packets. ``named``: requests know the other servers by name.
    ``publish_timeout``: the time after which an emit raises that the broker does not take. ``patience``: the time that
    a delivery may take. ``notice``: the time in which a fault has to be found out. ``outage``: the time that a fault
    lasts, ``long_outage`` with ``thorough``, which also runs the tests that take long.
    """

    def test_each_server_gets_each_event_once_and_in_order(self) -> None:
        """Two people would see one conversation in two orders, or a part of it."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            async with Flood(nodes, interval=0) as flood:
                await asyncio.sleep(0.1)
            await self._met(nodes)
            flood.check(nodes, ordered=self.ordered, durable=True)
            check(all(emit.error is None for emits in flood.emits.values() for emit in emits), "an emit raised")

        self._run_nodes(3, run)

    def test_targets_select_on_all_servers(self) -> None:
        """A room would end at the server that its members happen to be on, or an exception would not be one there."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            homes = {"a": nodes[0], "b": nodes[1], "c": nodes[1], "d": nodes[2]}
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "cy", "d": "dyz"}.items():
                await homes[sid].enter(sid, *rooms)
            await self._met(nodes)
            cases: tuple[tuple[Target, str], ...] = (
                (Target(frozenset("x")), "ab"),
                (Target(frozenset("xyz")), "abcd"),
                (Target(frozenset("xy"), frozenset("y")), "a"),
                (Target(frozenset("yz"), frozenset("b")), "cd"),
                (Target(None, frozenset("xz")), "c"),
                (Target(frozenset("d")), "d"),
                (Target(frozenset()), ""),
                (Target(frozenset({"nowhere"})), ""),
                (Target(frozenset("xyz"), local=True), "a"),
                (Target(frozenset("y"), volatile=True), "bcd"),
                (Target(frozenset("x"), compress=False), "ab"),
            )
            for number, (target, _) in enumerate(cases):
                await nodes[0].emit("n", "n0", number, target=target)
            await self._met(nodes)
            for number, (target, expected) in enumerate(cases):
                found = {
                    sid: each for sid, node in homes.items() for each in node.heard.of(sid) if each.args[2] == number
                }
                check(sorted(found) == sorted(expected), f"{target!r} reached {sorted(found)}")
                for each in found.values():
                    check(
                        each.rooms == target.rooms, f"{target!r} was sent as for {each.rooms}: pass rooms=target.rooms"
                    )

        self._run_nodes(3, run)

    def test_everything_that_can_be_sent_arrives_as_it_is(self) -> None:
        """Bytes, other alphabets or a large event would be lost between servers, and by one server they are not."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            values: list[Any] = [
                None,
                [],
                {},
                "",
                'é\u2028\U0001f600\x00"\\',
                "123-0",
                [1.5, -1, 2**53, True, False, None],
                {"deep": [{"er": {"ü": None}}], "": 0},
                b"",
                b"\x00\xff",
                {"n": [b"deep", "text", None]},
                "x" * 1_000_000,
                bytes(range(256)) * 4_000,
            ]
            for value in values:
                await nodes[0].emit("value", value)
                await nodes[0].emit("value", value, "more")
            moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
            await nodes[0].emit("value", moment, b"x")  # see Emitter.plain
            await self._met(nodes)
            for node in nodes:
                got = [each.args[1:] for each in node.heard.of(node.listener, "value")]
                expected = [args for value in values for args in ([value], [value, "more"])]
                expected.append(["2026-01-01T00:00:00Z", b"x"])
                check(len(got) == len(expected), f"{node.name} got {len(got)} of {len(expected)} events")
                for one, other in zip(got, expected, strict=True):
                    check(one == other, f"{other!r:.100} arrived on {node.name} as {one!r:.100}")

        self._run_nodes(2, run)

    def test_what_is_absent_is_not_sent(self) -> None:
        """Servers of other makers take ``null`` for a value, and a flag that is false for one that is set."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            for target in (Target(), Target(frozenset("x"), frozenset("y")), Target(volatile=True)):
                await nodes[0].emit("n", "n0", 0, target=target)
            await nodes[0].adapter.server_side_emit(["told"])
            await self._met(nodes)
            messages = await broker.messages()
            check(bool(messages), "the broker has kept no message")
            for message in messages:
                for path in _absent(message):
                    raise AssertionError(f"{path} of {message!r:.300}")

        self._run_nodes(2, run, "messages")

    def test_orders_are_obeyed_once_by_each_server(self) -> None:
        """A server that hears its own orders would run each listener of rooms twice."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            for number, node in enumerate(nodes):
                await node.enter(f"s{number}", f"s{number}", "x")
            await self._met(nodes)
            await nodes[0].adapter.add_sockets(Target(frozenset("x")), ["y", "z"])
            await nodes[0].adapter.del_sockets(Target(frozenset("y")), ["z"])
            await nodes[0].emit("n", "n0", 0, target=Target(frozenset("y")))
            await self._met(nodes)
            for number, node in enumerate(nodes):
                sid = f"s{number}"
                await self._is_in(node, sid, {sid, "x", "y"})
                joins, leaves = [each for each, _ in node.heard.joins], [each for each, _ in node.heard.leaves]
                check(joins == [{sid}], f"on {node.name} joined {joins}")
                check(leaves == [{sid}], f"on {node.name} left {leaves}")
                if self.ordered:
                    check(len(node.heard.of(sid)) == 1, f"{sid} had not joined when the next event came")
            await nodes[1].adapter.disconnect_sockets(Target(frozenset("y"), frozenset(["s2"])), True, None)
            await self._met(nodes)
            for node, expected in zip(nodes, ([("s0", True, None)], [("s1", True, None)], []), strict=True):
                await self._come(node.heard.disconnected, len(expected), f"{node.name} has not disconnected")
                check(node.heard.disconnected == expected, f"on {node.name} went {node.heard.disconnected}")
            await nodes[0].adapter.add_sockets(Target(frozenset("x"), local=True), ["l"])
            await self._met(nodes)
            check("l" not in nodes[2].adapter.rooms("s2"), "a local order has reached another server")

        self._run_nodes(3, run)

    def test_a_reason_of_disconnecting_may_be_told(self) -> None:
        """Disconnect handlers on other servers hear the program's reason, or the ordinary one, never another's."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await nodes[1].enter("a", "x")
            await self._met(nodes)
            await nodes[0].adapter.disconnect_sockets(Target(frozenset("x")), False, "banned")
            await self._come(nodes[1].heard.disconnected, 1, "not disconnected")
            check(nodes[1].heard.disconnected[0] in (("a", False, "banned"), ("a", False, None)), "another reason")

        self._run_nodes(2, run)

    def test_sockets_of_all_servers_are_described(self) -> None:
        """A list of who is there would be short by those of other servers."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            for number, node in enumerate(nodes):
                await node.enter(f"s{number}", "x", f"only {number}")
            await self._met(nodes)
            for target, expected in (
                (Target(frozenset("x")), ["s0", "s1", "s2"]),
                (Target(frozenset("x"), frozenset(["only 1"])), ["s0", "s2"]),
                (Target(frozenset(["only 2"])), ["s2"]),
                (Target(frozenset("x"), local=True), ["s0"]),
                (Target(frozenset()), []),
            ):
                found = {each.id: each for each in await nodes[0].adapter.fetch_sockets(target, self.notice)}
                check(sorted(found) == expected, f"{target!r} gave {sorted(found)}")
                for sid, each in found.items():
                    check(each.rooms == {"x", f"only {sid[1]}"}, f"{sid} is said to be in {each.rooms}")
                    check(each.data == {"of": sid}, f"the data of {sid} are {each.data!r}")

        self._run_nodes(3, run)

    def test_answers_of_all_servers_are_counted(self) -> None:
        """A vote would be counted on one server alone, or wait for clients that have gone."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            for number, node in enumerate(nodes):
                await node.enter(f"s{number}", "x")
                node.heard.answers = lambda sid: [sid, {"yes": b"\x01"}]
            await self._met(nodes)
            question = Packet(PacketType.EVENT, NSP, ["vote", {"on": b"\x00"}])
            target = Target(frozenset("x"))
            answers = await nodes[0].adapter.broadcast_with_ack(question, target, self.notice)
            check(not answers.missing, f"{answers.missing!r} are missing")
            given = sorted(answers.values(), key=lambda answer: str(answer[0]))
            check(given == [(f"s{number}", {"yes": b"\x01"}) for number in range(3)], f"the answers are {given!r}")
            local = Target(frozenset("x"), local=True)
            alone = await nodes[0].adapter.broadcast_with_ack(question, local, self.notice)
            check(dict(alone) == {"s0": ("s0", {"yes": b"\x01"})}, f"the local answers are {dict(alone)!r}")
            nobody = await nodes[0].adapter.broadcast_with_ack(question, Target(frozenset(["-"])), self.notice)
            check(not nobody, f"nobody answered {nobody!r}")

        self._run_nodes(3, run)

    def test_servers_talk_to_each_other(self) -> None:
        """An event for servers reaches each other server once, and each answers once."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            await nodes[0].adapter.server_side_emit(["told", {"n": 1}])
            answers = await nodes[0].adapter.server_side_emit_with_ack(["who?"], self.notice)
            others = [node.backbone.node for node in nodes[1:]]
            check(sorted(map(str, answers.values())) == others, f"the answers are {dict(answers)!r}")
            if self.named:
                check(dict(answers) == dict(zip(others, others, strict=True)), f"answered {dict(answers)!r}")
            await self._met(nodes)
            for node in nodes[1:]:
                await self._come(node.heard.served, 2, f"{node.name} did not hear")
                served = sorted(map(list, node.heard.served), key=str)
                check(served == [["told", {"n": 1}], ["who?"]], f"{node.name} heard {served!r}")
            check(not nodes[0].heard.served, f"a server heard itself: {nodes[0].heard.served!r}")

        self._run_nodes(3, run)

    def test_who_has_joined_is_reached(self) -> None:
        """A program that tells others of a room when ``join`` has returned would lose their first events."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            for number in range(30):
                room, sid = f"room {number}", f"s{number}"
                waiting = nodes[1].adapter.add(sid, [sid, room])
                if waiting is not None:
                    await waiting
                await nodes[0].emit("n", "n0", number, target=Target(frozenset([room])))
                if number:  # who leaves has got what was sent before
                    await self._until(partial(_has_event, nodes[1], f"s{number - 1}"), f"event {number - 1} was lost")
                left = nodes[1].adapter.remove(f"s{number - 1}", [f"room {number - 1}"])
                if left is not None:
                    await left
            await self._met(nodes)
            doubled = [number for number in range(30) if len(nodes[1].heard.of(f"s{number}")) != 1]
            check(not doubled, f"the first events of {doubled} were lost, or doubled")

        self._run_nodes(2, run)

    def test_namespaces_come_and_go(self) -> None:
        """Each namespace that was made for a client would cost the broker a connection, or leave a subscription."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            await self._met(nodes)
            connections, subscriptions = await broker.connections(), await broker.subscriptions()
            count = 20_000 if self.thorough else 200
            for start in range(0, count, 100):
                names = [f"/tenant-{number}" for number in range(start, start + 100)]
                await asyncio.gather(*(node.open(nsp) for nsp in names for node in nodes))
                check(await broker.connections() == connections, "namespaces cost connections")
                last = Packet(PacketType.EVENT, names[-1], ["hello"])
                nodes[1].adapters[names[-1]].add("s", ["s"])
                await nodes[0].adapters[names[-1]].broadcast(last, EVERYBODY)
                await self._come(nodes[1].emitters[names[-1]].log, 1, f"{names[-1]} is not one")
                await asyncio.gather(*(node.close(nsp) for nsp in names for node in nodes))
            await self._met(nodes)
            await self._comes_to(broker.subscriptions, subscriptions, "subscriptions are left")
            await self._comes_to(broker.connections, connections, "connections are left")

        self._run_nodes(2, run, "connections", "subscriptions")

    def test_nothing_is_left_at_the_end(self) -> None:
        """A server that has left would be counted, and every request would wait for it."""

        async def run(broker: ClusterBroker, nodes: list[ClusterNode]) -> None:
            async with self._running(nodes[1:]):
                await self._met(nodes)
            check(not nodes[1].backbone.health.up, "a server that was stopped is up")
            found = await nodes[0].adapter.fetch_sockets(EVERYBODY, self.notice)
            check([each.id for each in found] == [nodes[0].listener], "a server that has left is there")
            check(not await nodes[0].adapter.server_side_emit_with_ack(["who?"], self.notice), "it answers")
            async with self._running(nodes[1:]):  # another application is served
                await self._met(nodes)

        async def all_stopped(broker: ClusterBroker, none: list[ClusterNode]) -> None:
            nodes = self.nodes(broker, 2)
            async with self._running(nodes[:1]):
                await run(broker, nodes)
            broker.can("connections", "subscriptions")
            await self._comes_to(broker.connections, 0, "connections are left")
            await self._comes_to(broker.subscriptions, 0, "subscriptions are left")

        self._run_nodes(0, all_stopped)

    async def _is_in(self, node: ClusterNode, sid: str, rooms: set[str]) -> None:
        await self._until(lambda: node.adapter.rooms(sid) == rooms, f"{sid} is in {node.adapter.rooms(sid)}")


def _has_event(node: ClusterNode, sid: str) -> bool:
    return bool(node.heard.of(sid))


def _absent(value: Any, path: str = "") -> list[str]:
    """Return the places of ``null`` and ``false`` in objects."""
    if isinstance(value, dict):
        here = [f"{path}.{key} is {each!r}" for key, each in value.items() if each is None or each is False]
        return here + [found for key, each in value.items() for found in _absent(each, f"{path}.{key}")]
    if isinstance(value, list):
        return [found for number, each in enumerate(value) for found in _absent(each, f"{path}[{number}]")]
    return []
