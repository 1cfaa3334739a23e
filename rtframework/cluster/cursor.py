"""The position of a reader in the stream: what it has read, whether that is still there, and gaps. Without I/O.

The rule: the last entry that was read must still exist. If it does, nothing after it is missing, because a stream loses
entries at its beginning (trimmed, emptied) or at its end (failover to a replica that lagged, an older backup).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .stream_ids import BEGINNING, parse_id

REMEMBERED: Final = 1024
"""Ids of entries kept to find the place at which another history begins."""

RECENT: Final = 8192
"""Ids of messages kept to recognise one that was sent again."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap: entries after ``since`` are lost for this reader, or for others that had not read them.

    ``"trimmed"``: the reader was too slow, and the stream was cut. ``"history"``: the stream is not the one that was
    read: emptied, restarted without its data, or older after a failover.
    """

    since: str
    kind: Literal["trimmed", "history"]


@dataclass(frozen=True, slots=True)
class Resume:
    """The position to read on from, exclusive, and the gap before it."""

    start: str
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The question whether an entry is in the stream; the answer is a boolean."""

    id: str


@dataclass(frozen=True, slots=True)
class Ends:
    """The question for the first and the last id of the stream; the answer is a pair, ``None`` if it is empty."""


Question: TypeAlias = Exists | Ends
Answer: TypeAlias = bool | tuple[str, str] | None


class Cursor:
    """Position of one reader in one stream.

    A reader that has been away, or has got a full batch, reads from its position *inclusive*, and asks ``continues``.
    If that is false, ``resume`` asks questions until it knows where to read on, see ``drive``.
    """

    __slots__ = ("_end", "_ids", "_known", "_messages", "_server", "_suspects", "position")

    def __init__(self) -> None:
        self.position = BEGINNING
        """Id of the last entry that was read."""
        self._ids: deque[str] = deque(maxlen=REMEMBERED)
        self._messages: deque[bytes] = deque(maxlen=RECENT)
        self._known = ("", "")
        self._server: str | None = None
        self._suspects: frozenset[bytes] = frozenset()
        """Messages that another history may have again, up to ``_end``."""
        self._end = (0, 0)

    def begin(self, ids: Sequence[str], server: str) -> None:
        """Begin at the end of the stream. ``ids``: those of its last entries, oldest first; ``server``: see ``resume``.

        A reader of an empty stream has nothing that must still exist: write an entry of your own at once.
        """
        self._server = server
        if ids:
            self._ids.extend(ids)
            self.position = ids[-1]

    def advance(self, ids: Sequence[str]) -> None:
        """Move on over the entries of a batch that was read."""
        if ids:
            self._ids.extend(ids)
            self.position = ids[-1]
            if self._suspects and parse_id(self.position) >= self._end:
                self._suspects = frozenset()

    def has_passed(self, id: str | None, server: str) -> bool:
        """Tell whether everything up to an id of this server has been read; ``None``: the end of an empty stream."""
        return server == self._server and (id is None or parse_id(self.position) >= parse_id(id))

    def is_new(self, m: bytes | None, again: bool = False) -> bool:
        """Tell whether a message has not been delivered yet, and remember it.

        Only those sent again can be known, and those that another history had when it was found.
        """
        if m is None:
            return True
        if m in self._suspects or (again and m in self._messages):
            return False
        self._messages.append(m)
        return True

    def continues(self, ids: Sequence[str], server: str) -> bool:
        """Tell whether a batch read from the position, inclusive, begins with it: then nothing is missing before it.

        ``server``: see ``resume``. The position before the first entry is no entry: it holds while the server is the
        same, and if the stream is not cut before the first entry is read. So write an entry of your own at once.
        """
        if self.position == BEGINNING:
            return server == self._server
        if not ids or ids[0] != self.position:
            return False
        self._server = server
        return True

    def resume(self, server: str) -> Generator[Question, Answer, Resume]:
        """Find out where to read on when the position no longer exists; a state machine that asks questions.

        ``server``: the identity of the process that answers (``run_id`` of INFO), by which a stream that was cut is
        told from one that began anew.
        """
        same, self._server = server == self._server, server
        if (yield Exists(self.position)) if self.position != BEGINNING else same:
            return Resume(self.position)
        ends = yield Ends()
        first = ends[0] if isinstance(ends, tuple) else None
        if same and first is not None and parse_id(first) > parse_id(self.position):
            return self._jump(Gap(self.position, "trimmed"), self.position)
        # Another history shares a beginning with the one that was read, less what has been cut off since.
        cut = 0 if first is None else sum(parse_id(each) < parse_id(first) for each in self._ids)
        low, high = cut, len(self._ids)
        while low < high:
            middle = (low + high) // 2
            if (yield Exists(self._ids[middle])):
                low = middle + 1
            else:
                high = middle
        start = self._ids[low - 1] if low > cut else BEGINNING
        if low == cut:
            low = 0
        while len(self._ids) > low:
            self._ids.pop()
        if isinstance(ends, tuple):  # it may be a very old one, with entries that are not remembered any more
            self._suspects, self._end = frozenset(self._messages), parse_id(ends[1])
        return self._jump(Gap(start, "history"), start)

    @property
    def notice(self) -> str:
        """The field ``gap`` of the entry by which the last gap of kind "history" is reported to the other servers."""
        return f"{self._known[0]}@{self._known[1]}"

    def hears(self, notice: str) -> Gap | None:
        """Take a notice of another server. Return the gap if it is news; it is then this reader's, too.

        A server that had not read what a failover has lost cannot see that it is missing: the others tell it.
        Raises ``DecodeError``.
        """
        since, _, server = notice.partition("@")
        parse_id(since)
        if (since, server) == self._known:
            return None
        self._known = (since, server)
        return Gap(since, "history")

    def _jump(self, gap: Gap, start: str) -> Resume:
        self.position = start
        if gap.kind == "history":
            self._known = (gap.since, self._server or "")
        return Resume(start, gap)


async def drive(steps: Generator[Question, Answer, Resume], ask: Callable[[Question], Awaitable[Answer]]) -> Resume:
    """Have the questions of ``Cursor.resume`` answered, one after the other, and return what it has found out."""
    answer: Answer = None
    while True:
        try:
            question = steps.send(answer)
        except StopIteration as end:
            found: Resume = end.value
            return found
        answer = await ask(question)
