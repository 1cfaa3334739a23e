"""Values for parameters that the client does not send: from the program's providers, and from the server."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
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
    """A dependency on a provider, made by :func:`Depends`."""

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
def Depends(provider: Callable[..., Coroutine[Any, Any, T]], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: Callable[..., T], *, use_cache: bool = True) -> T: ...
@overload
def Depends(provider: None = None, *, use_cache: bool = True) -> Any: ...
def Depends(provider: Provider | None = None, *, use_cache: bool = True) -> Any:
    """Fill a parameter with the value of ``provider``: ``db: Database = Depends(get_db)``.

    The client does not send such a parameter. ``Depends`` works in handlers of events, of ``connection``,
    ``disconnecting`` and ``disconnect``, in both kinds of middleware, in exception handlers, and in providers
    themselves. ``Annotated[Database, Depends(get_db)]`` means the same.

    ``provider``: a function or a class, plain or ``async``; a plain one runs on the event loop, so it must not block.
    A generator, plain or ``async``, yields the value once and cleans up afterwards: after the handler has returned and
    before its answer is sent, or after the handler has raised; the exception is raised at the ``yield``. Without
    ``provider``, the class in the parameter's annotation is the provider. The parameters of a provider are filled like
    those of handlers: by ``Depends``, and by annotation or name with ``socket: Socket``, ``server: Server``,
    ``app: web.Application``, ``ack: Ack`` and ``event: Event``.

    What an ``async`` function returns is awaited, and so is a coroutine that a plain one returns. Other values of a
    plain function are injected as they are, also when they could be awaited: a ``Task``, a connection of aiosqlite or
    of SQLAlchemy.

    A provider is called once for an event, and middleware and handler share its value; ``use_cache=False``: it is
    called for each parameter. Several handlers of one event, which run concurrently, do not share values.

    A provider refuses the event by raising ``EventError``, the connection by raising ``ConnectionRefused``.
    ``Server.dependency_overrides`` replaces providers, for tests.

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
    """The socket that sent an event, or the namespace that receives an event of another server."""

    @property
    def server(self) -> Any:
        """The server."""


class Passing(Protocol):
    """An event or a connecting client on its way through middleware."""

    found: Mapping[Hashable, Any] | None
    """Values of providers that middleware has used so far, by the provider's key."""


class Scope:
    """The values that can be injected while one event is handled."""

    __slots__ = ("caller", "event", "packet")

    def __init__(self, caller: Caller, packet: Packet | None = None, event: Passing | None = None) -> None:
        self.caller = caller
        self.packet = packet
        self.event = event

    @property
    def found(self) -> Mapping[Hashable, Any]:
        """Values of providers that the surrounding middleware has used, by the provider's key."""
        return (self.event.found if self.event is not None else None) or {}


class Supply(NamedTuple):
    """A value of the server's that can be injected into a parameter."""

    name: str
    get: Callable[[Scope], Any]
    by_name: bool
    """True if it also fills a parameter of this name without an annotation."""


SUPPLIES: Final[dict[str, Supply]] = {}
TYPES: Final[dict[type, Supply]] = {}


def supply(kind: type, name: str, get: Callable[[Scope], Any], *, by_name: bool = True) -> None:
    """Fill parameters annotated with a class by calling ``get``; ``by_name``: also those called ``name``."""
    SUPPLIES[name] = TYPES[kind] = Supply(name, get, by_name)


class Place(NamedTuple):
    """A kind of call, such as an event or a connection, and the values that can be injected into it."""

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
    """Tell whether calling an annotation makes an object: a class, or a generic class with its parameters."""
    origin = get_origin(annotation)
    if origin is None:
        return isinstance(annotation, type) and annotation not in UNCHECKED
    return isinstance(origin, type) and callable(annotation) and origin is not type and not inspect.isabstract(origin)


def wanted_by(
    function: Callable[..., Any], parameter: inspect.Parameter, who: str, place: Place
) -> Dependency | Supply | None:
    """Return the dependency or the server's value for a parameter; ``None`` if it is not injected.

    ``who``: the function's name in error messages. Raises :class:`~rtframework.ConfigurationError`.
    """
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
        else:  # the name may be imported for the type checker only
            meant = annotation is UNRESOLVED and str(parameter.annotation).rpartition(".")[2] == kind.__name__
        if meant:
            return each
    named = SUPPLIES.get(parameter.name)
    if named is None or not named.by_name or is_data(annotation):
        return None
    if named.name == "ack":  # a reserved name
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
