"""Work in the background that ends with the server."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rtframework_redis.background import Background


async def test_what_still_runs_is_cancelled_at_the_end() -> None:
    """A server that has stopped would go on to work."""
    background = Background()
    background.spawn(asyncio.sleep(60))
    task = asyncio.ensure_future(asyncio.sleep(60))
    background.spawn(task)
    await background.stop()
    assert task.cancelled()
    await background.stop()


async def test_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What another server has asked for would fail without a word."""
    background = Background()

    async def fail() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR, logger="rtframework.cluster"):
        background.spawn(fail())
        for _ in range(3):
            await asyncio.sleep(0)
    assert "unhandled error in what another server has asked for" in caplog.text
    await background.stop()
