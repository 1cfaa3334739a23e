"""``History``: which rooms keep what was said in them, how much of it, and where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Final

from ..exceptions import ConfigurationError
from ..options import check_object, whole_number
from ..packets import check_event_name, event_key
from ..types import KeptRoom
from .room_rules import RoomRule, compile_rule

if TYPE_CHECKING:
    from ..protocols import HistoryStore

RESERVED: Final = frozenset({"presence", "presence_join", "presence_leave", "presence_update", "history"})
"""Events that the server itself emits to rooms; no history keeps them."""

DEFAULT: Final = 50
"""Entries of a page, if nobody says how many."""

_YEAR: Final = 31_622_400.0
_METHODS: Final = ("start", "close", "append", "read", "clear")


@dataclass(frozen=True, slots=True)
class History:
    """Rooms whose events are kept for sockets that join later: ``Server(history=History("chat:{room}"))``.

    ``room``: the rooms, see ``rtframework.adapters.room_rules.RoomRule``. Of several, the first that fits a room
    counts. Rooms that begin with ``$`` have no history. Raises :class:`~rtframework.ConfigurationError`.

    Example::

        io = Server(history=History("chat:{room}", size=500, ttl=86_400))

        @io.on("enter")
        async def enter(socket: Socket, room: str) -> None:
            await socket.join(f"chat:{room}", history=50)
    """

    room: RoomRule
    _: KW_ONLY
    size: int = 100
    """Events that a room keeps. Beyond: the oldest are discarded."""
    ttl: float | None = None
    """Seconds for which an event is kept, at most a year. ``None``: as long as there is room."""
    events: Collection[str | int] | None = None
    """The names of the events that are kept; ``None``: all."""
    nsp: str | None = None
    """The namespace, or the parent of namespaces, that it is for; ``None``: all."""
    store: HistoryStore | None = None
    """The place where they are kept; ``None``: with the adapter, in memory for one server."""
    page: int = 100
    """Entries of one page, whatever is asked for."""
    page_bytes: int = 262_144
    """Bytes of the events of one page, about; a page has one entry at least."""
    fits: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Tells whether a room is one of them."""
    names: frozenset[str] | None = field(init=False, repr=False, compare=False)
    """The keys of ``events``."""

    def __post_init__(self) -> None:
        for name in ("size", "page", "page_bytes"):
            object.__setattr__(self, name, whole_number(f"History: {name}", getattr(self, name), least=1))
        ttl = self.ttl
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= _YEAR):
            raise ConfigurationError(f"History: ttl is a number of seconds up to a year, not {ttl!r}")
        if isinstance(self.events, str):
            raise ConfigurationError(f"History: events are several names: write events=[{self.events!r}]")
        keys = None if self.events is None else frozenset(event_key(check_event_name(each)) for each in self.events)
        if self.nsp is not None and (not isinstance(self.nsp, str) or not self.nsp.startswith("/")):
            raise ConfigurationError(
                f'History: nsp is the name of a namespace, which begins with "/", not {self.nsp!r}'
            )
        if self.store is not None:
            check_object("History: store", self.store, _METHODS, "store=MemoryHistory(), or leave it out")
        object.__setattr__(self, "fits", compile_rule(self.room, "History"))
        object.__setattr__(self, "names", keys)

    def keeps(self, event: str | int) -> bool:
        """Tell whether events of a name are kept."""
        key = event_key(event)
        return key not in RESERVED and (self.names is None or key in self.names)

    def of(self, room: str) -> KeptRoom:
        """Return what is kept of a room."""
        return KeptRoom(room, self.size, self.ttl)


def histories_of(given: History | Iterable[History] | None) -> tuple[History, ...]:
    """Return the histories of the option ``history=``. Raises ``ConfigurationError`` for anything else."""
    if given is None or isinstance(given, History):
        return () if given is None else (given,)
    wanted = 'history is a History or several: write history=History("chat:{room}")'
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{wanted}, not {given!r}")
    several = tuple(given)
    for each in several:
        if not isinstance(each, History):
            raise ConfigurationError(f"{wanted}, not {each!r}")
    return several


def no_history(room: str) -> ConfigurationError:
    """Make the error for a room without history."""
    return ConfigurationError(f"the room {room!r} has no history: write Server(history=History(...)) for its name")


def history_of(rules: Iterable[History], nsp: str, room: str) -> History | None:
    """Return the history of a room, the first that fits; ``None`` without one."""
    if room.startswith("$"):
        return None
    return next((rule for rule in rules if rule.nsp in (None, nsp) and rule.fits(room)), None)
