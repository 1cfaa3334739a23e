"""Who is in rooms and what was said there, with several workers by one command, as real clients see it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.test_reloader import children
from tests.support.cli import Running, running
from tests.support.js import JSClient, JSClients
from tests.support.served_program import url_of
from tests.support.until import until

PROGRAM: Final = """
import os
from rtframework import History, Identity, Presence, Recovery, Server, Socket

class Names:
    async def authenticate(self, handshake):
        return Identity(handshake.auth["user"])

io = Server(
    auth=Names(),
    presence=[Presence("chat:{id}", grace=60), Presence("short:{id}", grace=0.2)],
    history=History("chat:{id}", size=5_000, page=5_000, page_bytes=10_000_000, events=["said"]),
    connection_state_recovery=Recovery() if os.environ.get("RECOVERY") else None,
)

@io.on("enter")
async def enter(socket: Socket, room: str, since: str | None = None) -> list:
    page = await socket.join(room, history=5_000, since=since)
    return [os.getpid(), page.gap]

@io.on("join")
async def join(socket: Socket, room: str) -> None:
    await socket.join(room)

@io.on("say")
async def say(socket: Socket, room: str, texts: list[str]) -> int:
    for text in texts:
        await io.to(room).emit("said", text)
    return os.getpid()

@io.on("who")
async def who(socket: Socket, room: str) -> list:
    return [[each.user, each.tabs] for each in await io.presence(room)]

@io.on("pid")
async def pid(socket: Socket) -> int:
    return os.getpid()
"""

AGAIN: Final[dict[str, Any]] = {"reconnection": True, "reconnectionDelay": 20, "reconnectionDelayMax": 100}
ROOM: Final = "chat:1"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program, in a folder of its own."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def serve(program: Path, *, recovery: bool = False) -> AbstractAsyncContextManager[Running]:
    """Run two workers."""
    args = ("run", "program:io", "--port", "0", "--workers", "2", "--drain", "1")
    return running(*args, cwd=program, env={"RECOVERY": "1" if recovery else ""})


class Crowd:
    """Clients at both workers, and the process that each is at."""

    def __init__(self, js: JSClients, url: str) -> None:
        self.js = js
        self.url = url
        self.clients: list[JSClient] = []
        self.pids: list[int] = []

    async def gather(self, names: list[str], **options: Any) -> None:
        """Connect clients, half of them at each worker: who comes to the wrong one tries again."""
        at: Counter[int] = Counter()
        async with asyncio.timeout(60):
            for name in names:
                while True:
                    client = await self.js.connect(self.url, auth={"user": name}, **options)
                    pid = await client.emit_with_ack("pid")
                    if at[pid] < len(names) // 2:
                        break
                    await client.disconnect()
                at[pid] += 1
                self.clients.append(client)
                self.pids.append(pid)

    def pair(self) -> tuple[JSClient, JSClient]:
        """Return a client at each worker."""
        first, second = sorted(set(self.pids))
        return self.clients[self.pids.index(first)], self.clients[self.pids.index(second)]


def said(client: JSClient) -> list[str]:
    """Return what a client was told in pages and live, in this order."""
    found = [entry["args"][0] for (page,) in client.received("history") for entry in page["entries"]]
    return [*found, *(event[0] for event in client.received("said"))]


def ids(client: JSClient) -> list[str]:
    """Return the ids of all that, which are the last argument."""
    found = [entry["id"] for (page,) in client.received("history") for entry in page["entries"]]
    return [*found, *(event[-1] for event in client.received("said"))]


async def until_told(client: JSClient, event: str, users: set[str]) -> None:
    """Wait until a client was told of these users, each once."""
    await until(lambda: len(client.received(event)) >= len(users), timeout=20)
    assert sorted(each["user"] for (each,) in client.received(event)) == sorted(users)


async def test_one_list_and_one_history(program: Path, js: JSClients) -> None:
    """A client would see the people, and what was said, of the worker that it happens to be at."""
    async with serve(program) as command:
        crowd = Crowd(js, await url_of(command))
        names = [f"u{number}" for number in range(6)]
        await crowd.gather([*names, *names])
        one, two = crowd.pair()
        for client in crowd.clients[:-1]:
            await client.emit_with_ack("enter", ROOM)
        expected = [*sorted([name, 2] for name in names[:-1]), ["u5", 1]]
        assert await one.emit_with_ack("who", ROOM) == await two.emit_with_ack("who", ROOM) == expected
        await until_told(crowd.clients[0], "presence_join", set(names[1:]))
        texts = {client: [f"{number}.{each}" for each in range(300)] for number, client in enumerate((one, two))}
        emitting = [asyncio.create_task(client.emit_with_ack("say", ROOM, texts[client])) for client in texts]
        await until(lambda: len(one.received("said")) > 50)
        late = crowd.clients[-1]
        await late.emit_with_ack("enter", ROOM)
        assert sorted(await asyncio.gather(*emitting)) == sorted(set(crowd.pids))
        for client in (one, two, late):
            await until(lambda: len(said(client)) >= 600)  # noqa: B023 - waited for at once
        assert said(one) == said(two) == said(late)
        assert ids(one) == ids(two) == ids(late)
        assert len(set(ids(late))) == 600
        for client, its in texts.items():
            assert [text for text in said(late) if text in its] == its, str(client)
        assert len(late.received("history")) == 1
        members = (await late.wait_for("presence"))[0]["members"]
        assert [[each["user"], each["tabs"]] for each in members] == sorted([name, 2] for name in names)
        assert await command.end() == 0, command.printed


async def test_a_worker_that_is_killed(program: Path, js: JSClients) -> None:
    """Ghosts would stay in the list, people who are back at once would go and come, or the history would be lost."""
    async with serve(program) as command:
        crowd = Crowd(js, await url_of(command))
        await crowd.gather([f"back{number}" for number in range(8)], **AGAIN)
        await crowd.gather([f"gone{number}" for number in range(8)], reconnection=False)
        watcher, other = crowd.pair()
        for client in crowd.clients[:8]:
            await client.emit_with_ack("enter", ROOM)
        for client in (watcher, *crowd.clients[8:]):
            await client.emit_with_ack("join", "short:1")
        await other.emit_with_ack("say", ROOM, [str(number) for number in range(100)])
        killed = crowd.pids[crowd.clients.index(other)]
        lost = [number for number, pid in enumerate(crowd.pids) if pid == killed]
        come = len(watcher.received("presence_join"))
        os.kill(killed, signal.SIGKILL)
        gone = {f"gone{number - 8}" for number in lost if number >= 8}
        await until_told(watcher, "presence_leave", gone)
        for number in lost:
            if number < 8:
                await crowd.clients[number].reconnected()
                last = ids(crowd.clients[number])[-1]
                assert (await crowd.clients[number].emit_with_ack("enter", ROOM, last))[1] is False
        assert await watcher.emit_with_ack("who", ROOM) == [[f"back{number}", 1] for number in range(8)]
        there = [user for user, _ in await watcher.emit_with_ack("who", "short:1")]
        assert gone.isdisjoint(there)
        assert len(there) == 9 - len(gone)
        late = await js.connect(crowd.url, auth={"user": "late"})
        await late.emit_with_ack("enter", ROOM)
        assert said(late) == [str(number) for number in range(100)]
        await until(lambda: len(watcher.received("presence_join")) == come + 1)
        await until_told(watcher, "presence_leave", gone)
        assert await command.end() == 0, command.printed


async def test_a_new_version_keeps_all(program: Path, js: JSClients) -> None:
    """With each new version everybody would go and come, and what was said before would be lost."""
    async with serve(program, recovery=True) as command:
        crowd = Crowd(js, await url_of(command))
        await crowd.gather([f"u{number}" for number in range(12)], **AGAIN)
        one, two = crowd.pair()
        for client in crowd.clients:
            await client.emit_with_ack("enter", ROOM)
        await two.emit_with_ack("say", ROOM, ["before"])
        old = set(children(command.process.pid))
        command.process.send_signal(signal.SIGHUP)
        await command.see("all workers were replaced", on="err")
        for client in crowd.clients:
            assert (await client.reconnected())["recovered"]
        assert not old & set(children(command.process.pid))
        await one.emit_with_ack("say", ROOM, ["after"])
        for client in crowd.clients:
            await until(lambda: len(said(client)) >= 2)  # noqa: B023 - waited for at once
            assert said(client) == ["before", "after"]
            await client.expect_nothing("presence_leave")
        late = await js.connect(crowd.url, auth={"user": "late"})
        await late.emit_with_ack("enter", ROOM)
        assert said(late) == ["before", "after"]
        assert ids(late) == ids(one)
        assert len(await late.emit_with_ack("who", ROOM)) == 13
        await until(lambda: len(one.received("presence_join")) == 12 - crowd.clients.index(one))
        assert await command.end() == 0, command.printed
