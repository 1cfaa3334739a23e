"""How long those tests search that make up their cases: a part of it in every run, all of it with ``--thorough``."""

from __future__ import annotations

_thorough = False


def configure(thorough: bool) -> None:
    """Before tests are collected."""
    global _thorough
    _thorough = thorough


def examples(number: int) -> int:
    """For ``settings(max_examples=…)``: the number of a thorough run; others take an eighth."""
    return number if _thorough else max(number // 8, 25)


def is_thorough() -> bool:
    """Tell whether this is a thorough run, for tests of many pages of which some show the fault of all."""
    return _thorough
