"""What was said in rooms before, as events of a stream: in one order, each once. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..types import PacketType, place_of
from .event_stream import BEGINNING, EventForm
from .packets import Outgoing

if TYPE_CHECKING:
    from ..types import HistoryEntry, HistoryPage


class Replay(NamedTuple):
    """Entries of several rooms in the order in which they were delivered.

    ``is_ordered`` is false if their ids do not tell it: then they are in order for each room, and none of them may be
    the last id of a client. ``newest``: the id of the last one, ``BEGINNING`` if there are none, empty if unknown.
    """

    entries: list[HistoryEntry]
    is_ordered: bool

    @property
    def newest(self) -> str:
        """The id from which on all that comes is new."""
        if not self.entries:
            return BEGINNING
        return self.entries[-1].id if self.is_ordered else ""

    def forms(self, *, as_array: bool = False) -> list[EventForm]:
        """Make the events; those that cannot be said in this format are left out."""
        found = []
        for entry in self.entries:
            data = None if entry.text else [*entry.data]
            form = EventForm(Outgoing(PacketType.EVENT, "/", None, entry.text, data), as_array=as_array)
            if form.settle(None):
                if self.is_ordered:
                    form.complete(entry.id.encode())
                found.append(form)
        return found


def replay_of(pages: Iterable[HistoryPage]) -> Replay:
    """Put the entries of pages in one order; one that is in several rooms comes once."""
    filled = [page.entries for page in pages if page.entries]
    if len(filled) == 1:
        return Replay(list(filled[0]), True)
    entries = {entry.id: entry for each in filled for entry in each}
    places = {id: place_of(id) for id in entries}
    epochs = {None if place is None else place[0] for place in places.values()}
    if None in epochs or len(epochs) > 1:
        return Replay(list(entries.values()), False)
    return Replay(sorted(entries.values(), key=lambda entry: places[entry.id] or ("", 0, 0)), True)
