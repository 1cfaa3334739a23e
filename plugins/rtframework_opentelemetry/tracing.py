"""Spans for the events and connections of one server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, Status, StatusCode

from rtframework.concurrency import is_cancelled
from rtframework.counters import CONNECTED, INTERNAL_ERROR, INVALID_NAMESPACE, UNKNOWN
from rtframework.exceptions import EventError
from rtframework.logs import ThrottledLog, show_event
from rtframework.namespaces.labels import label_of
from rtframework.types import Handshake

from .trace_context import handshake_context, payload_context

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

    from rtframework import Event, Server, Socket
    from rtframework.protocols import CallNext

FromPayload: TypeAlias = "Callable[[Event], Context | None]"
FromHandshake: TypeAlias = "Callable[[Handshake], Context | None]"

log: Final = logging.getLogger("rtframework.opentelemetry")

_handshake_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in from_handshake")
_payload_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in from_payload")

_SYSTEM: Final = "socket.io"


class Tracing:
    """Makes a span for each event, and one for each client that connects to a namespace.

    ``tracer_provider``: makes the spans; OpenTelemetry's global provider by default.
    ``from_payload``: ``(event) -> Context | None``, the parent of an event's span; by default ``traceparent`` in its
    last argument, see :func:`payload_context`. The function may change ``event.args``. ``None``: the payload is not
    read.
    ``from_handshake``: ``(handshake) -> Context | None``, the parent of spans that have no other; by default
    ``traceparent`` in the client's ``auth`` or in its headers, see :func:`handshake_context`. ``None``: each span
    without a parent in the payload begins a trace.

    If a span is current already, e.g. one of an instrumentation of aiohttp, it is the parent instead of the
    handshake's. The new span is the current one in the handlers.

    Example::

        io = Server()
        Tracing(io)
    """

    def __init__(
        self,
        io: Server,
        *,
        tracer_provider: TracerProvider | None = None,
        from_payload: FromPayload | None = payload_context,
        from_handshake: FromHandshake | None = handshake_context,
    ) -> None:
        self._io = io
        self._tracer = trace.get_tracer("rtframework", tracer_provider=tracer_provider)
        self._from_payload = from_payload
        self._from_handshake = from_handshake
        self._handshakes: WeakKeyDictionary[Socket, Context | None] = WeakKeyDictionary()
        io.observe(self)

    # --- called by the server ---------------------------------------------------------------------------------------

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        """Make a span for a client that connects to a namespace, until its connection handlers have returned."""
        parent = None if _has_parent() else self._in_handshake(handshake)
        attributes = {"messaging.system": _SYSTEM, "messaging.operation.name": "connect"}
        span = self._tracer.start_span("connect", parent, SpanKind.SERVER, attributes)
        token = attach(trace.set_span_in_context(span, parent))
        try:
            outcome = await call_next()
            if span.is_recording():
                self._describe(span, handshake.nsp, outcome)
            return outcome
        finally:
            detach(token)
            span.end()

    async def event(self, socket: Socket, event: Event, call_next: CallNext) -> Any:
        """Make a span for an event."""
        parent = self._in_payload(socket, event) if self._from_payload is not None else None
        if parent is None and not _has_parent():
            parent = self._of_handshake(socket)
        name, label = event.name, socket.namespace.label
        known = label_of(socket, name)
        packet = event.packet
        attributes = {
            "messaging.system": _SYSTEM,
            "messaging.operation.type": "process",
            "messaging.operation.name": known,
            "messaging.destination.name": socket.nsp,
            "messaging.client.id": socket.id,
            "rtframework.transport": socket.transport,
        }
        if label != socket.nsp:
            attributes["messaging.destination.template"] = label
        is_answered = packet is not None and packet.id is not None
        kind = SpanKind.SERVER if is_answered else SpanKind.CONSUMER
        span = self._tracer.start_span(f"{known} {label}", parent, kind, attributes)
        token = attach(trace.set_span_in_context(span, parent))
        try:
            return await call_next()
        except BaseException as error:
            _record(span, error)
            raise
        finally:
            detach(token)
            if event.name != name:  # middleware has changed the name
                known = label_of(socket, event.name)
                span.update_name(f"{known} {label}")
                span.set_attribute("messaging.operation.name", known)
            span.end()

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    # --- inside -----------------------------------------------------------------------------------------------------

    def _of_handshake(self, socket: Socket) -> Context | None:
        try:
            return self._handshakes[socket]
        except KeyError:
            context = self._handshakes[socket] = self._in_handshake(socket.handshake)
            return context

    # The program's functions may fail for unexpected data of a client; the client is served all the same.

    def _in_handshake(self, handshake: Handshake) -> Context | None:
        try:
            return None if self._from_handshake is None else self._from_handshake(handshake)
        except Exception as error:  # noqa: BLE001 - logged
            _handshake_failed(error=error, extra={"nsp": handshake.nsp})
            return None

    def _in_payload(self, socket: Socket, event: Event) -> Context | None:
        try:
            return None if self._from_payload is None else self._from_payload(event)
        except Exception as error:  # noqa: BLE001 - logged
            extra = {"nsp": socket.nsp, "sid": socket.id, "event": show_event(event.name)}
            _payload_failed(error=error, extra=extra)
            return None

    def _describe(self, span: Span, nsp: str, outcome: str) -> None:
        namespace = self._io.namespaces.get(nsp)
        label = UNKNOWN if namespace is None or outcome == INVALID_NAMESPACE else namespace.label
        span.update_name(f"connect {label}")
        span.set_attribute("rtframework.outcome", outcome)
        span.set_attribute("messaging.destination.name", nsp)
        if label != nsp:
            span.set_attribute("messaging.destination.template", label)
        if outcome != CONNECTED:
            span.set_attribute("error.type", outcome)
        if outcome == INTERNAL_ERROR:
            span.set_status(Status(StatusCode.ERROR, "internal error"))


def _has_parent() -> bool:
    return trace.get_current_span().get_span_context().is_valid


def _record(span: Span, error: BaseException) -> None:
    """Record an exception in a span. The status is not set to error for an ``EventError``, which is an answer.

    An exception is the code ``internal_error``.
    """
    if isinstance(error, GeneratorExit) or is_cancelled(error):
        span.set_attribute("error.type", "cancelled")
    elif isinstance(error, EventError):
        span.set_attribute("error.type", error.code)
        if error.code == INTERNAL_ERROR:
            span.set_status(Status(StatusCode.ERROR, error.message))
    else:
        span.set_attribute("error.type", type(error).__qualname__)
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
