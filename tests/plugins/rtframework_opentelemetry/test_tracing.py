"""The OpenTelemetry plugin: the spans of what real clients do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from rtframework import ConnectionRefused, Event, EventError, Server, Socket
from rtframework.protocols import CallNext
from rtframework_opentelemetry import Tracing, payload_context
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
PARENT: Final = f"00-{TRACE}-{SPAN}-01"
OTHER_TRACE: Final = "1" * 32
OTHER_PARENT: Final = f"00-{OTHER_TRACE}-{'2' * 16}-01"


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    async def wait_for(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """The spans of that name, as soon as there are so many. An answer may be there before its span has ended."""
        await until(lambda: len(self.named(name)) >= count)
        found = self.named(name)
        assert len(found) == count
        return found

    def named(self, name: str) -> list[ReadableSpan]:
        """Those that have ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Spans:
    """A provider of spans that keeps them."""
    return Spans()


def parent_of(span: ReadableSpan) -> tuple[str, str] | None:
    """Trace and span of the parent, in hexadecimal."""
    parent = span.parent
    return None if parent is None else (format_trace_id(parent.trace_id), format_span_id(parent.span_id))


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


async def test_a_span_for_each_event(serve: Serve, js: JSClients, transport: Transport, spans: Spans) -> None:
    """A slow request could not be followed from the page into the server."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)
    current: list[Any] = []

    @io.of("/room/{id}").on("say")
    async def say(socket: Socket, text: str) -> str:
        current.append(trace.get_current_span().get_span_context().span_id)
        await asyncio.sleep(0)
        current.append(trace.get_current_span().get_span_context().span_id)
        return text

    client = await js.connect((await serve(io)).url + "/room/7", via=transport)
    assert await client.emit_with_ack("say", "hi") == "hi"
    await client.emit("say", "ho")
    first, second = await spans.wait_for("say /room/{id}", 2)
    assert attributes_of(first) == {
        "messaging.system": "socket.io",
        "messaging.operation.type": "process",
        "messaging.operation.name": "say",
        "messaging.destination.name": "/room/7",
        "messaging.destination.template": "/room/{id}",
        "messaging.client.id": await client.id(),
        "rtframework.transport": transport.final,
    }
    assert (first.kind, second.kind) == (SpanKind.SERVER, SpanKind.CONSUMER)
    assert first.status.status_code is StatusCode.UNSET
    assert [each.context.span_id for each in (first, first, second, second) if each.context] == current
    assert parent_of(first) is None

    io.of("/room/{id}").on(7)(lambda socket: "seven")
    assert await client.emit_with_ack(7) == "seven"
    (numbered,) = await spans.wait_for("7 /room/{id}")
    assert attributes_of(numbered)["messaging.operation.name"] == "7"

    (connect,) = await spans.wait_for("connect /room/{id}")
    assert attributes_of(connect)["rtframework.outcome"] == "connected"
    assert attributes_of(connect)["messaging.destination.name"] == "/room/7"


async def test_the_trace_of_the_client_goes_on(serve: Serve, js: JSClients, transport: Transport, spans: Spans) -> None:
    """The client's trace would end where it gets interesting."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)
    got: list[Any] = []

    @io.on("say")
    async def say(socket: Socket, text: str, more: dict[str, Any] | None = None) -> None:
        got.append(more)

    client = await js.connect((await serve(io)).url, via=transport, auth={"traceparent": OTHER_PARENT})
    await client.emit_with_ack("say", "one", {"traceparent": PARENT, "tracestate": "vendor=1"})
    await client.emit_with_ack("say", "two", {"traceparent": PARENT, "urgent": True})
    await client.emit_with_ack("say", "three")
    await client.emit_with_ack("say", "four", {"traceparent": "nonsense", "tracestate": ["x"]})
    one, two, three, four = await spans.wait_for("say /", 4)
    assert parent_of(one) == parent_of(two) == (TRACE, SPAN)
    assert one.context is not None
    assert one.context.trace_state.get("vendor") == "1"
    assert parent_of(three) == parent_of(four) == (OTHER_TRACE, "2" * 16)
    assert got == [None, {"traceparent": PARENT, "urgent": True}, None, None]
    (connect,) = await spans.wait_for("connect /")
    assert parent_of(connect) == (OTHER_TRACE, "2" * 16)


async def test_the_headers_of_the_handshake(serve: Serve, js: JSClients, transport: Transport, spans: Spans) -> None:
    """Programs of Node's whose HTTP client is instrumented send the context there."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)
    client = await js.connect((await serve(io)).url, via=transport, extraHeaders={"traceparent": PARENT})
    await client.emit("nobody listens")
    (span,) = await spans.wait_for("(unknown) /")
    assert parent_of(span) == (TRACE, SPAN)


async def test_a_program_may_find_the_context_elsewhere(serve: Serve, js: JSClients, spans: Spans) -> None:
    """Clients that write it in another way would have to be changed, and foreign ones could join our traces."""
    io = Server()

    def first_argument(event: Event) -> Any:
        return payload_context(Event(event.name, [{"traceparent": event.args.pop(0)}]))

    Tracing(io, tracer_provider=spans.provider, from_payload=first_argument, from_handshake=None)
    closed = io.of("/closed")

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        return text

    client = await js.connect((await serve(io)).url, extraHeaders={"traceparent": OTHER_PARENT})
    assert await client.emit_with_ack("say", PARENT, "hi") == "hi"
    (span,) = await spans.wait_for("say /")
    assert parent_of(span) == (TRACE, SPAN)
    (connect,) = await spans.wait_for("connect /")
    assert parent_of(connect) is None
    assert closed.label == "/closed"


async def test_a_search_for_the_context_that_fails(
    serve: Serve, js: JSClients, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in what only traces need would keep clients out."""
    io = Server()

    def fail(of: Any) -> Any:
        raise LookupError("nothing like that")

    Tracing(io, tracer_provider=spans.provider, from_payload=fail, from_handshake=fail)

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        return text

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("say", "hi") == "hi"
    await spans.wait_for("say /")
    records: list[Any] = [each for each in caplog.records if each.name == "rtframework.opentelemetry"]
    assert {each.getMessage() for each in records} == {
        "unhandled error in from_handshake",
        "unhandled error in from_payload",
    }
    assert [each.event for each in records if "payload" in each.getMessage()] == ["say"]


async def test_errors_are_in_the_span(serve: Serve, js: JSClients, transport: Transport, spans: Spans) -> None:
    """A failing handler would look like a fast one."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)

    @io.on("fail")
    async def fail(socket: Socket, how: str) -> None:
        await asyncio.sleep(0)
        if how == "refuse":
            raise EventError("not_now")
        raise KeyError("oops")

    @io.of("/closed").on("connection")
    async def closed(socket: Socket) -> None:
        raise ConnectionRefused("closed")

    client = await js.connect((await serve(io)).url, via=transport)
    for args in (("refuse",), ("break",), (5,)):
        await client.emit_with_ack("fail", *args)
    await client.emit_with_ack("nothing")
    refused, broken, invalid = await spans.wait_for("fail /", 3)
    (unknown,) = await spans.wait_for("(unknown) /")
    types = [attributes_of(each)["error.type"] for each in (refused, broken, invalid, unknown)]
    assert types == ["not_now", "KeyError", "invalid_payload", "unknown_event"]
    assert [each.status.status_code for each in (refused, broken)] == [StatusCode.UNSET, StatusCode.ERROR]
    (event,) = broken.events
    assert event.name == "exception"
    assert "oops" in str((event.attributes or {})["exception.stacktrace"])

    for name in ("/closed", "/nowhere"):
        await (await client.of(name, wait=False)).refused()
    (shut,) = await spans.wait_for("connect /closed")
    assert attributes_of(shut)["error.type"] == "connection_handler"
    (nowhere,) = await spans.wait_for("connect (unknown)")
    assert attributes_of(nowhere)["error.type"] == "invalid_namespace"


async def test_spans_do_not_leak_into_other_handlers(
    serve: Serve, js: JSClients, transport: Transport, spans: Spans
) -> None:
    """Handlers of different clients run in one task: one client's spans would be children of another's."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)
    go = asyncio.Event()
    tasks: set[Any] = set()

    @io.on("quick")
    async def quick(socket: Socket) -> None:
        tasks.add(asyncio.current_task())

    @io.on("wait")
    async def wait(socket: Socket) -> str:
        await go.wait()
        return format_span_id(trace.get_current_span().get_span_context().span_id)

    server = await serve(io)
    one, other = [await js.connect(server.url, via=transport) for _ in range(2)]
    for _ in range(10):
        await one.emit_with_ack("quick")
        await other.emit_with_ack("quick")
    assert len(tasks) <= 2, "a context that leaks costs a task for each event"  # the first of all may have another
    answers = [asyncio.ensure_future(each.emit_with_ack("wait")) for each in (one, other, one)]
    await one.emit_with_ack("quick")
    go.set()
    assert len(set(await asyncio.gather(*answers))) == 3
    waited = await spans.wait_for("wait /", 3)
    assert {format_span_id(span.context.span_id) for span in waited if span.context} == {
        each.result() for each in answers
    }
    assert all(span.parent is None for span in spans.exporter.get_finished_spans())


async def test_with_event_middleware(serve: Serve, js: JSClients, spans: Spans) -> None:
    """What middleware does and refuses would be outside of the span."""
    io = Server()
    Tracing(io, tracer_provider=spans.provider)
    inside: list[bool] = []

    @io.use_event
    async def middleware(socket: Socket, event: Event, call_next: CallNext) -> Any:
        inside.append(trace.get_current_span().get_span_context().is_valid)
        event.name = "say"
        return await call_next()

    @io.on("say")
    async def say(socket: Socket) -> str:
        return "said"

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("alias") == "said"
    (span,) = await spans.wait_for("say /")
    assert attributes_of(span)["messaging.operation.name"] == "say"
    assert inside == [True]


async def test_without_an_sdk_nothing_is_recorded(serve: Serve, js: JSClients) -> None:
    """A library that is instrumented must run in programs that are not."""
    io = Server()
    Tracing(io)

    @io.on("say")
    async def say(socket: Socket) -> bool:
        return trace.get_current_span().is_recording()

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("say") is False
