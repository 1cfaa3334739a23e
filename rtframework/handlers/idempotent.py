"""Handlers that serve an event once, however often its client sends it, and the decorator that makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from msgspec import inspect

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, InvalidPayload, RateLimited
from ..packets import event_key
from .validation import is_pydantic

if TYPE_CHECKING:
    from ..limits.limit import Limit
    from ..types import Packet
    from .event import Event
    from .handler import Handler
    from .returns import CheckedHandler
    from .signatures import Parameter, Signature

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__rtframework_idempotent__"

NAMES: Final = ("event_id", "client_offset")
"""Names of the parameter that ``idempotent=True`` stands for; the second is that of Socket.IO's tutorial."""

LONGEST_ID: Final = 256
"""Characters of an id."""


def idempotent(source: bool | str = True) -> Callable[[F], F]:
    """Let the decorated event handler serve an event once: under ``@io.event``, in a ``Namespace`` class, anywhere.

    It is what ``@io.on("message", idempotent=...)`` does, for handlers that are registered by their name. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        class Chat(Namespace):
            @idempotent("client_offset")
            async def on_message(self, socket: Socket, text: str, client_offset: str) -> None:
                await self.emit("message", text)
    """
    if callable(source):
        raise ConfigurationError("idempotent() is called: write @idempotent() above the function")
    _check(source)

    def mark(function: F) -> F:
        setattr(function, _MARK, source)
        return function

    return mark


def source_for(function: Callable[..., Any], given: bool | str | None) -> bool | str:
    """Return where the id of an event is: as given with its registration, or else as :func:`idempotent` says."""
    if given is None:
        source: bool | str = getattr(function, _MARK, False)
        return source
    _check(given)
    return given


def _check(source: object) -> None:
    if not isinstance(source, bool) and (not isinstance(source, str) or not all(source.split("."))):
        raise ConfigurationError(
            "idempotent is True, or the name of the parameter that has the id of the event, such as "
            f'"client_offset" or "message.id", not {source!r}'
        )


class EventId:
    """The place of the id among the arguments of an event: an argument, or a field of one.

    ``source``: ``True``, or the name of a parameter, and after a dot that of a field. Raises
    :class:`~rtframework.ConfigurationError` for a handler that has no such parameter, or answers by ``ack``.
    """

    __slots__ = ("_fields", "_index", "_what", "name")

    def __init__(self, signature: Signature, source: bool | str) -> None:
        who = signature.who
        if signature.takes_ack:
            raise ConfigurationError(f"{who} is idempotent and has a parameter 'ack': return the answer instead")
        names = [each.name for each in signature.parameters if not each.variadic]
        if source is True:
            found = [name for name in NAMES if name in names]
            if len(found) != 1:
                raise ConfigurationError(
                    f"{who} is idempotent, and has no parameter {NAMES[0]!r} or {NAMES[1]!r} for the id that a client "
                    'gives each event: add one, or name another parameter, as in idempotent="message.id"'
                )
            source = found[0]
        assert isinstance(source, str)
        parameter, *self._fields = source.split(".")
        if parameter not in names:
            raise ConfigurationError(f"{who} has no parameter {parameter!r} for the id of an event: it has {names}")
        self.name = source
        self._index = names.index(parameter)
        self._what = f"the id {source!r}"
        _check_type(who, signature.parameters[self._index], self._fields, source)

    def find(self, event: str | int, args: Sequence[Any]) -> str | None:
        """Return the id of an event as text; ``None`` if it has none. Raises :class:`~rtframework.InvalidPayload`."""
        value = args[self._index] if self._index < len(args) else None
        for field in self._fields:
            if not isinstance(value, dict):
                return None  # the handler's types decide if that is an error
            value = value.get(field)
        if value is None:
            return None
        if type(value) is int:
            return f"#{value}"
        if type(value) is not str or not 0 < len(value) <= LONGEST_ID:
            path = "".join(f".{each}" for each in self._fields)
            message = f"{self._what} is a text of 1 to {LONGEST_ID} characters, or a whole number"
            details = [{"path": f"$[{self._index}]{path}", "message": message}]
            raise InvalidPayload(f"{event!r}: {message} at {details[0]['path']}", details)
        return f"${value}"


def _check_type(who: str, parameter: Parameter, fields: Sequence[str], source: str) -> None:
    kind = parameter.type
    for field in fields:
        known = _fields_of(kind)
        if known is None:
            return
        if field not in known:
            raise ConfigurationError(f"{who}: nothing is {field!r} of {source!r}: there are {sorted(known)}")
        kind = known[field]
    if not _is_id(kind):
        raise ConfigurationError(f"{who}: the id {source!r} is annotated as {kind!r}: annotate it as str or int")


def _fields_of(kind: Any) -> Mapping[str, Any] | None:
    """Return the types of the fields of an object as clients send it; ``None`` if they are not known."""
    if is_pydantic(kind):
        fields = getattr(kind, "model_fields", None)
        return fields and {field.alias or name: field.annotation for name, field in fields.items()}
    try:
        info = inspect.type_info(kind)
    except (TypeError, NameError):
        return None
    if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        hints = get_type_hints(info.cls)
        return {field.encode_name: hints.get(field.name, Any) for field in info.fields}
    return None


def _is_id(kind: Any) -> bool:
    """Tell whether a type takes text or whole numbers."""
    if isinstance(kind, NewType):
        return _is_id(kind.__supertype__)
    if get_origin(kind) is Annotated:
        return _is_id(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return any(map(_is_id, get_args(kind)))
    return kind in (Any, object) or (isinstance(kind, type) and issubclass(kind, str | int | UUID) and kind is not bool)


class IdempotentHandler:
    """A handler that serves the event of an id once.

    ``place``: tells it from the other handlers of the event, on all servers alike. ``limit``: its rate; an event that
    was served already is answered beyond it, too.
    """

    __slots__ = ("_handler", "_id", "_key", "_limit", "_place", "name", "ordered")

    is_async: Final = True

    def __init__(self, handler: Handler | CheckedHandler, id: EventId, place: str, limit: Limit | None) -> None:
        self._handler = handler
        self._id = id
        self._place = place
        self._limit = limit
        self._key = event_key(handler.name)
        self.name = handler.name
        self.ordered = handler.ordered

    async def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        """Call the handler, or return the answer that it has given before. Raises :class:`~rtframework.RateLimited`."""

        def call() -> Any:
            return self._handler(socket, args, packet, event)

        def refused() -> RateLimited | None:
            wait = 0.0 if self._limit is None else socket._take(self._limit, self.name)
            return RateLimited(wait) if wait else None

        id = self._id.find(self.name, args)
        if id is not None:
            return await socket._serve_once(self._key, self._place, id, call, refused)
        limited = refused()
        if limited is not None:
            raise limited
        return await maybe_await(call())
