"""``SQLiteHistory``: the history of rooms in a file, which outlives the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath
from typing import Any, Final, TypeVar

from rtframework.exceptions import ConfigurationError
from rtframework.types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom

T = TypeVar("T")

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS life (epoch TEXT NOT NULL, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rooms (
    nsp TEXT NOT NULL, room TEXT NOT NULL,
    count INTEGER NOT NULL, cut INTEGER NOT NULL, expires INTEGER,
    PRIMARY KEY (nsp, room)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    nsp TEXT NOT NULL, room TEXT NOT NULL, number INTEGER NOT NULL,
    at INTEGER NOT NULL, except_ TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (nsp, room, number)
) WITHOUT ROWID;
"""
"""``cut``: the last entry that was discarded. ``expires``: the time at which the last entry is too old, in ms."""

_IN: Final = "WHERE nsp = ? AND room = ?"

_PURGE: Final = 1_000
"""Entries after which rooms are looked for of which everything is too old."""

_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that writes to the file."""


class SQLiteHistory:
    """Keeps the history of rooms in a SQLite file; a server that starts again has it still.

    ``path``: the file, which is made if need be. A thread of its own does the work, with a write-ahead log: what was
    kept survives the end of the process, and a power failure may cost the last moments of it. Several servers of one
    machine may use one file.

    Example::

        io = Server(history=History("chat:{room}", size=10_000, store=SQLiteHistory("history.db")))
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        name = fspath(path)
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"SQLiteHistory takes the path of a file, not {path!r}")
        self._path = name
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None
        self._epoch = ""
        self._added = 0

    async def start(self) -> None:
        """Open the file. Raises ``sqlite3.Error``."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "rtframework-sqlite")
            await self._do(self._open)

    async def close(self) -> None:
        """Close the file, when what was begun is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry to rooms; return its id. Raises ``sqlite3.Error``."""
        return await self._do(lambda db: self._append(db, nsp, rooms, entry))

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page. Raises ``sqlite3.Error``."""
        return await self._do(lambda db: self._read(db, nsp, room, query))

    async def clear(self, nsp: str, room: str) -> None:
        """Forget the entries of a room. Raises ``sqlite3.Error``."""
        await self._do(lambda db: self._clear(db, nsp, room))

    # --- in the thread ------------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise ConfigurationError("the history's file is not open: the server has not started, or has stopped")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            self._db = sqlite3.connect(self._path, timeout=_TIMEOUT, isolation_level=None)
        db = self._db
        try:
            return work(db)
        except BaseException:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise

    def _open(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_TABLES)
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT 1 FROM life").fetchone() is None:
            db.execute("INSERT INTO life VALUES (?, 0)", (secrets.token_urlsafe(6),))
        (self._epoch,) = db.execute("SELECT epoch FROM life").fetchone()
        self._purge(db)
        db.execute("COMMIT")

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _append(self, db: sqlite3.Connection, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        body, except_ = entry.dump(), json.dumps(sorted(entry.except_))
        now = round(time.time() * 1000)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE life SET number = number + 1")
        (number,) = db.execute("SELECT number FROM life").fetchone()
        for room in rooms:
            place = (nsp, room.name)
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (*place, number, entry.at, except_, body))
            expires = None if room.ttl is None else entry.at + round(room.ttl * 1000)
            # What is from before the first entry is gone, or was never there: who asks for it is told of a gap.
            db.execute(
                "INSERT INTO rooms VALUES (?, ?, 1, ?, ?) "
                "ON CONFLICT DO UPDATE SET count = count + 1, expires = excluded.expires",
                (*place, number - 1, expires),
            )
            self._trim(db, place, room, now)
        self._added += 1
        if self._added % _PURGE == 0:
            self._purge(db)
        db.execute("COMMIT")
        return f"{self._epoch}.{number}"

    def _trim(self, db: sqlite3.Connection, place: tuple[str, str], room: KeptRoom, now: int) -> None:
        """Discard what a room keeps no longer."""
        (count,) = db.execute(f"SELECT count FROM rooms {_IN}", place).fetchone()
        cut = 0
        if count > room.size:
            skip = f"SELECT number FROM entries {_IN} ORDER BY number LIMIT 1 OFFSET ?"
            (cut,) = db.execute(skip, (*place, count - room.size - 1)).fetchone()
        if room.ttl is not None:
            cut = max(cut, self._too_old(db, place, room, now))
        if cut:
            gone = db.execute(f"DELETE FROM entries {_IN} AND number <= ?", (*place, cut)).rowcount
            db.execute(f"UPDATE rooms SET count = count - ?, cut = max(cut, ?) {_IN}", (gone, cut, *place))

    def _too_old(self, db: sqlite3.Connection, place: tuple[str, str], room: KeptRoom, now: int) -> int:
        """Return the number of the last entry that is too old; 0 without one."""
        if room.ttl is None:
            return 0
        last = 0
        for number, at in db.execute(f"SELECT number, at FROM entries {_IN} ORDER BY number", place):
            if at >= now - room.ttl * 1000:
                break
            last = number
        return last

    def _purge(self, db: sqlite3.Connection) -> None:
        """Discard rooms of which everything is too old."""
        now = round(time.time() * 1000)
        for place in db.execute("SELECT nsp, room FROM rooms WHERE expires < ?", (now,)).fetchall():
            db.execute(f"DELETE FROM entries {_IN}", place)
            db.execute(f"DELETE FROM rooms {_IN}", place)

    def _read(self, db: sqlite3.Connection, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        place = (nsp, room.name)
        db.execute("BEGIN")
        found = self._select(db, place, room, query)
        db.execute("COMMIT")
        return found

    def _select(
        self, db: sqlite3.Connection, place: tuple[str, str], room: KeptRoom, query: HistoryQuery
    ) -> HistoryPage:
        row = db.execute(f"SELECT count, cut FROM rooms {_IN}", place).fetchone()
        if row is None:
            return HistoryPage(gap=query.after is not None)
        count, cut = row
        if count > room.size:  # they were more once
            skip = f"SELECT number FROM entries {_IN} ORDER BY number LIMIT 1 OFFSET ?"
            (cut,) = db.execute(skip, (*place, count - room.size - 1)).fetchone()
        cut = max(cut, self._too_old(db, place, room, round(time.time() * 1000)))
        after, gap = 0, False
        if query.after is not None:
            (newest,) = db.execute("SELECT number FROM life").fetchone()
            after = self._number_of(query.after) or 0
            if after > newest:  # one that was never given out
                after = 0
            gap = after < cut or not after
        before = _LAST if query.before is None else self._number_of(query.before) or 0
        order = "ASC" if query.oldest else "DESC"
        rows = db.execute(
            f"SELECT number, at, except_, body FROM entries {_IN} AND number > ? AND number < ? "
            f"ORDER BY number {order}",
            (*place, max(after, cut), before),
        )
        return self._page(rows, query, gap)

    def _page(self, rows: Any, query: HistoryQuery, gap: bool) -> HistoryPage:
        taken: list[HistoryEntry] = []
        size, more = 0, False
        for number, at, except_, body in rows:
            size += len(body)
            if len(taken) >= query.limit or (taken and size > query.max_bytes):
                more = True
                break
            names = frozenset(json.loads(except_))
            taken.append(HistoryEntry.load(f"{self._epoch}.{number}", at, body, names))
        if not query.oldest:
            taken.reverse()
        return HistoryPage(tuple(taken), gap, more)

    def _clear(self, db: sqlite3.Connection, nsp: str, room: str) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"DELETE FROM entries {_IN}", (nsp, room))
        db.execute(f"DELETE FROM rooms {_IN}", (nsp, room))
        db.execute("COMMIT")

    def _number_of(self, id: str) -> int | None:
        """Return the number of an entry; ``None`` if this is no id of this file."""
        epoch, _, digits = id.rpartition(".")
        if epoch != self._epoch or not (digits.isascii() and digits.isdigit()) or len(digits) > 16:
            return None
        return int(digits)


_LAST: Final = 2**62
