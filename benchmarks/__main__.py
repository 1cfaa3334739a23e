"""The command line of the benchmarks: ``python -m benchmarks``, in the root of a checkout."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Final

from . import chart, handlers, install, machine, publish, report, slow_consumer
from .peers import PEERS, PYTHON, Peer
from .rows import CURVES, ROWS, Curve, Options, Row
from .runner import Cores, Failed, Report, Server, raise_file_limit, running

IMAGES: Final = publish.ROOT / "docs/images"
_FILES_NEEDED: Final = 9000
_FILES_NEEDED_BY_LATENCY: Final = 15_000


class Suite:
    """Runs what was asked for and keeps the figures."""

    def __init__(self, peers: dict[str, Peer], load: Path, cores: Cores, *, quick: bool) -> None:
        self._peers = peers
        self._load = load
        self._cores = cores
        self._quick = quick
        self._reports: dict[tuple[str, str], tuple[Server, Report]] = {}
        self.failures = 0
        self.errors: dict[str, int] = {}
        """The errors that servers have logged."""

    def table(self, rows: list[Row], rounds: int) -> dict[str, dict[str, list[float]]]:
        """Each row for each peer, round by round, so that a disturbance does not hit one peer alone."""
        values: dict[str, dict[str, list[float]]] = {row.key: {key: [] for key in self._peers} for row in rows}
        for number in range(1, rounds + 1):
            for peer in self._peers.values():
                print(f"round {number} of {rounds}: {peer.title}", file=sys.stderr, flush=True)
                for batch in batches(rows):
                    for row, value in self._measure(peer, batch):
                        values[row.key][peer.key].append(value)
        return values

    def curves(self, curves: list[Curve]) -> dict[str, dict[str, dict[str, float]]]:
        """Each curve for each peer, once."""
        values: dict[str, dict[str, dict[str, float]]] = {}
        for curve in curves:
            values[curve.key] = {}
            for peer in self._peers.values():
                print(f"{curve.key}: {peer.title}", file=sys.stderr, flush=True)
                points = values[curve.key][peer.key] = {}
                steps = list(curve.steps.items())
                for step, options in steps[:2] if self._quick else steps:
                    try:
                        with running(peer, self._load, self._cores, self._hear) as server:
                            chosen = {**options, **(curve.patient if peer.patience else {})}
                            points[str(step)] = server.drive(curve.scenario, chosen)[curve.reads]
                    except Failed as failed:
                        self._lament(peer, failed)
        return values

    def _measure(self, peer: Peer, rows: list[Row]) -> list[tuple[Row, float]]:
        if not rows:
            return []
        values: list[tuple[Row, float]] = []
        try:
            with running(peer, self._load, self._cores, self._hear) as server:
                values.extend((row, self._drive(server, peer, row)) for row in rows)
        except Failed as failed:
            self._lament(peer, failed)
        return values

    def _hear(self, peer: Peer, errors: int) -> None:
        """Note that a server has logged errors: they are no reason not to count its run, but to be told."""
        self.errors[peer.key] = self.errors.get(peer.key, 0) + errors
        print(f"    {peer.title} has logged {errors} errors", file=sys.stderr, flush=True)

    def _drive(self, server: Server, peer: Peer, row: Row) -> float:
        options: Options = {
            **row.options,
            **(row.patient if peer.patience else {}),
            **(row.quick if self._quick and not (peer.patience and row.patient) else {}),
        }
        run = (row.scenario, str(options))
        if run not in self._reports or self._reports[run][0] is not server:
            self._reports[run] = server, server.drive(row.scenario, options)
        value: float = self._reports[run][1][row.reads]
        print(f"    {row.title}: {report.short(value)} {row.unit}", file=sys.stderr, flush=True)
        return value

    def _lament(self, peer: Peer, failed: Failed) -> None:
        self.failures += 1
        print(f"{peer.title}: this run does not count: {failed}", file=sys.stderr, flush=True)


def batches(rows: list[Row]) -> list[list[Row]]:
    """Group rows by the servers on which they are measured: a new one for each run that wants one."""
    fresh: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.fresh:
            fresh.setdefault((row.scenario, str(row.options)), []).append(row)
    return [[row for row in rows if not row.fresh], *fresh.values()]


def available(wanted: list[str]) -> dict[str, Peer]:
    """The peers that were asked for and can be had; says which cannot."""
    install.install_python()
    unavailable: set[str] = set()
    if {"node", "bun"} & set(wanted):
        try:
            install.install_javascript()
            if "bun" in wanted:
                try:
                    install.check_bun()
                except install.Missing as missing:
                    print(missing, file=sys.stderr)
                    unavailable.add("bun")
        except install.Missing as missing:
            print(missing, file=sys.stderr)
            unavailable |= {"node", "bun"}
    return {key: PEERS[key] for key in PEERS if key in wanted and key not in unavailable}


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='…'", description="Measure rtframework and its peers.")
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--peer", action="append", choices=PEERS, metavar="NAME", help=f"one of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is started; default: 3")
    parser.add_argument("--quick", action="store_true", help="one round with less work: whether everything runs")
    parser.add_argument("--curve", action="store_true", help="the curves instead of the table")
    parser.add_argument("--publish", action="store_true", help="put the results and the picture into the docs")
    parser.add_argument(
        "--latency", action="store_true", help="what clients wait for, by the clock, instead of the table"
    )
    parser.add_argument("--handlers", action="store_true", help="what typed and injected parameters cost")
    parser.add_argument("--slow-consumer", action="store_true", help="memory when a client never reads")
    parser.add_argument("--cluster", action="store_true", help="what several servers over Redis cost; with --curve too")
    parser.add_argument("--workers", action="store_true", help="what several workers of one port cost")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("at least one round")
    if options.publish and (options.only or options.peer or options.quick):
        parser.error("only whole results are published: without --only, --peer and --quick")
    return options


def main() -> int:
    """Measure, print, write."""
    options = arguments()
    if sys.platform != "linux":
        print("The benchmarks run on Linux only: they read CPU time from its process clocks and /proc.")
        return 2
    if options.slow_consumer:
        return slow_consumer.main()
    if options.cluster:
        return in_cluster(options)
    if options.workers:
        return with_workers(options)
    files, needed = raise_file_limit(), _FILES_NEEDED_BY_LATENCY if options.latency else _FILES_NEEDED
    if files < needed:
        print(f"Only {files} files may be open, {needed} are needed: raise the limit (ulimit -Hn).")
        return 2
    try:
        load = install.build_load()
    except install.Missing as missing:
        print(missing)
        return 2
    peers = available([] if options.handlers else options.peer or list(PEERS))
    cores = Cores.choose()
    if options.handlers:
        return handlers.main(load, cores, 1 if options.quick else options.rounds, quick=options.quick)
    if cores.server is None:
        print("There is one core only: server and load generator share it.", file=sys.stderr)
    suite = Suite(peers, load, cores, quick=options.quick)
    others = machine.Others()
    rounds = 1 if options.quick else options.rounds
    name = "curves" if options.curve else "latency" if options.latency else "table"
    chosen = [
        row for row in ROWS.values() if (row.key in options.only if options.only else row.waits is options.latency)
    ]
    results: report.Json = {
        "date": date.today().isoformat(),
        "count": rounds,
        "versions": {key: peer.versions() for key, peer in peers.items()},
    }
    if options.curve:
        results["curves"] = suite.curves(list(CURVES.values()))
    else:
        results["rounds"] = suite.table(chosen, rounds)
    if suite.errors:
        results["errors"] = suite.errors
    results["machine"] = {**machine.describe(), "pinned": cores.server is not None, "others": round(others.share(), 3)}
    show(results)
    write(results, name, for_docs=options.publish and not suite.failures)
    return 1 if suite.failures else 0


def in_cluster(options: argparse.Namespace) -> int:
    """Measure several servers over Redis, with the packages of the benchmarks."""
    install.install_python()
    try:
        install.install_javascript()
    except install.Missing as missing:
        print(missing, file=sys.stderr)
    command = [str(PYTHON), "-m", "benchmarks.cluster", "--rounds", str(options.rounds)]
    command += ["--quick"] * options.quick + ["--curve"] * options.curve
    return subprocess.run(command, cwd=publish.ROOT, check=False).returncode


def with_workers(options: argparse.Namespace) -> int:
    """Measure several workers of one port, with the packages of the benchmarks."""
    install.install_python()
    install.build_load()
    command = [str(PYTHON), "-m", "benchmarks.workers", "--rounds", str(options.rounds)] + ["--quick"] * options.quick
    return subprocess.run(command, cwd=publish.ROOT, check=False).returncode


def show(results: report.Json) -> None:
    """Print everything that was found."""
    print()
    if "rounds" in results:
        for lines in (report.table(results), report.spreads(results)):
            print(report.aligned(lines), end="\n\n")
        for line in report.targets(results):
            print(line)
        print()
    for key, lines in report.curve_tables(results).items():
        print(f"{CURVES[key].title}\n{report.aligned(lines)}", end="\n\n")
    print(*report.conditions(results), sep="\n")


def write(results: report.Json, name: str, *, for_docs: bool) -> None:
    """The results as JSON and as a picture; ``for_docs``: also where the docs have theirs."""
    publish.RESULTS.mkdir(exist_ok=True)
    stem = "latest" if name == "table" else f"latest-{name}"
    data, picture = publish.RESULTS / f"{stem}.json", publish.RESULTS / f"{stem}.svg"
    data.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture.write_text(chart.curves(results) if name == "curves" else chart.bars(results), encoding="utf-8")
    if for_docs:
        shutil.copy(data, publish.RESULTS / f"{name}.json")
        if name != "latency":
            shutil.copy(picture, IMAGES / ("performance.svg" if name == "table" else f"performance-{name}.svg"))
        publish.update_pages()


if __name__ == "__main__":
    sys.exit(main())
