"""What a client says of the trace that it is in."""

from __future__ import annotations

from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.trace import format_trace_id

from rtframework import Event, Handshake
from rtframework_opentelemetry import handshake_context, payload_context

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
PARENT: Final = f"00-{TRACE}-{SPAN}-01"
OTHER_TRACE: Final = "1" * 32
OTHER_PARENT: Final = f"00-{OTHER_TRACE}-{'2' * 16}-01"


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["text"],
        [{"other": 1}],
        [{"traceparent": None}],
        [{"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"}],
        [{"traceparent": PARENT + "-" + "x" * 600}],
        [{"traceparent": PARENT}, "not the last"],
    ],
)
def test_what_is_no_context(args: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """A client could break events, or fill the log, by what it calls its trace."""
    assert payload_context(Event("say", args)) is None
    assert not caplog.records


@pytest.mark.parametrize("state", ["=", "a=1,a=2", "A=1", "x" * 600, ",".join(f"k{i}=1" for i in range(40)), 7])
def test_what_is_no_trace_state(state: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same for what vendors add; the trace goes on without it."""
    context = payload_context(Event("say", [{"traceparent": PARENT, "tracestate": state}]))
    assert context is not None
    assert not len(trace.get_current_span(context).get_span_context().trace_state)
    assert not caplog.records


def test_the_handshake_says_it_in_auth_or_in_headers() -> None:
    """Browsers cannot set headers of websockets."""
    for handshake in (
        Handshake(auth={"traceparent": PARENT}, headers={"traceparent": OTHER_PARENT}),
        Handshake(headers={"traceparent": PARENT}),
    ):
        context = handshake_context(handshake)
        assert format_trace_id(trace.get_current_span(context).get_span_context().trace_id) == TRACE
    assert handshake_context(Handshake()) is None
