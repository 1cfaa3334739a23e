"""Sockets that join or leave rooms together: none is forgotten because another one failed."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import ClusterUnavailable, EventError
from rtframework.adapters.moving import all_moved


async def test_the_first_error_is_raised_when_all_have_moved() -> None:
    """A socket would be told that it is in a room before other servers reach it, or an error would be lost."""
    done: list[int] = []

    async def move(number: int, error: Exception | None = None) -> None:
        await asyncio.sleep(0)
        done.append(number)
        if error is not None:
            raise error

    await all_moved([move(1)])
    with pytest.raises(ClusterUnavailable):
        await all_moved([move(2, ClusterUnavailable()), move(3)], EventError("too_many_rooms", "no"))
    with pytest.raises(EventError):
        await all_moved([move(4)], EventError("too_many_rooms", "no"))
    assert done == [1, 2, 3, 4]
