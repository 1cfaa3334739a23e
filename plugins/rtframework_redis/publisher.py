"""``Publisher``: emits to the clients of a cluster from a program that is no Socket.IO server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Never, Self, TypeAlias

from rtframework.adapters.history import History
from rtframework.exceptions import ClusterUnavailable, ConfigurationError
from rtframework.handlers.mistakes import unknown_keywords
from rtframework.namespaces.operators import Rooms
from rtframework.serializers import JSONSerializer
from rtframework.types import EVERYBODY, Target

from .publication import Publication
from .publisher_link import PublisherLink
from .selection import Encoding, Selection
from .topology import Source, make_topology

Send: TypeAlias = Callable[[Publication], Awaitable[None]]


class PublisherOperator(Selection["PublisherOperator"]):
    """A selection of sockets, made by ``publisher.to()`` and its like.

    All methods raise :class:`~rtframework.ClusterUnavailable` when Redis does not take the message within
    ``publish_timeout``: then nobody has it, or, if the error is ``uncertain``, that cannot be known.

    Example::

        publisher = Publisher("redis://localhost")
        await publisher.to("a", "b").except_("muted").emit("news", 1)
    """

    __slots__ = ("_send",)

    def __init__(self, send: Send, encoding: Encoding, nsp: str = "/", target: Target = EVERYBODY) -> None:
        super().__init__(encoding, nsp, target)
        self._send = send

    def _select(self, nsp: str, target: Target) -> PublisherOperator:
        return PublisherOperator(self._send, self._encoding, nsp, target)

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event with any number of arguments to the selected sockets of all servers.

        Raises ``ConfigurationError`` for a name that clients refuse, and ``EncodeError`` for arguments that cannot be
        sent.
        """
        if unknown:
            raise unknown_keywords("emit", unknown)
        await self._send_if(self._event(event, args))

    async def sockets_join(self, *rooms: Rooms) -> None:
        """Make the selected sockets join rooms."""
        await self._send_if(self._move(rooms, join=True))

    async def sockets_leave(self, *rooms: Rooms) -> None:
        """Make the selected sockets leave rooms."""
        await self._send_if(self._move(rooms, join=False))

    async def disconnect_sockets(self, *, close: bool = False, reason: str | None = None) -> None:
        """Disconnect the selected sockets, or, with ``close=True``, close their connections.

        ``reason``: what disconnect handlers on servers of this framework hear; only with ``adapter="streams"``.
        """
        await self._send_if(self._disconnection(close, reason))

    async def server_side_emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to the servers themselves, see :meth:`rtframework.Namespace.on_server_side`."""
        if unknown:
            raise unknown_keywords("server_side_emit", unknown)
        await self._send(self._server_side(event, args))

    async def _send_if(self, message: Publication | None) -> None:
        if message is not None:
            await self._send(message)


class Publisher(PublisherOperator):
    """Emits to a cluster from a worker, a script or any other program that is no Socket.IO server.

    ``redis``: a URL, or a client of redis-py whose settings are used, as for :class:`RedisStreams`. ``adapter``: what
    the servers have: ``"streams"`` for :class:`RedisStreams` and ``@socket.io/redis-streams-adapter``, whose stream
    gets the messages, so that clients that are away can be given them later; ``"pubsub"`` for
    ``@socket.io/redis-adapter``, as ``@socket.io/redis-emitter`` does. ``stream``, ``channel_prefix`` and ``max_len``
    are those of the servers. ``publish_timeout``: seconds after which a call raises ``ClusterUnavailable``.
    ``max_message``: bytes that one message may have; more raise ``EncodeError``. ``serializer``: encodes the arguments,
    as that of a server does. ``history``: that of the servers, so that events of such rooms are kept.

    It connects at the first call, or with ``async with``, which raises ``ClusterUnavailable`` at once if that fails. It
    belongs to the event loop in which it is used. Messages arrive in the order of the calls.

    Example::

        async with Publisher("redis://localhost") as publisher:
            await publisher.to("lobby").emit("news", {"title": "hello"})
            await publisher.of("/admin").emit("done")
    """

    __slots__ = ("_is_closed", "_link", "_loop", "_make_link", "_redis")

    def __init__(
        self,
        redis: Source,
        *,
        adapter: Literal["streams", "pubsub"] = "streams",
        stream: str = "socket.io",
        channel_prefix: str = "socket.io",
        max_len: int = 10_000,
        publish_timeout: float = 5.0,
        max_message: int = 4_000_000,
        serializer: JSONSerializer | None = None,
        history: History | Sequence[History] | None = None,
    ) -> None:
        check_options(max_len=max_len, max_message=max_message, publish_timeout=publish_timeout)
        encoding = Encoding.of(adapter, channel_prefix, serializer, max_message, history, stream)
        super().__init__(self._send_message, encoding)
        make_topology(redis)  # a mistake in the address shows here
        key = stream if adapter == "streams" else ""
        self._redis = redis
        self._make_link = partial(PublisherLink, stream=key, max_len=max_len, timeout=publish_timeout)
        self._link: PublisherLink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def of(self, name: str) -> PublisherOperator:
        """Select the sockets of another namespace."""
        return self._of(name)

    async def __aenter__(self) -> Self:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if Redis cannot be reached."""
        try:
            await self._current_link().open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Wait for what is on its way, at most ``publish_timeout`` seconds, and disconnect. Later calls raise."""
        self._is_closed = True
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _send_message(self, message: Publication) -> None:
        await self._current_link().send(message)

    def _current_link(self) -> PublisherLink:
        if self._is_closed:
            raise ClusterUnavailable("the message has reached nobody: the publisher is closed")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise ConfigurationError(
                    "a Publisher belongs to the event loop of its first call: make one for each, or a SyncPublisher"
                )
            self._loop = loop  # the first, or one after another, as with asyncio.run()
            self._link = self._make_link(make_topology(self._redis))
        assert self._link is not None
        return self._link


def check_options(*, max_len: int, max_message: int, publish_timeout: float) -> None:
    """Check the numbers among a publisher's options. Raises ``ConfigurationError``."""
    for option, value in (("max_len", max_len), ("max_message", max_message)):
        if not isinstance(value, int) or value < 1:
            raise ConfigurationError(f"{option} is a whole number from 1, not {value!r}")
    if not publish_timeout > 0:
        raise ConfigurationError(f"publish_timeout is a time in seconds, not {publish_timeout!r}")
