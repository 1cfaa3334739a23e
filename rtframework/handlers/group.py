"""Several handlers of one event, called as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..concurrency import is_cancelled, run_abreast
from ..exceptions import EventError
from ..logs import ThrottledLog
from ..packets import to_ack
from .event import DEFERRED

if TYPE_CHECKING:
    from ..concurrency import TaskSet
    from ..types import Packet
    from .event import Acknowledging, Event
    from .handler import Handler
    from .idempotent import IdempotentHandler
    from .limited import LimitedHandler
    from .returns import CheckedHandler

    ReadyHandler: TypeAlias = Handler | CheckedHandler | LimitedHandler | IdempotentHandler
    """A handler with all that is in front of it."""

log: Final = logging.getLogger("rtframework.socket")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a handler of %r")


class HandlerGroup:
    """Handlers of one event, in the order of registration.

    They start in that order, without waiting for each other. The first answer is sent to the client: a return value
    other than ``None``, an ``EventError`` raised, or a call of ``ack``. If none answers, the acknowledgement is empty,
    or ``internal_error`` if one of the handlers failed.
    """

    __slots__ = ("_tasks", "handlers", "ordered")

    is_async: Final = True

    def __init__(self, handlers: Sequence[ReadyHandler], tasks: TaskSet) -> None:
        self.handlers = tuple(handlers)
        self.ordered = any(each.ordered for each in handlers)
        self._tasks = tasks

    def __call__(
        self, socket: Acknowledging, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Awaitable[Any]:
        """Run all handlers, and send the first answer to the client at once.

        With ``event``, under middleware, the first answer is not sent but returned when all are done, so that
        middleware can change it.
        """
        return self._run(socket, args, packet, event, _Outcome(socket, packet if event is None else None))

    def observed(self, socket: Acknowledging, event: Event) -> Awaitable[Any]:
        """Run all handlers for an event that only observers have seen; send the first answer at once."""
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
        handler: ReadyHandler,
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
            # Middleware sees the exception before the exception handlers do.
            result = await socket._explain(error, packet) if outcome.is_early else error
        if isinstance(result, BaseException) and not isinstance(result, EventError):
            outcome.fail(handler.name, result)
        else:
            outcome.take(result)
        result = None  # an exception's traceback refers to this frame: break the cycle


class Explained(Exception):
    """Carries a final ``EventError``: the exception handlers have been asked already and are not asked again."""

    def __init__(self, error: EventError) -> None:
        super().__init__(error)
        self.error = error


class _Outcome:
    """The answers and failures of a group's handlers for one event."""

    __slots__ = ("_answer", "_deferred", "_failed", "_failure", "_packet", "_socket")

    def __init__(self, socket: Acknowledging, packet: Packet | None) -> None:
        self._socket = socket
        self._packet = packet
        self._answer: Any = None
        self._deferred = False
        self._failed = False
        self._failure: tuple[str | int, BaseException] | None = None

    @property
    def is_early(self) -> bool:
        """True if the first answer is sent to the client at once; false if it is left to middleware."""
        return self._packet is not None

    def take(self, answer: Any) -> None:
        """Take the return value of a handler, or the ``EventError`` that it raised."""
        if answer is DEFERRED:
            self._deferred = True
        elif answer is not None and self._answer is None:
            self._answer = answer
            if self._packet is not None:
                args = [answer.to_payload()] if isinstance(answer, EventError) else to_ack(answer)
                self._socket._answer(self._packet, args)

    def fail(self, event: str | int, error: BaseException) -> None:
        """Take the exception of a handler: log it, unless it is the first and left to middleware."""
        if self._packet is None and self._failure is None:
            self._failure = (event, error)
        else:
            self._failed = True
            self._log(event, error)

    def result(self) -> Any:
        """Return the answer or raise the error of all handlers, as ``Explained`` unless it is left to middleware."""
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
            del answer, failure  # the traceback of the exception raised refers to this frame: break the cycle

    def _log(self, event: str | int, error: BaseException) -> None:
        where = {"nsp": self._socket.nsp, "sid": self._socket.id, "event": event}
        _failed(event, error=error, key=event, extra=where)
