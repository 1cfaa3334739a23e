"""The parameters and the result of a function, inspected once, at registration."""

from __future__ import annotations

import asyncio
import inspect
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Never, NoReturn, get_args, get_origin

from ..exceptions import ConfigurationError
from .annotations import UNCHECKED, annotation_of, is_data, means_the_same_everywhere, name_of, resolve, where
from .dependencies import IN_CONNECTION, IN_EVENT, VARIABLE, Dependency, Place, wanted_by
from .dependency_plan import DependencyPlan, wire
from .event import CONNECTION
from .validation import Converter, converter_of

HandlerFunction = Callable[..., Any]

_KEYWORD_ONLY: Final = inspect.Parameter.KEYWORD_ONLY
_PLAIN: Final = (type(None), bool, int, float, str, bytes)
"""Types of default values that hold no other objects."""
_AWAITED: Final = (Awaitable, Coroutine, asyncio.Future, asyncio.Task)
_IN_SOCKET: Final = {
    "environ": "socket.handshake, with headers, query, cookies and address",
    "auth": "socket.handshake.auth",
    "data": "socket.handshake.auth",
    "request": "socket.handshake",
    "handshake": "socket.handshake",
    "query": "socket.handshake.query",
    "headers": "socket.handshake.headers",
}
"""Parameters that programs write in connection handlers, in vain: where to find what they mean."""
_NOTHING_SAID: Final = (*UNCHECKED, NoReturn, Never)
"""Return annotations that do not describe a value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter for an argument of an event."""

    name: str
    type: Any
    """The type that the argument is validated against; ``Any`` if it is not validated."""
    required: bool
    variadic: bool = False
    """True for ``*args``: any number of arguments of this type."""


class Signature:
    """The parameters and the result of an event handler.

    ``parameters``: those for the arguments of an event. ``plan``: computes the injected arguments, ``None`` if there
    are none. ``returns``: the return annotation, ``Any`` if there is none or it names something that is undefined at
    run time.
    """

    __slots__ = ("converters", "is_async", "least", "most", "parameters", "plan", "rest", "returns", "takes_ack", "who")

    def __init__(self, name: str | int, function: HandlerFunction, takes_socket: bool, place: Place) -> None:
        self.who = who = f"the handler {where(function)} of {name!r}"
        """The handler's name in error messages."""
        parameters = takes(who, function)
        if takes_socket:
            expect_socket(who, function, parameters)
        others, self.plan = wire(who, function, place, parameters[takes_socket:])
        self.takes_ack = self.plan is not None and self.plan.asks_for("ack")
        """True if the handler answers by calling ``ack``."""
        found: list[Parameter] = []
        converters: list[Converter] = []
        for each in _filled_by_client(who, others):
            variadic = each.kind is inspect.Parameter.VAR_POSITIONAL
            required = each.default is inspect.Parameter.empty and not variadic
            kind = _checked(who, function, each)
            found.append(Parameter(each.name, kind, required, variadic))
            converters.append(_converter(who, each.name, kind))
        self.parameters = tuple(found)
        self.least = sum(each.required for each in found)
        self.most = None if any(each.variadic for each in found) else len(found)
        self.rest = converters.pop() if self.most is None else None
        """The converter for the arguments of ``*args``."""
        unchecked = all(each is None for each in (*converters, self.rest))
        self.converters = [] if unchecked else converters or [self.rest]
        """The converter for each argument, ``None`` for one that is not validated; empty if none is validated."""
        self.returns = _returned(function)
        self.is_async = is_async(function)

    @classmethod
    def of(
        cls, name: str | int, function: HandlerFunction, *, takes_socket: bool = True, place: Place = IN_EVENT
    ) -> Signature:
        """Inspect an event handler. Raises :class:`~rtframework.ConfigurationError`."""
        return cls(name, function, takes_socket, place)

    @classmethod
    def of_closure(
        cls, name: str | int, function: HandlerFunction, known: Signatures, place: Place = IN_EVENT
    ) -> Signature:
        """Inspect a handler of one socket, once for all functions that the same ``def`` statement makes."""
        if type(function) is not types.FunctionType or hasattr(function, "__wrapped__"):
            return cls.of(name, function, takes_socket=False, place=place)
        defaults = place, _dependencies(function)
        annotations = function.__annotations__
        seen = known.get(function.__code__)
        # Code objects of equal source compare equal, even if they are in different modules.
        if seen is not None and seen[:3] == (defaults, annotations, id(function.__globals__)):
            return seen[3]
        signature = cls.of(name, function, takes_socket=False, place=place)
        if not _holds_something(function) and all(
            means_the_same_everywhere(function, each) for each in annotations.values()
        ):
            known[function.__code__] = (defaults, dict(annotations), id(function.__globals__), signature)
        return signature


Signatures = weakref.WeakKeyDictionary[types.CodeType, tuple[Any, dict[str, Any], int, Signature]]
"""The signatures of closures, by their code object, which all functions of one ``def`` share."""


class LifecycleSignature:
    """What a handler takes that hears of a socket coming or going, and may be injected more.

    ``takes_socket``: whether its first parameter is for the socket, as in all but handlers of one socket. Raises
    :class:`~rtframework.ConfigurationError`.
    """

    __slots__ = ("plan", "takes_reason")

    def __init__(self, name: str, function: HandlerFunction, *, takes_socket: bool = True) -> None:
        who = f"the handler {where(function)} of {name!r}"
        parameters = takes(who, function)
        anything = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        has_reason = name != CONNECTION
        expected = ", ".join(["socket"] * takes_socket + ["reason"] * has_reason)
        sought = () if has_reason else [each.name for each in parameters if each.name in _IN_SOCKET]
        hint = "".join(f"; {each!r} is {_IN_SOCKET[each]}" for each in sought)
        if takes_socket and parameters and not anything:
            expect_socket(who, function, parameters, f"({expected})", hint)
        others, self.plan = wire(who, function, IN_CONNECTION, parameters[takes_socket and not anything :])
        positional = [each for each in others if each.kind not in (_KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)]
        required = [each for each in others if each.default is inspect.Parameter.empty and each.kind not in VARIABLE]
        if (
            (takes_socket and not parameters)
            or len(required) > has_reason
            or any(each.kind is _KEYWORD_ONLY for each in required)
        ):
            raise ConfigurationError(f"{who} must take ({expected}), not {inspect.signature(function)}{hint}")
        self.takes_reason = has_reason and bool(positional)


def takes(who: str, function: HandlerFunction) -> list[inspect.Parameter]:
    """Return the parameters of a handler function.

    Raises :class:`~rtframework.ConfigurationError` if it is not callable or is a generator.
    """
    if not callable(function):
        raise ConfigurationError(f"{who} is not callable: {function!r}")
    for each in (function, type(function).__call__):
        if inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each):
            raise ConfigurationError(f"{who} is a generator: return one value instead")
    return list(inspect.signature(function).parameters.values())


def wire_rest(who: str, function: HandlerFunction, leading: Sequence[str], place: Place) -> DependencyPlan | None:
    """Plan the injection into the parameters after the ``leading`` ones, which are always passed by position.

    Return ``None`` if there is nothing to inject, or if ``*args`` takes the leading arguments. Raises
    :class:`~rtframework.ConfigurationError`.
    """
    parameters = takes(who, function)
    signature = inspect.signature(function)
    first = parameters[: len(leading)]
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in first):
        return None
    if len(first) < len(leading) or any(each.kind in (_KEYWORD_ONLY, *VARIABLE) for each in first):
        raise ConfigurationError(f"{who} must take ({', '.join(leading)}), not {signature}")
    others, plan = wire(who, function, place, parameters[len(leading) :])
    for each in others:
        if each.default is inspect.Parameter.empty and each.kind not in VARIABLE:
            raise ConfigurationError(
                f"{who} must take ({', '.join(leading)}), not {signature}: "
                f"nothing fills {each.name!r}; give it a default or `= Depends(...)`"
            )
    return plan


def is_async(function: HandlerFunction) -> bool:
    """Tell whether the result of a function has to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def expect_socket(
    who: str, function: HandlerFunction, parameters: Sequence[inspect.Parameter], instead: str = "", hint: str = ""
) -> None:
    """Raise :class:`~rtframework.ConfigurationError` if the first parameter cannot take the socket.

    ``instead``: the parameters to write, if they are always the same; ``hint``: what to add to the message.
    """
    first = parameters[0] if parameters else None
    supply = wanted_by(function, first, who, IN_CONNECTION) if first is not None else None
    if (
        first is None
        or first.kind in (inspect.Parameter.VAR_POSITIONAL, _KEYWORD_ONLY)
        or (supply is not None and getattr(supply, "name", None) != "socket")
    ):
        raise ConfigurationError(f"{who} takes no socket: write `async def {name_of(function)}(socket, ...)`")
    annotation = annotation_of(function, first)
    if first.name == "sid" and annotation is inspect.Parameter.empty:
        instead = instead or "(socket" + str(inspect.signature(function)).removeprefix("(sid")
        raise ConfigurationError(
            f"{who}: its first parameter is given the socket, and not its id as in python-socketio: write "
            f"`{name_of(function)}{instead}`; the id is socket.id{hint}"
        )
    if is_data(annotation):
        raise ConfigurationError(
            f"{who}: its first parameter is given the socket, and {first.name!r} is annotated as data: "
            f"write `async def {name_of(function)}(socket: Socket, {first}, ...)`"
        )


def _filled_by_client(who: str, parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the parameters for the arguments of an event. Raises :class:`~rtframework.ConfigurationError`."""
    filled = []
    for parameter in parameters:
        if parameter.kind in (_KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
            if parameter.kind is _KEYWORD_ONLY and parameter.default is not inspect.Parameter.empty:
                continue
            raise ConfigurationError(
                f"{who}: a client sends positional arguments only, so {parameter} cannot be filled"
            )
        if parameter.name == "ack" and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            raise ConfigurationError(
                f"{who}: the parameter 'ack' is given the callable that answers; "
                f"write it as `ack: Ack`, and call an argument of the event something else"
            )
        filled.append(parameter)
    return filled


def _checked(who: str, function: HandlerFunction, parameter: inspect.Parameter) -> Any:
    """Return the type to convert an argument to; ``Any`` if it is not converted."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = resolve(function, annotation)
        except Exception as error:
            raise ConfigurationError(
                f"{who}: the annotation {annotation!r} of {parameter.name!r} "
                f"cannot be resolved ({error}); import or define it where the handler can see it at run time"
            ) from error
    if annotation in UNCHECKED:
        return Any
    if annotation is None:
        return type(None)
    return annotation


def _returned(function: HandlerFunction) -> Any:
    """Return the return annotation of a function; ``Any`` if it has none or it cannot be resolved."""
    annotation = getattr(inspect.unwrap(function), "__annotations__", {}).get("return", Any)
    try:
        annotation = resolve(function, annotation) if isinstance(annotation, str) else annotation
        if get_origin(annotation) in _AWAITED:  # a plain function that returns an awaitable
            annotation = get_args(annotation)[-1]
        if annotation in _NOTHING_SAID:
            return Any
        return type(None) if annotation is None else annotation
    except Exception:  # noqa: BLE001 - e.g. a name imported for the type checker only: not an error, it is not needed
        return Any


def _converter(who: str, name: str, kind: Any) -> Converter:
    if kind is Any:
        return None
    try:
        return converter_of(kind)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"{who}: {name!r} cannot be checked: {error}; for what the server gives, write `= Depends(...)`"
        ) from error


def _holds_something(function: types.FunctionType) -> bool:
    """Tell whether a cached signature would keep objects of one socket alive, through the parameters' defaults."""
    for each in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        provider = each.provider if isinstance(each, Dependency) else None
        if isinstance(provider, type) or type(each) in _PLAIN:
            continue
        if type(provider) is not types.FunctionType or provider.__closure__ or _holds_something(provider):
            return True
    return False


def _dependencies(function: types.FunctionType) -> Any:
    """Return the dependencies among the defaults of a function's parameters, ``None`` in place of other defaults."""
    positional = tuple(each if isinstance(each, Dependency) else None for each in function.__defaults__ or ())
    by_name = (function.__kwdefaults__ or {}).items()
    return positional, {name: each if isinstance(each, Dependency) else None for name, each in by_name}
