"""What parameters can ask for that the client does not send: the program's providers, and what the server has."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Hashable,
    Iterator,
    Mapping,
)
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    NamedTuple,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from ..exceptions import ConfigurationError
from ..types import Packet, PacketType
from .annotations import UNCHECKED, UNRESOLVED, annotation_of, is_data, where
from .event import CONNECTION, Ack, Event

if TYPE_CHECKING:
    from .event import Acknowledging

T = TypeVar("T")

Provider = Callable[..., Any]


class Dependency:
    """What :func:`Depends` makes."""

    __slots__ = ("provider", "use_cache")

    def __init__(self, provider: Provider | None, use_cache: bool) -> None:
        self.provider = provider
        self.use_cache = use_cache

    def __repr__(self) -> str:
        return f"Depends({where(self.provider) if self.provider is not None else ''})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dependency):
            return NotImplemented
        return self.provider == other.provider and self.use_cache == other.use_cache

    def __hash__(self) -> int:
        return hash(self.use_cache)


@overload
def Depends(provider: Callable[..., AsyncGenerator[T, None]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., AsyncIterator[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., Generator[T, None, None]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., Iterator[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., Awaitable[T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., T], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: None = None, *, use_cache: bool = True) -> Any: ...
def Depends(provider: Provider | None = None, *, use_cache: bool = True) -> Any:
    """Have a parameter filled with what ``provider`` gives: ``db: Database = Depends(get_db)``.

    A parameter with it is not filled by the client. It works in handlers of events, of ``connection``,
    ``disconnecting`` and ``disconnect``, in both kinds of middleware, in exception handlers, and in providers
    themselves. ``Annotated[Database, Depends(get_db)]`` is the same.

    ``provider``: a function or a class, plain or ``async``; a plain one runs on the event loop, so it must not block.
    A generator, plain or ``async``, yields the value once and cleans up after it: when the handler has returned and
    before its answer is sent, or when it has raised, which the generator sees at its ``yield``. Without a provider, it
    is the class that the parameter is annotated with. Its own parameters are filled as those of handlers are: by
    ``Depends``, and by annotation or name with ``socket: Socket``, ``server: Server``, ``app: web.Application``,
    ``ack: Ack`` and ``event: Event``.

    A provider is called once for an event, however many ask for it, middleware and handler; ``use_cache=False``: each
    gets its own. Several handlers of one event, which run side by side, have each their own as well.

    An ``EventError`` that a provider raises refuses the event, a ``ConnectionRefused`` the connection.
    ``Server.dependency_overrides`` puts others in their place, for tests.

    Example::

        async def get_db(app: web.Application) -> AsyncIterator[Database]:
            async with app[POOL].acquire() as db:
                yield db

        @io.on("save")
        async def save(socket: Socket, text: str, db: Database = Depends(get_db)) -> None:
            await db.insert(text)
    """
    if provider is not None and not callable(provider):
        raise ConfigurationError(f"Depends takes a function or a class, not {provider!r}")
    return Dependency(provider, use_cache)


class Caller(Protocol):
    """The socket that an event comes from, or the namespace that another server's event is for."""

    @property
    def server(self) -> Any:
        """The server."""


class Passing(Protocol):
    """An event, or a client that connects, on its way through middleware."""

    found: Mapping[Hashable, Any] | None
    """What the middleware has got from providers so far."""


class Scope:
    """What can be injected while a function serves one event."""

    __slots__ = ("caller", "event", "packet")

    def __init__(self, caller: Caller, packet: Packet | None = None, event: Passing | None = None) -> None:
        self.caller = caller
        self.packet = packet
        self.event = event

    @property
    def found(self) -> Mapping[Hashable, Any]:
        """Values that providers have given to the middleware around it."""
        return (self.event.found if self.event is not None else None) or {}


class Supply(NamedTuple):
    """Something that the server fills a parameter with."""

    name: str
    get: Callable[[Scope], Any]
    by_name: bool
    """Whether a parameter that has its name and no annotation is meant."""


SUPPLIES: Final[dict[str, Supply]] = {}
TYPES: Final[dict[type, Supply]] = {}


def supply(kind: type, name: str, get: Callable[[Scope], Any], *, by_name: bool = True) -> None:
    """Parameters that are annotated with this class are filled with what ``get`` gives."""
    SUPPLIES[name] = TYPES[kind] = Supply(name, get, by_name)


class Place(NamedTuple):
    """Where a function is called, and what there is to be injected there."""

    name: str
    supplies: frozenset[str]


_HERE: Final = frozenset({"socket", "server", "app"})
IN_EVENT: Final = Place("an event", _HERE | {"ack", "event"})
IN_ERROR: Final = Place("an exception", _HERE | {"event"})
IN_CONNECTION: Final = Place("a connection", _HERE)
IN_SERVER_SIDE_EVENT: Final = Place("an event of another server", frozenset({"server", "app"}))
IN_OUTGOING: Final = Place("an event that goes out", frozenset())


VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _is_class(annotation: Any) -> bool:
    """Return whether an object can be made by calling an annotation: a class, or a generic one with its parameters."""
    origin = get_origin(annotation)
    if origin is None:
        return isinstance(annotation, type) and annotation not in UNCHECKED
    return isinstance(origin, type) and callable(annotation) and origin is not type and not inspect.isabstract(origin)


def wanted_by(
    function: Callable[..., Any], parameter: inspect.Parameter, who: str, place: Place
) -> Dependency | Supply | None:
    """Find what a parameter is filled with. Return ``None`` when it is not injected."""
    annotation = annotation_of(function, parameter)
    if parameter.kind in VARIABLE:
        if any(isinstance(each, Dependency) for each in get_args(annotation)):
            raise ConfigurationError(f"{who}: {parameter} takes any number of arguments: none of them is injected")
        return None
    dependency = parameter.default if isinstance(parameter.default, Dependency) else None
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        dependency = next((each for each in notes if isinstance(each, Dependency)), dependency)
    if dependency is None:
        return _supply_of(parameter, annotation, place)
    if dependency.provider is not None:
        return dependency
    if _is_class(annotation):
        return Dependency(annotation, dependency.use_cache)
    raise ConfigurationError(f"{who}: {parameter.name!r} has a Depends() without a provider, and no class")


def _supply_of(parameter: inspect.Parameter, annotation: Any, place: Place) -> Supply | None:
    """Find what the server fills a parameter with, by its annotation or by its name."""
    for kind, each in TYPES.items():
        if isinstance(annotation, type):
            meant = issubclass(annotation, kind)
        else:  # perhaps a name that only the type checker imports
            meant = annotation is UNRESOLVED and str(parameter.annotation).rpartition(".")[2] == kind.__name__
        if meant:
            return each
    named = SUPPLIES.get(parameter.name)
    if named is None or not named.by_name or is_data(annotation):
        return None
    if named.name == "ack":  # is reserved
        return named
    return named if annotation is inspect.Parameter.empty and named.name in place.supplies else None


def _ack_of(scope: Scope) -> Ack:
    return Ack(cast("Acknowledging", scope.caller), scope.packet or Packet(PacketType.EVENT))


def _event_of(scope: Scope) -> Event:
    if isinstance(scope.event, Event):
        return scope.event
    name, *args = scope.packet.data if scope.packet is not None else [CONNECTION]
    return Event(name, args, scope.packet)


supply(Ack, "ack", _ack_of)
supply(Event, "event", _event_of, by_name=False)
