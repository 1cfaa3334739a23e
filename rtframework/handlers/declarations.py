"""Declarations of the events that a namespace emits: the half of a contract that handler signatures do not show."""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, get_args

from ..exceptions import ConfigurationError
from ..packets import check_event_name, event_key
from .signatures import Parameter
from .validation import check_type

T = TypeVar("T")

_MARK: Final = "__rtframework_emits__"
_PACKAGE: Final = __name__.partition(".")[0]


class Nothing(enum.Enum):
    """Type of ``NOTHING``, the placeholder for a type that was not given."""

    NOTHING = enum.auto()


NOTHING: Final = Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class Declaration:
    """The declaration of one event that the server emits."""

    event: str | int
    parameters: tuple[Parameter, ...]
    returns: Any = NOTHING
    """The type of the clients' acknowledgement; ``NOTHING`` if none is requested."""
    description: str = ""
    place: str = ""
    """The file and line where it was declared."""

    def is_like(self, other: Declaration) -> bool:
        """Tell whether both declare the same types of arguments and acknowledgement."""
        return self._shape() == other._shape()

    def __str__(self) -> str:
        shown = ", ".join(f"{'*' * each.variadic}{each.name}: {type_name(each.type)}" for each in self.parameters)
        answer = "" if self.returns is NOTHING else f" -> {type_name(self.returns)}"
        return f"({shown}){answer}"

    def _shape(self) -> tuple[Any, ...]:
        return [(each.type, each.variadic) for each in self.parameters], self.returns


class Declarations:
    """The declarations of a namespace by event, including those of its parent."""

    __slots__ = ("_own", "_parent")

    def __init__(self) -> None:
        self._own: dict[str, Declaration] = {}
        self._parent: Declarations | None = None

    def __iter__(self) -> Iterator[Declaration]:
        if self._parent is not None:
            yield from self._parent
        for event, declaration in self._own.items():
            if self._parent is None or self._parent.get(event) is None:
                yield declaration

    def __bool__(self) -> bool:
        return bool(self._own or self._parent)

    def get(self, event: str | int) -> Declaration | None:
        """Return the declaration of an event; ``None`` if there is none."""
        inherited = None if self._parent is None else self._parent.get(event)
        return inherited or self._own.get(event_key(event))

    def add(self, declaration: Declaration) -> None:
        """Add a declaration. Raises :class:`~rtframework.ConfigurationError` if it contradicts an earlier one."""
        self.expect_to_agree(declaration)
        key = event_key(declaration.event)
        known = self._own.get(key)
        if known is None or (declaration.description and not known.description):
            self._own[key] = declaration if known is None else replace(known, description=declaration.description)

    def expect_to_agree(self, declaration: Declaration) -> None:
        """Raise :class:`~rtframework.ConfigurationError` if a declaration contradicts an earlier one."""
        known = self.get(declaration.event)
        if known is not None and not known.is_like(declaration):
            raise ConfigurationError(
                f"{declaration.event!r} is declared twice: as {known} at {known.place}, "
                f"and as {declaration} at {declaration.place}"
            )

    def inherit(self, parent: Declarations) -> None:
        """Include the declarations of a parent, also those that it gets later.

        Raises :class:`~rtframework.ConfigurationError` if a declaration here contradicts one of the parent.
        """
        for declaration in self._own.values():
            parent.expect_to_agree(declaration)
        self._parent = parent


def declare(
    event: str | int,
    arguments: Sequence[Any],
    *,
    rest: Any = NOTHING,
    names: Sequence[str] | None = None,
    returns: Any = NOTHING,
    description: str = "",
) -> Declaration:
    """Make a declaration of the arguments of ``emits``. Raises :class:`~rtframework.ConfigurationError`."""
    if callable(event):
        raise ConfigurationError('emits() needs the name of the event: write emits("message", str), not emits')
    event = check_event_name(event)
    variadic = [] if rest is NOTHING else [rest]
    kinds = [type(None) if each is None else each for each in (*arguments, *variadic)]
    names = _names(event, names, len(kinds))
    for kind in (*kinds, *([] if returns is NOTHING else [returns])):
        try:
            check_type(kind)
        except (TypeError, NameError, RuntimeError) as error:
            raise ConfigurationError(f"emits({event!r}): {type_name(kind)} cannot be declared: {error}") from error
    parameters = tuple(
        Parameter(name, kind, required=position < len(arguments), variadic=position >= len(arguments))
        for position, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )
    return Declaration(event, parameters, returns, " ".join(description.split()), _place())


def _names(event: str | int, names: Sequence[str] | None, count: int) -> Sequence[str]:
    """The names of the arguments: those that are given, checked, or others in their place."""
    if names is None:
        return ["data"] if count == 1 else [f"arg{number + 1}" for number in range(count)]
    if isinstance(names, str) or len(names) != count or len(set(names)) != count:
        raise ConfigurationError(f"emits({event!r}): names={names!r} does not name {count} argument(s)")
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigurationError(f"emits({event!r}): {name!r} is no name for an argument")
    return names


def emits(
    event: str | int,
    /,
    *arguments: Any,
    rest: Any = NOTHING,
    names: Sequence[str] | None = None,
    returns: Any = NOTHING,
    description: str = "",
) -> Callable[[T], T]:
    """Declare an event that a class-based namespace emits; decorates the class or one of its methods.

    The arguments are those of :meth:`Namespace.emits <rtframework.Namespace.emits>`. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        @emits("closed")
        class Chat(Namespace):
            @emits("message", str)
            async def on_say(self, socket: Socket, text: str) -> None:
                await self.emit("message", text)
    """
    declaration = declare(event, arguments, rest=rest, names=names, returns=returns, description=description)

    def mark(target: T) -> T:
        if not isinstance(target, type):
            scope = getattr(target, "__qualname__", "").rpartition(".")[0]
            if not scope or scope.endswith("<locals>"):
                raise ConfigurationError(
                    f"emits({event!r}) is for classes and their methods: for a function write @io.emits({event!r}, ...)"
                )
        setattr(target, _MARK, (declaration, *vars(target).get(_MARK, ())))
        return target

    return mark


def declarations_of(kind: type) -> Iterator[Declaration]:
    """Yield the declarations that :func:`emits` has added to a class, those of its bases first."""
    for each in reversed(kind.__mro__):
        yield from vars(each).get(_MARK, ())
        for member in vars(each).values():
            if isinstance(member, types.FunctionType):
                yield from vars(member).get(_MARK, ())


def unchanged(function: T) -> T:
    """Return the function unchanged: the decorator that ``emits`` returns."""
    return function


def type_name(kind: Any) -> str:
    """Return the name of a type for error messages."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")


def _place() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
