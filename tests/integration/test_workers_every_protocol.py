"""Two workers of one port, and clients of every protocol at both: what they hear, and how they are told of the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from tests.support.cli import Running, running
from tests.support.event_source import stream
from tests.support.preload import ROOT
from tests.support.served_program import url_of
from tests.support.stomp import StompTalk
from tests.support.until import until

_numbers: Final = itertools.count()
GONE: Final = "gone"
"""The end of a client that was told nothing."""


class Listener:
    """A client in the room: ``heard`` is what was said, ``end`` how it has ended, ``pid`` the process of its worker."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.heard: list[int] = []
        self.pid = 0
        self.end: Any = None
        self.session = f"{url}/sockjs/0/listener-{next(_numbers)}"

    async def listen(self) -> None:
        """Listen until the end."""
        try:
            await self._listen()
        except (aiohttp.ClientError, ConnectionError, AssertionError):
            self.end = self.end or GONE

    async def _listen(self) -> None:
        raise NotImplementedError

    def take(self, text: str) -> None:
        """Take a message of the JSON protocol."""
        message = json.loads(text)
        if message["type"] == "ack":
            self.pid = message["args"][0]
        elif message.get("event") == "said":
            self.heard.append(message["args"][0])

    def take_frame(self, frame: str) -> None:
        """Take a frame of SockJS."""
        if frame.startswith("a"):
            for each in json.loads(frame[1:]):
                self.take(each)
        elif frame.startswith("c"):
            self.end = json.loads(frame[1:])[0]


ENTER: Final = json.dumps({"event": "enter", "id": 1})


class PlainWebSocket(Listener):
    """A plain websocket."""

    async def _listen(self) -> None:
        async with self.http.ws_connect(f"{self.url}/ws") as websocket:
            await websocket.send_str(ENTER)
            async for message in websocket:
                self.take(message.data)
            self.end = GONE if websocket.close_code in (None, 1006) else websocket.close_code


class Stomp(Listener):
    """A STOMP client."""

    async def _listen(self) -> None:
        async with self.http.ws_connect(f"{self.url}/stomp", protocols=("v12.stomp",)) as websocket:
            talk = StompTalk(websocket)
            await talk.say("CONNECT", accept_version="1.2", host="x", heart_beat="0,0")
            assert (await talk.hear()).command == "CONNECTED"
            await talk.subscribe("/topic/kept")
            await talk.say("SUBSCRIBE", id="enter", destination="/app/enter")
            try:
                while True:
                    got = await talk.hear()
                    if got.headers["destination"] == "/app/enter":
                        self.pid = got.json
                    else:
                        self.heard.append(got.json)
            finally:
                self.end = GONE if websocket.close_code in (None, 1006) else websocket.close_code


class SockJSWebSocket(Listener):
    """A client of SockJS by websocket."""

    async def _listen(self) -> None:
        async with self.http.ws_connect(f"{self.session}/websocket") as websocket:
            await websocket.send_str(json.dumps([ENTER]))
            async for message in websocket:
                self.take_frame(message.data)
            self.end = self.end or GONE


class SockJSPolling(Listener):
    """A client of SockJS that polls, over connections that are kept alive."""

    async def _listen(self) -> None:
        async with self.http.post(f"{self.session}/xhr") as response:
            assert await response.text() == "o\n"
        async with self.http.post(f"{self.session}/xhr_send", data=json.dumps([ENTER])) as response:
            assert response.status == 204
        while self.end is None:
            async with self.http.post(f"{self.session}/xhr") as response:
                frame = await response.text()
            assert frame != "o\n"  # sockjs-client: "Server lost session"
            self.take_frame(frame)


class SockJSStreaming(Listener):
    """A client of SockJS by a response that does not end."""

    async def _listen(self) -> None:
        async with self.http.post(f"{self.session}/xhr_streaming") as response:
            async for line in response.content:
                if line == b"o\n":
                    async with self.http.post(f"{self.session}/xhr_send", data=json.dumps([ENTER])) as sent:
                        assert sent.status == 204
                self.take_frame(line.decode().strip())
        self.end = self.end or GONE


class EventSource(Listener):
    """A stream of server-sent events that comes back whenever it ends, as pages do. ``names``: the events it got."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        super().__init__(url, http)
        self.names: list[str] = []
        self.last_id: str | None = None

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, AssertionError):
                async with stream(f"{self.url}/events?room=kept", last_id=self.last_id) as events:
                    while True:
                        event = await events.next()
                        self.names.append(event.event)
                        self.last_id = event.id or self.last_id
                        if event.event == "said":
                            self.heard.append(json.loads(event.data))
                        elif event.event == "connect":
                            self.pid = (await events.post("enter"))[1]
            await asyncio.sleep(0.05)  # its retry


class Poller(Listener):
    """A client that asks for what came since the last time, at any worker."""

    async def _listen(self) -> None:
        self.pid, since = -1, ""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self.http.get(f"{self.url}/events/poll", params={"room": "kept", "since": since}) as got:
                    page = await got.json()
                assert not page["gap"]
                self.heard += [each["data"] for each in page["events"]]
                since = page["next"]
            await asyncio.sleep(0.05)  # its interval


KINDS: Final[tuple[type[Listener], ...]] = (
    PlainWebSocket,
    Stomp,
    SockJSWebSocket,
    SockJSPolling,
    SockJSStreaming,
    EventSource,
)


class Crowd:
    """Clients of every kind at both workers."""

    def __init__(self, command: Running, url: str) -> None:
        self.command = command
        self.url = url
        self.listeners: list[Listener] = []
        self.said: list[int] = []
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def add(self, kind: type[Listener]) -> Listener:
        """Connect one, and wait until it is in the room."""
        http = await self._stack.enter_async_context(aiohttp.ClientSession())
        found = kind(self.url, http)
        task = asyncio.create_task(found.listen())
        self._tasks.append(task)
        await until(lambda: found.pid or task.done())
        assert found.pid, found.end
        return found

    async def gather(self) -> None:
        """Connect two of each kind to different workers, and one that polls."""
        for kind in KINDS:
            at: dict[int, Listener] = {}
            async with asyncio.timeout(60):
                while len(at) < 2:
                    found = await self.add(kind)
                    if at.setdefault(found.pid, found) is not found:
                        self._tasks.pop().cancel()
            self.listeners += at.values()
        self.listeners.append(await self.add(Poller))

    async def say(self, *, may_fail: bool = False) -> int:
        """Have a worker say the next number. Return its process, or 0 if it is not known whether it has said it."""
        number = next(_numbers)
        try:
            async with aiohttp.ClientSession() as http, http.post(f"{self.url}/say", params={"n": number}) as response:
                pid: int = await response.json()
        except aiohttp.ClientError:
            assert may_fail
            return 0
        self.said.append(number)
        return pid

    async def say_by_both(self) -> None:
        """Have both workers say something."""
        pids: set[int] = set()
        async with asyncio.timeout(20):
            while len(pids) < 2:
                pids.add(await self.say())

    async def all_hear(self, listeners: list[Listener]) -> None:
        """Wait until these have heard all that was said, once, and in one order."""
        await until(lambda: all(set(self.said) <= set(each.heard) for each in listeners))
        for each in listeners:
            heard = [number for number in each.heard if number in self.said]
            assert heard == [number for number in listeners[0].heard if number in self.said], type(each)
            assert len(heard) == len(self.said), type(each)


@contextlib.asynccontextmanager
async def crowd() -> AsyncIterator[Crowd]:
    """Run two workers, with clients of every kind at both."""
    target = "tests.support.protocols_program:make_app()"
    args = ("run", target, "--port", "0", "--workers", "2", "--drain", "1")
    async with running(*args, cwd=ROOT) as command:
        found = Crowd(command, await url_of(command))
        try:
            await found.gather()
            yield found
        finally:
            for task in found._tasks:
                task.cancel()
            await asyncio.gather(*found._tasks, return_exceptions=True)
            await found._stack.aclose()


ENDS: Final[dict[type[Listener], Any]] = {
    PlainWebSocket: {1001},
    Stomp: {1001},
    SockJSWebSocket: {1001},
    SockJSPolling: {1001, GONE},  # a session may be another worker's from then on: see docs/sockjs.md
    SockJSStreaming: {1001},
}
"""How clients are told that they shall come back, by the kind; others come back without being told."""


async def test_all_hear_all_and_a_new_version_sends_them_away_in_order() -> None:
    """A client of one protocol would not hear the other worker, or take the end of its worker for a mistake."""
    async with crowd() as place:
        for _ in range(3):
            await place.say_by_both()
        await place.all_hear(place.listeners)

        async def talk() -> None:
            while True:
                await place.say()
                await asyncio.sleep(0.01)  # about as many as the streams can follow on a slow machine

        talking = asyncio.create_task(talk())
        old = {each.pid for each in place.listeners}
        place.command.process.send_signal(signal.SIGHUP)
        await place.command.see("all workers were replaced", on="err")
        streams = [each for each in place.listeners if isinstance(each, EventSource)]
        await until(lambda: talking.done() or not {each.pid for each in streams} & old)
        assert not talking.done(), "a request has failed"
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await place.say()
        staying = [each for each in place.listeners if type(each) not in ENDS]
        await place.all_hear(staying)
        for each in place.listeners:
            assert each.end in ENDS.get(type(each), {None}), type(each)
        assert [name for each in streams for name in each.names if name not in ("connect", "said")] == []
        assert await place.command.end() == 0, place.command.printed


async def test_a_worker_that_is_killed() -> None:
    """Its clients would wait for ever, or come back and have missed something, and those of the other with them."""
    async with crowd() as place:
        await place.say_by_both()
        await place.all_hear(place.listeners)
        killed = place.listeners[0].pid
        lost = [each for each in place.listeners if each.pid == killed]
        os.kill(killed, signal.SIGKILL)
        for _ in range(20):
            await place.say(may_fail=True)
        await until(lambda: all(each.end == GONE or each.pid != killed for each in lost))
        await place.say(may_fail=True)
        staying = [each for each in place.listeners if each.end is None]
        assert {type(each) for each in staying} == {*KINDS, Poller}
        await place.all_hear(staying)
        names = [name for each in staying if isinstance(each, EventSource) for name in each.names]
        assert "gap" not in names
        assert len([each for each in staying if isinstance(each, EventSource)]) == 2
