"""Books on what was emitted and what each client received: what is missing, double, late or out of order."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Message: TypeAlias = tuple[str, int]
"""Name of the origin, and a number that grows with each of its emits."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """One emit. ``raised``: the program was told that nobody has it, or, with ``uncertain``, that nobody knows."""

    message: Message
    at: float
    rooms: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    raised: bool = False
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that reached one client."""

    message: Message
    at: float
    offset: str | None = None


@dataclass(slots=True)
class Reader:
    """One client: when it was there, and in which rooms."""

    rooms: frozenset[str]
    since: float = 0.0
    until: float = float("inf")
    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """Totals over all clients; a message that one client has lost counts once for this client."""

    emitted: int
    raised: int
    expected: int
    """Deliveries that clients had to get."""
    lost: int
    """Deliveries that are missing."""
    unsignalled: int
    """Those of the missing ones that no gap covers."""
    doubled: int
    """Deliveries beyond the first."""
    reordered: int
    """Deliveries after one that the same origin emitted later."""
    disagreeing: int
    """Pairs of messages in a row that a client has in another order than the first client."""
    stray: int
    """Deliveries to clients that the emit does not select."""
    contradicted: int
    """Deliveries of messages whose emit raised: the program was told that nobody has them."""
    backwards: int
    """Deliveries with a smaller offset than one before, which a recovery would replay twice."""
    longest_wait: float
    """Seconds from the emit to the delivery that took longest."""

    @property
    def is_clean(self) -> bool:
        """True if nothing is lost without a word, double or out of order."""
        return not (self.unsignalled or self.doubled or self.reordered or self.stray or self.contradicted)

    def __str__(self) -> str:
        return (
            f"{self.emitted} emitted ({self.raised} raised), {self.lost} of {self.expected} lost "
            f"({self.unsignalled} unsignalled), {self.doubled} doubled, {self.reordered} reordered, "
            f"{self.disagreeing} disagreeing, {self.stray} stray, {self.contradicted} contradicted, "
            f"{self.backwards} offsets backwards, longest wait {self.longest_wait:.3f} s"
        )


class Ledger:
    """Books of one scenario. All times are seconds since 1970.

    An emit concerns each client that was there when it was made and is in one of its rooms and in none of the excluded
    ones. A client is there from ``since`` to ``until``, also while it reconnects and will recover.
    """

    def __init__(self) -> None:
        self._emitted: dict[Message, Emitted] = {}
        self._readers: dict[str, Reader] = {}
        self._gaps: list[tuple[float, float, frozenset[str] | None]] = []

    def emit(
        self,
        origin: str,
        number: int,
        *,
        at: float,
        rooms: Collection[str] = (),
        excluded: Collection[str] = (),
        raised: bool = False,
        uncertain: bool = False,
    ) -> None:
        """Enter an emit. Raises ``ValueError`` if it is entered already."""
        message = (origin, number)
        if message in self._emitted:
            raise ValueError(f"{message} was emitted already")
        self._emitted[message] = Emitted(message, at, frozenset(rooms), frozenset(excluded), raised, uncertain)

    def flood(
        self,
        origin: str,
        times: Iterable[float],
        *,
        raised: Collection[int] = (),
        uncertain: Collection[int] = (),
        rooms: Collection[str] = (),
    ) -> None:
        """Enter the emits of one origin, numbered from 0."""
        for number, at in enumerate(times):
            self.emit(origin, number, at=at, rooms=rooms, raised=number in raised, uncertain=number in uncertain)

    def client(
        self, name: str, *, rooms: Collection[str] = (), since: float = 0.0, until: float = float("inf")
    ) -> None:
        """Enter a client. Raises ``ValueError`` if it is entered already."""
        if name in self._readers:
            raise ValueError(f"{name} is entered already")
        self._readers[name] = Reader(frozenset(rooms), since, until)

    def deliver(self, client: str, origin: str, number: int, *, at: float, offset: str | None = None) -> None:
        """Enter what a client has received, in the order in which it came."""
        self._readers[client].deliveries.append(Delivery((origin, number), at, offset))

    def gap(self, start: float, end: float, *, clients: Collection[str] | None = None) -> None:
        """Enter that a loss was told: of what was emitted between two times, to these clients or to all."""
        self._gaps.append((start, end, None if clients is None else frozenset(clients)))

    def missing(self, client: str) -> list[Message]:
        """Return what a client had to get and has not got, in the order of the emits."""
        got = {each.message for each in self._readers[client].deliveries}
        return [each.message for each in self._owed(self._readers[client]) if each.message not in got]

    def result(self) -> Result:
        """Balance the books."""
        totals: dict[str, int] = defaultdict(int)
        wait = 0.0
        orders: list[list[Message]] = []
        for name, reader in self._readers.items():
            owed = {each.message for each in self._owed(reader)}
            totals["expected"] += len(owed)
            for message in self.missing(name):
                totals["lost"] += 1
                totals["unsignalled"] += not self._covered(self._emitted[message].at, name)
            seen: dict[Message, None] = {}
            newest: dict[str, int] = {}
            offset = (0, 0)
            for each in reader.deliveries:
                emitted = self._emitted.get(each.message)
                if each.offset is not None:
                    position = _position(each.offset)
                    totals["backwards"] += position < offset
                    offset = max(position, offset)
                if each.message in seen:
                    totals["doubled"] += 1
                    continue
                seen[each.message] = None
                if emitted is not None and emitted.raised:
                    totals["contradicted"] += not emitted.uncertain
                elif emitted is None or not _selects(emitted, reader.rooms):
                    totals["stray"] += 1
                if emitted is not None:
                    wait = max(wait, each.at - emitted.at)
                origin, number = each.message
                totals["reordered"] += number < newest.get(origin, -1)
                newest[origin] = max(number, newest.get(origin, -1))
            orders.append(list(seen))
        return Result(
            emitted=len(self._emitted),
            raised=sum(each.raised for each in self._emitted.values()),
            disagreeing=sum(_inversions(orders[0], order) for order in orders[1:]),
            longest_wait=wait,
            **{
                key: totals[key]
                for key in (
                    *("expected", "lost", "unsignalled", "doubled", "reordered"),
                    *("stray", "contradicted", "backwards"),
                )
            },
        )

    def _owed(self, reader: Reader) -> list[Emitted]:
        return [
            each
            for each in self._emitted.values()
            if not each.raised and reader.since <= each.at <= reader.until and _selects(each, reader.rooms)
        ]

    def _covered(self, at: float, client: str) -> bool:
        return any(start <= at <= end and (who is None or client in who) for start, end, who in self._gaps)


def _selects(emitted: Emitted, rooms: frozenset[str]) -> bool:
    return (not emitted.rooms or bool(emitted.rooms & rooms)) and not emitted.excluded & rooms


def _position(offset: str) -> tuple[int, int]:
    """Return the place of an offset: ``milliseconds-number`` of a stream, ``name.number`` of our memory adapter."""
    head, _, number = offset.replace(".", "-").rpartition("-")
    return int(head) if head.isdecimal() else 0, int(number)


def _inversions(first: list[Message], other: list[Message]) -> int:
    """Count the pairs in a row of what both have that stand the other way round."""
    places: Mapping[Message, int] = {message: place for place, message in enumerate(first)}
    common = [places[message] for message in other if message in places]
    return sum(before > after for before, after in itertools.pairwise(common))
