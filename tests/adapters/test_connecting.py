"""Code that decides about a client, told from all other code."""

from __future__ import annotations

import asyncio
import weakref

from rtframework.adapters.connecting import connecting, is_connecting


class Client:
    """A client that waits to be let in."""

    waits = True

    def is_out(self) -> bool:
        return self.waits


def test_it_holds_until_the_client_is_in() -> None:
    """An emit would say nothing of its failure long after its client was let in, or refuse a client."""
    client = Client()
    assert not is_connecting()
    with connecting(client, Client.is_out):
        assert is_connecting()
        client.waits = False
        assert not is_connecting()
    client.waits = True
    assert not is_connecting()


async def test_what_a_handler_has_started_does_not_keep_the_client() -> None:
    """A client that has long left would stay in memory with each timer and task of its connection handlers."""
    client = Client()
    gone = weakref.ref(client)
    found: list[bool] = []
    with connecting(client, Client.is_out):
        timer = asyncio.get_running_loop().call_later(60, print)
        asyncio.get_running_loop().call_soon(lambda: found.append(is_connecting()))
    del client
    assert gone() is None
    await asyncio.sleep(0)
    assert found == [False]
    timer.cancel()


async def test_a_task_that_a_handler_has_started_is_told_afterwards() -> None:
    """A background task that a connection handler starts would never hear that its emits are lost."""
    client, let_in = Client(), asyncio.Event()

    async def work() -> list[bool]:
        before = is_connecting()
        await let_in.wait()
        return [before, is_connecting()]

    with connecting(client, Client.is_out):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    client.waits = False
    let_in.set()
    assert await task == [True, False]
