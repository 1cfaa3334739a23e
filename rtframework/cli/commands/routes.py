"""Show the namespaces of a Server, with their middleware in the order in which it runs, and their handlers with
parameters, results and places in the source.

  rtframework routes server:io
  rtframework routes server:io --json | jq '.namespaces[].entries[].name'

Handlers that a program registers with single sockets are not shown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import Exit
from ..inspection import Entry, NamespaceEntry, Place, take_inventory, written
from ..loading import add_target, load_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "the Server")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the namespaces. Return the exit code. Raises ``Failure``."""
    found = take_inventory(load_server(args.target, factory=args.factory))
    if args.json:
        print(json.dumps({"namespaces": [_plain(each) for each in found]}, indent=2))
    else:
        print("\n\n".join("\n".join(_lines(each)) for each in found))
    return Exit.DONE


def _plain(namespace: NamespaceEntry) -> dict[str, Any]:
    return dataclasses.asdict(namespace)


def _lines(namespace: NamespaceEntry) -> Iterator[str]:
    yield namespace.name + {"name": "", "template": "", "expression": "  (a regular expression)"}.get(
        namespace.kind, "  (names that this function accepts)"
    )
    rows = [(each.kind, _head(each), _where(each.place)) for each in namespace.entries]
    widths = _widths(rows)
    if not rows:
        yield "  (nothing)"
    for kind, head, where in rows:
        yield f"  {kind:<{widths[0]}}  {head:<{widths[1]}}  {where}".rstrip()


def _widths(rows: Sequence[tuple[str, str, str]]) -> tuple[int, int]:
    kinds = max((len(kind) for kind, _, _ in rows), default=0)
    # Long signatures are ignored: one would move all source lines out of sight.
    heads = [len(head) for _, head, _ in rows if len(head) <= 80]
    return kinds, max(heads, default=0)


def _head(entry: Entry) -> str:
    text = str(entry.name) if entry.name is not None else entry.place.name
    if entry.arguments is not None:
        text += f"({written(entry.arguments)})"
    if entry.returns is not None:
        text += f" -> {entry.returns}"
    marks = [mark for mark, holds in (("ack", entry.ack), ("ordered", entry.ordered)) if holds]
    return text + (f"  [{', '.join(marks)}]" if marks else "")


def _where(place: Place) -> str:
    if place.file is None:
        return f"{place.module}.{place.name}"
    file = Path(place.file)
    # Installed code is shown by its module's name, which is better known than its path.
    where = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else place.module or file
    return f"{where}:{place.line}"
