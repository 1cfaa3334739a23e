"""The Prometheus plugin: what a scrape shows of what real clients do."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rtframework import ClusterUnavailable, ConfigurationError, Event, EventError, Server, Socket
from rtframework.protocols import CallNext
from rtframework_prometheus import Metrics
from rtframework_prometheus.event_counts import MOST
from tests.conftest import Serve
from tests.support.backbone import Broker, FakeBackbone
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until

DASHBOARD: Final = Path(__file__).parents[3] / "docs/grafana/rtframework.json"


def value_of(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample; ``None`` when there is no such series."""
    return metrics.registry.get_sample_value(name, labels)


def measured(io: Server, **options: Any) -> Metrics:
    """Metrics with a registry of their own."""
    return Metrics(io, CollectorRegistry(), **options)


async def test_events_are_counted(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A release that fails on every second event would look like the one before."""
    io = Server()
    metrics = measured(io)
    tenants = io.of("/tenant/{name}")

    @io.on("divide")
    async def divide(socket: Socket, one: int, other: int) -> int:
        if other == 13:
            raise EventError("unlucky")
        return one // other

    @tenants.on("slow")
    async def slow(socket: Socket) -> None:
        await asyncio.sleep(0.03)

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    for args in ((4, 2), (4, 1), (4, 0), (4, 13), (4, "2")):
        await client.emit_with_ack("divide", *args)
    await client.emit("divide", 1, 1)
    await client.barrier()
    events = {
        outcome: value_of(metrics, "rtframework_events_total", namespace="/", event="divide", outcome=outcome)
        for outcome in ("ok", "internal_error", "unlucky", "invalid_payload")
    }
    assert events == {"ok": 3, "internal_error": 1, "unlucky": 1, "invalid_payload": 1}
    assert value_of(metrics, "rtframework_acks_total", namespace="/", event="divide") == 5
    assert value_of(metrics, "rtframework_handler_seconds_count", namespace="/", event="divide") == 6

    for tenant in ("/tenant/a", "/tenant/b"):
        await (await client.of(tenant)).emit_with_ack("slow")
    labels = {"namespace": "/tenant/{name}", "event": "slow"}
    assert value_of(metrics, "rtframework_handler_seconds_count", **labels) == 2
    assert value_of(metrics, "rtframework_handler_seconds_bucket", **labels, le="0.025") == 0
    assert value_of(metrics, "rtframework_handler_seconds_bucket", **labels, le="+Inf") == 2
    seconds = value_of(metrics, "rtframework_handler_seconds_sum", **labels)
    assert seconds is not None
    assert seconds >= 0.06
    assert value_of(metrics, "rtframework_sockets", namespace="/tenant/{name}") == 2
    assert value_of(metrics, "rtframework_connections", transport=transport.final) == 1


async def test_traffic_is_counted(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What a broadcast to a thousand clients costs the network would not show."""
    io = Server()
    metrics = measured(io)

    @io.on("echo")
    async def echo(socket: Socket, data: str) -> str:
        return data

    def passed(what: str, direction: str) -> float:
        return value_of(metrics, f"rtframework_{what}_total", direction=direction) or 0.0

    client = await js.connect((await serve(io)).url, via=transport)
    before = {(what, way): passed(what, way) for what in ("packets", "bytes") for way in ("in", "out")}
    await client.emit_with_ack("echo", "x" * 1000)
    after = {key: passed(*key) - value for key, value in before.items()}
    assert after["packets", "in"] == after["packets", "out"] == 1
    assert 1000 < after["bytes", "in"] < 1100
    assert 1000 < after["bytes", "out"] < 1100


async def test_clients_make_no_series(serve: Serve, js: JSClients, transport: Transport) -> None:
    """One client with a loop would fill the memory of the server, and of Prometheus."""
    io = Server()
    metrics = measured(io)

    @io.on_any
    async def anything(socket: Socket, event: str, *args: Any, ack: Any) -> None:
        ack("seen")

    client = await js.connect((await serve(io)).url, via=transport)
    for number in range(30):
        assert await client.emit_with_ack(f"made up {number}") == "seen"
    assert value_of(metrics, "rtframework_events_total", namespace="/", event="(unknown)", outcome="ok") == 30
    await (await client.of("/made up", wait=False)).refused()
    text = generate_latest(metrics.registry).decode()
    assert "made up" not in text
    assert value_of(metrics, "rtframework_connects_total", outcome="invalid_namespace") == 1


async def test_programs_make_not_too_many_series(serve: Serve, js: JSClients) -> None:
    """A handler for each order number would be a series for each."""
    io = Server()
    metrics = measured(io)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        for number in range(MOST + 20):
            socket.on(f"order {number}")(lambda: "ok")

    client = await js.connect((await serve(io)).url)
    assert await asyncio.gather(*(client.emit_with_ack(f"order {number}") for number in range(MOST + 20))) == [
        "ok" for _ in range(MOST + 20)
    ]
    assert value_of(metrics, "rtframework_events_total", namespace="(other)", event="(other)", outcome="ok") == 20


async def test_an_event_that_middleware_renames(serve: Serve, js: JSClients) -> None:
    """What it was served as is what an operator looks for."""
    io = Server()
    metrics = measured(io)

    @io.use_event
    async def alias(socket: Socket, event: Event, call_next: CallNext) -> Any:
        event.name = "say"
        return await call_next()

    @io.on("say")
    async def say(socket: Socket) -> str:
        return "said"

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("shout") == "said"
    assert value_of(metrics, "rtframework_events_total", namespace="/", event="say", outcome="ok") == 1


async def test_exceptions_that_a_program_explains(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A refusal in good order would be counted, and alerted on, as a failure."""
    io = Server()
    metrics = measured(io)
    asked: list[str] = []

    @io.exception_handler(PermissionError)
    async def forbidden(socket: Socket, error: PermissionError) -> EventError:
        asked.append(str(error))
        return EventError("forbidden")

    @io.exception_handler(KeyError)
    def empty(socket: Socket, error: KeyError) -> list[str]:
        return []

    @io.on("fail")
    async def fail(socket: Socket, how: str) -> None:
        raise {"forbid": PermissionError, "miss": KeyError, "break": ValueError}[how](how)

    client = await js.connect((await serve(io)).url, via=transport)
    assert (await client.emit_with_ack("fail", "forbid"))["error"]["code"] == "forbidden"
    assert await client.emit_with_ack("fail", "miss") == []
    assert (await client.emit_with_ack("fail", "break"))["error"]["code"] == "internal_error"
    assert asked == ["forbid"]
    for outcome in ("forbidden", "ok", "internal_error"):
        count = value_of(metrics, "rtframework_events_total", namespace="/", event="fail", outcome=outcome)
        assert count == 1, outcome
    assert io.stats().events_refused["forbidden"] == 1


async def test_the_event_loop_that_is_held_up(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who computes in a handler holds up all clients, and nothing would say so."""
    io = Server()
    metrics = measured(io, lag_interval=0.01)

    @io.on("compute")
    async def compute(socket: Socket) -> None:
        time.sleep(0.15)  # noqa: ASYNC251 - that is what is to be noticed

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    await until(lambda: value_of(metrics, "rtframework_event_loop_lag_seconds_count"))
    await client.emit_with_ack("compute")

    def late() -> float:
        every = value_of(metrics, "rtframework_event_loop_lag_seconds_count") or 0.0
        return every - (value_of(metrics, "rtframework_event_loop_lag_seconds_bucket", le="0.1") or 0.0)

    await until(lambda: late() >= 1)
    await client.disconnect()
    await server.stop()
    count = value_of(metrics, "rtframework_event_loop_lag_seconds_count")
    await asyncio.sleep(0.05)
    assert value_of(metrics, "rtframework_event_loop_lag_seconds_count") == count, "it is measured after the end"


async def test_a_scrape(serve: Serve, js: JSClients) -> None:
    """Prometheus asks for one of two formats, and takes no other."""
    io = Server()
    metrics = measured(io)

    @io.on("ask")
    async def ask(socket: Socket) -> str:
        return "told"

    app = web.Application()
    io.attach(app)
    app.router.add_get("/metrics", metrics.handler)
    server = await serve(app)
    await (await js.connect(server.url)).emit_with_ack("ask")
    parsers: Mapping[str, Any] = {
        "text/plain;version=0.0.4": parse_text,
        "application/openmetrics-text": parse_openmetrics,
    }
    async with aiohttp.ClientSession() as session:
        for accept, parse in parsers.items():
            async with session.get(server.url + "/metrics", headers={"Accept": accept}) as response:
                assert response.status == 200
                assert response.headers["Content-Type"].startswith(accept.partition(";")[0])
                families = {family.name: family for family in parse(await response.text())}
            (sample,) = [each for each in families["rtframework_events"].samples if each.name.endswith("_total")]
            assert (sample.labels, sample.value) == ({"namespace": "/", "event": "ask", "outcome": "ok"}, 1.0)
            assert all(name.startswith("rtframework_") for name in families)


async def test_a_scrape_of_another_thread(serve: Serve, js: JSClients) -> None:
    """``prometheus_client.start_http_server`` reads while the event loop writes: it would fail now and then."""
    io = Server()
    metrics = measured(io)
    seen: list[int] = []

    class Watched(Metrics):
        def _collect(self) -> Any:
            seen.append(threading.get_ident())
            return super()._collect()

    watched = Watched(io, CollectorRegistry())
    client = await js.connect((await serve(io)).url)
    seen.clear()
    text = await asyncio.to_thread(generate_latest, watched.registry)
    assert b"rtframework_connections" in text
    assert seen == [threading.get_ident()]
    assert await asyncio.to_thread(generate_latest, metrics.registry)
    await client.barrier()


def test_mistakes_are_found_at_once() -> None:
    """A wrong bucket would be found by looking at an empty graph."""
    for options in ({"handler_buckets": ()}, {"lag_buckets": (2, 1)}, {"handler_buckets": (0, 1)}, {"lag_interval": 0}):
        with pytest.raises(ConfigurationError):
            Metrics(Server(), CollectorRegistry(), **options)
    registry = CollectorRegistry()
    Metrics(Server(), registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(Server(), registry)


# --- the dashboard ----------------------------------------------------------------------------------------------------


def queries() -> list[str]:
    """Every PromQL expression of the dashboard."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "expr" in node:
                found.append(node["expr"])
            if node.get("type") == "query" and "name" in node:
                found.append(node["query"]["query"])
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(json.loads(DASHBOARD.read_text(encoding="utf-8")))
    return found


async def test_the_cluster_is_shown(serve: Serve) -> None:
    """An operator would hear of lost messages from the users."""
    broker = Broker()
    io = Server(adapter=FakeBackbone(broker, "one"))
    metrics = measured(io)
    await serve(io)
    assert value_of(metrics, "rtframework_cluster_up") == 1
    for name in ("gaps", "lost", "reconnects"):
        assert value_of(metrics, f"rtframework_cluster_{name}_total") == 0
    broker.gap(12.5)
    broker.fail()
    with pytest.raises(ClusterUnavailable):
        await io.emit("news")
    assert value_of(metrics, "rtframework_cluster_up") == 0
    assert value_of(metrics, "rtframework_cluster_gaps_total") == 1
    assert value_of(metrics, "rtframework_cluster_lost_total") == 1
    assert value_of(metrics, "rtframework_cluster_messages_total", direction="out") == 0
    assert value_of(metrics, "rtframework_cluster_pending_bytes") == 0
    broker.recover()
    assert value_of(measured(Server()), "rtframework_cluster_up") is None, "there are no others"


async def exported(serve: Serve, js: JSClients) -> dict[str, set[str]]:
    """The names of all samples, each with its labels, of a server that has served something."""
    io = Server(adapter=FakeBackbone(Broker(), "one"))
    metrics = measured(io)

    @io.on("ask")
    async def ask(socket: Socket) -> str:
        return "told"

    await (await js.connect((await serve(io)).url)).emit_with_ack("ask")
    names: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


async def test_the_dashboard_asks_for_what_is_there(serve: Serve, js: JSClients) -> None:
    """A panel would stay empty, and people would take it for a good sign."""
    names = await exported(serve, js)
    asked: set[str] = set()
    for query in queries():
        for name, selector in re.findall(r"\b(rtframework_\w+)(?:\{([^}]*)\})?", query):
            asked.add(name)
            assert name in names, query
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""))
            assert labels <= names[name] | {"instance", "job"}, query
        grouped = {word for group in re.findall(r"by \(([^)]*)\)", query) for word in re.split(r",\s*", group)}
        known = {label for name in re.findall(r"rtframework_\w+", query) for label in names[name]}
        assert grouped <= known | {"instance", "job"}, query
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert families - shown == set(), "metrics that no panel shows"


async def test_the_documentation_names_every_metric(serve: Serve, js: JSClients) -> None:
    """Who writes an alert looks up the name of a metric and its labels."""
    page = (DASHBOARD.parents[1] / "observability.md").read_text(encoding="utf-8")
    for name, labels in (await exported(serve, js)).items():
        name = re.sub(r"_(bucket|count|sum)$", "", name)
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        for label in labels - {"le"}:
            assert f"`{label}`" in row, f"{name}: {label}"


async def test_a_handler_for_one_time_is_counted_by_its_name(serve: Serve, js: JSClients) -> None:
    """What such a handler has served would show as an event that nobody listens to."""
    io = Server()
    metrics = measured(io)

    @io.once("ready")
    async def ready(socket: Socket) -> None: ...

    client = await js.connect((await serve(io)).url)
    await client.emit_with_ack("ready")
    assert value_of(metrics, "rtframework_events_total", namespace="/", event="ready", outcome="ok") == 1
    assert value_of(metrics, "rtframework_events_total", namespace="/", event="(unknown)", outcome="ok") is None


async def test_events_that_are_named_by_integers(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A scrape would fail at a label that is no string, or clients would make a series with every number."""
    io = Server()
    metrics = measured(io)

    @io.on(1)
    async def one(socket: Socket) -> str:
        return "ok"

    client = await js.connect((await serve(io)).url, via=transport)
    assert [await client.emit_with_ack(name) for name in (1, "1")] == ["ok", "ok"]
    for number in range(100, 103):
        await client.emit_with_ack(number)
    assert value_of(metrics, "rtframework_events_total", namespace="/", event="1", outcome="ok") == 2
    assert 'event="1"' in generate_latest(metrics.registry).decode()
    assert 'event="10' not in generate_latest(metrics.registry).decode()
