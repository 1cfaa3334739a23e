"""Failures that are due to an exception of the program that a command works on."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from typing import Final

from .. import concurrency
from .errors import Failure

_HERE: Final = str(Path(__file__).parent)


def failure_of(message: str, error: BaseException) -> Failure:
    """Make a ``Failure`` with the traceback of an error in the program, without the frames of the command line."""
    if isinstance(error, SystemExit):
        return Failure(f"{message}: it called sys.exit({error.code!r})")
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    summary = traceback.format_exception_only(type(error), error)[-1].strip()
    return Failure(f"{message}: {summary}", details="".join(lines))


def _is_ours(file: str) -> bool:
    return file.startswith((_HERE, "<frozen importlib")) or file in (concurrency.__file__, importlib.__file__)
