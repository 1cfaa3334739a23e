"""The middleware chain: order, results, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rtframework.handlers.middleware import compose
from rtframework.protocols import CallNext


def tracer(log: list[str], name: str) -> Callable[[str, CallNext], Awaitable[Any]]:
    """Middleware that writes down when it is entered and left."""

    async def middleware(argument: str, call_next: CallNext) -> Any:
        log.append(f"{name} before {argument}")
        try:
            return f"{name}({await call_next()})"
        finally:
            log.append(f"{name} after")

    return middleware


async def endpoint(argument: str) -> str:
    """The end of a chain."""
    return f"end {argument}"


async def test_the_first_middleware_is_the_outermost() -> None:
    """Authentication that was added first would run after what it protects."""
    log: list[str] = []
    chain = compose([tracer(log, "one"), tracer(log, "two")], endpoint)
    assert await chain("x") == "one(two(end x))"
    assert log == ["one before x", "two before x", "two after", "one after"]


async def test_without_middleware_the_chain_is_the_endpoint() -> None:
    """Programs that use no middleware would pay for it with every event."""
    assert compose([], endpoint) is endpoint


async def test_a_middleware_that_does_not_go_on_ends_the_chain() -> None:
    """An event that a middleware answers itself would reach the handler all the same."""

    async def answers(argument: str, call_next: CallNext) -> str:
        return "no"

    async def never(argument: str) -> str:
        raise AssertionError("the endpoint was reached")

    log: list[str] = []
    assert await compose([tracer(log, "outer"), answers, tracer(log, "inner")], never)("x") == "outer(no)"
    assert log == ["outer before x", "outer after"]


async def test_an_exception_goes_out_through_every_middleware() -> None:
    """Middleware that times or logs would not hear of handlers that fail."""
    log: list[str] = []

    async def fails(argument: str) -> None:
        raise LookupError(argument)

    with pytest.raises(LookupError, match="x"):
        await compose([tracer(log, "one"), tracer(log, "two")], fails)("x")
    assert log == ["one before x", "two before x", "two after", "one after"]


async def test_the_rest_of_the_chain_runs_for_its_own_arguments() -> None:
    """Two events at the same time would be served with each other's arguments."""
    gate = asyncio.Event()

    async def waits(argument: str, call_next: CallNext) -> Any:
        await gate.wait()
        return await call_next()

    chain = compose([waits], endpoint)
    tasks = [asyncio.ensure_future(chain(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == ["end a", "end b"]
