"""How long those tests search that make up their cases: a part of it in every run, all of it with ``--thorough``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_thorough = False


def configure(thorough: bool) -> None:
    """Before tests are collected.

    A machine with other work is slow, which is no fault of the code. A thorough run makes up other cases each time.
    """
    global _thorough
    _thorough = thorough
    settings.register_profile(
        "rtframework", deadline=None, derandomize=not thorough, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("rtframework")


def examples(number: int) -> int:
    """For ``settings(max_examples=…)``: the number of a thorough run; others take an eighth."""
    return number if _thorough else max(number // 8, 25)


def is_thorough() -> bool:
    """Tell whether this is a thorough run, for tests of many pages of which some show the fault of all."""
    return _thorough
