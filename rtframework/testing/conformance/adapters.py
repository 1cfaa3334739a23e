"""The conformance suite of adapters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ...exceptions import AckTimeout, Disconnected, EncodeError
from ...protocols import Session
from ...types import Packet, PacketType, Target
from .deliveries import Deliveries
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Adapter, Emitter


class AdapterConformance:
    """Tests of an :class:`~rtframework.protocols.Adapter`, for the sockets of its own server.

    Implement :meth:`adapter`, and :meth:`start` and :meth:`stop` for what the adapters share, such as a backbone.
    ``patience``: seconds that the delivery of a broadcast may take.
    """

    patience: float = 2.0

    def adapter(self, nsp: str, emitter: Emitter) -> Adapter:
        """Return a new adapter, as the factory given to ``Server(adapter=...)`` would."""
        raise NotImplementedError("give the suite an adapter()")

    async def start(self) -> None:
        """Start what the adapters share, in the event loop of a test, before :meth:`adapter` is called."""

    async def stop(self) -> None:
        """Stop it, after the adapters have been closed."""

    def test_rooms_and_members_agree(self) -> None:
        """A socket's rooms are exactly those whose broadcasts it gets."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["a", "x", "y"])
            adapter.add("b", ["b"])
            adapter.add("b", ("y", "z"))
            adapter.add("c", set())
            adapter.add("c", (room for room in ("y", "y")))
            check(adapter.rooms("a") == {"a", "x", "y"}, f"a is in {adapter.rooms('a')}")
            check(adapter.rooms("b") == {"b", "y", "z"}, f"b is in {adapter.rooms('b')}")
            check(adapter.rooms("stranger") == frozenset(), "a stranger is in rooms")
            for room, members in {"x": "a", "y": "abc", "z": "b", "a": "a", "c": "", "nowhere": ""}.items():
                self._selects(adapter, Target(frozenset((room,))), members)

        self._run(run)

    def test_leaving_is_at_once_and_forgiving(self) -> None:
        """A socket that has left a room gets nothing more from it, and leaving twice is no error."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["a", "x", "y"])
            adapter.add("b", ["b", "x"])
            adapter.remove("a", ["x", "x", "nowhere"])
            adapter.remove("a", iter(["x"]))
            adapter.remove("stranger", ["x"])
            check(adapter.rooms("a") == {"a", "y"}, f"a is in {adapter.rooms('a')}")
            self._selects(adapter, Target(frozenset({"x"})), "b")
            self._selects(adapter, Target(), "ab")
            adapter.remove("a", ["a", "y"])
            self._selects(adapter, Target(), "ab")

        self._run(run)

    def test_joining_comes_to_its_end(self) -> None:
        """A client that waits until it is in a room, and then in the same room again, does not wait for ever."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            try:
                async with asyncio.timeout(self.patience):
                    for _ in range(2):
                        for waiting in (adapter.add("a", ["a", "x"]), adapter.add("b", ["b", "x"])):
                            if waiting is not None:
                                await waiting
                    leaving = adapter.remove("a", ["x", "nowhere"])
                    if leaving is not None:
                        await leaving
            except TimeoutError:
                raise AssertionError(f"add() or remove() waits for more than {self.patience:g} s") from None
            self._selects(adapter, Target(frozenset("x")), "b")

        self._run(run)

    def test_a_socket_that_goes_is_forgotten(self) -> None:
        """A socket that has gone is in no room any more, and starts without rooms when it comes back."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["a", "x"])
            adapter.add("b", ["b", "x"])
            left = adapter.remove_all("a")
            check(left == {"a", "x"}, f"remove_all() gave {left!r}")
            check(adapter.remove_all("a") == frozenset(), "remove_all() of one who has gone gave rooms")
            check(adapter.remove_all("stranger") == frozenset(), "remove_all() of a stranger gave rooms")
            check(adapter.rooms("a") == frozenset(), "one who has gone is in rooms")
            self._selects(adapter, Target(), "b")
            self._selects(adapter, Target(frozenset({"x", "a"})), "b")
            adapter.add("a", ["y"])
            check(adapter.rooms("a") == {"y"}, f"one who came again is in {adapter.rooms('a')}")

        self._run(run)

    def test_listeners_hear_of_rooms(self) -> None:
        """Each change of a room is announced once and after it is made, and a failing listener does no harm."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            heard: list[tuple[str, ...]] = []

            def listen(event: str) -> Callable[..., None]:
                def listener(*args: str) -> None:
                    if event == "join_room" and args[0] not in adapter.rooms(args[1]):
                        heard.append(("too early", *args))
                    heard.append((event, *args))

                return adapter.on(event)(listener)

            def fail(*args: str) -> None:
                raise RuntimeError("a listener that fails")

            with _silence("rtframework.rooms"):
                adapter.add("early", ["early"])
                adapter.on("join_room")(fail)
                listeners = {
                    event: listen(event) for event in ("create_room", "join_room", "leave_room", "delete_room")
                }
                adapter.add("a", ["x", "x"])
                adapter.add("a", ["x"])
                adapter.add("b", ["x"])
                adapter.remove("a", ["x", "x", "nowhere"])
                adapter.remove("stranger", ["x"])
                adapter.remove_all("b")
                adapter.remove_all("b")
                expected = [
                    ("create_room", "x"),
                    ("join_room", "x", "a"),
                    ("join_room", "x", "b"),
                    ("leave_room", "x", "a"),
                    ("leave_room", "x", "b"),
                    ("delete_room", "x"),
                ]
                check(heard == expected, f"listeners heard {heard}")
                for event, listener in listeners.items():
                    adapter.off(event, listener)
                    adapter.off(event, listener)
                adapter.add("c", ["y"])
                check(heard == expected, "a listener that was taken off hears more")

        self._run(run)

    def test_targets_select_whom_they_name(self) -> None:
        """A target selects each of its sockets once and no others; an empty set of rooms selects none."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "cyz", "d": "d"}.items():
                adapter.add(sid, rooms)
            nobody: frozenset[str] = frozenset()
            cases: tuple[tuple[frozenset[str] | None, frozenset[str], str], ...] = (
                (None, nobody, "abcd"),
                (nobody, nobody, ""),
                (frozenset("x"), nobody, "ab"),
                (frozenset("xy"), nobody, "abc"),
                (frozenset("xyz"), frozenset("b"), "ac"),
                (frozenset("xyz"), frozenset("y"), "a"),
                (frozenset("xyz"), frozenset("xz"), ""),
                (None, frozenset("d"), "abc"),
                (None, frozenset("xd"), "c"),
                (None, frozenset({"nowhere"}), "abcd"),
                (frozenset("a"), frozenset("a"), ""),
                (frozenset({"nowhere"}), nobody, ""),
                (frozenset({"nowhere", "d"}), nobody, "d"),
            )
            for wanted, except_, expected in cases:
                self._selects(adapter, Target(wanted, except_), expected)

        self._run(run)

    def test_a_room_s_name_is_just_a_name(self) -> None:
        """A room's name that users choose is not taken for a pattern, a path or another room."""
        names = [
            "",
            " ",
            "*",
            "a*",
            "?",
            "[ab]",
            "a,b",
            "a/b",
            "a:b",
            "a#b",
            "{}",
            "x" * 1_000,
            "é",
            "\U0001f600",
            "a\n",
        ]

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for number, name in enumerate(names):
                adapter.add(f"s{number}", [name])
            adapter.add("bystander", ["a", "b", "ab", "A"])
            for number, name in enumerate(names):
                check(adapter.rooms(f"s{number}") == {name}, f"the room {name[:20]!r} has become another")
                self._selects(adapter, Target(frozenset((name,))), [f"s{number}"])

        self._run(run)

    def test_what_is_handed_out_is_a_copy(self) -> None:
        """A program may loop over rooms or sockets while they change."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["x", "y"])
            rooms = adapter.rooms("a")
            check(isinstance(rooms, frozenset), f"rooms() gave a {type(rooms).__name__}")
            for room in rooms:
                adapter.remove("a", [room])
            sids = adapter.sockets(Target())
            check(isinstance(sids, list), f"sockets() gave a {type(sids).__name__}")
            for sid in sids:
                adapter.remove_all(sid)
            check(sids == ["a"], "the list of sockets changed")

        self._run(run)

    def test_broadcasts_are_delivered_once_and_as_they_are(self) -> None:
        """Each selected socket gets the packet once, unchanged, with the flags of the target."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "cy"}.items():
                adapter.add(sid, rooms)
            data: list[Any] = ["news", {"a": [1, b"\x00\xff", None, "ü"]}]
            for target, expected in (
                (Target(), "abc"),
                (Target(frozenset("xy"), frozenset("c")), "ab"),
                (Target(frozenset("y"), volatile=True), "bc"),
                (Target(frozenset("x"), compress=False), "ab"),
                (Target(local=True), "abc"),
            ):
                packet = Packet(PacketType.EVENT, "/n", data, 7 if target.volatile else None)
                await adapter.broadcast(packet, target)
                await sent.wait_for(len(expected), self.patience)
                got = sorted(sid for sid, _ in sent.taken())
                check(got == sorted(expected), f"{target!r} reached {got!r}")
                for _, delivered in sent.last:
                    check(delivered == packet and delivered.data == data, f"{packet!r} arrived as {delivered!r}")
                wanted = {"volatile": target.volatile, "compress": target.compress}
                check(sent.flags == wanted, f"{target!r} was sent with {sent.flags}")
                said = None if sent.rooms is None else frozenset(sent.rooms)
                check(said == target.rooms, f"{target!r} was sent as for {sent.rooms}: pass rooms=target.rooms")

        self._run(run)

    def test_broadcasts_keep_their_order(self) -> None:
        """Packets arrive in the order in which a program emits them."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["a", "x"])
            for number in range(50):
                target = (Target(), Target(frozenset("x")), Target(local=True))[number % 3]
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n", number]), target)
            await sent.wait_for(50, self.patience)
            numbers = [packet.data[1] for _, packet in sent.taken()]
            check(numbers == list(range(50)), f"50 broadcasts arrived as {numbers}")

        self._run(run)

    def test_who_has_gone_or_left_is_not_reached(self) -> None:
        """A broadcast reaches the sockets that are in the room when it is made, and no others."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid in "abc":
                adapter.add(sid, [sid, "x"])
            adapter.remove("a", ["x"])
            adapter.remove_all("b")
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
            adapter.add("d", ["d", "x"])
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["last"]), Target(frozenset("c")))
            await sent.wait_for(2, self.patience)
            got = [(sid, packet.data[0]) for sid, packet in sent.taken()]
            check(got == [("c", "n"), ("c", "last")], f"reached {got!r}")

        self._run(run)

    def test_sessions_are_handed_out_once(self) -> None:
        """A client that comes back gets its session, if the adapter keeps any, and nobody gets it a second time."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            check(adapter.session_time() == 0, "something is kept of which nobody has heard")
            adapter.add("a", ["a", "x"])
            adapter.persist_session(Session("a", "pid of a", adapter.rooms("a"), {"n": 1}, None, None))
            adapter.remove_all("a")
            self._selects(adapter, Target(), "")
            check(await adapter.restore_session("another", None, _accept) is None, "a session for another pid")
            refused: list[Session] = []

            def refuse(session: Session) -> bool:
                refused.append(session)
                return False

            check(await adapter.restore_session("pid of a", None, refuse) is None, "a refused session came back")
            back = await adapter.restore_session("pid of a", None, _accept)
            check((back is None) == (not refused), "a session that was refused has not stayed")
            if back is not None:
                check(
                    back.sid == "a" and back.rooms == {"a", "x"} and back.data == {"n": 1}, f"{back!r:.200} came back"
                )
            check(await adapter.restore_session("pid of a", None, _accept) is None, "a session was handed out twice")
            for sid in ("b", "c"):
                adapter.add(sid, [sid])
                adapter.persist_session(Session(sid, f"pid of {sid}", adapter.rooms(sid), {}, sid, sid, identity=sid))
                adapter.remove_all(sid)
            forgotten = await adapter.forget_sessions(lambda session: bool(session.identity == "b"))
            check(forgotten == (back is not None), f"{forgotten} sessions were forgotten")
            check(
                await adapter.restore_session("pid of b", None, _accept) is None,
                "a session that was forgotten came back",
            )
            kept = await adapter.restore_session("pid of c", None, _accept)
            check((kept is None) == (back is None), "another session was forgotten")
            adapter.add("d", ["d"])
            gone = Session("d", "pid of d", adapter.rooms("d"), {}, identity="d")
            adapter.keep_session(gone)
            check(await adapter.restore_session("pid of d", None, _accept) is None or back is not None, "d came back")
            adapter.persist_session(gone)
            adapter.forget_session("pid of d")
            adapter.forget_session("pid of a stranger")
            adapter.remove_all("d")
            check(await adapter.restore_session("pid of d", None, _accept) is None, "one that has left came back")
            check(adapter.session_time() == 0, "what is not kept is to be waited for")

        self._run(run)

    def test_sockets_may_go_while_they_are_sent_to(self) -> None:
        """A client that disconnects during a broadcast does not break it for the others."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for number in range(20):
                adapter.add(f"s{number}", [f"s{number}", "x"])
            sent.on_send = lambda sid: adapter.remove_all(sid)
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
            await sent.wait_for(20, self.patience)
            check(len(sent.taken()) == 20, "not everybody was reached")
            self._selects(adapter, Target(), "")

        self._run(run)

    def test_what_cannot_be_sent_is_told_to_the_caller(self) -> None:
        """Emitting a value that cannot be encoded raises in the caller."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            adapter.add("a", ["a"])
            sent.error = EncodeError("cannot be sent")
            try:
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n", object()]), Target(local=True))
            except EncodeError:
                return
            raise AssertionError("the EncodeError of the emitter was swallowed")

        self._run(run)

    def test_namespaces_do_not_mix(self) -> None:
        """Rooms of the same name in two namespaces are separate."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            other_sent = Deliveries()
            other = self.adapter("/other", other_sent)
            await other.start()
            try:
                adapter.add("a", ["a", "x"])
                other.add("b", ["b", "x"])
                check(other.rooms("a") == frozenset(), "a socket is in both namespaces")
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
                await other.broadcast(Packet(PacketType.EVENT, "/other", ["o"]), Target())
                await sent.wait_for(1, self.patience)
                await other_sent.wait_for(1, self.patience)
                check([sid for sid, _ in sent.taken()] == ["a"], "a broadcast left its namespace")
                check([sid for sid, _ in other_sent.taken()] == ["b"], "a broadcast left its namespace")
            finally:
                await other.close()

        self._run(run)

    def test_questions_are_answered_by_socket(self) -> None:
        """Each socket's answer is counted once, those that left are listed, and without sockets nothing waits."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bx", "c": "cx", "d": "d"}.items():
                adapter.add(sid, rooms)
            for local in (False, True):
                question = Packet(PacketType.EVENT, "/n", ["q", 1])
                target = Target(frozenset("x"), frozenset("c"), compress=False, local=local)
                asking = asyncio.create_task(adapter.broadcast_with_ack(question, target, self.patience))
                await sent.wait_for(2, self.patience)
                check(sorted(sid for sid, _ in sent.taken()) == ["a", "b"], f"{target!r} asked {sent.last!r}")
                check(all(packet.data == ["q", 1] for _, packet in sent.last), "the question was changed")
                check(sent.flags == {"volatile": False, "compress": False}, f"asked with {sent.flags}")
                check(set(sent.rooms or ()) == {"x"}, f"asked as for {sent.rooms}: pass rooms=target.rooms")
                sent.asked["a"].set_result([{"yes": 1}, 2])
                sent.asked["b"].set_exception(Disconnected())
                answers = await asking
                check(dict(answers) == {"a": ({"yes": 1}, 2)}, f"the answers are {dict(answers)!r}")
                check(answers.missing == ("b",), f"{answers.missing!r} are missing")
            nobody = await adapter.broadcast_with_ack(question, Target(frozenset(), local=True), None)
            check(not nobody and not nobody.missing, "nobody answered something")

        self._run(run)

    def test_questions_end_in_time(self) -> None:
        """A client that does not answer blocks nothing, no answer in time is lost, and no future is kept for ever."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid in "abc":
                adapter.add(sid, sid)
            question = Packet(PacketType.EVENT, "/n", ["q"])
            asking = asyncio.create_task(adapter.broadcast_with_ack(question, Target(local=True), self.patience / 10))
            await sent.wait_for(3, self.patience)
            sent.asked["b"].set_result([])
            try:
                await asking
            except AckTimeout as timeout:
                check(timeout.responses == {"b": None}, f"what did come: {timeout.responses!r}")
                check(sorted(timeout.missing) == ["a", "c"], f"{timeout.missing!r} are missing")
            else:
                raise AssertionError("no AckTimeout")
            check(sent.asked["a"].cancelled(), "nobody waits for an answer any more, and it was not cancelled")

        self._run(run)

    def test_selected_sockets_are_described(self) -> None:
        """The list of the sockets in a room has all of them, and no others."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            for target, expected in (
                (Target(), "abc"),
                (Target(frozenset("x"), frozenset("y")), "a"),
                (Target(frozenset()), ""),
                (Target(frozenset("y"), local=True), "b"),
            ):
                found = {each.id: each for each in await adapter.fetch_sockets(target, self.patience)}
                check(sorted(found) == sorted(expected), f"{target!r} gave {sorted(found)}")
                for sid, each in found.items():
                    check(each.rooms == adapter.rooms(sid), f"{sid} is said to be in {each.rooms}")
                    check(each.data == {"of": sid}, f"the data of {sid} are {each.data!r}")

        self._run(run)

    def test_selected_sockets_join_and_leave(self) -> None:
        """Moving the sockets of a room to another room moves all of them, and no others."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            await adapter.add_sockets(Target(frozenset("x"), frozenset("y")), ["m", "n"])
            await adapter.add_sockets(Target(frozenset()), ["m"])
            await self._until(lambda: adapter.rooms("a") == set("axmn"), "a did not join")
            await adapter.add_sockets(Target(local=True), ["all"])
            await self._until(lambda: adapter.rooms("c") == {"c", "all"}, "c did not join, or too much")
            check(adapter.rooms("b") == {*"bxy", "all"}, f"b is in {adapter.rooms('b')}")
            await adapter.del_sockets(Target(frozenset("x")), ["x", "n", "nowhere"])
            await self._until(lambda: adapter.rooms("a") == {*"am", "all"}, f"a is in {adapter.rooms('a')}")
            self._selects(adapter, Target(frozenset("x")), "")
            self._selects(adapter, Target(frozenset("m")), "a")

        self._run(run)

    def test_selected_sockets_are_disconnected(self) -> None:
        """Disconnecting the sockets of a room disconnects all of them, and no others."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            await adapter.disconnect_sockets(Target(frozenset()), True, None)
            await adapter.disconnect_sockets(Target(frozenset("x"), frozenset("y")), False, "banned")
            await self._until(lambda: sent.disconnected == [("a", False, "banned")], f"{sent.disconnected!r}")
            await adapter.disconnect_sockets(Target(local=True), True, None)
            await self._until(lambda: len(sent.disconnected) == 3, f"{sent.disconnected!r}")
            check(sorted(sent.disconnected[1:]) == [("b", True, None), ("c", True, None)], f"{sent.disconnected!r}")

        self._run(run)

    def test_server_side_events_do_not_come_back(self) -> None:
        """A server does not receive its own server-side events, and a single server does not wait for answers."""

        async def run(adapter: Adapter, sent: Deliveries) -> None:
            await adapter.server_side_emit(["cache.clear", "key"])
            answers = await adapter.server_side_emit_with_ack(["who?"], self.patience)
            check(not answers, f"nobody is there, and answered {answers!r}")
            check(not sent.served, f"this server heard itself: {sent.served!r}")

        self._run(run)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _run(self, scenario: Callable[[Adapter, Deliveries], Awaitable[None]]) -> None:
        async def run() -> None:
            await self.start()
            try:
                sent = Deliveries()
                sent.adapter = adapter = self.adapter("/n", sent)
                await adapter.start()
                try:
                    await scenario(adapter, sent)
                finally:
                    await adapter.close()
            finally:
                await self.stop()

        asyncio.run(run())

    def _selects(self, adapter: Adapter, target: Target, expected: Iterable[str]) -> None:
        selected = adapter.sockets(target)
        check(sorted(selected) == sorted(expected), f"{target!r:.200} selects {selected!r:.200}")

    async def _until(self, condition: Callable[[], bool], message: str) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not condition():  # noqa: ASYNC110 - the adapter's way to get there is unknown
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(message) from None


def _accept(session: Session) -> bool:
    return True


@contextlib.contextmanager
def _silence(name: str) -> Iterator[None]:
    """Disable a logger, for errors that the test provokes."""
    logger = logging.getLogger(name)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
