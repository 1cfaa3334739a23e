"""Where a command writes what it makes: the terminal, or a file that may be up to date already."""

from __future__ import annotations

import argparse
import difflib
import sys
from itertools import islice
from pathlib import Path
from typing import Final

from ..contracts import Contract
from .failure import Exit, Failure

_SHOWN: Final = 20


def add_output(parser: argparse.ArgumentParser) -> None:
    """Give a command the options ``--output`` and ``--check``."""
    parser.add_argument("-o", "--output", metavar="FILE", help="write into this file, not to the terminal")
    parser.add_argument(
        "--check", action="store_true", help="write nothing: fail when the file of --output is not up to date"
    )


def hint_at_emits(contract: Contract) -> None:
    """Say so when half of a contract is missing: nobody declares what a namespace emits that serves events."""
    for namespace in contract.namespaces:
        if namespace.receives and not namespace.sends:
            missing = f"nothing says what the server emits in {namespace.name}"
            print(f"note: {missing}: declare it with io.emits(event, *types)", file=sys.stderr)


def write(args: argparse.Namespace, text: str) -> int:
    """Write what was made; the exit code. Raises ``Failure``."""
    if args.output is None:
        if args.check:
            raise Failure("--check needs the file: give it with --output FILE", Exit.USAGE)
        sys.stdout.write(text)
        return Exit.DONE
    path = Path(args.output)
    try:
        if args.check:
            _compare(path, text)
        elif not path.is_file() or path.read_bytes() != text.encode():
            path.write_bytes(text.encode())
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}") from error
    return Exit.DONE


def _compare(path: Path, text: str) -> None:
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    if there == text:
        return
    lines = difflib.unified_diff(there.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=1)
    raise Failure(
        f"{path} is not up to date: run the same command without --check", details="\n".join(islice(lines, _SHOWN))
    )
