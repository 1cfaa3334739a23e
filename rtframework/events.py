"""Handlers: a signature is inspected once, at registration, and made into a binder for the arguments of each event."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from .exceptions import ConfigurationError, InvalidPayload
from .types import RESERVED_EVENTS

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

_BYTES: Final = (bytes, bytearray, memoryview)
_EXACT: Final = frozenset({str, int, bool})
"""Types whose own objects need no look inside."""
_UNCHECKED: Final = (Any, object, inspect.Parameter.empty)


class Event:
    """An event on its way to its handler, as event middleware sees it. Both attributes may be changed."""

    __slots__ = ("args", "name")

    def __init__(self, name: str, args: list[Any]) -> None:
        self.name = name
        self.args = args

    def __repr__(self) -> str:
        return f"<Event {self.name!r} with {len(self.args)} argument(s)>"


class Handler:
    """A function that serves one event: ``function(socket, *args)``, async or not.

    Arguments with an annotation are checked and converted (strictly: no ``"1"`` for an ``int``) before the function is
    called: builtins, containers, unions, ``msgspec.Struct``, dataclasses, attrs classes, TypedDicts, ``datetime``, …
    """

    __slots__ = ("_converters", "_least", "_most", "_rest", "function", "is_async", "name", "ordered")

    def __init__(self, name: str, function: HandlerFunction, *, ordered: bool | None = False) -> None:
        self.name = name
        self.function = function
        self.ordered = ordered
        self.is_async = _is_async(function)
        self._converters: list[Any] = []
        self._least = 0
        self._rest: Any = None
        self._most: int | None = None
        self._inspect()

    def bind(self, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments to call the function with. Raises :class:`~rtframework.InvalidPayload`."""
        count = len(args)
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

    def __call__(self, socket: Any, args: Sequence[Any]) -> Any:
        """Check the arguments and call the function; await what it returns when ``is_async`` or it is awaitable."""
        return self.function(socket, *self.bind(args))

    def _expectation(self) -> str:
        if self._most is None:
            return f"at least {self._least} argument(s)"
        if self._most == self._least:
            return f"{self._least} argument(s)"
        return f"{self._least} to {self._most} arguments"

    def _inspect(self) -> None:
        parameters = _positional(self.function, self.name)
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            raise ConfigurationError(
                f"the handler {_where(self.function)} of {self.name!r} takes no socket: "
                f"write `async def {_name(self.function)}(socket, ...)`"
            )
        converters: list[Any] = []
        most: int | None = 0
        for parameter in parameters[1:]:
            kind = _converter(self.function, self.name, parameter)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self._rest = kind
                most = None
                break
            converters.append(kind)
            assert most is not None
            most += 1
            if parameter.default is inspect.Parameter.empty:
                self._least += 1
        self._most = most
        if self._rest is not None or any(kind is not None for kind in converters):
            self._converters = converters or [self._rest]


class LifecycleHandler:
    """A function that hears of a socket coming or going: ``(socket)`` or, when it goes, ``(socket, reason)``."""

    __slots__ = ("_arity", "_is_async", "function", "name")

    def __init__(self, name: str, function: HandlerFunction) -> None:
        self.name = name
        self.function = function
        self._is_async = _is_async(function)
        most = 1 if name == CONNECTION else 2
        parameters = _positional(function, name)
        required = [each for each in parameters if each.default is inspect.Parameter.empty]
        variable = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
        if not parameters or len(required) - variable > most:
            expected = "(socket)" if most == 1 else "(socket, reason)"
            raise ConfigurationError(
                f"the handler {_where(function)} of {name!r} must take {expected}, not {inspect.signature(function)}"
            )
        self._arity = most if variable else min(most, len(parameters))

    async def __call__(self, *args: Any) -> None:
        result = self.function(*args[: self._arity])
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
