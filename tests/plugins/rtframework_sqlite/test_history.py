"""The history in a SQLite file: the suite, restarts, several servers, and faults of the file."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework import ConfigurationError, History, HistoryEntry, MemoryHistory, Server, Socket
from rtframework.protocols import HistoryStore
from rtframework.testing import HistoryConformance, TestServer
from rtframework.types import HistoryQuery, KeptRoom
from rtframework_sqlite import SQLiteHistory
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.thorough import examples

ROOM = KeptRoom("chat:1", 100)


class TestConformance(HistoryConformance):
    """It is a store."""

    def store(self) -> HistoryStore:
        """Make one."""
        self._folder = tempfile.TemporaryDirectory()
        return SQLiteHistory(Path(self._folder.name) / "history.db")


def server(path: Path, **options: Any) -> Server:
    """Make a server whose rooms are kept in a file."""
    io = Server(history=History("chat:{room}", store=SQLiteHistory(path), **options))

    @io.on("enter")
    async def enter(socket: Socket, since: str | None = None) -> bool:
        return (await socket.join("chat:1", history=50, since=since)).gap

    return io


@NOT_ON_UVLOOP
async def test_it_outlives_the_server(tmp_path: Path) -> None:
    """A restart would lose what was said, or clients that were away meanwhile."""
    path = tmp_path / "history.db"
    io = server(path)
    async with TestServer(io) as running:
        ada = await running.connect()
        assert await ada.emit_with_ack("enter") is False
        await io.to("chat:1").emit("said", "before")
        await ada.receive("history")
        text, last = await ada.receive("said")
        await io.to("chat:1").emit("said", b"too")
    again = server(path)
    async with TestServer(again) as running:
        await again.to("chat:1").emit("said", "after")
        ada = await running.connect()
        assert await ada.emit_with_ack("enter", last) is False
        page = await ada.receive("history")
    assert text == "before"
    assert [entry["args"] for entry in page["entries"]] == [[b"too"], ["after"]]


async def test_two_servers_share_a_file(tmp_path: Path) -> None:
    """Processes of one machine would overwrite what the other has kept."""
    path = tmp_path / "history.db"
    stores = [SQLiteHistory(path) for _ in range(2)]
    for store in stores:
        await store.start()

    async def fill(store: SQLiteHistory) -> list[str]:
        return [await store.append("/", [ROOM], HistoryEntry("", 1, text=f'["said",{number}]')) for number in range(40)]

    one, two = await asyncio.gather(*map(fill, stores))
    pages = [await store.read("/", ROOM, HistoryQuery(limit=100)) for store in stores]
    assert pages[0] == pages[1]
    assert {entry.id for entry in pages[0].entries} == {*one, *two}
    assert not (await stores[0].read("/", ROOM, HistoryQuery(after=two[0], limit=100))).gap
    for store in stores:
        await store.close()


async def test_what_is_too_old_leaves_the_file(tmp_path: Path) -> None:
    """Rooms in which nobody speaks any more would fill the disk."""
    path = tmp_path / "history.db"
    store = SQLiteHistory(path)
    await store.start()
    room, now = KeptRoom("old", 100, ttl=60), round(time.time() * 1000)
    id = await store.append("/", [room], HistoryEntry("", now, text='["said",1]'))
    await store.append("/", [KeptRoom("new", 100, ttl=60)], HistoryEntry("", now, text='["said",2]'))
    await store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE rooms SET expires = ? WHERE room = 'old'", (now - 1,))
    db.close()
    await store.start()
    assert (await store.read("/", room, HistoryQuery(after=id))).gap
    await store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT room FROM entries").fetchall() == [("new",)]
        assert db.execute("SELECT room FROM rooms").fetchall() == [("new",)]
    db.close()


@NOT_ON_UVLOOP
async def test_the_file_fails(tmp_path: Path) -> None:
    """A full disk would let clients have what nobody can find, or stop the server for good."""
    path = tmp_path / "history.db"
    io = server(path)
    async with TestServer(io) as running:
        ada = await running.connect()
        await ada.emit_with_ack("enter")
        await ada.receive("history")
        other = sqlite3.connect(path)
        other.execute("ALTER TABLE entries RENAME TO away")
        with pytest.raises(sqlite3.Error):
            await io.to("chat:1").emit("said", 1)
        other.execute("ALTER TABLE away RENAME TO entries")
        other.close()
        await io.to("chat:1").emit("said", 2)
        assert (await ada.receive("said"))[0] == 2
        await ada.receive_nothing()


async def test_it_is_not_open(tmp_path: Path) -> None:
    """A store that was forgotten to be started would look like an empty one."""
    store = SQLiteHistory(tmp_path / "history.db")
    with pytest.raises(ConfigurationError, match="is not open"):
        await store.read("/", ROOM, HistoryQuery())
    await store.close()
    await store.start()
    await store.start()
    await store.close()
    for path in ("", 7, b"x"):
        with pytest.raises((ConfigurationError, TypeError)):
            SQLiteHistory(path)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        await SQLiteHistory(tmp_path / "nowhere" / "history.db").start()


_ROOMS = (KeptRoom("a", 3), KeptRoom("b", 2), KeptRoom("c", 50))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sets(st.sampled_from(_ROOMS), min_size=1)),
        st.tuples(st.just("clear"), st.sampled_from(_ROOMS)),
        st.tuples(
            st.just("page"),
            st.sampled_from(_ROOMS),
            st.integers(0, 4),
            st.booleans(),
            st.integers(-1, 30),
            st.integers(-1, 30),
        ),
    ),
    max_size=40,
)


@settings(max_examples=examples(200))
@given(_STEPS)
def test_as_in_memory(steps: list[Any]) -> None:
    """Some order of emits and pages would hide an entry, show it twice, or not tell of a gap."""

    async def run(path: str) -> None:
        file, memory = SQLiteHistory(path), MemoryHistory()
        await file.start()
        ids: list[tuple[str, str]] = []
        for kind, *rest in steps:
            if kind == "say":
                rooms = sorted(rest[0], key=lambda room: room.name)
                entry = HistoryEntry("", 5, text=f'["said",{len(ids)}]')
                ids.append((await file.append("/", rooms, entry), memory.add("/", rooms, entry)))
            elif kind == "clear":
                await file.clear("/", rest[0].name)
                await memory.clear("/", rest[0].name)
            else:
                room, limit, oldest, after, before = rest
                found = []
                stores: list[HistoryStore] = [file, memory]
                for which, store in enumerate(stores):
                    query = HistoryQuery(
                        after=ids[after][which] if 0 <= after < len(ids) else None,
                        before=ids[before][which] if 0 <= before < len(ids) else None,
                        limit=limit,
                        oldest=oldest,
                    )
                    page = await store.read("/", room, query)
                    found.append(([entry.args[0] for entry in page.entries], page.gap, page.more))
                assert found[0] == found[1]
        await file.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(f"{folder}/history.db"))
