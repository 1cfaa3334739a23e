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
        id = f"{self.last[0]}-{self.last[1]}"
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
                self.pending.add(m, [self.cursor.notice.encode()], GAP, 0, math.inf)

    def take(self, entry: Entry) -> None:
        """Deliver an entry."""
        own = self.pending.read(entry.m, entry.id)
        if entry.writer == self.number:
            if own is not None and own.frames != GAP:
                self.seen.append(entry.m)
                assert self.cursor.is_new(entry.m)
        elif entry.gap is not None:
            if self.cursor.hears(entry.gap) is not None:
                self.seen.append(GAP)
        elif self.cursor.is_new(entry.m, entry.again):
            self.seen.append(entry.m)


nodes = st.integers(0, NODES - 1)


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
            self.broker.add(b"old", -1, False, None)
        self.broker.add(b"hello", -1, False, None)
        self.nodes = [Node(number, self.loop, self.broker) for number in range(NODES)]

    @rule(node=nodes, messages=st.integers(1, 4))
    def emit(self, node: int, messages: int) -> None:
        """Emit."""
        for _ in range(messages):
            m = b"%d" % next(self.ids)
            self.began[m] = [len(each.seen) for each in self.nodes]
            pending = self.nodes[node].pending
            assert pending.reserve(1, self.now) is None
            self.emitted[m] = (node, pending.add(m, [], m, 1, self.now))

    @rule(node=nodes)
    def write(self, node: int) -> None:
        """Send what waits."""
        self.nodes[node].settle(self.now)
        self.nodes[node].write(self.now)

    @rule(node=nodes, commands=st.integers(1, 5), dead=st.booleans())
    def execute(self, node: int, commands: int, dead: bool) -> None:
        """Let the broker execute commands, of a dead connection too."""
        each = self.nodes[node]
        connection = each.zombie if dead else each.connection
        while connection is not None and connection.commands and commands:
            commands -= 1
            message = connection.commands.popleft()
            gap = message.fields[0].decode() if message.fields else None
            id = self.broker.add(message.m, node, message.again, gap)
            connection.replies.append((message.m, id))

    @rule(node=nodes)
    def reply(self, node: int) -> None:
        """Let the replies arrive."""
        connection = self.nodes[node].connection
        while connection is not None and connection.replies:
            self.nodes[node].pending.added(*connection.replies.popleft())

    @rule(node=nodes, most=st.integers(1, 5))
    def read(self, node: int, most: int) -> None:
        """Read a batch."""
        self.nodes[node].read(most)

    @rule(node=nodes, writer=st.booleans(), reader=st.booleans())
    def cut(self, node: int, writer: bool, reader: bool) -> None:
        """Cut connections."""
        if writer:
            self.nodes[node].cut_writer()
        if reader:
            self.nodes[node].reads_from = None

    @rule(node=nodes, writer=st.booleans(), reader=st.booleans())
    def connect(self, node: int, writer: bool, reader: bool) -> None:
        """Connect again."""
        if reader:
            self.nodes[node].connect_reader()
        if writer:
            self.nodes[node].connect_writer()

    @rule(seconds=st.sampled_from([0.01, 0.5, 2, 6]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.broker.clock += int(seconds * 1000)
        for node in self.nodes:
            node.pending.expire(self.now)

    @rule(kept=st.integers(1, 4))
    def trim(self, kept: int) -> None:
        """Cut the stream, but not before every server has read something of it: see ``Cursor.continues``."""
        if all(node.cursor.position != BEGINNING for node in self.nodes):
            self.broker.entries = self.broker.entries[-kept:]

    @rule()
    def restart(self) -> None:
        """Restart with all data."""
        self.broker.run += 1
        for node in self.nodes:
            node.cut_writer()
            node.zombie = None
            node.reads_from = None

    @rule(shift=st.sampled_from([0, 5000, -800]))
    def restart_empty(self, shift: int) -> None:
        """Restart without data, perhaps with another clock."""
        self.restart()
        self.broker.entries, self.broker.last = [], (0, 0)
        self.broker.clock += 1 + shift  # no id is used twice: the clock never stands still over a restart

    @rule(lost=st.integers(1, 5))
    def fail_over(self, lost: int) -> None:
        """Fail over to a replica that lagged."""
        self.restart()
        self.broker.entries = self.broker.entries[:-lost]
        self.broker.clock += 1
        if self.broker.entries:
            self.broker.last = parse_id(self.broker.entries[-1].id)

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
            for number in range(NODES):
                self.reply(number)
                self.write(number)
                self.execute(number, 10_000, False)
                self.reply(number)

    def check(self) -> None:
        """Check that each emit has ended in one of three ways, and the order."""
        for m, (writer, message) in self.emitted.items():
            assert message.future.done(), (m, message.state)
            failed = message.future.exception()
            for node in self.nodes:
                seen = node.seen[self.began[m][node.number] :]
                if failed is not None:
                    assert isinstance(failed, ClusterUnavailable)
                    assert m not in seen, (m, writer, node.number)
                else:
                    assert m in seen or GAP in seen, (m, writer, node.number)
        for first, second in combinations(self.nodes, 2):
            for one in segments(first.seen):
                places = {m: place for place, m in enumerate(one)}
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
TestCluster.settings = settings(max_examples=25, stateful_step_count=60, deadline=None)
