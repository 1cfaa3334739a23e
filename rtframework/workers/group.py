"""A worker's place in its group: slot, table, the other workers, and the way to them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..adapters.cluster_view import VERSION
from ..cluster.messages import Message
from ..cluster.pubsub_wire import decode
from ..concurrency import TaskSet, is_cancelled, maybe_await
from ..exceptions import ClusterUnavailable, ConfigurationError
from ..logs import ThrottledLog
from . import wire, wire_rooms
from .history import read_kept
from .link import Link
from .questions import Gathered, Questions
from .shared_table import SharedTable, SlotState

if TYPE_CHECKING:
    from types import TracebackType

    from ..types import KeptRoom
    from .history import WorkersHistory

log: Final = logging.getLogger("rtframework.workers")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in what another worker has sent")
_alone: Final = ThrottledLog(
    log, logging.ERROR, "the broker of the workers has gone: this worker is alone, and has to end"
)

Answering = Callable[[bytes], "Awaitable[bytes] | bytes"]


class Own(Protocol):
    """A message of this worker that is to be read back."""

    def read(self, number: int) -> None:
        """It is its turn."""

    def fail(self, error: ClusterUnavailable) -> None:
        """The connection has ended before."""


class Hearing(Protocol):
    """An adapter, as the group sees it. ``recovers``: messages are kept for its clients that may come back."""

    recovers: bool
    history_keeper: WorkersHistory

    def take_event(self, number: int, event: Any) -> None:
        """Handle an event of another worker."""

    def take(self, number: int, message: Message) -> None:
        """Handle any other message of another worker."""

    def member_gone(self, name: str) -> None:
        """Another worker has gone, or serves the namespace no longer."""

    def session_taken(self, pid: str, sid: str) -> None:
        """Another worker has the client of a session."""

    def missed(self, since: float) -> None:
        """Messages since a time were dropped, because this worker did not read."""

    def state(self, up: bool) -> None:
        """The broker has gone."""


class Group:
    """The workers of one port, as one of them sees them; made by :func:`join`.

    ``slot``: this worker's number. ``table``: the memory that all share. ``name``: of this worker, which no other has.
    ``on_lost``: called when the broker has gone: this worker is alone from then on, and has to end.
    """

    def __init__(self, directory: Path, name: str, on_lost: Callable[[], None] | None, max_pending: int) -> None:
        self.directory = directory
        self.name = name
        self.on_lost = on_lost
        self.slot: int
        self.table: SharedTable
        self.rooms: memoryview[int] | array[int]
        """The counters of this worker's rooms, which the broker reads."""
        self.epoch = ""
        self.at = 0
        """Number of the last message that was handled here: all before it that concern this worker were, too."""
        self.published = self.received = 0
        self.adapters: dict[str, Hearing] = {}
        self.members: dict[int, wire.Member] = {}
        """The other workers, by slot."""
        self.link = Link(self._take, self._lost, max_pending)
        self._own: deque[Own] = deque()
        self._questions = Questions()
        self._answering: dict[str, Answering] = {}
        self._tasks = TaskSet()
        self._me: wire.Member

    def __repr__(self) -> str:
        return f"<Group {self.directory} slot={self.slot} name={self.name}>"

    async def __aenter__(self) -> Group:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.leave()

    async def enter(self) -> None:
        """Connect to the broker. Raises :class:`~rtframework.ClusterUnavailable`."""
        host, version = socket.gethostname(), VERSION
        self._me = wire.Member(-1, self.name, os.getpid(), host, version, time.time())
        try:
            welcome, fd = await self.link.open(str(self.directory / wire.SOCKET), wire.Hello(self._me))
        except (OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"the broker in {self.directory} cannot be reached: {error}") from error
        self.slot = self._me.slot = welcome.slot
        self.epoch = welcome.epoch
        self.table = SharedTable(fd)
        os.close(fd)
        self.rooms = self.table.rooms(self.slot)
        self.at = self.table.head
        self.members = {member.slot: member for member in welcome.members}

    async def leave(self) -> None:
        """End the connection."""
        await self.link.close()
        await self._tasks.cancel()
        self._let_go()
        self.table.close()

    def _let_go(self) -> None:
        """Write into the table no more: the slot may be another worker's."""
        if isinstance(self.rooms, memoryview):
            counters = self.rooms
            self.rooms = array("I", counters)
            counters.release()

    def crash(self) -> None:
        """End the connection as ``kill -9`` does; for tests."""
        self.link.abort()
        self._let_go()

    @property
    def up(self) -> bool:
        """True while the broker is there, and answers."""
        return not self.link.problem

    def set_state(self, state: SlotState) -> None:
        """Write the state of this worker into the table."""
        self.table.set_state(self.slot, state)

    def spawn(self, work: Awaitable[Any]) -> None:
        """Run something in the background, until this worker leaves. Its error is logged."""
        task = self._tasks.spawn(_run(work))
        if asyncio.iscoroutine(work):
            task.add_done_callback(lambda _: work.close())  # one that has not begun when it is cancelled

    # --- questions ----------------------------------------------------------------------------------------------------

    def answer(self, topic: str, function: Answering) -> None:
        """Answer questions of this topic: ``function`` gets their data and returns the answer, or awaits it."""
        self._answering[topic] = function

    async def gather(self, topic: str, data: bytes = b"", timeout: float = 2.0) -> Gathered:
        """Ask all workers, this one too. What they answer within ``timeout`` seconds is in the result, by name."""
        id, question = self._questions.ask([self.name, *(member.name for member in self.members.values())])
        it = wire.Question(id, topic, data)
        if self.members and self.link.is_open:
            self.send_to_all(wire.encode_question(it))
        self.spawn(self._answer(None, it))
        return await self._questions.result(id, question, timeout)

    async def _answer(self, slot: int | None, question: wire.Question) -> None:
        function = self._answering.get(question.topic)
        data = None
        if function is not None:
            try:
                data = await maybe_await(function(question.data))
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                _failed(error=error)
        answer = wire.Answer(question.id, data)
        if slot is None:
            self._questions.answer(answer, self.name)
        else:
            self.link.send(wire.direct(slot, wire.encode_answer(answer)))

    # --- for adapters -------------------------------------------------------------------------------------------------

    def open(self, key: str, adapter: Hearing) -> None:
        """Let a namespace take part. Raises :class:`~rtframework.ConfigurationError` if there is one of this key."""
        if key in self.adapters:
            raise ConfigurationError(f"two servers of one process have the same name: {key!r}")
        self.link.check()
        self.adapters[key] = adapter
        self.link.send(wire.control(wire.Serves(key, True)))

    def shut(self, key: str) -> None:
        """Let a namespace take part no longer."""
        if self.adapters.pop(key, None) is not None and self.link.is_open:
            self.link.send(wire.control(wire.Serves(key, False)))

    def serving(self, key: str) -> list[str]:
        """Return the names of the other workers that serve a namespace."""
        return [member.name for member in self.members.values() if key in member.serves]

    def slot_of(self, name: str) -> int | None:
        """Return the slot of another worker."""
        return next((slot for slot, member in self.members.items() if member.name == name), None)

    def publish(self, flags: int, buckets: Iterable[int], payload: bytes, own: Own | None = None) -> None:
        """Publish a message. ``own``: told when it is its turn, in the order of all messages."""
        if own is not None:
            flags |= wire.READ_BACK
            self._own.append(own)
        self.published += 1
        self.link.send(wire.publish(flags, tuple(buckets), payload))

    def publish_kept(
        self, flags: int, buckets: Iterable[int], key: str, rooms: Sequence[KeptRoom], payload: bytes, own: Own
    ) -> None:
        """Publish a message that the history of rooms of a namespace keeps."""
        self._own.append(own)
        self.published += 1
        flags |= wire.READ_BACK
        self.link.send(wire_rooms.publish_kept(flags, tuple(buckets), key, rooms, payload))

    def send_to_all(self, payload: bytes) -> None:
        """Send a message to all other workers."""
        self.publish(wire.TO_ALL, (), payload)

    def send_to(self, name: str, payload: bytes) -> None:
        """Send a message to one worker; it is lost if that has gone."""
        slot = self.slot_of(name)
        if slot is not None:
            self.published += 1
            self.link.send(wire.direct(slot, payload))

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _take(self, frame: bytes) -> None:
        """Handle a frame. No mistake of another worker's must end the connection."""
        kind = frame[0]
        try:
            if kind == wire.EVENT:
                number = self.at = wire.number_of(frame)
                self._take_payload(frame[1], number, frame[wire.EVENT_HEAD :])
            elif kind == wire.OWN:
                number = self.at = wire.number_of(frame)
                self._own.popleft().read(number)
            elif kind == wire.DIRECT:
                self._take_payload(frame[1], self.at, frame[2:])
            elif kind == wire.ROOMS:
                answer = wire_rooms.read_by_worker(frame)
                self.link.answered(answer.request, answer)
            else:
                message = wire.read_by_worker(frame)
                handle = _HANDLERS.get(type(message))
                if handle is None:
                    self.link.answered(message.request, message)
                else:
                    handle(self, message)
        except Exception as error:  # noqa: BLE001 - logged
            _failed(error=error)

    def _take_payload(self, slot: int, number: int, payload: bytes) -> None:
        self.received += 1
        kind = payload[0]
        if kind == wire.IS_EVENT:
            event = wire.read_event(payload)
            adapter = self.adapters.get(event.key)
            if adapter is not None:
                adapter.take_event(number, event)
        elif kind == wire.IS_MESSAGE:
            self._take_message(number, payload[1:])
        elif kind == wire.IS_KEPT:
            kept = read_kept(payload)
            adapter = self.adapters.get(kept.key)
            if adapter is not None:
                adapter.history_keeper.take(number, kept)
        elif kind == wire.IS_JOIN:
            buckets, start = wire.read_join(payload)
            try:
                self._take_message(number, payload[start:])
            finally:
                self.link.send(wire.control(wire.Done(list(buckets))))
        elif kind == wire.IS_QUESTION:
            self.spawn(self._answer(slot, wire.read_question(payload)))
        elif kind == wire.IS_ANSWER and slot in self.members:
            self._questions.answer(wire.read_answer(payload), self.members[slot].name)

    def _take_message(self, number: int, data: bytes) -> None:
        message = decode(data)
        adapter = self.adapters.get(message.nsp)
        if adapter is not None:
            adapter.take(number, message)

    def _joined(self, message: wire.Joined) -> None:
        self.members[message.member.slot] = message.member

    def _left(self, message: wire.Left) -> None:
        member = self.members.pop(message.slot, None)
        if member is not None:
            self._questions.gone(member.name)
            for adapter in list(self.adapters.values()):
                adapter.member_gone(member.name)

    def _serves(self, message: wire.Serves) -> None:
        member = self.members.get(message.slot)
        if member is None:
            return
        if message.does:
            member.serves.append(message.key)
        elif message.key in member.serves:
            member.serves.remove(message.key)
            adapter = self.adapters.get(message.key)
            if adapter is not None:
                adapter.member_gone(member.name)

    def _taken(self, message: wire.TakenSession) -> None:
        adapter = self.adapters.get(message.key)
        if adapter is not None:
            adapter.session_taken(message.pid, message.sid)

    def _missed(self, message: wire.Missed) -> None:
        for adapter in list(self.adapters.values()):
            adapter.missed(message.since)

    def _alive(self, message: wire.Alive) -> None:
        pass

    def _lost(self) -> None:
        """The broker has gone."""
        self._let_go()
        own, self._own = self._own, deque()
        for each in own:
            each.fail(ClusterUnavailable("the broker of the workers has gone", uncertain=True))
        for member in list(self.members.values()):
            self._left(wire.Left(member.slot))
        for adapter in list(self.adapters.values())[:1]:
            adapter.state(False)
        _alone()
        if self.on_lost is not None:
            self.on_lost()


_HANDLERS: Final[Mapping[type, Callable[[Group, Any], None]]] = {
    wire.Joined: Group._joined,
    wire.Left: Group._left,
    wire.Serves: Group._serves,
    wire.TakenSession: Group._taken,
    wire.Missed: Group._missed,
    wire.Alive: Group._alive,
}


async def _run(work: Awaitable[Any]) -> None:
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        _failed(error=error)


async def join(
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    on_lost: Callable[[], None] | None = None,
    max_pending: int = 8 * 1024 * 1024,
) -> Group:
    """Join the group of workers whose broker listens in a directory. Leave it with ``await group.leave()``.

    ``name``: of this worker, which no other has; host, process and a random part by default. ``on_lost``: called when
    the broker has gone. ``max_pending``: bytes on their way to the broker beyond which emits wait.

    Raises :class:`~rtframework.ClusterUnavailable`.

    Example::

        async with await join("/run/user/1000/workers") as group:
            print(group.slot)
    """
    group = Group(Path(directory), name or new_name(), on_lost, max_pending)
    await group.enter()
    return group


def new_name() -> str:
    """Make a name for a worker: host, process and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
