"""The sum of the metrics of several processes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from rtframework_prometheus.summing import Sum, decode, encode, take


def process(clients: int, up: bool, events: int, seconds: float) -> CollectorRegistry:
    """What one worker has counted."""
    registry = CollectorRegistry()
    Gauge("clients", "", registry=registry).set(clients)
    Gauge("process_resident_memory_bytes", "", registry=registry).set(1000 * clients)
    Gauge("rtframework_cluster_up", "", registry=registry).set(up)
    Counter("events", "", ["event"], registry=registry).labels("say").inc(events)
    Histogram("lag_seconds", "", buckets=(0.1, 1.0), registry=registry).observe(seconds)
    Info("build", "", registry=registry).info({"version": "1"})
    return registry


def of(registry: CollectorRegistry) -> bytes:
    """As it travels."""
    return encode(take(registry))


def shown(total: Sum) -> dict[str, str]:
    """The samples, as Prometheus reads them."""
    lines = generate_latest(total).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_counters_gauges_and_histograms_are_summed() -> None:
    """A graph would show one worker, by chance another one at each scrape."""
    total = Sum()
    total.add(decode(of(process(2, True, 10, 0.05))), "0")
    total.add(decode(of(process(3, False, 5, 0.5))), "1")
    found = shown(total)
    created = {name for name in found if "_created" in name}
    assert {name: value for name, value in found.items() if name not in created} == {
        "clients": "5.0",
        'process_resident_memory_bytes{worker="0"}': "2000.0",
        'process_resident_memory_bytes{worker="1"}': "3000.0",
        "rtframework_cluster_up": "0.0",
        'events_total{event="say"}': "15.0",
        'lag_seconds_bucket{le="0.1"}': "1.0",
        'lag_seconds_bucket{le="1.0"}': "2.0",
        'lag_seconds_bucket{le="+Inf"}': "2.0",
        "lag_seconds_count": "2.0",
        "lag_seconds_sum": "0.55",
        'build_info{version="1"}': "1.0",
    }
    assert created == {'events_created{event="say"}', "lag_seconds_created"}


def test_what_was_counted_stays() -> None:
    """Counters would fall when a worker is replaced, which Prometheus takes for a start from zero: a false peak."""
    total = Sum()
    total.add_counts(decode(of(process(2, False, 10, 0.05))))
    total.add(decode(of(process(3, True, 5, 0.5))), "1")
    found = shown(total)
    assert (found['events_total{event="say"}'], found["lag_seconds_count"]) == ("15.0", "2.0")
    assert (found["clients"], found["rtframework_cluster_up"]) == ("3.0", "1.0")
