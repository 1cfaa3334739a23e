"""The subscriptions of one STOMP client: which of them an event goes to, and what waits for ACK."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

AUTO: Final = "auto"
CLIENT: Final = "client"
INDIVIDUAL: Final = "client-individual"
MODES: Final = frozenset({AUTO, CLIENT, INDIVIDUAL})

QUEUE: Final = "/user/queue/"
TOPIC: Final = "/topic/"
APP: Final = "/app/"

_MAX_WAITING: Final = 1_000
"""Messages of a subscription in the mode "client" that wait for ACK; the oldest is forgotten beyond it."""


class Subscription:
    """One subscription of a client. ``raw``: its id and its destination as they came, which go back as they are."""

    __slots__ = (
        "destination",
        "id",
        "is_for_all_events",
        "key",
        "lead",
        "mode",
        "number",
        "owns_room",
        "raw_id",
        "room",
        "version",
    )

    def __init__(self, id: str, destination: str, mode: str, number: int, version: str, raw: tuple[str, str]) -> None:
        self.id = id
        self.destination = destination
        self.raw_id = raw[0]
        self.mode = mode
        self.number = number
        """The number of the subscription on its connection, which is in the ``ack`` header of its messages."""
        self.version = version
        self.is_for_all_events = destination in (f"{QUEUE}*", f"{QUEUE}**")
        self.room: str | None = None
        """The room of a topic."""
        self.owns_room = False
        """True if the client is in the room because of its subscription."""
        self.lead = f"MESSAGE\nsubscription:{raw[0]}\n"
        if not self.is_for_all_events:
            self.lead += f"destination:{raw[1]}\n"
        self.key = (self.lead, version, 0 if mode == AUTO else number)
        """Equal for subscriptions whose messages are equal."""

    @property
    def queue(self) -> str:
        """The event of the client's own queue; ``*`` for all events."""
        return "*" if self.is_for_all_events else self.destination[len(QUEUE) :]


class Subscriptions:
    """The subscriptions of one client, by id, by room and by queue."""

    __slots__ = ("_by_id", "_queues", "_topics", "_waiting")

    def __init__(self) -> None:
        self._by_id: dict[str, Subscription] = {}
        self._topics: dict[str, list[Subscription]] = {}
        self._queues: dict[str, list[Subscription]] = {}
        self._waiting: dict[int, deque[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def get(self, id: str) -> Subscription | None:
        """Return the subscription with an id."""
        return self._by_id.get(id)

    def add(self, subscription: Subscription) -> None:
        """Add a subscription: to its room, if it has one, or to a queue of the client."""
        self._by_id[subscription.id] = subscription
        if subscription.room is not None:
            self._topics.setdefault(subscription.room, []).append(subscription)
        elif subscription.destination.startswith(QUEUE):
            self._queues.setdefault(subscription.queue, []).append(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        del self._by_id[subscription.id]
        self._waiting.pop(subscription.number, None)
        table, name = self._queues, subscription.queue
        if subscription.room is not None:
            table, name = self._topics, subscription.room
        found = table.get(name)
        if found is not None:
            found.remove(subscription)
            if not found:
                del table[name]

    def clear(self) -> None:
        """Remove all."""
        for each in (self._by_id, self._topics, self._queues, self._waiting):
            each.clear()

    def owns(self, room: str) -> bool:
        """Tell whether the client is in a room because of a subscription."""
        return any(each.owns_room for each in self._topics.get(room, ()))

    def in_room(self, room: str) -> bool:
        """Tell whether there is a subscription to a room."""
        return room in self._topics

    def readers_of(self, event: str, rooms: Collection[str] | None) -> list[Subscription]:
        """Return the subscriptions that an event goes to: those of its rooms, else those of the client's queues."""
        topics = self._topics
        if rooms is not None and topics:
            if len(rooms) == 1:
                (room,) = rooms
                found = topics.get(room)
                if found is not None:
                    return found
            else:
                several = [each for room, found in topics.items() if room in rooms for each in found]
                if several:
                    return several
        return self.queues_of(event)

    def queues_of(self, name: str) -> list[Subscription]:
        """Return the subscriptions of a queue of the client."""
        queues = self._queues
        if not queues:
            return []
        exact, every = queues.get(name), queues.get("*")
        if exact is None or every is None:
            return exact or every or []
        return [*exact, *every]

    def has_queue(self, name: str) -> bool:
        """Tell whether there is a subscription of just this queue."""
        return name in self._queues

    # --- what waits for ACK -----------------------------------------------------------------------------------------

    def ask(self, subscription: Subscription, number: int, id: int) -> None:
        """Note that the message with a number asks for an answer with an id, if its subscription answers in order."""
        if subscription.mode == CLIENT:
            self._waiting.setdefault(subscription.number, deque(maxlen=_MAX_WAITING)).append((number, id))

    def acknowledged(self, number: int, message: str) -> list[int]:
        """Return the ids of the answers that an ACK stands for: of one message, or of all up to it.

        ``number``: that of the subscription. Raises ``ValueError`` for what is no id of a message.
        """
        count, _, id = message.partition("-")
        ids = [_number(id)] if id else []
        this = _number(count)
        waiting = self._waiting.get(number)
        if waiting is not None:
            ids = []
            while waiting and waiting[0][0] <= this:
                ids.append(waiting.popleft()[1])
        return ids


def _number(text: str) -> int:
    """Read a number of the server's own, as it comes back. Raises ``ValueError`` for anything else."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise ValueError("an id that is none of the server's")
    return int(text)
