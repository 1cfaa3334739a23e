"""The start of a server: Redis has to be reached within a time, and what is waited for is told meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Final

from rtframework.exceptions import ClusterUnavailable

from .errors import LinkError

log: Final = logging.getLogger("rtframework.cluster")

START: Final = 10.0
"""Seconds in which Redis has to be reached when the application starts."""

SOON: Final = 1.0
"""Seconds after which the log says what the application waits for."""


@contextlib.contextmanager
def starting(problem: Callable[[], str]) -> Iterator[float]:
    """Connect to Redis within the block, each step in as many seconds as this gives.

    ``problem``: returns the reason why Redis is not reached yet. Raises :class:`~rtframework.ClusterUnavailable` for
    what connections raise.
    """
    seconds = START

    def tell() -> None:
        log.warning("Redis is not reached yet, and after %g s the application does not start: %s", seconds, problem())

    timer = asyncio.get_running_loop().call_later(SOON, tell)
    try:
        yield seconds
    except (LinkError, TimeoutError) as error:
        raise ClusterUnavailable(f"Redis cannot be reached: {problem() or error}") from None
    finally:
        timer.cancel()
