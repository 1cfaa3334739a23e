"""Several handlers of one event that act as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import is_cancelled, run_abreast
from ..exceptions import EventError
from ..packets import to_ack
from .event import DEFERRED

if TYPE_CHECKING:
    from ..concurrency import TaskSet
    from ..types import Packet
    from .event import Acknowledging, Event
    from .handler import Handler
    from .returns import CheckedHandler

log: Final = logging.getLogger("rtframework.socket")


class HandlerGroup:
    """Handlers of one event, in the order of registration.

    They start in that order, and one that waits does not hold up the next. The first that answers is the one whose
    answer counts: by returning something other than ``None``, by raising an ``EventError``, or by ``ack``. When none
    does, the answer is empty, or ``internal_error`` if one of them failed.
    """

    __slots__ = ("_tasks", "handlers", "ordered")

    is_async: Final = True

    def __init__(self, handlers: Sequence[Handler | CheckedHandler], tasks: TaskSet) -> None:
        self.handlers = tuple(handlers)
        self.ordered = any(each.ordered for each in handlers)
        self._tasks = tasks

    def __call__(
        self, socket: Acknowledging, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Awaitable[Any]:
        """Run them all; the client has the first answer as soon as it is there.

        Under middleware, with ``event``, the first answer is what is returned, for middleware to see it before.
        """
        return self._run(socket, args, packet, event, _Outcome(socket, packet if event is None else None))

    def observed(self, socket: Acknowledging, event: Event) -> Awaitable[Any]:
        """As without middleware, for an event that observers have seen."""
        return self._run(socket, event.args, event.packet, event, _Outcome(socket, event.packet))

    async def _run(
        self,
        socket: Acknowledging,
        args: Sequence[Any],
        packet: Packet | None,
        event: Event | None,
        outcome: _Outcome,
    ) -> Any:
        works = [partial(self._one, each, socket, args, packet, event, outcome) for each in self.handlers]
        await run_abreast(works, self._tasks)
        return outcome.result()

    async def _one(
        self,
        handler: Handler | CheckedHandler,
        socket: Acknowledging,
        args: Sequence[Any],
        packet: Packet | None,
        event: Event | None,
        outcome: _Outcome,
    ) -> None:
        try:
            result = handler(socket, args, packet, event)
            if handler.is_async or isawaitable(result):
                result = await result
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            # Under middleware it is the middleware's turn first.
            result = await socket._explain(error, packet) if outcome.is_early else error
        if isinstance(result, BaseException) and not isinstance(result, EventError):
            outcome.fail(handler.name, result)
        else:
            outcome.take(result)
        result = None  # an exception holds this frame


class Explained(Exception):
    """What has become of an event when exception handlers have been asked: they are not to be asked again."""

    def __init__(self, error: EventError) -> None:
        super().__init__(error)
        self.error = error


class _Outcome:
    """What they have made of one event so far."""

    __slots__ = ("_answer", "_deferred", "_failed", "_failure", "_packet", "_socket")

    def __init__(self, socket: Acknowledging, packet: Packet | None) -> None:
        self._socket = socket
        self._packet = packet
        self._answer: Any = None
        self._deferred = False
        self._failed = False
        self._failure: tuple[str, BaseException] | None = None

    @property
    def is_early(self) -> bool:
        """Return whether the client has its answer as soon as there is one; else it is left to middleware."""
        return self._packet is not None

    def take(self, answer: Any) -> None:
        """Take what one handler has returned, or the ``EventError`` that it has raised."""
        if answer is DEFERRED:
            self._deferred = True
        elif answer is not None and self._answer is None:
            self._answer = answer
            if self._packet is not None:
                args = [answer.to_payload()] if isinstance(answer, EventError) else to_ack(answer)
                self._socket._answer(self._packet, args)

    def fail(self, event: str, error: BaseException) -> None:
        """One of them has failed: this is logged, unless it is left to middleware."""
        if self._packet is None and self._failure is None:
            self._failure = (event, error)
        else:
            self._failed = True
            self._log(event, error)

    def result(self) -> Any:
        """Return or raise the outcome of all handlers; raise ``Explained`` unless it is left to middleware."""
        answer, failure = self._answer, self._failure
        self._answer = self._failure = None
        try:
            unanswered = answer is None and not self._deferred
            if failure is not None:
                if unanswered:
                    raise failure[1]
                self._log(*failure)
            if unanswered and self._failed:
                raise Explained(EventError("internal_error", "Internal server error"))
            if isinstance(answer, EventError):
                raise answer if self._packet is None else Explained(answer)
            return DEFERRED if answer is None and self._deferred else answer
        finally:
            del answer, failure  # what is raised holds this frame

    def _log(self, event: str, error: BaseException) -> None:
        where = {"nsp": self._socket.nsp, "sid": self._socket.id, "event": event}
        log.error("unhandled error in a handler of %r", event, exc_info=error, extra=where)
