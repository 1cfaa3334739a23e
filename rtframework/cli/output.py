"""Output of commands: to stdout, or to a file that may be up to date already."""

from __future__ import annotations

import argparse
import codecs
import difflib
import io
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import Exit, Failure

if TYPE_CHECKING:  # not imported at run time, because every command and `--help` import this module
    from ..contracts import Contract

_SHOWN: Final = 20


def prepare_stdout() -> None:
    """Make stdout accept any text: characters that its encoding lacks are escaped as in JSON, ``\\u00e9``."""
    if sys.stdout is None:  # closed by the parent process: occupy its descriptor, so that no other file gets it
        sys.stdout = open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error("rtframework.json", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="rtframework.json")


def give_up_stdout() -> None:
    """Discard all further output, because flushing the buffer would fail again when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--output`` and ``--check`` to a command."""
    parser.add_argument("-o", "--output", metavar="FILE", help="write into this file, not to the terminal")
    parser.add_argument(
        "--check", action="store_true", help="write nothing: fail when the file of --output is not up to date"
    )


def hint_at_emits(contract: Contract) -> None:
    """Print a note for each namespace that handles events but declares none that it emits."""
    for namespace in contract.namespaces:
        if namespace.receives and not namespace.sends:
            missing = f"nothing says what the server emits in {namespace.name}"
            print(f"note: {missing}: declare it with io.emits(event, *types)", file=sys.stderr)


def write(args: argparse.Namespace, text: str) -> int:
    """Write the text to stdout or to the file of ``--output``. Return the exit code. Raises ``Failure``."""
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
    there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if there == text:
        return
    lines = difflib.unified_diff(there.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=1)
    raise Failure(
        f"{path} is not up to date: run the same command without --check", details="\n".join(islice(lines, _SHOWN))
    )
