"""python-socketio's ``AsyncClient`` with the face of the JavaScript one (``tests.support.js``)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

import socketio
from aiohttp import ClientSession

from tests.support.inbox import DEFAULT_TIMEOUT, Inbox
from tests.support.js import ConnectError
from tests.support.transports import UPGRADE, Transport

_barriers = itertools.count(1)


class PyClient:
    """One namespace of one connection. What it receives is kept in ``inbox``; rules answer the server's acks."""

    def __init__(self, client: socketio.AsyncClient, nsp: str, name: str) -> None:
        self.client = client
        self.nsp = nsp
        self.inbox = Inbox(name)
        self._rules: dict[str | int, tuple[Any, ...] | None] = {}
        client.on("*", self._event, namespace=nsp)
        client.on("connect", self._connected, namespace=nsp)
        client.on("disconnect", self._disconnected, namespace=nsp)
        client.on("connect_error", self._refused, namespace=nsp)

    def __str__(self) -> str:
        return self.inbox.owner

    async def _event(self, event: str | int, *args: Any) -> Any:
        self.inbox.put(event, list(args))
        rule = self._rules.get(event, ())
        return args if rule is None else rule or None

    async def _connected(self) -> None:
        self.inbox.put("connect", [], life=True)

    async def _disconnected(self, reason: str) -> None:
        self.inbox.put("disconnect", [reason], life=True)

    async def _refused(self, error: Any = None) -> None:
        self.inbox.put("connect_error", [error], life=True)

    def id(self) -> str:
        """The socket's id in its namespace."""
        found: str | None = self.client.get_sid(self.nsp)
        assert found is not None, f"{self} is not connected\n{self.inbox.describe()}"
        return found

    def transport(self) -> str:
        """The name of the transport in use."""
        return str(self.client.transport())

    async def disconnected(self, *, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Wait for the disconnect; its reason."""
        return str((await self.inbox.wait_for("disconnect", life=True, timeout=timeout))[0])

    async def disconnect(self) -> None:
        """Leave."""
        await self.client.disconnect()

    async def emit(self, event: str | int, *args: Any) -> None:
        """Send an event."""
        await self.client.emit(event, args, namespace=self.nsp)

    async def ack_args(self, event: str | int, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> list[Any]:
        """Emit, and return all arguments of the acknowledgement."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def answered(*answer: Any) -> None:
            if not future.done():
                future.set_result(list(answer))

        await self.client.emit(event, args, namespace=self.nsp, callback=answered)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            message = f'{self}: no acknowledgement of "{event}" within {timeout:g} s\n{self.inbox.describe()}'
            raise AssertionError(message) from None

    async def emit_with_ack(self, event: str | int, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Emit, and return the first argument of the acknowledgement, ``None`` without any."""
        answer = await self.ack_args(event, *args, timeout=timeout)
        return answer[0] if answer else None

    async def wait_for(
        self, event: str | int, *, timeout: float = DEFAULT_TIMEOUT, where: Callable[..., object] | None = None
    ) -> list[Any]:
        """The arguments of the oldest such event that was not waited for yet; ``where(*args)`` may choose."""
        return await self.inbox.wait_for(event, timeout=timeout, where=where)

    def received(self, event: str | int) -> list[list[Any]]:
        """The arguments of every such event so far, waited for or not."""
        return self.inbox.received(event)

    async def barrier(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Return when everything that the server has sent so far was handed to the handlers.

        A round trip on the same connection: the server answers CONNECT for a namespace that nobody knows.
        """
        if not self.client.connected:
            return
        nsp = f"/barrier-of-the-tests-{next(_barriers)}"
        passed = asyncio.Event()

        async def answered(*_: Any) -> None:
            passed.set()

        self.client.on("connect", answered, namespace=nsp)
        self.client.on("connect_error", answered, namespace=nsp)
        packet = self.client.packet_class(socketio.packet.CONNECT, namespace=nsp)
        await self.client._send_packet(packet)
        try:
            async with asyncio.timeout(timeout):
                await passed.wait()
        except TimeoutError:
            raise AssertionError(f"{self}: no round trip within {timeout:g} s\n{self.inbox.describe()}") from None
        finally:
            del self.client.handlers[nsp]

    async def expect_nothing(self, event: str | int) -> None:
        """Fail if such an event has come that was not waited for; call it when the server has emitted."""
        await self.barrier()
        stray = [item for item in self.inbox.log if item.name == event and not item.life and not item.taken]
        assert not stray, f'{self}: "{event}" came {len(stray)} times unexpectedly\n{self.inbox.describe()}'

    async def answer(self, event: str | int, *args: Any) -> None:
        """Acknowledge such events with these arguments; otherwise they are acknowledged with none."""
        self._rules[event] = args

    async def echo(self, event: str | int) -> None:
        """Acknowledge such events with what they brought."""
        self._rules[event] = None


class PyClients:
    """Makes clients and closes them."""

    def __init__(self) -> None:
        self._clients: list[PyClient] = []
        self._sessions: list[ClientSession] = []

    async def connect(
        self,
        url: str,
        *,
        nsp: str = "/",
        via: Transport = UPGRADE,
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "/socket.io",
        serializer: Literal["default", "msgpack"] = "default",
        reconnection: bool = False,
        within: float = DEFAULT_TIMEOUT,
    ) -> PyClient:
        """Open a client and wait until it is let in, by the transport it is to end up with.

        Raises ``ConnectError`` with the server's message and data.
        """
        # A session of our own, because AsyncClient leaves its own open when a connection is refused.
        session = ClientSession()
        self._sessions.append(session)
        client = socketio.AsyncClient(
            reconnection=reconnection, serializer=serializer, handle_sigint=False, http_session=session
        )
        wrapped = PyClient(client, nsp, f"Python client {len(self._clients) + 1} ({url}{nsp}, {via})")
        self._clients.append(wrapped)
        try:
            await client.connect(
                url,
                headers=dict(headers or {}),
                auth=dict(auth) if auth is not None else None,
                transports=list(via.transports),
                namespaces=[nsp],
                socketio_path=path,
                wait_timeout=within,
            )
        except socketio.exceptions.ConnectionError as error:
            refusals = wrapped.inbox.received("connect_error", life=True)
            told = refusals[-1][0] if refusals else None
            raise ConnectError(str(wrapped), told if isinstance(told, dict) else {"message": str(error)}) from None
        return wrapped

    async def close(self) -> None:
        """Close every client."""
        leaving = [asyncio.create_task(wrapped.client.shutdown()) for wrapped in self._clients]
        if leaving:
            # Against a server that does not end its last poll, a polling client waits as long as a ping takes.
            await asyncio.wait(leaving, timeout=0.5)
        for session in self._sessions:
            await session.close()
        await asyncio.gather(*leaving)


@contextlib.asynccontextmanager
async def py_clients() -> AsyncIterator[PyClients]:
    """The clients of one test."""
    clients = PyClients()
    try:
        yield clients
    finally:
        await clients.close()
