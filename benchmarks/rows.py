"""What is measured: the rows of the table, and the curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Options = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, which the load generator reports as ``reads``.

    ``options`` are the generator's; ``patient`` replaces some of them for peers that need patience, ``quick`` for
    ``--quick``.
    ``targets`` are the ratios to a peer that the project means to reach. ``fresh``: on a server that was just started.
    ``waits``: it belongs to the table of ``--latency``. Rows of the same scenario and options are read from one run.
    """

    key: str
    title: str
    scenario: str
    options: Options
    unit: str = "µs"
    reads: str = "cpu_us"
    patient: Options = field(default_factory=dict)
    quick: Options = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    fresh: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """How one figure changes with one option."""

    key: str
    title: str
    axis: str
    scenario: str
    steps: Mapping[int, Options]
    unit: str = "µs"
    reads: str = "cpu_us"
    patient: Options = field(default_factory=dict)


ROWS: Final = {
    row.key: row
    for row in (
        Row(
            "fan-out",
            "fan-out, per delivery, window 2",
            "fan-out",
            {"clients": 1000, "window": 2, "count": 300, "warm-up": 60},
            patient={"count": 80, "warm-up": 10},
            quick={"count": 40, "warm-up": 20},
            targets={"python-socketio": 0.10, "node": 0.45, "bun": 0.70},
        ),
        Row(
            "bursts",
            "fan-out in bursts, window 16",
            "fan-out",
            {"clients": 1000, "window": 16, "count": 480, "warm-up": 64},
            patient={"count": 80, "warm-up": 16},
            quick={"count": 64, "warm-up": 32},
            targets={"python-socketio": 0.04, "node": 0.25, "bun": 0.25},
        ),
        Row(
            "ack",
            "event with ack",
            "acks",
            {"clients": 100, "window": 4, "count": 100_000, "warm-up": 20_000},
            quick={"count": 10_000, "warm-up": 10_000},
            targets={"python-socketio": 0.12, "node": 0.75, "bun": 1.05},
        ),
        Row(
            "polling",
            "polling round trip (POST + GET)",
            "polling",
            {"clients": 50, "count": 10_000, "warm-up": 3_000},
            quick={"count": 2_000, "warm-up": 1_000},
            targets={"python-socketio": 0.5, "node": 0.6, "bun": 1.0},
        ),
        Row(
            "connect",
            "one connection, handshake to CONNECT",
            "connect",
            {"clients": 2000, "warm-up": 1000},
            quick={"clients": 500, "warm-up": 500},
            targets={"python-socketio": 0.4, "node": 0.6},
        ),
        Row(
            "memory",
            "memory per idle connection",
            "memory",
            {"clients": 8000, "warm-up": 100},
            unit="KiB",
            reads="kib",
            quick={"clients": 2000},
            targets={"python-socketio": 0.45, "node": 0.9, "bun": 1.0},
            fresh=True,
        ),
        Row(
            "disconnect",
            "one disconnect with 100,000 other rooms",
            "disconnect",
            {"rooms": 100_000, "count": 2000, "warm-up": 500},
            patient={"count": 80, "warm-up": 10, "at-once": 20},
            quick={"count": 400, "warm-up": 200},
            targets={"python-socketio": 0.002, "node": 0.2},
            fresh=True,
        ),
        *(
            Row(
                f"ack-{rate // 1000}k-{key}",
                f"ack at {rate:,} events a second, {share}",
                "latency",
                {"clients": 100, "rate": rate, "seconds": 3},
                unit="ms",
                reads=f"ack_{key}",
                patient={"rate": rate // 10},
                quick={"rate": rate // 10, "seconds": 1},
                waits=True,
            )
            for rate in (10_000, 20_000)
            for key, share in (("p50", "median"), ("p99", "99%"), ("p999", "99.9%"))
        ),
        *(
            Row(
                f"crowd-{key}",
                f"ack while 1,000 a second connect beside 10,000, {share}",
                "crowd",
                {"clients": 10_000, "others": 1000, "rate": 500, "seconds": 3},
                unit="ms",
                reads=f"ack_{key}",
                patient={"others": 300},
                quick={"clients": 1000, "others": 100, "seconds": 1},
                targets={"node": 1.0} if key == "p99" else {},
                fresh=True,
                waits=True,
            )
            for key, share in (("p50", "median"), ("p99", "99%"))
        ),
        *(
            Row(
                f"broadcast-{reads.replace('_', '-')}",
                title,
                "broadcast",
                {"clients": 5000, "rate": 500, "seconds": 5},
                unit="ms",
                reads=reads,
                patient={"rate": 100},
                quick={"clients": 500, "seconds": 1},
                targets={"node": 0.15} if reads == "during_p99" else {},
                fresh=True,
                waits=True,
            )
            for reads, title in (
                ("last_p50", "broadcast to 5,000, until the last has it"),
                ("during_p50", "ack meanwhile, median"),
                ("during_p99", "ack meanwhile, 99%"),
            )
        ),
        Row(
            "storm",
            "3,000 browsers within a second, until all have a websocket",
            "storm",
            {"clients": 3000},
            unit="s",
            reads="all_s",
            quick={"clients": 300},
            targets={"node": 0.5},
            fresh=True,
            waits=True,
        ),
        *(
            Row(
                f"browser-{reads.replace('_', '-')}",
                title,
                "browser",
                {"clients": 2000, "warm-up": 500},
                unit=unit,
                reads=reads,
                quick={"clients": 200, "warm-up": 100},
                targets={"node": 0.55, "bun": 1.15} if reads == "cpu_us" else {},
                fresh=True,
                waits=True,
            )
            for reads, title, unit in (
                ("cpu_us", "a browser's way to its websocket", "µs"),
                ("kib", "memory per browser, with the connections that it keeps", "KiB"),
            )
        ),
    )
}

CURVES: Final = {
    curve.key: curve
    for curve in (
        Curve(
            "fan-out-clients",
            "One delivery of a broadcast",
            "clients",
            "fan-out",
            {
                clients: {"clients": clients, "window": 2, "count": max(20, 200_000 // clients), "warm-up": 20}
                for clients in (100, 300, 1000, 3000, 8000)
            },
            patient={"count": 20, "warm-up": 5},
        ),
        Curve(
            "fan-out-size",
            "One delivery to 200 clients",
            "bytes of payload",
            "fan-out",
            {
                size: {"clients": 200, "window": 2, "size": size, "count": 300 if size < 10_000 else 100, "warm-up": 50}
                for size in (32, 256, 1024, 4096, 16_384, 65_536)
            },
            patient={"count": 50, "warm-up": 10},
        ),
        Curve(
            "connect-clients",
            "One connection",
            "connections, 100 at once",
            "connect",
            {
                clients: {"clients": clients, "warm-up": 1000, "repeat": max(1, 2000 // clients)}
                for clients in (100, 300, 1000, 3000, 8000)
            },
        ),
        Curve(
            "disconnect-rooms",
            "One disconnect",
            "rooms of others",
            "disconnect",
            {rooms: {"rooms": rooms, "count": 1000, "warm-up": 300} for rooms in (10, 100, 1000, 10_000, 100_000)},
            patient={"count": 60, "warm-up": 10, "at-once": 20},
        ),
    )
}
