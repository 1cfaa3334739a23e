"""Code that decides about a client, told from all other code."""

from __future__ import annotations

import asyncio

from rtframework.adapters.connecting import connecting, is_connecting


def test_it_holds_until_the_client_is_in() -> None:
    """An emit would say nothing of its failure long after its client was let in, or refuse a client."""
    is_out = True
    assert not is_connecting()
    with connecting(lambda: is_out):
        assert is_connecting()
        is_out = False
        assert not is_connecting()
    is_out = True
    assert not is_connecting()


async def test_a_task_that_a_handler_has_started_is_told_afterwards() -> None:
    """A background task that a connection handler starts would never hear that its emits are lost."""
    is_out, let_in = True, asyncio.Event()

    async def work() -> list[bool]:
        before = is_connecting()
        await let_in.wait()
        return [before, is_connecting()]

    with connecting(lambda: is_out):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    is_out = False
    let_in.set()
    assert await task == [True, False]
