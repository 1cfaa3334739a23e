"""A client connection to any Socket.IO server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import aiohttp
import socketio

from rtframework_msgpack import MsgpackSerializer

from ..exceptions import SerializationError
from ..types import Packet, PacketType
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .values import show, show_text

_GOODBYE: Final = 1.0
"""Seconds that a proper disconnect may take."""
_MOMENT: Final = 0.1
"""Seconds to wait for a better explanation of a failure."""
_REFUSALS: Final = (401, 403)


class Connection:
    """A client in one namespace of one server."""

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession, seen: _Seen) -> None:
        self.endpoint = endpoint
        self.events: asyncio.Queue[Received] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Failure] = loop.create_future()
        """The reason why the connection has ended, as soon as it has."""
        self._admitted: asyncio.Future[None] = loop.create_future()
        self._seen = seen
        seen.on_unsent = self._unsent
        self._refused_message: Failure | None = None
        self._client = _Client(self, session)

    @property
    def id(self) -> str:
        """The socket's id, given by the server."""
        return str(self._client.get_sid(self.endpoint.namespace))

    @property
    def transport(self) -> str:
        """The transport in use."""
        return str(self._client.transport())

    async def open(self) -> None:
        """Connect to the server and the namespace. Raises ``Failure``."""
        endpoint = self.endpoint
        try:
            async with asyncio.timeout(endpoint.timeout):
                await self._connect()
                await self._first(self._admitted)
                writing = self._client.eio.write_loop_task
                if writing is not None:
                    writing.add_done_callback(self._writing_has_ended)
        except TimeoutError:
            what = f"the namespace {endpoint.namespace} did" if self._client.eio.state == "connected" else "it did"
            raise Failure(
                f"{endpoint.resource}: {what} not answer within {endpoint.timeout:g} s", Exit.UNREACHABLE
            ) from None

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network. Raises ``Failure``."""
        await self._send(event, args, None)
        await self._first(asyncio.ensure_future(self._client.eio.queue.join()))
        if self._refused_message is not None:
            raise self._refused_message

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return the arguments of the acknowledgement. Raises ``Failure``."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def answered(*found: Any) -> None:
            if not answer.done():
                answer.set_result(list(found))

        try:
            async with asyncio.timeout(timeout):
                await self._send(event, args, answered)
                return list(await self._first(answer))
        except TimeoutError:
            raise Failure(f'"{event}" was not answered within {timeout:g} s', Exit.TIMED_OUT) from None

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Send the acknowledgement of an event."""
        client = self._client
        packet = client.packet_class(
            socketio.packet.ACK, namespace=self.endpoint.namespace, id=received.id, data=list(args)
        )
        await client._send_packet(packet)

    async def next(self) -> Received:
        """Wait for the next event. Raises ``Failure`` once the connection has ended and all events were returned."""
        if not self.events.empty():
            return self.events.get_nowait()
        found: Received = await self._first(asyncio.ensure_future(self.events.get()))
        return found

    async def close(self) -> None:
        """Disconnect."""
        leaving = asyncio.create_task(self._client.disconnect())
        await asyncio.wait((leaving,), timeout=_GOODBYE)  # some servers do not end the last poll
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await leaving

    # --- called by _Client ------------------------------------------------------------------------------------------

    def admitted(self) -> None:
        """Complete :meth:`open`: the server has accepted CONNECT."""
        if not self._admitted.done():
            self._admitted.set_result(None)

    def refused(self, error: Any) -> None:
        """Fail the connection, because the server has answered CONNECT_ERROR."""
        message = error.get("message", "") if isinstance(error, dict) else error
        data = error.get("data") if isinstance(error, dict) else None
        self.fail(refusal(self.endpoint.namespace, message, data))

    def closed(self, reason: str) -> None:
        """Fail the connection, because it has ended."""
        if self._admitted.done():
            # With polling, the response to a POST may explain more, and arrive a moment later.
            delay = _MOMENT if self.transport == "polling" else 0.0
            lost = Failure(f"the connection was lost ({reason})", Exit.LOST)
            asyncio.get_running_loop().call_later(delay, self.fail, lost)
            return
        other = "without --msgpack" if self.endpoint.msgpack else "with --msgpack"
        self.fail(
            Failure(
                f"{self.endpoint.resource} closed the connection before it let us in; "
                f"perhaps it uses another parser: try {other}",
                Exit.UNREACHABLE,
            )
        )

    def garbled(self, error: Exception) -> None:
        """Fail the connection, because the server has sent something that is not a packet."""
        other = "without --msgpack" if self.endpoint.msgpack else "with --msgpack"
        code = Exit.LOST if self._admitted.done() else Exit.UNREACHABLE
        self.fail(Failure(f"what the server sends cannot be understood; try {other} ({error})", code))

    def fail(self, failure: Failure) -> None:
        """Set ``lost`` in the next turn of the event loop, so that events received before are returned first."""

        def set_lost() -> None:
            if not self.lost.done():
                self.lost.set_result(failure)

        asyncio.get_running_loop().call_soon(set_lost)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _writing_has_ended(self, task: asyncio.Task[None]) -> None:
        # Usually the connection was lost, and its reason is reported within a moment.
        task.get_loop().call_later(_MOMENT, self.closed, "nothing can be sent any more")

    def _unsent(self, status: int) -> None:
        """Fail the connection at once for a refused POST, which python-socketio notices only at the next heartbeat."""
        reason = "what we sent is too large for the server" if status == 413 else "the server refused what we sent"
        self._refused_message = Failure(f"{reason} (HTTP {status})", Exit.LOST)
        self.fail(self._refused_message)

    async def _connect(self) -> None:
        endpoint = self.endpoint
        try:
            await self._client.connect(
                endpoint.url,
                auth=endpoint.auth,
                headers=dict(endpoint.headers),
                transports=list(endpoint.transports),
                namespaces=[endpoint.namespace],
                socketio_path=endpoint.path,
                wait=False,
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # python-socketio may raise anything for a response that is not a handshake
            raise self._seen.explain(endpoint, error) from error

    async def _send(self, event: str | int, args: Sequence[Any], callback: Any) -> None:
        try:
            await self._client.emit(event, tuple(args), namespace=self.endpoint.namespace, callback=callback)
        except socketio.exceptions.BadNamespaceError:
            raise (await self.lost) from None
        except (SerializationError, ValueError, RecursionError) as error:
            raise Failure(f'"{event}" cannot be sent: {error}', Exit.USAGE) from None

    async def _first(self, awaited: asyncio.Future[Any]) -> Any:
        """Wait for a future and return its result. Raises ``Failure`` if the connection is lost before."""
        try:
            await asyncio.wait((awaited, self.lost), return_when=asyncio.FIRST_COMPLETED)
            if awaited.done():
                return awaited.result()
            raise self.lost.result()
        finally:
            awaited.cancel()


def refusal(nsp: str, message: object, data: Any) -> Failure:
    """Make the failure of a client that a namespace has refused."""
    told = f"refused by namespace {nsp}: {show_text(str(message))}"
    return Failure(told + ("" if data is None else f" {show(data)}"), Exit.FAILED)


@contextlib.asynccontextmanager
async def connect_socketio(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """Connect to a Socket.IO server, and disconnect at the end. Raises ``Failure``."""
    # aiohttp's warning about large request bodies is of no use to a user at a terminal.
    warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)
    seen = _Seen()
    # The headers are given to the session, because python-socketio sends them with the first request only.
    async with aiohttp.ClientSession(headers=endpoint.headers, trace_configs=[seen.trace()]) as session:
        connection = Connection(endpoint, session, seen)
        try:
            await connection.open()
            yield connection
        finally:
            await connection.close()


class _Client(socketio.AsyncClient):  # type: ignore[misc]
    """Reports everything to a ``Connection``, and sends no acknowledgements by itself."""

    def __init__(self, connection: Connection, session: aiohttp.ClientSession) -> None:
        endpoint = connection.endpoint
        super().__init__(
            reconnection=False,
            handle_sigint=False,
            serializer=_MsgpackPacket if endpoint.msgpack else "default",
            logger=_logger(endpoint.verbose),
            engineio_logger=_logger(endpoint.verbose),
            http_session=session,
            request_timeout=endpoint.timeout,
            ssl_verify=not endpoint.insecure,
            websocket_extra_options={"max_msg_size": 0},
        )
        self._connection = connection
        self.on("connect", connection.admitted, namespace=endpoint.namespace)
        self.on("connect_error", self._refused, namespace=endpoint.namespace)

    def _refused(self, *told: Any) -> None:
        if self.eio.state == "connected":  # otherwise the handshake has failed, and connect() raises
            self._connection.refused(told[0] if told else "")

    async def _handle_eio_message(self, data: Any) -> None:
        try:
            await super()._handle_eio_message(data)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - python-socketio may raise anything for an invalid packet
            self._connection.garbled(error)

    async def _handle_event(self, namespace: str | None, id: int | None, data: Any) -> None:
        if (namespace or "/") == self._connection.endpoint.namespace:
            name = data[0] if type(data[0]) is int else str(data[0])
            self._connection.events.put_nowait(Received(name, list(data[1:]), id))

    async def _handle_disconnect(self, namespace: str | None) -> None:
        self._connection.closed("io server disconnect")
        await super()._handle_disconnect(namespace)

    async def _handle_eio_disconnect(self, reason: str) -> None:
        self._connection.closed(reason)
        await super()._handle_eio_disconnect(reason)


class _MsgpackPacket(socketio.packet.Packet):  # type: ignore[misc]
    """Packets of ``socket.io-msgpack-parser``; python-socketio's own do not support its dates and ``undefined``."""

    uses_binary_events = False
    serializer: Final = MsgpackSerializer()

    def encode(self) -> str | bytes:
        """Encode the packet as one binary frame."""
        packet = Packet(PacketType(self.packet_type), self.namespace or "/", self.data, self.id)
        return self.serializer.encode(packet)[0]

    def decode(self, encoded_packet: Any) -> int:
        """Decode a frame into this packet. Return the number of attachments that follow: 0."""
        packet = self.serializer.decode(encoded_packet)
        self.packet_type, self.namespace, self.data, self.id = packet.type, packet.nsp, packet.data, packet.id
        return 0


class _Seen:
    """Records the errors and status codes of HTTP requests, most of which python-socketio does not report."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.status: int | None = None
        self.on_unsent: Callable[[int], None] | None = None
        """Called with the HTTP status when a POST is refused."""

    def trace(self) -> aiohttp.TraceConfig:
        """Make the trace configuration that records the requests of a session."""
        config = aiohttp.TraceConfig()

        async def failed(session: Any, context: Any, params: aiohttp.TraceRequestExceptionParams) -> None:
            self.error = params.exception

        async def ended(session: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
            self.status = params.response.status
            if params.method == "POST" and self.status >= 400 and self.on_unsent is not None:
                self.on_unsent(self.status)

        config.on_request_exception.append(failed)
        config.on_request_end.append(ended)
        return config

    def explain(self, endpoint: Endpoint, raised: Exception) -> Failure:
        """Explain why connecting has failed."""
        if self.error is not None:
            return Failure(explain(self.error, endpoint), Exit.UNREACHABLE)
        told = raised.__cause__.args[1] if raised.__cause__ and len(raised.__cause__.args) > 1 else None
        message = f": {show_text(str(told['message']))}" if isinstance(told, dict) and told.get("message") else ""
        if self.status in _REFUSALS:
            return Failure(f"refused by {endpoint.resource} (HTTP {self.status}){message}", Exit.FAILED)
        if self.status == 404:
            return Failure(f"there is nothing at {endpoint.resource} (HTTP 404): see --path", Exit.UNREACHABLE)
        if message or self.status not in (None, 101, 200):
            return Failure(f"{endpoint.resource} does not let us in (HTTP {self.status}){message}", Exit.UNREACHABLE)
        return Failure(f"what answers at {endpoint.resource} is no Socket.IO server, or an old one", Exit.UNREACHABLE)


def explain(error: BaseException, endpoint: Endpoint) -> str:
    """Explain why no HTTP connection was made."""
    place, other = endpoint.place, "http" if endpoint.is_secure else "https"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        found = error.certificate_error
        why = found.verify_message if isinstance(found, ssl.SSLCertVerificationError) else str(found)
        return f"the certificate of {place} is not to be trusted: {why} (--insecure accepts it)"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"{place} does not speak TLS as we do: {_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # the error's own text repeats the address
        return f"nobody answers at {place}: {os.strerror(number) if number else error.os_error}"
    if isinstance(error, TimeoutError):
        return f"{endpoint.resource}: it did not answer within {endpoint.timeout:g} s"
    if isinstance(error, aiohttp.InvalidURL):
        return f"{endpoint.resource} is no URL"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return f"{endpoint.resource} closed without an answer: see --path and --transport, or use {other}"
    return f"what answers at {place} does not speak HTTP ({show_text(str(error))}): use {other}?"


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()


class _Printable(logging.Formatter):
    """Shows what a server sends without control characters, which a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Quote a message that is not printable."""
        return show_text(super().formatMessage(record))


def _logger(verbose: bool) -> logging.Logger:
    logger = logging.getLogger("rtframework.cli.client")
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler() if verbose else logging.NullHandler()
        handler.setFormatter(_Printable())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger
