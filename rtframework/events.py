"""Handlers: a signature is inspected once, at registration, and made into a binder for the arguments of each event."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from .exceptions import ConfigurationError, EventError, InvalidPayload
from .types import RESERVED_EVENTS, Packet, PacketType

HandlerFunction = Callable[..., Any]

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
_UNCHECKED: Final = (Any, object, inspect.Parameter.empty)


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
        signature = signature or Signature.of(name, function)
        self.is_async = signature.is_async
        self.ack_at = signature.ack_at
        """The position of the parameter ``ack`` among the arguments, ``None`` without one."""
        self._converters = signature.converters
        self._least = signature.least
        self._most = signature.most
        self._rest = signature.rest
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
        self._is_async = _is_async(function)
        expected = ["socket"] if takes_socket else []
        expected += [] if name == CONNECTION else ["reason"]
        parameters = _positional(function, name)
        required = [each for each in parameters if each.default is inspect.Parameter.empty]
        variable = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
        if (takes_socket and not parameters) or len(required) - variable > len(expected):
            raise ConfigurationError(
                f"the handler {_where(function)} of {name!r} must take ({', '.join(expected)}), "
                f"not {inspect.signature(function)}"
            )
        self._from = 0 if takes_socket else 1
        self._arity = self._from + (len(expected) if variable else min(len(expected), len(parameters)))

    async def __call__(self, *args: Any) -> None:
        result = self.function(*args[self._from : self._arity])
        if self._is_async or inspect.isawaitable(result):
            await result


class Signature:
    """What a function takes: found out once."""

    __slots__ = ("ack_at", "converters", "is_async", "least", "most", "rest")

    def __init__(self, name: str, function: HandlerFunction, takes_socket: bool) -> None:
        self.is_async = _is_async(function)
        self.converters: list[Any] = []
        self.least = 0
        self.most: int | None = 0
        self.rest: Any = None
        self.ack_at: int | None = None
        parameters = _positional(function, name)
        if takes_socket:
            if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL or parameters[0].name == "ack":
                raise ConfigurationError(
                    f"the handler {_where(function)} of {name!r} takes no socket: "
                    f"write `async def {_name(function)}(socket, ...)`"
                )
            del parameters[0]
        for position, parameter in enumerate(parameters):
            if parameter.name == "ack" and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                self._expect_ack(name, function, parameter, position)
                continue
            kind = _converter(function, name, parameter)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self.rest = kind
                self.most = None
                continue
            assert self.most is not None
            self.converters.append(kind)
            self.most += 1
            if parameter.default is inspect.Parameter.empty:
                self.least += 1
        if self.rest is None and all(kind is None for kind in self.converters):
            self.converters = []
        elif not self.converters:
            self.converters = [self.rest]

    def _expect_ack(self, name: str, function: HandlerFunction, parameter: inspect.Parameter, position: int) -> None:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY or _is_data(function, parameter.annotation):
            raise ConfigurationError(
                f"the handler {_where(function)} of {name!r}: the parameter 'ack' is given the callable that answers; "
                f"write it as `ack: Ack`, and call an argument of the event something else"
            )
        self.ack_at = position if parameter.kind is not inspect.Parameter.KEYWORD_ONLY else sys.maxsize

    @classmethod
    def of(cls, name: str, function: HandlerFunction, *, takes_socket: bool = True) -> Signature:
        """The signature of a handler of an event. Raises :class:`~rtframework.ConfigurationError`."""
        return cls(name, function, takes_socket)

    @classmethod
    def of_closure(cls, name: str, function: HandlerFunction, known: Signatures) -> Signature:
        """The signature of a handler of one socket: found out once for all functions that one ``def`` makes."""
        if type(function) is not types.FunctionType or hasattr(function, "__wrapped__"):
            return cls(name, function, False)
        defaults = len(function.__defaults__ or ()), tuple(function.__kwdefaults__ or ())
        annotations = function.__annotations__
        seen = known.get(function.__code__)
        # Codes are equal when they read the same, wherever they stand.
        if seen is not None and seen[:3] == (defaults, annotations, id(function.__globals__)):
            return seen[3]
        signature = cls(name, function, False)
        if all(_means_the_same_everywhere(function, each) for each in annotations.values()):
            known[function.__code__] = (defaults, dict(annotations), id(function.__globals__), signature)
        return signature


Signatures = weakref.WeakKeyDictionary[types.CodeType, tuple[Any, dict[str, Any], int, Signature]]
"""The signatures of closures, by what all of them have in common."""


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


def _is_async(function: HandlerFunction) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _name(function: HandlerFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _where(function: HandlerFunction) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', _name(function))}"


def _positional(function: HandlerFunction, event: str) -> list[inspect.Parameter]:
    if not callable(function):
        raise ConfigurationError(f"the handler of {event!r} is not callable: {function!r}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"the handler {_where(function)} of {event!r} is a generator: return one value instead"
        )
    positional = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name == "ack":
                positional.append(parameter)
                continue
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is not inspect.Parameter.empty:
                continue
            raise ConfigurationError(
                f"the handler {_where(function)} of {event!r}: a client sends positional arguments only, "
                f"so {parameter} cannot be filled"
            )
        positional.append(parameter)
    return positional


def _converter(function: HandlerFunction, event: str, parameter: inspect.Parameter) -> Any:
    """The type to convert an argument to; ``None`` to take it as it is."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = _resolve(function, annotation)
        except Exception as error:
            raise ConfigurationError(
                f"the handler {_where(function)} of {event!r}: the annotation {annotation!r} of {parameter.name!r} "
                f"cannot be resolved ({error}); import or define it where the handler can see it at run time"
            ) from error
    if annotation in _UNCHECKED:
        return None
    if annotation is None:
        return type(None)
    try:
        msgspec.inspect.type_info(annotation)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"the handler {_where(function)} of {event!r}: {parameter.name!r} cannot be checked: {error}"
        ) from error
    return annotation


def _is_data(function: HandlerFunction, annotation: Any) -> bool:
    """Whether an annotation is for something that a client could send."""
    if isinstance(annotation, str):
        try:
            annotation = _resolve(function, annotation)
        except Exception:  # noqa: BLE001 - e.g. a name that only the type checker imports: it is not needed
            return False
    if annotation in _UNCHECKED or annotation is None:
        return False
    try:
        info = msgspec.inspect.type_info(annotation)
    except (TypeError, NameError):
        return False
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return not any(isinstance(kind, msgspec.inspect.CustomType) for kind in kinds)


def _means_the_same_everywhere(function: types.FunctionType, annotation: Any) -> bool:
    """Whether an annotation names nothing that is local to the function that registers the handler."""
    if not isinstance(annotation, str):
        return True
    try:
        return bool(eval(annotation, function.__globals__) == _resolve(function, annotation))
    except Exception:  # noqa: BLE001 - whatever names that are not there may raise
        return False


def _resolve(function: HandlerFunction, annotation: str) -> Any:
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    if inspect.ismethod(target):
        target = target.__func__
    names = dict(getattr(target, "__globals__", None) or vars(sys.modules[target.__module__]))
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    # Types may be local to the function that registers the handler.
    return eval(annotation, names, dict(frame.f_locals) if frame is not None else None)


def _invalid(name: str, position: int, error: msgspec.ValidationError) -> InvalidPayload:
    message, _, where = str(error).partition(" - at `$")
    path = f"$[{position}]{where.rstrip('`')}"
    return InvalidPayload(f"{name!r}: {message} at {path}", [{"path": path, "message": message}])
