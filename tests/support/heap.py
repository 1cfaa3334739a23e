"""The objects of the tests themselves, which are many and stay to the end: garbage collections leave them out.

``tune_gc`` takes them in again when a server with it stops, and then each full collection of a later test takes a
quarter of a second of CPU.
"""

from __future__ import annotations

import gc
from typing import Final

_MANY: Final = 100_000
"""Objects that survived two collections: more than tests leave behind, less than the tests are."""


def leave_out() -> None:
    """Leave out of collections what there is, but for garbage."""
    gc.collect()
    gc.freeze()


def is_taken_in() -> bool:
    """Return True if collections look through the tests themselves."""
    return len(gc.get_objects(2)) > _MANY
