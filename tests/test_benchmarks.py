"""The benchmarks: the load generator builds and works, and what the docs show is what was measured. Times nothing."""

from __future__ import annotations

import os
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal
from xml.etree import ElementTree

import pytest

from benchmarks import (
    chart,
    cluster,
    cluster_servers,
    doors,
    flames,
    observing,
    publish,
    redis_link,
    report,
    slow_consumer,
)
from benchmarks.door_clients import KINDS
from benchmarks.install import Missing, build_load
from benchmarks.peers import HERE, OURS, PEERS, SERVERS
from benchmarks.rows import CURVES, ROWS
from benchmarks.runner import Cores, Failed, Server, count_errors, running
from tests.support.thorough import is_thorough

ROOT: Final = Path(__file__).parent.parent
ANYWHERE: Final = Cores(None, None)

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the load generator is for Linux")


@pytest.fixture(scope="module")
def load() -> Path:
    """The load generator."""
    try:
        return build_load()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def server(load: Path) -> Iterator[Server]:
    """Our benchmark server, with this Python."""
    peer = replace(PEERS[OURS], command=(sys.executable, str(SERVERS / "ours.py")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "plugins"))))
        with running(peer, load, ANYWHERE) as started:
            yield started


@needs_linux
@pytest.mark.parametrize(
    ("scenario", "options", "operations"),
    [
        ("fan-out", {"clients": 5, "window": 2, "count": 10, "warm-up": 2}, 50),
        ("fan-out", {"clients": 3, "window": 16, "count": 20, "size": 70_000}, 60),
        ("acks", {"clients": 3, "window": 4, "count": 50, "warm-up": 10}, 50),
        ("polling", {"clients": 3, "count": 20, "warm-up": 5}, 20),
        ("connect", {"clients": 10, "warm-up": 5}, 10),
        ("memory", {"clients": 10, "warm-up": 2}, 10),
        ("disconnect", {"rooms": 100, "count": 5, "warm-up": 2}, 5),
    ],
)
def test_every_scenario_runs(server: Server, scenario: str, options: dict[str, int], operations: int) -> None:
    """Whoever wants to check our figures needs a load generator that works on their machine."""
    told = server.drive(scenario, options)
    assert told["operations"] == operations
    assert told["scenario"] == scenario
    assert ("kib" if scenario == "memory" else "cpu_us") in told


@needs_linux
def test_a_run_in_which_something_fails_does_not_count(load: Path) -> None:
    """A server that refuses its clients would look like the fastest one."""

    class Refuse(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Refuse) as refusing:
        thread = threading.Thread(target=refusing.serve_forever, daemon=True)
        thread.start()
        try:
            idle = Server(os.getpid(), refusing.server_address[1], load, None)
            with pytest.raises(Failed, match=r"not accepted: HTTP/1\.1 400"):
                idle.drive("connect", {"clients": 1})
        finally:
            refusing.shutdown()
            thread.join(10)


@needs_linux
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_client_that_never_reads_is_measured(
    monkeypatch: pytest.MonkeyPatch, transport: Literal["websocket", "polling"]
) -> None:
    """Whoever doubts that memory is bounded needs a command that shows it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "plugins"))))
    found = slow_consumer.run({"max_outbox": 100_000}, transport, 2_000, sys.executable)
    assert found.received == 2_000
    assert found.left.startswith("slow consumer, after ")
    assert 0 < found.before <= found.most


@needs_linux
def test_a_scenario_that_does_not_exist_is_an_error(server: Server) -> None:
    """A misspelt row must not pass for a measured one."""
    with pytest.raises(Failed, match="no such scenario: fanout"):
        server.drive("fanout", {})


RESULTS: Final[report.Json] = {
    "date": "2026-01-02",
    "count": 3,
    "versions": {OURS: {"Python": "3.11.7"}, "node": {"Node": "20.0.0", "socket.io": "4.8.1"}},
    "machine": {"cpu": "A <processor>", "cores": 2, "system": "Linux 6", "pinned": True, "others": 0.01},
    "rounds": {
        "fan-out": {OURS: [3.0, 2.9, 3.4], "node": [9.0, 10.0, 12.0]},
        "disconnect": {OURS: [50.0], "node": [100.0]},
        "memory": {OURS: [6.0], "node": []},
    },
}


def test_a_figure_is_the_median_of_the_rounds() -> None:
    """One disturbed round must not decide."""
    figure = report.figures(RESULTS)["fan-out"][OURS]
    assert (figure.median, figure.spread) == (3.0, "2.90-3.40")


def test_the_table_shows_figures_and_ratios() -> None:
    """The ratio is what survives a change of machine."""
    lines = {line[0]: line[1:] for line in report.table(RESULTS)}
    assert lines[""] == [OURS, "node", "of node"]
    assert lines["fan-out, per delivery, window 2 (µs)"] == ["3.00", "10.0", "0.30"]
    assert lines["memory per idle connection (KiB)"] == ["6.00", "-", "-"]


def test_targets_that_are_missed_are_said_to_be() -> None:
    """A table without the misses would be advertising."""
    assert report.targets(RESULTS) == [
        "reached fan-out, per delivery, window 2: 0.30 of node, wanted 0.45",
        "MISSED  one disconnect with 100,000 other rooms: 0.50 of node, wanted 0.2",
    ]


def test_who_measured_on_a_busy_machine_is_told() -> None:
    """Figures that other work has spoilt must not be taken for good ones."""
    busy = {**RESULTS, "machine": {**RESULTS["machine"], "others": 0.9}}
    assert any("quiet" in line for line in report.conditions(RESULTS))
    assert any("under load: others used 90%" in line for line in report.conditions(busy))


def test_the_pictures_are_pictures() -> None:
    """A browser shows nothing at all of an SVG that is not well formed."""
    results = {**RESULTS, "curves": {"fan-out-clients": {OURS: {"100": 3.0, "300": 4.0}, "node": {"100": 9.0}}}}
    for picture in (chart.bars(results), chart.curves(results)):
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert "A &lt;processor&gt;" in picture


def test_a_flame_graph_is_a_picture() -> None:
    """Whoever wants to know where the time goes needs a picture that shows it, and not the event loop's own frames."""
    text = (
        "<module> (ours.py);run_app (aiohttp/web.py);data_received (rtframework/protocol.py);read<> (canonical.py) 30\n"
        "<module> (ours.py);run_app (aiohttp/web.py);start (aiohttp/web_protocol.py) 60\n"
        "<module> (ours.py);run_app (aiohttp/web.py) 10\nwait (threading.py) 5\n"
    )
    stacks = flames.read(text)
    assert stacks.total() == 100
    assert dict(flames.shares(stacks)) == {"aiohttp": 0.6, "others": 0.4}
    root = flames.tree(stacks)
    assert root.calls["data_received (rtframework/protocol.py)"].calls["read<> (canonical.py)"].count == 30
    picture = flames.draw({"before": flames.Profile(stacks, 800.0), "after": flames.Profile(stacks, 400.0)}, "then")
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert "before: 800 µs" in picture
    assert "read&lt;&gt;" in picture


def test_errors_of_a_server_are_counted() -> None:
    """Clients that were served with errors would pass for served, or fill the screen."""
    assert count_errors(b"") == 0
    assert (
        count_errors(b"x\nTraceback (most recent call last):\n  a\nValueError: b\nTraceback (most recent call last)")
        == 2
    )
    assert count_errors(b"node:events\nTypeError: a is not a function\n    at b") == 1
    busy = {**RESULTS, "errors": {"node": 1_200}}
    assert any("has logged 1,200 errors meanwhile" in line for line in report.conditions(busy))


def test_every_row_and_curve_names_a_scenario() -> None:
    """A row that the load generator does not know would fail only after minutes."""
    source = (HERE / "load/main.c").read_text(encoding="utf-8")
    for scenario in {row.scenario for row in ROWS.values()} | {curve.scenario for curve in CURVES.values()}:
        assert f'{{"{scenario}", ' in source


@pytest.mark.parametrize("page", publish.PAGES, ids=lambda path: path.name)
def test_the_docs_quote_what_was_measured(page: Path) -> None:
    """Figures in the docs that nobody measured."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- bench: " in text
    assert publish.fill(text) == text


async def test_each_way_to_a_room_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever doubts the figures of the protocols needs a program that runs, and whose clients get everything."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "plugins"))))
    monkeypatch.setattr(doors, "RATES", (40,))
    kinds = [kind for kind in KINDS if kind != "short polling, every 5 s"]
    found = (await doors.measure_all(kinds, 1, 3, 0.1, None))["40"]
    assert list(found) == kinds
    for kind, figures in found.items():  # it has failed already if a client has missed a message
        assert list(figures) == list(report.DOOR_COLUMNS), kind
        assert (figures["connections"], figures["p50"] > [0]) == ([1], True), kind
    tables = report.door_tables({"rates": {"40": found}})
    assert [line[0] for line in tables["40"]] == ["", *kinds]


async def test_what_observing_costs_is_as_the_docs_say_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who doubts the figures would run a program that does not, or that measures something else."""
    monkeypatch.setattr(observing, "EVENTS", 128)
    monkeypatch.setattr(observing, "ROUNDS", 1)
    monkeypatch.setattr(observing, "CLIENTS", (10,))
    await observing.main()
    printed = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    table = page[page.index("| observed by |") :].partition("\n\n")[0].splitlines()[2:]
    assert printed == [line.split(" | ")[0] for line in table]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
async def test_connections_to_redis_are_measured() -> None:
    """Nobody could tell whether a connection of our own is still worth its code."""
    figures = await redis_link.run(1, 200)
    lines = redis_link.markdown(figures).splitlines()
    assert len(lines) == 6
    assert all(value > 0 for row in figures.values() for value in row)


needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
OURS_IN_CLUSTER: Final = cluster_servers.KINDS["ours:local-first"]


@needs_redis
@pytest.mark.parametrize("key", ["ours:local-first", "node:streams", "python-socketio"])
async def test_a_cluster_is_measured(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Whoever has to choose an adapter needs a command that compares them, and that none of them cheats."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "plugins"))))
    kind = cluster_servers.KINDS[key]
    if why := cluster_servers.missing(kind):
        pytest.skip(why)
    if not key.startswith("ours") and not is_thorough():
        pytest.skip("with --thorough: what a peer loses when it has just started is waited for in vain")
    rows = ["nobody", "ready", "delivered", "bursts-16", "tasks", "alone", "throughput", "latency-50", "namespaces"]
    found, failures = await cluster.measure([kind], rows, 1, 0.01)
    assert failures == 0
    for row, values in found.items():
        assert len(values[key]) == cluster.ROWS[row].is_for(kind), row
        assert all(value > 0 for value in values[key]), row


@needs_redis
async def test_the_reach_of_one_stream_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could say how many servers one stream carries."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "plugins"))))
    curve = await cluster.measure_curve(OURS_IN_CLUSTER, (1, 2), 1, 0.01)
    assert [(count, redis > 0, cost > 0) for count, redis, cost in curve] == [(1, True, False), (2, True, True)]


def test_the_table_of_a_cluster_says_what_was_wanted() -> None:
    """A table without the targets would be advertising."""
    node = cluster_servers.KINDS["node:streams"]
    found = {
        "nobody": {OURS_IN_CLUSTER.key: [3.0, 2.0, 4.0], node.key: [10.0, 8.0, 12.0]},
        "throughput": {OURS_IN_CLUSTER.key: [50_000.0, 70_000.0], node.key: []},
    }
    assert cluster.table(found, [OURS_IN_CLUSTER, node])[2:] == [
        "| received, nobody here is meant (µs) | 3.00 (2.00) | 10.0 (8.00) | ≤ 2.00, ≤ 0.35 of Node's |",
        "| messages a second, to the other server (1/s) | 60,000 (70,000) | - | ≥ 60,000 |",
    ]
    assert cluster.ratios(found, OURS_IN_CLUSTER.key, node.key) == [
        "received, nobody here is meant: 0.30 of Node's, 0.25 in the best rounds, wanted 0.35"
    ]


def test_the_curve_of_a_cluster_ends_with_its_line() -> None:
    """Nobody could reckon what more servers cost."""
    lines = cluster.curve_table([(1, 5.0, 0.0), (2, 6.0, 2.0), (4, 8.0, 2.0)])
    assert lines[2:5] == [
        "| 1 | 5.0 | 200,000/s | 0.00 | 0.0 |",
        "| 2 | 6.0 | 167,000/s | 2.00 | 2.0 |",
        "| 4 | 8.0 | 125,000/s | 2.00 | 6.0 |",
    ]
    assert "Redis uses 4.0 + 1.00 × servers µs for each message" in lines[-1]
