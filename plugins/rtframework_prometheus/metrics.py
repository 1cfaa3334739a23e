"""The metrics of one server."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rtframework.concurrency import is_cancelled
from rtframework.exceptions import ConfigurationError, EventError
from rtframework.namespaces.labels import label_of
from rtframework.workers.backbone import current_group

from .event_counts import EventCounts
from .histogram import Histogram
from .lag import EventLoopLag
from .of_workers import MetricsOfWorkers
from .traffic import Traffic

if TYPE_CHECKING:
    from rtframework import Event, Handshake, Server, Socket, Stats
    from rtframework.protocols import CallNext

HANDLER_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OK: Final = "ok"

_numbers: Final = itertools.count()
"""Metrics are made in the same order in each worker: by their number, they find each other."""
_PATIENCE: Final = 5.0
"""Seconds that another thread waits for the event loop, at most."""


class Metrics(Collector):
    """Metrics of a server for Prometheus, counted from the construction on.

    ``registry``: the registry to register with; by default prometheus_client's, which also has the process's CPU and
    memory. Each server of a process needs a separate registry.
    ``handler_buckets``, ``lag_buckets``: upper bounds of the histograms, in seconds.
    ``lag_interval``: seconds between two measurements of the event loop's lag.

    The number of labels is bounded: dynamic namespaces are counted under the name of their parent, events without a
    handler under ``(unknown)``. The registry may be read in another thread, which then waits for the event loop.
    prometheus_client's multiprocess mode is not supported.

    With several workers on one port (``rtframework run --workers``), ``handler`` shows the sum of all, whichever of
    them is asked. The registry itself has this process's own values.

    Raises :class:`~rtframework.ConfigurationError` for buckets that do not rise and times that are not above zero, and
    ``ValueError`` if the registry has a server's metrics already.

    Example::

        metrics = Metrics(io)
        app.router.add_get("/metrics", metrics.handler)
    """

    def __init__(
        self,
        io: Server,
        registry: CollectorRegistry | None = None,
        *,
        handler_buckets: Sequence[float] = HANDLER_BUCKETS,
        lag_buckets: Sequence[float] = LAG_BUCKETS,
        lag_interval: float = 0.25,
    ) -> None:
        if not lag_interval > 0:
            raise ConfigurationError(f"lag_interval is a number of seconds above zero, not {lag_interval!r}")
        self.registry = REGISTRY if registry is None else registry
        self._io = io
        self._events = EventCounts(_rising("handler_buckets", handler_buckets))
        self._lag = Histogram(_rising("lag_buckets", lag_buckets))
        self._lag_timer = EventLoopLag(self._lag, lag_interval)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._traffic = Traffic()
        self._of_workers: MetricsOfWorkers | None = None
        self._topic = f"prometheus {next(_numbers)}"
        self.registry.register(self)
        io.engine.measure(self._traffic)
        io.observe(self)

    async def handler(self, request: web.Request) -> web.Response:
        """Respond with the whole registry, in the format that the request asks for: a handler for aiohttp."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        found: Any = self.registry if self._of_workers is None else await self._of_workers.sum()
        response = web.Response(body=encode(found), headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    # --- called by the server ---------------------------------------------------------------------------------------

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        """Only call ``call_next``: the server itself counts the outcomes of connecting."""
        return await call_next()

    async def event(self, socket: Socket, event: Event, call_next: CallNext) -> Any:
        """Count an event and measure its duration."""
        packet = event.packet
        ack = packet is not None and packet.id is not None
        outcome = OK
        name = event.name
        label = label_of(socket, name)  # before the call, which removes a handler registered by once
        start = time.perf_counter()
        try:
            return await call_next()
        except EventError as error:
            outcome = error.code
            raise
        except BaseException as error:
            outcome = "cancelled" if isinstance(error, GeneratorExit) or is_cancelled(error) else "internal_error"
            raise
        finally:
            seconds = time.perf_counter() - start
            if event.name != name:  # middleware has changed the name
                label = label_of(socket, event.name)
            self._events.add(socket.namespace.label, label, outcome, seconds, ack=ack)

    def start(self) -> None:
        """Start to measure the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lag_timer.start()
        group = current_group()
        if group is not None:
            self._of_workers = MetricsOfWorkers(group, self._topic, self.registry)

    def stop(self) -> None:
        """Stop measuring."""
        if self._of_workers is not None:
            self._of_workers.keep()
            self._of_workers = None
        self._lag_timer.stop()
        self._loop = None

    # --- called by the registry -------------------------------------------------------------------------------------

    def describe(self) -> list[Metric]:
        """List the metrics, for the registry's check of their names."""
        return self.collect()

    def collect(self) -> list[Metric]:
        """Return the current metrics. Waits for the event loop, at most 5 s, if called in another thread."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            return self._collect()
        return asyncio.run_coroutine_threadsafe(self._collect_in_loop(), loop).result(_PATIENCE)

    async def _collect_in_loop(self) -> list[Metric]:
        return self._collect()

    def _collect(self) -> list[Metric]:
        stats = self._io.stats()
        return [
            *_of_now(stats),
            *_of_always(stats),
            *_of_cluster(stats),
            *self._of_traffic(),
            *self._of_events(),
            self._of_lag(),
        ]

    def _of_traffic(self) -> list[Metric]:
        traffic = self._traffic
        return [
            _counter("packets", "Messages", {"in": traffic.packets_in, "out": traffic.packets_out}, "direction"),
            _counter("bytes", "Bytes of messages", {"in": traffic.bytes_in, "out": traffic.bytes_out}, "direction"),
        ]

    def _of_events(self) -> list[Metric]:
        labels = ("namespace", "event")
        events = CounterMetricFamily("rtframework_events", "Events that were served", labels=(*labels, "outcome"))
        acks = CounterMetricFamily("rtframework_acks", "Events that asked for an acknowledgement", labels=labels)
        seconds = HistogramMetricFamily(
            "rtframework_handler_seconds", "Time from an event to its answer, middleware included", labels=labels
        )
        for key, series in self._events:
            for outcome, count in series.outcomes.items():
                events.add_metric((*key, outcome), count)
            acks.add_metric(key, series.acks)
            seconds.add_metric(key, series.seconds.buckets, series.seconds.sum)
        return [events, acks, seconds]

    def _of_lag(self) -> Metric:
        return HistogramMetricFamily(
            "rtframework_event_loop_lag_seconds",
            "How late the event loop was",
            buckets=self._lag.buckets,
            sum_value=self._lag.sum,
        )


def _of_now(stats: Stats) -> list[Metric]:
    return [
        _gauge("connections", "Open connections", stats.connections, "transport"),
        _gauge("sockets", "Sockets", stats.sockets, "namespace"),
        _gauge("rooms", "Rooms, those of sockets' own ids among them", stats.rooms, "namespace"),
        GaugeMetricFamily("rtframework_outbox_bytes", "Bytes that wait to be sent", value=stats.outbox_bytes),
        GaugeMetricFamily("rtframework_inbound_bytes", "Bytes that received messages take", value=stats.inbound_bytes),
        GaugeMetricFamily("rtframework_waiting_handlers", "Handlers that wait", value=stats.waiting_handlers),
    ]


def _of_always(stats: Stats) -> list[Metric]:
    return [
        CounterMetricFamily("rtframework_connections_opened", "Connections opened", value=stats.opened),
        _counter("connections_closed", "Connections that have ended", stats.closed, "reason"),
        CounterMetricFamily("rtframework_upgrades", "Changes from polling to websocket", value=stats.upgrades),
        _counter("requests_refused", "HTTP requests refused", stats.requests_refused, "reason"),
        _counter("connects", "Clients that asked for a namespace", stats.connects, "outcome"),
        _counter("recoveries", "Clients that asked for their session", stats.recoveries, "outcome"),
        _counter("events_refused", "Events answered with an error", stats.events_refused, "code"),
        _counter("limited", "Clients beyond a rate or limit", stats.limited, "limit"),
        _counter("repeats", "Events that are served once", stats.repeats, "outcome"),
        _counter("packets_dropped", "Packets that were not sent", stats.dropped, "reason"),
    ]


def _of_cluster(stats: Stats) -> list[Metric]:
    cluster = stats.cluster
    if cluster is None:
        return []
    messages = {"out": cluster.published, "in": cluster.received}
    return [
        GaugeMetricFamily("rtframework_cluster_up", "1 while the other servers can be reached", value=cluster.up),
        GaugeMetricFamily(
            "rtframework_cluster_pending_bytes", "Bytes on their way to the other servers", value=cluster.pending_bytes
        ),
        _counter("cluster_messages", "Messages between servers", messages, "direction"),
        CounterMetricFamily(
            "rtframework_cluster_gaps", "Times that packets of other servers may be missing", value=cluster.gaps
        ),
        CounterMetricFamily("rtframework_cluster_lost", "Emits that the other servers did not get", value=cluster.lost),
        CounterMetricFamily(
            "rtframework_cluster_reconnects", "Connections to the broker opened again", value=cluster.reconnects
        ),
    ]


def _gauge(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = GaugeMetricFamily(f"rtframework_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = CounterMetricFamily(f"rtframework_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _rising(name: str, bounds: Sequence[float]) -> tuple[float, ...]:
    if not bounds or any(not a < b for a, b in zip((0.0, *bounds), bounds, strict=False)):
        raise ConfigurationError(f"{name} are seconds above zero, each more than the one before it")
    return tuple(bounds)
