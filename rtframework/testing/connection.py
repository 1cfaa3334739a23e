"""A connection of test clients, with its namespaces: Socket.IO 5 over an Engine.IO client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import ConnectionRefused, DecodeError, Disconnected
from ..types import Packet, PacketType
from .engine_client import EngineClient, Transport
from .idle import settle, wait
from .network import memory_session

if TYPE_CHECKING:
    from ..protocols import Serializer
    from .client import TestClient
    from .network import MemoryConnector


@dataclass(frozen=True, slots=True)
class Member:
    """The callbacks of a client in one namespace, for its connection."""

    welcome: Callable[[Mapping[str, Any]], None]
    """Called with the data of CONNECT when the server accepts the client."""
    event: Callable[[list[Any], int | None], None]
    """Called with the name and arguments of an event, and an id if the server requests an acknowledgement."""
    answer: Callable[[list[Any], int], None]
    """Called with the arguments and the id of an acknowledgement by the server."""
    gone: Callable[[str], None]
    """Called with the reason when the client has left the namespace."""


@dataclass(frozen=True, slots=True)
class Route:
    """The transport and the HTTP requests of a client's connection."""

    transport: Transport = "websocket"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"


class Network(Protocol):
    """The test server, as a connection sees it."""

    serializer: Serializer
    path: str
    clients: list[TestClient]

    def connector(self, address: str) -> MemoryConnector:
        """Return a connector for a client with this address."""

    async def open(self, route: Route, within: float) -> Connection:
        """Open an Engine.IO connection. Raises ``ConnectionRefused``."""

    def raise_breach(self) -> None:
        """Raise a ``ContractError`` of the program's handlers that has not been raised in the test yet, if any."""


class Connection:
    """One Engine.IO connection, with the client in each of its namespaces."""

    def __init__(self, network: Network, route: Route) -> None:
        self.members: dict[str, Member] = {}
        self._serializer = network.serializer
        self._decoder = network.serializer.decoder()
        self._joining: dict[str, asyncio.Future[None]] = {}
        connector = network.connector(route.address)
        self.engine = EngineClient(
            memory_session(connector, "http://localhost"),
            connector,
            network.path,
            query=route.query,
            headers=route.headers,
            on_message=self._receive,
            on_close=self._closed,
        )

    async def join(self, nsp: str, auth: Mapping[str, Any] | None, member: Member, within: float) -> None:
        """Send CONNECT for a namespace, and wait for the server's answer.

        Raises ``ConnectionRefused`` if the server refuses, ``Disconnected`` if the connection ends before.
        """
        if nsp in self.members or nsp in self._joining:
            raise RuntimeError(f"this connection is in {nsp} already: a second client needs server.connect()")
        if self.engine.reason is not None:
            raise Disconnected(self.engine.reason)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._joining[nsp] = answer
        self.members[nsp] = member
        try:
            await self.send(Packet(PacketType.CONNECT, nsp, auth))
            if not await wait(answer, within):
                raise AssertionError(f"the server has neither let the client into {nsp} nor refused it")
            answer.result()
        except BaseException:
            self.members.pop(nsp, None)
            raise
        finally:
            self._joining.pop(nsp, None)
        await settle()

    async def send(self, packet: Packet) -> None:
        """Send a packet. Raises ``EncodeError``."""
        await self.engine.send(self._serializer.encode(packet))

    async def leave(self, nsp: str) -> None:
        """Leave a namespace; close the connection with the last one."""
        if self.members.pop(nsp, None) is not None:
            await self.send(Packet(PacketType.DISCONNECT, nsp))
        if not self.members:
            self.engine.close()

    # --- from the server --------------------------------------------------------------------------------------------

    def _receive(self, frame: str | bytes) -> None:
        try:
            packet = self._decoder.decode(frame)
        except DecodeError:
            self.engine.fail("parse error")
            return
        if packet is None:
            return
        nsp, data = packet.nsp, packet.data
        joining = self._joining.get(nsp)
        if packet.type == PacketType.CONNECT_ERROR:
            if joining is not None and not joining.done():
                message, more = (data, None) if isinstance(data, str) else (data.get("message", ""), data.get("data"))
                joining.set_exception(ConnectionRefused(message, more))
            return
        member = self.members.get(nsp)
        if member is None:
            return
        if packet.type == PacketType.CONNECT:
            if joining is not None and not joining.done():
                member.welcome(data or {})  # before the future's callbacks run: events may follow at once
                joining.set_result(None)
        elif packet.type == PacketType.EVENT:
            member.event(data, packet.id)
        elif packet.type == PacketType.ACK and packet.id is not None:
            member.answer(data, packet.id)
        elif packet.type == PacketType.DISCONNECT:
            del self.members[nsp]
            member.gone("io server disconnect")

    def _closed(self, reason: str) -> None:
        for joining in self._joining.values():
            if not joining.done():
                joining.set_exception(Disconnected(reason))
        members, self.members = list(self.members.values()), {}
        for member in members:
            member.gone(reason)
