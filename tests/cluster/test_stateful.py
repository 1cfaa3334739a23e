"""Three servers and a broker with faults, in any order: nothing is lost unsignalled, doubled or reordered.

The broker may lose connections and replies, restart with or without its data, fail over to an older history, and cut
the stream. The test plays the link: it moves bytes as a link would, and lets ``Cursor`` and ``PendingMessages`` decide.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import combinations, count
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtframework import ClusterUnavailable
from rtframework.cluster.cursor import Cursor, Ends, Exists
from rtframework.cluster.pending import PendingMessage, PendingMessages
from rtframework.cluster.stream_ids import BEGINNING, parse_id
from tests.support.thorough import examples

NODES: Final = 3
GAP: Final = "gap"
"""What a server's clients see in the place of a gap."""


@dataclass(frozen=True)
class Entry:
    """An entry of the stream."""

    id: str
    m: bytes
    writer: int
    again: bool
    gap: str | None


@dataclass
class Connection:
    """A writer's connection: commands that the broker has not executed, replies that the writer has not got."""

    commands: deque[PendingMessage] = field(default_factory=deque)
    replies: deque[tuple[bytes, str]] = field(default_factory=deque)
    server: str = ""


class Broker:
    """A stream with faults."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.last = (0, 0)
        self.used: set[str] = set()
        self.clock = 1000
        self.run = 0

    @property
    def server(self) -> str:
        """The identity of the process that answers."""
        return f"run{self.run}"

    def add(self, m: bytes, writer: int, again: bool, gap: str | None) -> str:
        """Add an entry, its id greater than all before, whatever the clock says."""
        at, sequence = self.last
        self.last = (self.clock, 0) if self.clock > at else (at, sequence + 1)
        # No id is used twice, even if a clock is set back: that would take an entry in the same millisecond.
        while f"{self.last[0]}-{self.last[1]}" in self.used:
            self.last = (self.last[0], self.last[1] + 1)
        id = f"{self.last[0]}-{self.last[1]}"
        self.used.add(id)
        self.entries.append(Entry(id, m, writer, again, gap))
        return id

    def from_inclusive(self, id: str, most: int) -> list[Entry]:
        """Return entries from an id on."""
        return [each for each in self.entries if parse_id(each.id) >= parse_id(id)][:most]


class Node:
    """A server: a reader and a writer."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, broker: Broker) -> None:
        self.number = number
        self.broker = broker
        self.cursor = Cursor()
        self.cursor.begin([each.id for each in broker.entries], broker.server)
        self.pending = PendingMessages(loop.create_future)
        self.pending.settle(0)
        self.connection: Connection | None = Connection(server=broker.server)
        self.zombie: Connection | None = None
        """A connection that is lost for the writer, while the broker may still execute what has come by it."""
        self.settles: str | None = None
        """The end of the stream that the reader has to pass before the writer may begin."""
        self.is_settling = False
        self.last_server = broker.server
        self.reads_from: str | None = broker.server
        self.seen: list[bytes | str] = []

    def write(self, now: float) -> None:
        """Send what may be sent."""
        if self.connection is not None:
            self.connection.commands.extend(self.pending.take(now))

    def cut_writer(self) -> None:
        """Lose the writer's connection."""
        if self.connection is not None:
            self.zombie, self.connection = self.connection, None
            self.is_settling = False
            self.pending.lost()

    def connect_writer(self) -> None:
        """Connect again: kill the old connection, and ask for the stream's end."""
        if self.connection is None:
            self.zombie = None
            self.connection = Connection(server=self.broker.server)
            self.settles = self.broker.entries[-1].id if self.broker.entries else None
            self.is_settling = True

    def settle(self, now: float) -> None:
        """Begin to write as soon as the reader has passed the end."""
        connection = self.connection
        if connection is None or not self.is_settling or self.reads_from != connection.server:
            return
        if self.cursor.has_passed(self.settles, connection.server):
            self.is_settling = False
            self.pending.settle(now, same_server=self.last_server == connection.server)
            self.last_server = connection.server

    def connect_reader(self) -> None:
        """Connect the reader again; it finds out what is missing with its next read."""
        self.reads_from = self.broker.server

    def read(self, most: int) -> None:
        """Read a batch, from the position inclusive."""
        if self.reads_from is None:
            return
        batch = self.broker.from_inclusive(self.cursor.position, most + 1)
        if not self.cursor.continues([each.id for each in batch], self.broker.server):
            self.resume()
            batch = [
                each
                for each in self.broker.from_inclusive(self.cursor.position, most + 1)
                if each.id != self.cursor.position
            ][:most]
        elif self.cursor.position != BEGINNING:
            batch = batch[1:]
        for entry in batch:
            self.take(entry)
        self.cursor.advance([each.id for each in batch])

    def resume(self) -> None:
        """Answer the cursor's questions."""
        entries = self.broker.entries
        steps = self.cursor.resume(self.broker.server)
        answer: Any = None
        try:
            while True:
                question = steps.send(answer)
                if isinstance(question, Exists):
                    answer = any(each.id == question.id for each in entries)
                else:
                    assert isinstance(question, Ends)
                    answer = (entries[0].id, entries[-1].id) if entries else None
        except StopIteration as end:
            gap = end.value.gap
        if gap is not None:
            self.seen.append(GAP)
            if gap.kind == "trimmed":
                self.pending.cover(entries[0].id)
            else:
                m = b"gap %d %d" % (self.number, len(self.seen))
                self.pending.reserve(0, 0)
                self.pending.add(m, self.cursor.notice.encode(), GAP, 0, math.inf)

    def take(self, entry: Entry) -> None:
        """Deliver an entry."""
        own = self.pending.read(entry.m, entry.id)
        if entry.writer == self.number:
            if own is not None and own.frames != GAP:
                self.seen.append(entry.m)
        elif entry.gap is not None:
            if self.cursor.hears(entry.gap) is not None:
                self.seen.append(GAP)
        elif entry.writer >= 0 and self.cursor.is_new(entry.m, entry.again):
            self.seen.append(entry.m)


nodes = st.integers(0, NODES - 1)

STEPS: Final = ("connect reader", "connect writer", "read", "write", "execute", "execute the dead", "reply")
FAULTS: Final = (
    "cut writer",
    "cut writer",
    "cut writer",
    "cut reader",
    "trim",
    "restart",
    "fail over",
    "restart empty",
)


class Cluster(RuleBasedStateMachine):
    """Random steps, and what must be true after each, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.ids = count()
        self.emitted: dict[bytes, tuple[int, PendingMessage]] = {}
        self.began: dict[bytes, list[int]] = {}
        """For each message, how much each server had seen when it was emitted."""

    @initialize(entries=st.integers(0, 3))
    def start(self, entries: int) -> None:
        """Start servers on a stream that may have entries already."""
        self.broker = Broker()
        for _ in range(entries):
            self.broker.add(b"-1", -1, False, None)
        self.nodes = [Node(number, self.loop, self.broker) for number in range(NODES)]

    @rule(node=nodes, messages=st.integers(1, 4))
    def emit(self, node: int, messages: int) -> None:
        """Emit."""
        for _ in range(messages):
            m = b"%d" % next(self.ids)
            self.began[m] = [len(each.seen) for each in self.nodes]
            pending = self.nodes[node].pending
            assert pending.reserve(1, self.now) is None
            self.emitted[m] = (node, pending.add(m, b"", m, 1, self.now))

    @rule(node=nodes, steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=8), number=st.integers(1, 5))
    def work(self, node: int, steps: list[str], number: int) -> None:
        """Let a server and the broker take single steps, a few messages each."""
        for step in steps:
            self.step(node, step, number)

    @rule(steps=st.lists(st.sampled_from(STEPS), max_size=6))
    def work_all(self, steps: list[str]) -> None:
        """Let all servers do all that there is to do, but for some steps."""
        for step in STEPS:
            if step not in steps:
                for node in range(NODES):
                    self.step(node, step, 100)

    @rule(node=nodes, fault=st.sampled_from(FAULTS), number=st.integers(0, 4))
    def fail(self, node: int, fault: str, number: int) -> None:
        """Let something fail."""
        broker, server = self.broker, self.nodes[node]
        if fault == "cut writer":
            server.cut_writer()
        elif fault == "cut reader":
            server.reads_from = None
        elif fault == "trim":
            # Not before every server has read something of the stream: see Cursor.continues.
            if all(each.cursor.position != BEGINNING for each in self.nodes):
                broker.entries = broker.entries[-1 - number :]
        else:
            broker.run += 1
            broker.clock += 1
            for each in self.nodes:
                each.cut_writer()
                each.zombie = None
                each.reads_from = None
            if fault == "fail over":
                broker.entries = broker.entries[: -1 - number]
                broker.last = parse_id(broker.entries[-1].id) if broker.entries else (0, 0)
            elif fault == "restart empty":
                broker.entries, broker.last = [], (0, 0)
                broker.clock += (0, 5000, 0, -800, 0)[number]

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 2, 6]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.broker.clock += int(seconds * 1000)
        for node in self.nodes:
            node.pending.expire(self.now)

    def step(self, number: int, step: str, most: int) -> None:
        """Let a server, or the broker for it, take one step."""
        node = self.nodes[number]
        if step == "write":
            node.settle(self.now)
            node.write(self.now)
        elif step == "execute":
            self.execute(number, node.connection, most)
        elif step == "execute the dead":
            self.execute(number, node.zombie, most)
        elif step == "reply":
            while node.connection is not None and node.connection.replies:
                node.pending.added(*node.connection.replies.popleft())
        elif step == "read":
            node.read(most)
        elif step == "connect reader":
            node.connect_reader()
        elif step == "connect writer":
            node.connect_writer()

    def execute(self, number: int, connection: Connection | None, most: int) -> None:
        """Let the broker execute commands; the writer may have lost the connection by which they came."""
        while connection is not None and connection.commands and most:
            most -= 1
            message = connection.commands.popleft()
            gap = message.command.decode() or None
            id = self.broker.add(message.m, number, message.again, gap)
            connection.replies.append((message.m, id))

    @invariant()
    def nothing_is_doubled(self) -> None:
        """A client would get an event twice."""
        for node in getattr(self, "nodes", ()):
            seen = [each for each in node.seen if each != GAP]
            assert len(seen) == len(set(seen)), node.seen

    def teardown(self) -> None:
        """Heal everything, and see where each message is."""
        try:
            if hasattr(self, "nodes"):
                self.heal()
                self.check()
        finally:
            self.loop.close()

    def heal(self) -> None:
        """Connect everything and let everything arrive."""
        for _ in range(4):
            for node in self.nodes:
                node.connect_reader()
                node.connect_writer()
            for node in self.nodes:
                for _ in range(100):
                    before = node.cursor.position, len(node.seen)
                    node.read(50)
                    if before == (node.cursor.position, len(node.seen)):
                        break
            self.wait(0.1)
            for step in ("reply", "write", "execute", "reply"):
                for number in range(NODES):
                    self.step(number, step, 10_000)

    def check(self) -> None:
        """Check that each emit has ended in one of three ways, and the order."""
        for m, (writer, message) in self.emitted.items():
            assert message.future.done(), (m, message.state)
            failed = message.future.exception()
            for node in self.nodes:
                seen = node.seen[self.began[m][node.number] :]
                if failed is not None:
                    assert isinstance(failed, ClusterUnavailable)
                    assert failed.uncertain or m not in seen, (m, writer, node.number)
                else:
                    assert m in seen or GAP in seen, (m, writer, node.number)
        # What is on its way when the broker loses entries is sent again, rather than lost. Then it comes late to a
        # server that had not read it, while another had it before. Without a gap there is one order.
        again = {m for m, (_, message) in self.emitted.items() if message.again}
        for first, second in combinations(self.nodes, 2):
            late = again if GAP in [*first.seen, *second.seen] else set()
            for one in segments(first.seen):
                places = {m: place for place, m in enumerate(one) if m not in late}
                for other in segments(second.seen):
                    common = [places[m] for m in other if m in places]
                    assert common == sorted(common), (first.seen, second.seen)
        for node in self.nodes:
            for segment in segments(node.seen):
                for writer in range(NODES):
                    own = [int(m) for m in segment if self.emitted[m][0] == writer]
                    assert own == sorted(own), node.seen


def segments(seen: list[bytes | str]) -> list[list[bytes]]:
    """Split what a server has seen at its gaps."""
    found: list[list[bytes]] = [[]]
    for each in seen:
        if isinstance(each, str):
            found.append([])
        else:
            found[-1].append(each)
    return found


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=examples(200), stateful_step_count=60)
