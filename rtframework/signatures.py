"""What a function takes and returns: found out once, at registration."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from .exceptions import ConfigurationError

HandlerFunction = Callable[..., Any]

_UNCHECKED: Final = (Any, object, inspect.Parameter.empty)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that an argument of an event fills."""

    name: str
    type: Any
    """What the argument is checked against; ``Any`` when it is taken as it is."""
    required: bool
    variadic: bool = False
    """``*args``: any number of arguments of this type."""
    default: Any = inspect.Parameter.empty


class Signature:
    """What a handler takes and returns.

    ``parameters`` are those that the arguments of an event fill. ``returns`` is the annotation of what it returns,
    ``Any`` when it says nothing or names something that is not there at run time.
    """

    __slots__ = ("ack_at", "converters", "is_async", "least", "most", "parameters", "returns")

    def __init__(self, name: str, function: HandlerFunction, takes_socket: bool) -> None:
        self.is_async = is_async(function)
        self.ack_at: int | None = None
        """The position of the parameter ``ack`` among the arguments, ``None`` without one."""
        found: list[Parameter] = []
        parameters = positional(function, name)
        if takes_socket:
            if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL or parameters[0].name == "ack":
                raise ConfigurationError(
                    f"the handler {where(function)} of {name!r} takes no socket: "
                    f"write `async def {_name(function)}(socket, ...)`"
                )
            del parameters[0]
        for position, parameter in enumerate(parameters):
            variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            if parameter.name == "ack" and not variadic:
                self._expect_ack(name, function, parameter, position)
                continue
            required = parameter.default is inspect.Parameter.empty and not variadic
            kind = _checked(function, name, parameter)
            found.append(Parameter(parameter.name, kind, required, variadic, parameter.default))
        self.parameters = tuple(found)
        self.least = sum(each.required for each in found)
        self.most = None if any(each.variadic for each in found) else len(found)
        self.converters = _converters(self.parameters)
        self.returns = _returned(function)

    def _expect_ack(self, name: str, function: HandlerFunction, parameter: inspect.Parameter, position: int) -> None:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY or _is_data(function, parameter.annotation):
            raise ConfigurationError(
                f"the handler {where(function)} of {name!r}: the parameter 'ack' is given the callable that answers; "
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


def _converters(parameters: Sequence[Parameter]) -> tuple[list[Any], Any]:
    """The types that arguments are converted to, by position, and that of the rest: ``None`` where there is nothing
    to do, an empty list when that is so for all."""
    types = [None if each.type is Any else each.type for each in parameters]
    rest = types.pop() if parameters and parameters[-1].variadic else None
    if rest is None and all(each is None for each in types):
        return [], None
    return types or [rest], rest


def is_async(function: HandlerFunction) -> bool:
    """Whether what it returns is to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def where(function: HandlerFunction) -> str:
    """How errors call a function: its module and its name there."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', _name(function))}"


def _name(function: HandlerFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)


def positional(function: HandlerFunction, event: str) -> list[inspect.Parameter]:
    """The parameters of a handler, none of which is left empty. Raises :class:`~rtframework.ConfigurationError`."""
    if not callable(function):
        raise ConfigurationError(f"the handler of {event!r} is not callable: {function!r}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(f"the handler {where(function)} of {event!r} is a generator: return one value instead")
    positional = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name == "ack":
                positional.append(parameter)
                continue
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is not inspect.Parameter.empty:
                continue
            raise ConfigurationError(
                f"the handler {where(function)} of {event!r}: a client sends positional arguments only, "
                f"so {parameter} cannot be filled"
            )
        positional.append(parameter)
    return positional


def _checked(function: HandlerFunction, event: str, parameter: inspect.Parameter) -> Any:
    """The type to convert an argument to; ``Any`` to take it as it is."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = _resolve(function, annotation)
        except Exception as error:
            raise ConfigurationError(
                f"the handler {where(function)} of {event!r}: the annotation {annotation!r} of {parameter.name!r} "
                f"cannot be resolved ({error}); import or define it where the handler can see it at run time"
            ) from error
    if annotation in _UNCHECKED:
        return Any
    if annotation is None:
        return type(None)
    try:
        msgspec.inspect.type_info(annotation)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"the handler {where(function)} of {event!r}: {parameter.name!r} cannot be checked: {error}"
        ) from error
    return annotation


def _returned(function: HandlerFunction) -> Any:
    """The annotation of what a function returns; ``Any`` without one, and when it cannot be resolved."""
    annotation = getattr(inspect.unwrap(function), "__annotations__", {}).get("return", Any)
    try:
        return _resolve(function, annotation) if isinstance(annotation, str) else annotation
    except Exception:  # noqa: BLE001 - e.g. a name that only the type checker imports: it is needed by nobody yet
        return Any


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
