"""``SyncPublisher``: emits to the clients of a cluster from programs without an event loop, Django and WSGI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Never, Self, TypeAlias

from rtframework.adapters.history import History
from rtframework.handlers.mistakes import unknown_keywords
from rtframework.namespaces.operators import Rooms
from rtframework.serializers import JSONSerializer
from rtframework.types import EVERYBODY, Target

from .blocking_writer import BlockingWriter
from .publication import Publication
from .publisher import check_options
from .selection import Encoding, Selection
from .topology import Source

Send: TypeAlias = Callable[[Publication], None]


class SyncPublisherOperator(Selection["SyncPublisherOperator"]):
    """A selection of sockets, made by ``publisher.to()`` and its like.

    All methods block until Redis has the message, and raise :class:`~rtframework.ClusterUnavailable` when it does not
    take it within ``publish_timeout``: then nobody has it, or, if the error is ``uncertain``, that cannot be known.

    Example::

        publisher = SyncPublisher("redis://localhost")
        publisher.to("a", "b").except_("muted").emit("news", 1)
    """

    __slots__ = ("_send",)

    def __init__(self, send: Send, encoding: Encoding, nsp: str = "/", target: Target = EVERYBODY) -> None:
        super().__init__(encoding, nsp, target)
        self._send = send

    def _select(self, nsp: str, target: Target) -> SyncPublisherOperator:
        return SyncPublisherOperator(self._send, self._encoding, nsp, target)

    def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event with any number of arguments to the selected sockets of all servers.

        Raises ``ConfigurationError`` for a name that clients refuse, and ``EncodeError`` for arguments that cannot be
        sent.
        """
        if unknown:
            raise unknown_keywords("emit", unknown)
        self._send_if(self._event(event, args))

    def sockets_join(self, *rooms: Rooms) -> None:
        """Make the selected sockets join rooms."""
        self._send_if(self._move(rooms, join=True))

    def sockets_leave(self, *rooms: Rooms) -> None:
        """Make the selected sockets leave rooms."""
        self._send_if(self._move(rooms, join=False))

    def disconnect_sockets(self, *, close: bool = False, reason: str | None = None) -> None:
        """Disconnect the selected sockets, or, with ``close=True``, close their connections.

        ``reason``: what disconnect handlers on servers of this framework hear; only with ``adapter="streams"``.
        """
        self._send_if(self._disconnection(close, reason))

    def server_side_emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to the servers themselves, see :meth:`rtframework.Namespace.on_server_side`."""
        if unknown:
            raise unknown_keywords("server_side_emit", unknown)
        self._send(self._server_side(event, args))

    def _send_if(self, message: Publication | None) -> None:
        if message is not None:
            self._send(message)


class SyncPublisher(SyncPublisherOperator):
    """Emits to a cluster from a program without an event loop: Django, a WSGI application, a script.

    The options are those of :class:`Publisher`. One object serves any number of threads, and processes that are forked
    later, such as Gunicorn's with ``preload_app``: connections are opened when they are needed. In a coroutine it
    blocks the event loop: use :class:`Publisher` there.

    Example::

        publisher = SyncPublisher("redis://localhost")

        def save(request):
            publisher.to(f"user:{request.user.id}").emit("saved", {"at": "now"})
    """

    __slots__ = ("_writer",)

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
        self._writer = BlockingWriter(redis, stream, max_len=max_len, timeout=publish_timeout)
        encoding = Encoding.of(adapter, channel_prefix, serializer, max_message, history, stream)
        super().__init__(self._writer.send, encoding)

    def of(self, name: str) -> SyncPublisherOperator:
        """Select the sockets of another namespace."""
        return self._of(name)

    def __enter__(self) -> Self:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if Redis cannot be reached."""
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections. Later calls raise."""
        self._writer.close()
