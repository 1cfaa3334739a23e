"""The trace context that a client sends (W3C Trace Context)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from rtframework import Event, Handshake

_propagator: Final = TraceContextTextMapPropagator()

_ENVELOPE: Final = frozenset({"traceparent", "tracestate", "baggage"})
"""Keys that OpenTelemetry's own clients put into a carrier."""
_MAX: Final = 512
"""Characters of a header, at most."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_KEY: Final = r"(?:[a-z][-_0-9a-z*/]{0,255}|[a-z0-9][-_0-9a-z*/]{0,240}@[a-z][-_0-9a-z*/]{0,13})"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = rf"[ \t]*(?:{_KEY}={_VALUE})?[ \t]*"
_TRACESTATE: Final = re.compile(rf"{_MEMBER}(?:,{_MEMBER}){{0,31}}")


def payload_context(event: Event) -> Context | None:
    """Return the context in the last argument of an event, if that is an object with ``traceparent``, else ``None``.

    ``tracestate`` is read as well; baggage is not, because the program would pass on values that a client has chosen.
    An object with only these three keys is removed from the arguments: the client's instrumentation has added it.

    In the browser::

        const carrier = {};
        propagation.inject(context.active(), carrier);
        socket.emit("message", "hello", carrier);
    """
    args = event.args
    last = args[-1] if args else None
    if not isinstance(last, dict) or "traceparent" not in last:
        return None
    if last.keys() <= _ENVELOPE:
        del args[-1]
    return _context_in(last)


def handshake_context(handshake: Handshake) -> Context | None:
    """Return the context in the client's ``auth``, or else in the headers of its handshake, or else ``None``."""
    return _context_in(handshake.auth) or _context_in(handshake.headers)


def _context_in(carrier: Mapping[str, Any]) -> Context | None:
    # Checked here first, because OpenTelemetry logs each invalid header, and clients can send any number of them.
    parent, state = carrier.get("traceparent"), carrier.get("tracestate")
    if not isinstance(parent, str) or len(parent) > _MAX or not _TRACEPARENT.fullmatch(parent):
        return None
    headers = {"traceparent": parent}
    if isinstance(state, str) and len(state) <= _MAX and _TRACESTATE.fullmatch(state):
        headers["tracestate"] = state
    context = _propagator.extract(headers)
    return context if get_current_span(context).get_span_context().is_valid else None
