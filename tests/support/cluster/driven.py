"""A Socket.IO server that a test drives by commands, whatever language it is written in.

``DrivenServer`` is what a test uses. ``DrivenProgram`` is one in a process of its own, which reads commands from its
standard input and answers on its standard output: a JSON object a line, values as ``tests.support.js.pack`` writes
them. Every server of a fleet runs the same program for its clients: it puts them into the rooms of ``auth["rooms"]``,
keeps ``auth["data"]``, refuses the token "wrong", and answers the events ``join``, ``leave``, ``echo``, ``data``,
``say`` and ``drop``, and the server-side events ``told`` and ``question``.

Commands: emit, emitWithAck, fetchSockets, socketsJoin, socketsLeave, disconnectSockets, serverSideEmit,
serverSideEmitWithAck, call, flood, flooded, log, sockets, count, of, close; on Node also emitter.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cluster.processes import Program
from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.js import JSError, pack, unpack
from tests.support.until import until


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a broadcast or a server-side emit. ``complete``: none was missing when the time had passed."""

    responses: list[Any]
    complete: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Flood:
    """What a server emitted in a row: the time of each (seconds since 1970), and the numbers of those that raised.

    ``uncertain``: those of them that may have been sent all the same.
    """

    times: list[float]
    raised: list[int]
    done: bool
    uncertain: list[int] = field(default_factory=list)


class DrivenServer:
    """One server of a fleet, of the kind "node", "python" or "python-socketio"; ``url`` is for its clients.

    Subclasses carry out commands in :meth:`ask`.
    """

    url: str
    port: int = 0
    """Port that the server keeps when one of its name is started again."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.unhandled: list[str] = []
        """Rejections of Node that nothing caught: without the harness, each would have ended the process."""

    @property
    def alive(self) -> bool:
        """True while the server runs, even if it is frozen."""
        raise NotImplementedError

    async def start(self) -> None:
        """Serve."""
        raise NotImplementedError

    async def ask(self, do: str, fields: Mapping[str, Any], *, timeout: float) -> Any:
        """Carry out one command and return its value. Raises :class:`~tests.support.js.JSError` for what it threw."""
        raise NotImplementedError

    async def do(
        self, do: str, *, wait: float = DEFAULT_TIMEOUT + 3, except_: Sequence[str] | None = None, **fields: Any
    ) -> Any:
        """Carry out a command with the fields that its program knows; ``wait``: seconds that it may take."""
        given = {**fields, "except": None if except_ is None else list(except_)}
        return await self.ask(do, {key: value for key, value in given.items() if value is not None}, timeout=wait)

    async def emit(
        self,
        event: str,
        *args: Any,
        nsp: str = "/",
        rooms: Sequence[str] = (),
        except_: Sequence[str] = (),
        socket: str | None = None,
        **flags: Any,
    ) -> None:
        """Emit to rooms, or to all, with the flags volatile, local, compress. ``socket``: from this one, to others."""
        await self.do(
            "emit", nsp=nsp, rooms=list(rooms), except_=except_, socket=socket, flags=flags,
            args=pack([event, *args]),
        )  # fmt: skip

    async def emit_with_ack(
        self, event: str, *args: Any, nsp: str = "/", rooms: Sequence[str] = (), timeout: float = 2.0
    ) -> Answers:
        """Emit and collect the clients' answers for ``timeout`` seconds."""
        found = await self.do(
            "emitWithAck", nsp=nsp, rooms=list(rooms), timeout=round(timeout * 1000), args=pack([event, *args]),
            wait=timeout + 8,
        )  # fmt: skip
        return Answers(unpack(found["responses"]), found["complete"], found.get("error"))

    async def fetch_sockets(
        self, *, nsp: str = "/", rooms: Sequence[str] = (), except_: Sequence[str] = (), timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Describe sockets of all servers: id, rooms, data, auth."""
        milliseconds = None if timeout is None else round(timeout * 1000)
        found: list[dict[str, Any]] = unpack(
            await self.do("fetchSockets", nsp=nsp, rooms=list(rooms), except_=except_, timeout=milliseconds)
        )
        return found

    async def sockets_join(self, *names: str, nsp: str = "/", rooms: Sequence[str] = ()) -> None:
        """Make sockets of all servers join rooms."""
        await self.do("socketsJoin", nsp=nsp, rooms=list(rooms), names=list(names))

    async def sockets_leave(self, *names: str, nsp: str = "/", rooms: Sequence[str] = ()) -> None:
        """Make sockets of all servers leave rooms."""
        await self.do("socketsLeave", nsp=nsp, rooms=list(rooms), names=list(names))

    async def disconnect_sockets(self, *, nsp: str = "/", rooms: Sequence[str] = (), close: bool = False) -> None:
        """Disconnect sockets of all servers."""
        await self.do("disconnectSockets", nsp=nsp, rooms=list(rooms), close=close)

    async def server_side_emit(self, event: str, *args: Any, nsp: str = "/") -> None:
        """Emit to the other servers."""
        await self.do("serverSideEmit", nsp=nsp, args=pack([event, *args]))

    async def server_side_emit_with_ack(self, event: str, *args: Any, nsp: str = "/") -> Answers:
        """Emit to the other servers and collect their answers."""
        found = await self.do("serverSideEmitWithAck", nsp=nsp, args=pack([event, *args]), wait=10)
        return Answers(unpack(found["responses"]), found["complete"], found.get("error"))

    async def call(self, sid: str, event: str, *args: Any, nsp: str = "/", timeout: float = 2.0) -> Any:
        """Emit to one socket, of any server, and return its answer."""
        return unpack(
            await self.do("call", nsp=nsp, sid=sid, args=pack([event, *args]), timeout=round(timeout * 1000), wait=12)
        )

    async def flood(
        self, name: str, event: str, *, count: int, interval: float, nsp: str = "/", rooms: Sequence[str] = ()
    ) -> None:
        """Start to emit ``event, name, number, milliseconds``, every ``interval`` seconds; returns at once."""
        await self.do(
            "flood", name=name, event=event, count=count, interval=max(round(interval * 1000), 1), nsp=nsp,
            rooms=list(rooms),
        )  # fmt: skip

    async def flooded(self, name: str, *, timeout: float | None = None) -> Flood:
        """Return what a flood has emitted so far. ``timeout``: wait for its end first, at most so many seconds."""
        deadline = asyncio.get_running_loop().time() + (timeout or 0)
        while True:
            found = await self.do("flooded", name=name)
            if found["done"] or timeout is None:
                times = [each / 1000 for each in found["times"]]
                return Flood(times, found["raised"], found["done"], found.get("uncertain", []))
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{self.name}: the flood {name} has not ended")
            await asyncio.sleep(0.02)

    async def log(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what its handlers have got: connection, disconnect, told, question."""
        return [unpack(each) for each in await self.do("log") if what is None or each["what"] == what]

    async def logged(self, what: str, *, timeout: float = DEFAULT_TIMEOUT, **fields: Any) -> dict[str, Any]:
        """Wait for an entry of the log with these fields, and return it."""
        async with asyncio.timeout(timeout):
            while True:
                for each in await self.log(what):
                    if all(each.get(key) == value for key, value in fields.items()):
                        return each
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End in good order, as at SIGTERM."""
        raise NotImplementedError

    async def kill(self) -> None:
        """End at once, as at SIGKILL."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open and nothing answers."""
        raise NotImplementedError(f"{self.name} has no process of its own")

    def thaw(self) -> None:
        """Let the process go on."""
        raise NotImplementedError(f"{self.name} has no process of its own")

    async def close(self) -> None:
        """Leave nothing behind, whatever the server does at this moment."""
        raise NotImplementedError

    def logged_output(self) -> str:
        """Return what the server has printed, for the text of a failure."""
        return ""


class DrivenProgram(DrivenServer):
    """A server in a process of its own."""

    def __init__(
        self,
        name: str,
        kind: str,
        command: Sequence[str],
        folder: Path,
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, kind)
        self.program = Program(name, command, folder, env=env)
        self._cwd = cwd
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._ready: asyncio.Future[dict[str, Any]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """True while the process runs, even if it is frozen."""
        return self.program.alive

    async def start(self, *, timeout: float = 30.0) -> None:
        """Start the process and wait until it serves."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self.program.start(piped=True, cwd=self._cwd)
        self._reader = threading.Thread(target=self._read, args=(self.program.stdout,), daemon=True)
        self._reader.start()
        try:
            async with asyncio.timeout(timeout):
                ready = await self._ready
        except (TimeoutError, RuntimeError):
            self.program.kill()
            raise RuntimeError(f"{self.name} does not serve\n{self.program.logged()}") from None
        self.url = ready["url"]
        self.port = ready["port"]

    async def ask(self, do: str, fields: Mapping[str, Any], *, timeout: float) -> Any:
        """Carry out a command in the process."""
        assert self._loop is not None
        number = next(self._numbers)
        future = self._pending[number] = self._loop.create_future()
        line = json.dumps({**fields, "id": number, "do": do}, allow_nan=False).encode() + b"\n"
        try:
            self.program.stdin.write(line)
            self.program.stdin.flush()
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise TimeoutError(f"{self.name}: no answer to {do} in {timeout:g} s\n{self.program.logged()}") from None
        finally:
            self._pending.pop(number, None)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open and nothing answers."""
        self.program.freeze()

    def thaw(self) -> None:
        """Let the process go on."""
        self.program.thaw()

    async def stop(self, *, timeout: float = 5.0) -> None:
        """Send SIGTERM and wait for the end."""
        self.program.signal(signal.SIGTERM)
        await self.ended(timeout=timeout)

    async def kill(self) -> None:
        """Send SIGKILL, unless the process has ended, and wait for the end."""
        self.program.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self, *, timeout: float = 5.0) -> int:
        """Wait for the end and return the exit code."""
        await until(lambda: not self.program.alive, timeout=timeout)
        return self.program.wait(0)

    def logged_output(self) -> str:
        """Return what the process has printed on standard error."""
        return self.program.logged()

    async def close(self) -> None:
        """Kill the process if it still runs."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.program.kill()
        if self._reader is not None:
            self._reader.join(2)

    def _read(self, stdout: Any) -> None:
        with contextlib.suppress(ValueError):  # closed
            for line in stdout:
                self._post(json.loads(line))
        self._post({"end": True})

    def _post(self, message: dict[str, Any]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the test is over
            self._loop.call_soon_threadsafe(self._take, message)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"ready": ready}:
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(ready)
            case {"unhandled": error}:
                self.unhandled.append(str(error.get("message")))
            case {"end": True}:
                gone = RuntimeError(f"{self.name} has ended")
                waiting = [*self._pending.values(), *([self._ready] if self._ready else [])]
                for future in waiting:
                    if not future.done():
                        future.set_exception(gone)
            case {"id": number, "error": error}:
                if (found := self._pending.get(number)) and not found.done():
                    found.set_exception(JSError(error["message"], error.get("name", "Error"), error.get("stack", "")))
            case {"id": number, "value": value}:
                if (found := self._pending.get(number)) and not found.done():
                    found.set_result(value)
