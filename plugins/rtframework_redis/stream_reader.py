"""Reading the stream: one connection, from the end on, every entry once, and notice of what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from rtframework.cluster.cursor import Answer, Cursor, Exists, Gap, Question, drive
from rtframework.cluster.messages import MessageType, new_id
from rtframework.cluster.stream_ids import BEGINNING, next_id
from rtframework.cluster.streams_wire import fields_of
from rtframework.logs import ThrottledLog

from .commands import Entry, read_streams
from .errors import LinkError, ReplyError
from .keeper import Keeper
from .link import Link
from .topology import Topology

log: Final = logging.getLogger("rtframework.cluster")

_refused: Final = ThrottledLog(log, logging.ERROR, "Redis does not let the stream be read")
_failed: Final = ThrottledLog(log, logging.ERROR, "an entry of the stream was not handled")

BLOCK: Final = 2.0
"""Seconds that Redis may wait for an entry before it answers that there is none."""

_LAST: Final = 100
"""Ids of entries at the end of the stream that a new reader looks at, to find the place where another history parts."""


async def run_id_of(link: Link) -> str:
    """Return the identity of the Redis process that answers, ``"?"`` if INFO is forbidden."""
    try:
        info = await link.send("INFO", "server")
    except ReplyError:
        return "?"
    for line in bytes(info).splitlines():
        name, _, value = line.partition(b":")
        if name == b"run_id":
            return value.decode()
    return "?"


class StreamReader:
    """Reads the stream for all namespaces.

    ``take``: called with the id and the fields of each entry; it must not wait. ``on_gap``: called with a gap and the
    first id after it, ``None`` if nothing comes after it yet, before any entry after the gap is taken.
    """

    def __init__(
        self,
        topology: Topology,
        stream: str,
        *,
        uid: str,
        max_len: int,
        count: int,
        take: Callable[[str, Sequence[bytes]], None],
        on_gap: Callable[[Gap, str | None], None],
        on_state: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._uid = uid
        self._max_len = max_len
        self._count = count
        self._take = take
        self._on_gap = on_gap
        self._on_state = on_state
        self.cursor = Cursor()
        self.at = BEGINNING
        """Id of the entry that is being taken, or that was taken last."""
        self.missing_after = BEGINNING
        """Id of the last entry that is surely here, of those before the last gap."""
        self.taken = 0
        """Entries that were taken so far, this server's own among them."""
        self.is_reading = False
        """True while the connection is up and the position is known to be whole."""
        self.keeper = Keeper(topology, key=stream.encode(), name="rtframework-reader")
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._progress: asyncio.Future[None] | None = None

    async def start(self, timeout: float) -> None:
        """Begin to read; return when the end of the stream is known. Raises ``TimeoutError``."""
        self.keeper.start()
        self._task = asyncio.get_running_loop().create_task(self._run())
        async with asyncio.timeout(timeout):
            await self._begun.wait()

    async def close(self) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self.keeper.close()

    async def progress(self) -> None:
        """Wait until something has been read, or has been found to have no successor."""
        if self._progress is None:
            self._progress = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._progress)

    async def _run(self) -> None:
        while True:
            try:
                await self._read(await self.keeper.up())
            except ReplyError as error:
                _refused(error=error)
                self.keeper.suspect(str(error))
                await asyncio.sleep(0.1)
            except LinkError:
                await asyncio.sleep(0)  # the keeper connects again
            except Exception as error:  # noqa: BLE001 - a reply of a kind that nobody knows
                _refused(error=error)
                self.keeper.suspect(str(error))
                await asyncio.sleep(0.1)
            finally:
                self._say(False)

    async def _read(self, link: Link) -> None:
        cursor, stream, count = self.cursor, self._stream, self._count
        server = await run_id_of(link)
        if not self._begun.is_set():
            await self._begin(link, server)
        found: Sequence[Entry] = await link.send("XRANGE", stream, cursor.position, "+", "COUNT", count + 1)
        if not cursor.continues([each[0].decode() for each in found], server):
            found = await self._resume(link, server)
        elif cursor.position != BEGINNING:
            found = found[1:]
        self._say(True)
        self._take_all(found)
        block = round(BLOCK * 1000)
        while True:
            command = ("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", stream, cursor.position)
            reading = link.send_blocking(BLOCK, *command)
            # XREAD says nothing of what was cut off before it was executed. Redis executes this right after it.
            looking = link.send("XRANGE", stream, cursor.position, cursor.position)
            looking.add_done_callback(_ignore)
            streams = read_streams(await reading)
            found = next(iter(streams))[1] if streams else ()
            if found and not await looking and cursor.position != BEGINNING:
                found = await self._resume(link, server)
            self._take_all(found)

    async def _begin(self, link: Link, server: str) -> None:
        last = await link.send("XREVRANGE", self._stream, "+", "-", "COUNT", _LAST)
        if not last:
            # Nothing would have to exist still: a stream that is cut before the first entry is read would look whole.
            fields = fields_of(self._uid.encode(), b"/", MessageType.HEARTBEAT, None, new_id().encode())
            await link.send("XADD", self._stream, "MAXLEN", "~", self._max_len, "*", *fields)
            last = await link.send("XREVRANGE", self._stream, "+", "-", "COUNT", _LAST)
        self.cursor.begin([each[0].decode() for each in reversed(last)], server)
        self.at = self.cursor.position
        self._begun.set()

    async def _resume(self, link: Link, server: str) -> Sequence[Entry]:
        """Find out where to read on, tell of a gap, and return what comes after it."""
        stream = self._stream

        async def ask(question: Question) -> Answer:
            if isinstance(question, Exists):
                return bool(await link.send("XRANGE", stream, question.id, question.id))
            first = await link.send("XRANGE", stream, "-", "+", "COUNT", 1)
            last = await link.send("XREVRANGE", stream, "+", "-", "COUNT", 1)
            return (first[0][0].decode(), last[0][0].decode()) if first and last else None

        before = self.cursor.position
        found = await drive(self.cursor.resume(server), ask)
        start = "-" if found.start == BEGINNING else next_id(found.start)
        entries: Sequence[Entry] = await link.send("XRANGE", stream, start, "+", "COUNT", self._count)
        self.at = found.start
        if found.gap is not None:
            self.missing_after = before if found.gap.since == BEGINNING else found.gap.since
            self._on_gap(found.gap, entries[0][0].decode() if entries else None)
        return entries

    def _take_all(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.taken += len(entries)
            ids = [raw.decode() for raw, _ in entries]
            take = self._take
            for id, (_, fields) in zip(ids, entries, strict=True):
                self.at = id
                try:
                    take(id, fields)
                except Exception as error:  # noqa: BLE001 - one entry of somebody else's must not stop the reader
                    _failed(error=error)
            self.cursor.advance(ids)
        progress, self._progress = self._progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)

    def _say(self, is_reading: bool) -> None:
        if is_reading != self.is_reading:
            self.is_reading = is_reading
            with contextlib.suppress(Exception):
                self._on_state()


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
