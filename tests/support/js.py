"""The stock JavaScript client (socket.io-client 4 in Node, or 2 with ``v2=True``) with a Python face.

One Node process hosts the clients of a whole test run (``NodeProcess``), because starting one costs about 0.15 s; each
test has a ``JSClients`` of its own, which closes its clients at the end. Options have their JavaScript names and units
(milliseconds), so that a test reads like the code of a real client::

    client = await js.connect(server.url, transports=["polling"], auth={"token": "t"})
    assert await client.emit_with_ack("add", 1, 2) == 3
    (message,) = await client.wait_for("message")
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import itertools
import json
import math
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypedDict, Unpack

from tests.support.inbox import DEFAULT_TIMEOUT, Inbox
from tests.support.transports import Transport

JS_FOLDER: Final = Path(__file__).parent.parent / "js"
_MAX_SAFE_INTEGER: Final = 2**53 - 1
_MARKS: Final = frozenset({"$bytes", "$date", "$number", "$bigint"})


class ClientOptions(TypedDict, total=False):
    """Options of ``io(url, options)``, named as in JavaScript; times are milliseconds."""

    transports: Sequence[str]
    upgrade: bool
    rememberUpgrade: bool
    tryAllTransports: bool
    auth: Mapping[str, Any]
    query: Mapping[str, str]
    extraHeaders: Mapping[str, str]
    path: str
    parser: Literal["msgpack"]
    forceNew: bool
    multiplex: bool
    autoConnect: bool
    reconnection: bool
    reconnectionAttempts: int
    reconnectionDelay: int
    reconnectionDelayMax: int
    randomizationFactor: float
    timeout: int
    ackTimeout: int
    retries: int
    withCredentials: bool
    forceBase64: bool
    protocols: list[str]
    perMessageDeflate: bool
    rejectUnauthorized: bool
    v2: bool
    """Not an option of JavaScript's: use socket.io-client 2."""


class JSError(Exception):
    """What JavaScript threw: ``name`` and ``stack`` as there."""

    def __init__(self, message: str, name: str = "Error", stack: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.stack = stack


class ConnectError(AssertionError):
    """The client got ``connect_error`` where the test expected to be let in: ``message`` and ``data`` as there."""

    def __init__(self, who: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"{who} was refused: {dict(error)!r}")
        self.message: str | None = error.get("message")
        self.data: Any = error.get("data")


@dataclass(frozen=True, slots=True)
class State:
    """A client at one moment."""

    id: str | None
    connected: bool
    recovered: bool
    active: bool
    buffered: int
    """Packets that wait for the connection."""
    transport: str | None
    engine_id: str | None
    """The Engine.IO session id."""
    engine_state: str | None


def pack(value: Any) -> Any:
    """Turn a Python value into what the driver's ``unpack`` understands."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$date": round(value.timestamp() * 1000)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_SAFE_INTEGER:
        raise ValueError(f"{value} is no number that JavaScript can hold exactly")
    if isinstance(value, Mapping):
        if len(value) == 1 and not _MARKS.isdisjoint(value):
            raise ValueError(f"{value!r} looks like a mark of the driver's protocol")
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    return value


def unpack(value: Any) -> Any:
    """The inverse of the driver's ``pack``."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        match value:
            case {"$bytes": str(text)}:
                return base64.b64decode(text)
            case {"$date": int(milliseconds)}:
                return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
            case {"$number": str(text)}:
                return float(text.replace("Infinity", "inf"))
            case {"$bigint": str(text)}:
                return int(text)
    return {key: unpack(item) for key, item in value.items()}


class NodeProcess:
    """The Node process and the thread that reads what it says. One test at a time uses it."""

    def __init__(self) -> None:
        node = shutil.which("node")
        if node is None or not (JS_FOLDER / "node_modules" / "socket.io-client").is_dir():
            raise RuntimeError("Node or the JavaScript client is missing: run `make test` once, it installs them")
        self._process = subprocess.Popen(
            [node, "driver.mjs"], cwd=JS_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.numbers = itertools.count(1)
        """For clients and requests: of the process, so that a late answer to one test is no answer to the next."""
        self._lock = threading.Lock()
        self._sink: Callable[[dict[str, Any]], None] | None = None
        self._reader = threading.Thread(target=self._read, name="node-driver", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def bind(self, sink: Callable[[dict[str, Any]], None] | None) -> None:
        """From now on every message goes to the sink, which is called in the reader's thread."""
        with self._lock:
            self._sink = sink

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one request."""
        if self._process.stdin is None:
            raise RuntimeError("the Node process has no standard input")
        self._process.stdin.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            self._deliver(json.loads(line))
        self._deliver({"fatal": {"message": f"the Node process ended with code {self._process.wait()}"}, "end": True})

    def _deliver(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._sink is not None:
                self._sink(message)


class JSClients:
    """Makes clients and closes them; belongs to the loop that made it.

    An exception that nothing caught in Node fails the test when it ends.
    """

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._clients: dict[int, JSClient] = {}
        self.errors: list[str] = []
        node.bind(self._from_thread)

    async def connect(
        self,
        url: str,
        *,
        via: Transport | None = None,
        wait: bool = True,
        within: float = DEFAULT_TIMEOUT,
        **options: Unpack[ClientOptions],
    ) -> JSClient:
        """Open a client as ``io(url, options)`` does, and wait until it is let in.

        ``url`` may name a namespace (``server.url + "/admin"``). ``via`` is what the ``transport`` fixture gives and
        stands for ``transports``; with "upgrade" the wait includes the upgrade. ``wait=False`` returns at once, for
        tests of refusals; ``within`` bounds the wait, in seconds. Unlike in JavaScript, a client does not reconnect
        unless ``reconnection=True`` says so: a lost connection must not hide. Raises ``ConnectError`` with the
        server's message and data.
        """
        given: ClientOptions = {"forceNew": True, "reconnection": False, "timeout": 5000, **options}
        if via is not None:
            given["transports"] = list(via.transports)
        client = self._make(url, given)
        await self.request("connect", {"client": client.number, "url": url, "options": pack(dict(given))})
        if wait:
            await client.connected(timeout=within)
            if via is not None and via.upgrades:
                await client.upgraded(timeout=within)
        return client

    def _make(self, url: str, options: ClientOptions) -> JSClient:
        shown = "+".join(options.get("transports", ("polling", "websocket")))
        client = JSClient(self, next(self._node.numbers), f"JS client ({url}, {shown})")
        self._clients[client.number] = client
        return client

    async def request(
        self, do: str, fields: Mapping[str, Any] = MappingProxyType({}), *, timeout: float = DEFAULT_TIMEOUT
    ) -> Any:
        """Ask the driver for something; the fields are those of its function of that name."""
        number = next(self._node.numbers)
        future = self._pending[number] = self._loop.create_future()
        try:
            self._node.send({**fields, "id": number, "do": do})
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            client = self._clients.get(fields.get("client", 0))
            seen = f"\n{client.inbox.describe()}" if client else ""
            raise AssertionError(f"{client or 'driver'}: no answer to {do} within {timeout:g} s{seen}") from None
        finally:
            self._pending.pop(number, None)

    async def close(self) -> None:
        """Close every client; raise what went wrong in Node meanwhile."""
        try:
            if self._node.alive:
                await self.request("reset")
        except AssertionError:
            self._node.close()  # it hangs: the next test gets a new one
            raise
        finally:
            self._node.bind(None)
        if self.errors:
            raise AssertionError("uncaught in Node:\n" + "\n".join(self.errors))

    def _from_thread(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: a test was given up
            self._loop.call_soon_threadsafe(self._take, message)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"client": number, "life": name, "args": args}:
                if client := self._clients.get(number):
                    client.inbox.put(name, unpack(args), life=True)
            case {"client": number, "event": name, "args": args}:
                if client := self._clients.get(number):
                    client.inbox.put(name, unpack(args), ack_wanted=bool(message.get("ack")))
            case {"id": number, "error": error}:
                if (future := self._pending.get(number)) and not future.done():
                    future.set_exception(JSError(error["message"], error.get("name", "Error"), error.get("stack", "")))
            case {"id": number, "value": value}:
                if (future := self._pending.get(number)) and not future.done():
                    future.set_result(unpack(value))
            case {"fatal": error}:
                self._fail(error)

    def _fail(self, error: Mapping[str, Any]) -> None:
        text = str(error.get("stack") or error.get("message"))
        self.errors.append(text)
        for client in self._clients.values():
            client.inbox.break_(f"uncaught in Node: {text}")
        for future in self._pending.values():
            if not future.done():
                future.set_exception(JSError(text))


class JSClient:
    """One socket of the JavaScript client. What it receives is kept in ``inbox``."""

    def __init__(self, clients: JSClients, number: int, name: str) -> None:
        self._clients = clients
        self._name = name
        self.number = number
        self.inbox = Inbox(name)

    def __str__(self) -> str:
        return self._name

    async def _ask(
        self, do: str, fields: Mapping[str, Any] = MappingProxyType({}), *, timeout: float = DEFAULT_TIMEOUT
    ) -> Any:
        return await self._clients.request(do, {"client": self.number, **fields}, timeout=timeout)

    # what it is

    async def state(self) -> State:
        """Id, transport and the rest at this moment."""
        found = await self._ask("state")
        found["engine_id"], found["engine_state"] = found.pop("engineId"), found.pop("engineState")
        return State(**found)

    async def id(self) -> str:
        """``socket.id``; fails when the client is not connected."""
        found = (await self.state()).id
        assert found is not None, f"{self} is not connected\n{self.inbox.describe()}"
        return found

    async def transport(self) -> str | None:
        """``socket.io.engine.transport.name``."""
        return (await self.state()).transport

    # coming and going

    async def connected(self, *, timeout: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
        """Wait to be let in; what was known then (id, recovered, transport …)."""
        item = await self.inbox.wait_any(("connect", "connect_error"), life=True, timeout=timeout)
        if item.name == "connect_error":
            raise ConnectError(str(self), item.args[0])
        state: dict[str, Any] = item.args[0]
        return state

    async def reconnected(self, *, timeout: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
        """Wait for the next ``connect``, whatever attempts fail before; what was known then, as ``connected``."""
        state: dict[str, Any] = (await self.inbox.wait_for("connect", life=True, timeout=timeout))[0]
        return state

    async def refused(self, *, timeout: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
        """Wait for ``connect_error``; its ``message``, its ``data`` if any, the HTTP ``status`` of a failed poll."""
        item = await self.inbox.wait_any(("connect", "connect_error"), life=True, timeout=timeout)
        assert item.name == "connect_error", f"{self} was let in\n{self.inbox.describe()}"
        error: dict[str, Any] = item.args[0]
        return error

    async def upgraded(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until the client has moved from polling to websocket."""
        item = await self.inbox.wait_any(("upgrade", "upgrade_error", "disconnect"), life=True, timeout=timeout)
        assert item.name == "upgrade", f"{self} did not upgrade: {item}\n{self.inbox.describe()}"

    async def disconnected(self, *, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Wait for ``disconnect``; its reason, as the client names it."""
        return str((await self.inbox.wait_for("disconnect", life=True, timeout=timeout))[0])

    async def life(
        self, name: str, *, timeout: float = DEFAULT_TIMEOUT, where: Callable[..., object] | None = None
    ) -> list[Any]:
        """Wait for something in the connection's life.

        That is: connect, disconnect, connect_error, open, ping, upgrade, upgrade_error, engine_close,
        reconnect_attempt, reconnect_error, reconnect_failed, reconnect.
        """
        return await self.inbox.wait_for(name, life=True, timeout=timeout, where=where)

    async def of(self, nsp: str, *, wait: bool = True, **options: Unpack[ClientOptions]) -> JSClient:
        """Open another namespace on the same connection."""
        client = self._clients._make(f"{self._name} {nsp}", options)
        await client._ask("of", {"parent": self.number, "nsp": nsp, "options": pack(dict(options))})
        if wait:
            await client.connected()
        return client

    async def open(self) -> None:
        """``socket.connect()``: again, after a disconnect."""
        await self._ask("open")

    async def disconnect(self) -> None:
        """``socket.disconnect()``."""
        await self._ask("disconnect")

    async def set_auth(self, auth: Mapping[str, Any]) -> None:
        """``socket.auth = auth``: what the next CONNECT carries."""
        await self._ask("auth", {"auth": pack(auth)})

    # sending

    async def emit(self, event: str | int, *args: Any, volatile: bool = False, compress: bool | None = None) -> None:
        """``socket.emit(event, …)``; bytes become Buffers."""
        await self._ask("emit", {"event": event, "args": pack(args), "volatile": volatile, "compress": compress})

    async def ack_args(
        self, event: str | int, *args: Any, timeout_ms: int | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> list[Any]:
        """Emit, and return all arguments of the acknowledgement.

        ``timeout_ms`` is the client's own ``socket.timeout()``, whose end raises ``JSError("operation has timed
        out")``; so does a disconnect. ``timeout`` bounds the wait of the test, in seconds.
        """
        fields = {"event": event, "args": pack(args), "timeout": timeout_ms}
        answer: list[Any] = await self._ask("emitWithAck", fields, timeout=timeout)
        return answer

    async def emit_with_ack(
        self, event: str | int, *args: Any, timeout_ms: int | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Any:
        """``await socket.emitWithAck(event, …)``: the first argument of the acknowledgement, ``None`` without any."""
        answer = await self.ack_args(event, *args, timeout_ms=timeout_ms, timeout=timeout)
        return answer[0] if answer else None

    # receiving

    async def wait_for(
        self, event: str | int, *, timeout: float = DEFAULT_TIMEOUT, where: Callable[..., object] | None = None
    ) -> list[Any]:
        """The arguments of the oldest such event that was not waited for yet; ``where(*args)`` may choose."""
        return await self.inbox.wait_for(event, timeout=timeout, where=where)

    def received(self, event: str | int) -> list[list[Any]]:
        """The arguments of every such event so far, waited for or not."""
        return self.inbox.received(event)

    async def barrier(self) -> None:
        """Return when everything that the server has sent so far was handed to the client's listeners.

        Works by a round trip on the same connection, so it takes no longer than that; a client that is not connected
        can receive nothing and returns at once.
        """
        await self._ask("barrier")

    async def expect_nothing(self, event: str | int) -> None:
        """Fail if such an event has come that was not waited for.

        Call it when the server is known to have emitted whatever it would emit: another client got it, or an
        acknowledgement came back.
        """
        await self.barrier()
        stray = [item for item in self.inbox.log if item.name == event and not item.life and not item.taken]
        assert not stray, f'{self}: "{event}" came {len(stray)} times unexpectedly\n{self.inbox.describe()}'

    # acknowledging: what the client answers when the server asks; a question without a rule waits for one to be given

    async def answer(self, event: str | int, *args: Any, delay_ms: int = 0) -> None:
        """Acknowledge such events with these arguments. ``"*"`` stands for every event without a rule of its own."""
        await self._ask("rule", {"event": event, "mode": "value", "args": pack(args), "delay": delay_ms})

    async def echo(self, event: str | int, *, delay_ms: int = 0) -> None:
        """Acknowledge such events with what they brought."""
        await self._ask("rule", {"event": event, "mode": "echo", "delay": delay_ms})

    async def silent(self, event: str | int) -> None:
        """Leave such events without an acknowledgement."""
        await self._ask("rule", {"event": event, "mode": "silent"})

    # misbehaving

    async def kill(self) -> None:
        """Vanish without a close packet or frame, as when the process dies."""
        await self._ask("kill")

    async def close_engine(self) -> None:
        """``socket.io.engine.close()``: close the connection below Socket.IO's feet."""
        await self._ask("closeEngine")

    async def pause(self) -> None:
        """Stop reading from the websocket, so that the server's writes pile up."""
        await self._ask("pause")

    async def resume(self) -> None:
        """Read again."""
        await self._ask("resume")

    async def send_packet(self, type: str, data: str | bytes | None = None) -> None:
        """Send an Engine.IO packet of any type ("message", "pong", "noop" …) with any content."""
        await self._ask("sendPacket", {"type": type, "data": pack(data)})

    async def send_frame(self, data: str | bytes) -> None:
        """Send a websocket message exactly as given."""
        await self._ask("sendFrame", {"data": pack(data)})


@contextlib.asynccontextmanager
async def js_clients(node: NodeProcess) -> AsyncIterator[JSClients]:
    """The clients of one test."""
    clients = JSClients(node)
    try:
        yield clients
    finally:
        await clients.close()
