"""Handlers: a signature is made into a binder for the arguments of each event, once, at registration."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from .exceptions import ConfigurationError, EventError, InvalidPayload
from .signatures import HandlerFunction, Signature, is_async, positional, where
from .types import RESERVED_EVENTS, Packet, PacketType

CONNECTION: Final = "connection"
DISCONNECTING: Final = "disconnecting"
DISCONNECT: Final = "disconnect"
LIFECYCLE: Final = {
    "connection": CONNECTION,
    "connect": CONNECTION,  # Node knows both
    "disconnecting": DISCONNECTING,
    "disconnect": DISCONNECT,
}
NEW_NAMESPACE: Final = "new_namespace"
"""The server tells of it, and no namespace."""

_BYTES: Final = (bytes, bytearray, memoryview)
_EXACT: Final = frozenset({str, int, bool})
"""Types whose own objects need no look inside."""


class Event:
    """An event on its way to its handler, as event middleware sees it. Both attributes may be changed."""

    __slots__ = ("_packet", "args", "name")

    def __init__(self, name: str, args: list[Any], packet: Packet | None = None) -> None:
        self.name = name
        self.args = args
        self._packet = packet

    def __repr__(self) -> str:
        return f"<Event {self.name!r} with {len(self.args)} argument(s)>"

    @property
    def packet(self) -> Packet | None:
        """As it came: what an :class:`Ack` answers to."""
        return self._packet


class Acknowledging(Protocol):
    """A socket, as an :class:`Ack` sees it."""

    id: str

    @property
    def nsp(self) -> str:
        """The name of its namespace."""

    def acknowledge(self, packet: Packet, args: list[Any]) -> None:
        """Send the answer to an event, unless it has one. Raises ``EncodeError``."""

    def answer(self, packet: Packet, args: list[Any]) -> None:
        """The same; what cannot be sent is logged and answered with ``internal_error``."""


class Ack:
    """Answers one event: given to handlers that have a parameter named ``ack``.

    Call it with any number of arguments, when you like; what the handler returns does not count then. The first call
    answers, later ones do nothing, as with Node, and so does every call when the client asked for no answer. Raises
    ``EncodeError`` when the arguments cannot be sent.

    Example::

        @io.on("save")
        async def save(socket: Socket, text: str, ack: Ack) -> None:
            ack("received")
            await store(text)
    """

    __slots__ = ("_packet", "_socket")

    def __init__(self, socket: Acknowledging, packet: Packet) -> None:
        self._socket = socket
        self._packet = packet

    def __call__(self, *args: Any) -> None:
        self._socket.acknowledge(self._packet, list(args))

    @property
    def wanted(self) -> bool:
        """Whether the client still waits for an answer."""
        return self._packet.id is not None


class _Deferred:
    """What a handler gives that answers by itself."""

    def __repr__(self) -> str:
        return "<answered by ack()>"


DEFERRED: Final = _Deferred()


class Handler:
    """A function that serves one event: ``function(socket, *args)``, async or not.

    Arguments with an annotation are checked and converted (strictly: no ``"1"`` for an ``int``) before the function is
    called: builtins, containers, unions, ``msgspec.Struct``, dataclasses, attrs classes, TypedDicts, ``datetime``, …
    """

    __slots__ = (
        "_converters",
        "_least",
        "_most",
        "_rest",
        "_single",
        "ack_at",
        "function",
        "is_async",
        "name",
        "ordered",
        "signature",
    )

    def __init__(
        self,
        name: str,
        function: HandlerFunction,
        *,
        ordered: bool | None = False,
        signature: Signature | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.ordered = ordered
        self.signature = signature = signature or Signature.of(name, function)
        self.is_async = signature.is_async
        self.ack_at = signature.ack_at
        """The position of the parameter ``ack`` among the arguments, ``None`` without one."""
        self._converters, self._rest = signature.converters
        self._least = signature.least
        self._most = signature.most
        first = self._converters[0] if self._converters else None
        takes_one = self._least <= 1 and (self._most is None or self._most >= 1)
        self._single = first if takes_one and isinstance(first, type) and first in _EXACT else None
        """The type of a single argument that is passed on as it is."""

    def bind(self, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments to call the function with. Raises :class:`~rtframework.InvalidPayload`."""
        count = len(args)
        if count == 1 and type(args[0]) is self._single:
            return args
        if count < self._least or (self._most is not None and count > self._most):
            raise InvalidPayload(f"{self.name!r} takes {self._expectation()}, got {count}")
        if not self._converters:
            return args
        bound: list[Any] = []
        for position, value in enumerate(args):
            kind = self._converters[position] if position < len(self._converters) else self._rest
            if kind is None or (type(value) is kind and kind in _EXACT):
                bound.append(value)
                continue
            try:
                bound.append(msgspec.convert(value, kind, builtin_types=_BYTES))
            except msgspec.ValidationError as error:
                raise _invalid(self.name, position, error) from None
        return bound

    def __call__(self, socket: Any, args: Sequence[Any], packet: Packet | None = None) -> Any:
        """Check the arguments and call the function; await what it returns when ``is_async`` or it is awaitable."""
        return self.function(socket, *self.bind(args))

    def fits(self, count: int) -> bool:
        """Whether the function can be called with that many arguments."""
        return self._least <= count and (self._most is None or count <= self._most)

    def _expectation(self) -> str:
        if self._most is None:
            return f"at least {self._least} argument(s)"
        if self._most == self._least:
            return f"{self._least} argument(s)"
        return f"{self._least} to {self._most} arguments"


class SpecialHandler(Handler):
    """A handler that is a handler of one socket, answers by ``ack``, or serves one event only.

    ``takes_socket``: whether the function is given the socket. ``spent``: called before the function is called for the
    first and last time.
    """

    __slots__ = ("_spent", "_takes_socket")

    def __init__(
        self,
        name: str,
        function: HandlerFunction,
        *,
        ordered: bool | None = False,
        signature: Signature | None = None,
        takes_socket: bool = True,
        spent: Callable[[Handler], bool] | None = None,
    ) -> None:
        super().__init__(name, function, ordered=ordered, signature=signature)
        self._takes_socket = takes_socket
        self._spent = spent

    def __call__(self, socket: Any, args: Sequence[Any], packet: Packet | None = None) -> Any:
        """As a plain handler; an answer by ``ack`` makes the result ``DEFERRED``."""
        bound = self.bind(args)
        # What does not fit, from whoever sent it, does not use up the one time.
        if self._spent is not None and not self._spent(self):
            return None
        at = self.ack_at
        if at is None:
            return self.function(socket, *bound) if self._takes_socket else self.function(*bound)
        ack = Ack(socket, packet if packet is not None else Packet(PacketType.EVENT))
        leading = (socket,) if self._takes_socket else ()
        if at < len(bound):
            result = self.function(*leading, *bound[:at], ack, *bound[at:])
        else:
            result = self.function(*leading, *bound, ack=ack)
        return _deferred(result) if self.is_async or inspect.isawaitable(result) else DEFERRED


async def _deferred(result: Awaitable[Any]) -> _Deferred:
    await result
    return DEFERRED


class _Unknown:
    """Serves the events that have no handler."""

    is_async: Final = False
    ordered: Final = False

    def __call__(self, socket: Any, args: Sequence[Any], packet: Packet | None = None) -> Any:
        name = f" for {packet.data[0]!r}" if packet is not None else ""
        raise EventError("unknown_event", f"no handler{name}")


class _LeftToCatchAll:
    """Serves the events that have no handler, when a catch-all that takes ``ack`` has seen them."""

    is_async: Final = False
    ordered: Final = False

    def __call__(self, socket: Any, args: Sequence[Any], packet: Packet | None = None) -> Any:
        return DEFERRED


UNKNOWN: Final = _Unknown()
LEFT_TO_CATCH_ALL: Final = _LeftToCatchAll()


class LifecycleHandler:
    """A function that hears of a socket coming or going: ``(socket)`` or, when it goes, ``(socket, reason)``.

    With ``takes_socket=False``, for a handler of one socket, ``()`` or ``(reason)``.
    """

    __slots__ = ("_arity", "_from", "_is_async", "function", "name", "once")

    def __init__(self, name: str, function: HandlerFunction, *, takes_socket: bool = True, once: bool = False) -> None:
        self.name = name
        self.function = function
        self.once = once
        self._is_async = is_async(function)
        expected = ["socket"] if takes_socket else []
        expected += [] if name == CONNECTION else ["reason"]
        parameters = positional(function, name)
        required = [each for each in parameters if each.default is inspect.Parameter.empty]
        variable = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
        if (takes_socket and not parameters) or len(required) - variable > len(expected):
            raise ConfigurationError(
                f"the handler {where(function)} of {name!r} must take ({', '.join(expected)}), "
                f"not {inspect.signature(function)}"
            )
        self._from = 0 if takes_socket else 1
        self._arity = self._from + (len(expected) if variable else min(len(expected), len(parameters)))

    async def __call__(self, *args: Any) -> None:
        result = self.function(*args[self._from : self._arity])
        if self._is_async or inspect.isawaitable(result):
            await result


def check_event_name(name: str) -> str:
    """An event name that a program may register or emit. Raises :class:`~rtframework.ConfigurationError`."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"an event name is a string that is not empty, not {name!r}")
    if name in RESERVED_EVENTS:
        raise ConfigurationError(f"{name!r} is a reserved event name")
    return name


def to_ack(result: Any) -> list[Any]:
    """What a handler returned, as the arguments of the acknowledgement: a tuple is several, ``None`` is none."""
    if result is None:
        return []
    return list(result) if type(result) is tuple else [result]


def from_ack(args: Sequence[Any]) -> Any:
    """What a client answered: ``None``, one value, or a tuple of several."""
    if len(args) == 1:
        return args[0]
    return tuple(args) if args else None


def _invalid(name: str, position: int, error: msgspec.ValidationError) -> InvalidPayload:
    message, _, where = str(error).partition(" - at `$")
    path = f"$[{position}]{where.rstrip('`')}"
    return InvalidPayload(f"{name!r}: {message} at {path}", [{"path": path, "message": message}])
