"""Handlers: functions with a binder for the arguments of an event, made of the signature at registration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import maybe_await
from ..exceptions import EventError, InvalidPayload
from .dependencies import Scope
from .event import DEFERRED, Deferred
from .validation import Mismatch, Problem, convert

if TYPE_CHECKING:
    from ..limits.limit import Limit
    from ..types import Packet
    from .event import Event
    from .idempotent import EventId
    from .signatures import HandlerFunction, LifecycleSignature, Signature

_EXACT: Final = frozenset({str, int, bool})
"""Types that need no conversion if the argument is exactly of the type."""


class Handler:
    """A function that handles one event: ``function(socket, *args)``, async or not.

    Annotated arguments are validated and converted (strictly: no ``"1"`` for an ``int``) before the function is called:
    builtins, containers, unions, ``msgspec.Struct``, dataclasses, attrs classes, TypedDicts, ``datetime``, models of
    pydantic, …
    """

    __slots__ = (
        "_converters",
        "_least",
        "_most",
        "_rest",
        "_single",
        "event_id",
        "function",
        "is_async",
        "limit",
        "name",
        "ordered",
        "plan",
        "signature",
        "takes_ack",
    )

    def __init__(
        self,
        name: str | int,
        function: HandlerFunction,
        signature: Signature,
        *,
        ordered: bool | None = False,
    ) -> None:
        self.name = name
        self.function = function
        self.ordered = ordered
        self.limit: Limit | None = None
        """The limit on how often it runs."""
        self.event_id: EventId | None = None
        """The place of the id of an event that is served once."""
        self.signature = signature
        self.is_async = signature.is_async
        self.takes_ack = signature.takes_ack
        self.plan = signature.plan
        self._converters = signature.converters
        self._rest = signature.rest
        self._least = signature.least
        self._most = signature.most
        first = self._converters[0] if self._converters else None
        takes_one = self._least <= 1 and (self._most is None or self._most >= 1)
        self._single = first if takes_one and isinstance(first, type) and first in _EXACT else None
        """The type of a single argument that is passed on without conversion."""

    def bind(self, args: Sequence[Any]) -> Sequence[Any]:
        """Validate and convert arguments for the function. Raises :class:`~rtframework.InvalidPayload`."""
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
                bound.append(convert(value, kind))
            except Mismatch as mismatch:
                raise _invalid(self.name, position, mismatch.problems) from None
        return bound

    def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        """Bind the arguments and call the function. Await its result if ``is_async`` or the result is awaitable.

        ``event``: the event as middleware has passed it on; ``None`` without middleware.
        """
        return self.function(socket, *self.bind(args))

    def fits(self, count: int) -> bool:
        """Tell whether the function can be called with this number of arguments."""
        return self._least <= count and (self._most is None or count <= self._most)

    def _expectation(self) -> str:
        arguments = "argument" if self._least == 1 else "arguments"
        if self._most is None:
            return f"at least {self._least} {arguments}"
        if self._most == self._least:
            return f"{self._least} {arguments}"
        return f"{self._least} to {self._most} arguments"


class SpecialHandler(Handler):
    """A handler of one socket, with injected parameters, with ``ack``, or for one event only.

    ``takes_socket``: pass the socket to the function. ``spent``: called before the only call of a handler for one
    event; ``False``: the handler has been used already.
    """

    __slots__ = ("_spent", "_takes_socket")

    def __init__(
        self,
        name: str | int,
        function: HandlerFunction,
        signature: Signature,
        *,
        ordered: bool | None = False,
        takes_socket: bool = True,
        spent: Callable[[Handler], bool] | None = None,
    ) -> None:
        super().__init__(name, function, signature, ordered=ordered)
        self._takes_socket = takes_socket
        self._spent = spent
        if self.plan is not None and not self.plan.is_plain:
            self.is_async = True

    def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        """Bind the arguments and call the function. Return ``DEFERRED`` if it takes ``ack``."""
        bound = self.bind(args)
        # Only arguments that fit use the handler up: bind() has raised for others.
        if self._spent is not None and not self._spent(self):
            return None
        leading = (socket,) if self._takes_socket else ()
        plan = self.plan
        if plan is None:
            return self.function(*leading, *bound)
        result = plan.apply(Scope(socket, packet, event), self.function, leading, bound)
        if not self.takes_ack:
            return result
        return _deferred(result) if self.is_async or isawaitable(result) else DEFERRED


async def _deferred(result: Awaitable[Any]) -> Deferred:
    await result
    return DEFERRED


class _Unknown:
    """Refuses an event that has no handler, with ``unknown_event``."""

    is_async: Final = False
    ordered: Final = False

    def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        name = f" for {packet.data[0]!r}" if packet is not None else ""
        raise EventError("unknown_event", f"no handler{name}")


class _LeftToCatchAll:
    """Leaves the answer to an event without a handler to a catch-all that takes ``ack``."""

    is_async: Final = False
    ordered: Final = False

    def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        return DEFERRED


UNKNOWN: Final = _Unknown()
LEFT_TO_CATCH_ALL: Final = _LeftToCatchAll()


class LifecycleHandler:
    """A handler of ``connection``, called with ``(socket)``, or of a disconnect, called with ``(socket, reason)``.

    With ``takes_socket=False``, for a handler of one socket, it is called with ``()`` or ``(reason)``. Further
    parameters are injected.
    """

    __slots__ = ("_takes_reason", "_takes_socket", "function", "name", "once", "plan")

    def __init__(
        self,
        name: str,
        function: HandlerFunction,
        signature: LifecycleSignature,
        *,
        takes_socket: bool = True,
        once: bool = False,
    ) -> None:
        self.name = name
        self.function = function
        self.once = once
        self._takes_socket = takes_socket
        self._takes_reason = signature.takes_reason
        self.plan = signature.plan

    async def __call__(self, socket: Any, *reason: str) -> None:
        leading = (socket,) if self._takes_socket else ()
        args = reason if self._takes_reason else ()
        if self.plan is None:
            result = self.function(*leading, *args)
        else:
            result = self.plan.apply(Scope(socket), self.function, leading, args)
        await maybe_await(result)


def _invalid(name: str | int, position: int, problems: Sequence[Problem]) -> InvalidPayload:
    details = [{"path": f"$[{position}]{each['path'][1:]}", "message": each["message"]} for each in problems]
    return InvalidPayload(f"{name!r}: {details[0]['message']} at {details[0]['path']}", details)
