"""Waiting for what nobody announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.inbox import DEFAULT_TIMEOUT


async def until(condition: Callable[[], object], *, timeout: float = DEFAULT_TIMEOUT) -> None:
    """Return as soon as the condition holds; fail when it does not within ``timeout`` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for, that is the point
            await asyncio.sleep(0.002)
