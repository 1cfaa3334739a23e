"""What it costs a handler to have its payload checked, or something injected: ``make bench ARGS="--handlers"``.

Prints a table, in Markdown: server CPU per event with ack, and its ratio to that of a handler that takes the payload as
it is.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from .peers import PYTHON, SERVERS, Peer
from .runner import Cores, Failed, running

PAYLOAD: Final[dict[str, Any]] = {
    "room": "lobby",
    "text": "Hello, everybody",
    "number": 7,
    "size": 1.5,
    "tags": ["a", "b"],
}
EVENTS: Final = {
    "untyped": "no annotation",
    "struct": "a `Struct` of five fields",
    "dataclass": "a dataclass of five fields",
    "typed_dict": "a `TypedDict` of five keys",
    "model": "a model of pydantic with five fields",
    "ack": "no annotation, answered by `ack`",
    "provider": "no annotation, a plain provider",
    "generator": "no annotation, a provider that cleans up",
}

_SERVER: Final = Peer("handlers", "rtframework", (str(PYTHON), str(SERVERS / "handlers.py")), dict)


def measure(load: Path, cores: Cores, rounds: int, *, quick: bool) -> dict[str, list[float]]:
    """Microseconds of the server per event, of each handler, round by round."""
    found: dict[str, list[float]] = {event: [] for event in EVENTS}
    options = {"clients": 100, "window": 4, "count": 4_000 if quick else 100_000, "warm-up": 2_000 if quick else 20_000}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        with running(_SERVER, load, cores) as server:
            for event, costs in found.items():
                costs.append(server.drive("acks", {**options, "event": event, "data": json.dumps(PAYLOAD)})["cpu_us"])
    return found


def main(load: Path, cores: Cores, rounds: int, *, quick: bool) -> int:
    """All handlers."""
    try:
        found = measure(load, cores, rounds, quick=quick)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    costs = {event: statistics.median(each) for event, each in found.items()}
    print("| the handler takes | µs per event | ratio |\n| --- | ---: | ---: |")
    for event, title in EVENTS.items():
        print(f"| {title} | {costs[event]:.2f} | {costs[event] / costs['untyped']:.2f} |")
    return 0
