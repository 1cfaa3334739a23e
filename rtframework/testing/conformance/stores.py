"""The conformance suite of stores of small values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from .suites import check

if TYPE_CHECKING:
    from ...protocols import KeyValueStore

_LONG: Final = 60.0
_SHORT: Final = 0.05
_PATIENCE: Final = 5.0
"""Seconds that a value may outlive its time."""

Using = Callable[["KeyValueStore", "KeyValueStore"], Awaitable[None]]


class KeyValueStoreConformance:
    """Tests of a :class:`~rtframework.protocols.KeyValueStore`. Implement :meth:`stores`."""

    def stores(self) -> AbstractAsyncContextManager[tuple[KeyValueStore, KeyValueStore]]:
        """Return a context that makes an empty store, as two servers see it; for one server, the same object twice."""
        raise NotImplementedError("give the suite stores()")

    def test_a_value_is_kept(self) -> None:
        """What one server keeps, the others read, byte by byte; nothing is there that nobody has kept."""

        async def use(one: KeyValueStore, two: KeyValueStore) -> None:
            check(await two.get("nothing") is None, "a value that nobody has kept")
            for value in (b"", b"value", b" value\r\n", bytes(range(256)), b"x" * 100_000):
                await one.set("key", value, _LONG)
                check(await two.get("key") == value, "another value than the one that was kept")
            check(await two.get("another") is None, "a value under another key")

        self._run(use)

    def test_a_value_ends(self) -> None:
        """What is over is not found, and is no obstacle; a value that is kept anew has a new time."""

        async def use(one: KeyValueStore, two: KeyValueStore) -> None:
            await one.set("long", b"1", _LONG)
            await one.set("short", b"1", _SHORT)
            await one.set("again", b"1", _SHORT)
            await one.set("again", b"2", _LONG)
            async with asyncio.timeout(_PATIENCE):
                while await two.get("short") is not None:  # noqa: ASYNC110 - nobody tells when it ends
                    await asyncio.sleep(_SHORT)
            check(await two.add("short", b"2", _LONG) is None, "a value whose time is over is in the way")
            check(await two.get("long") == b"1", "a value whose time is not over is gone")
            check(await two.get("again") == b"2", "a value has ended with the one that it has replaced")

        self._run(use)

    def test_one_adds(self) -> None:
        """Of many that add at once one succeeds, and the others are told its value."""

        async def use(one: KeyValueStore, two: KeyValueStore) -> None:
            for number in range(5):
                key = f"key {number}"
                values = [f"value {each}".encode() for each in range(10)]
                results = await asyncio.gather(
                    *((one, two)[place % 2].add(key, value, _LONG) for place, value in enumerate(values))
                )
                added = [value for value, found in zip(values, results, strict=True) if found is None]
                check(len(added) == 1, f"{len(added)} have added a value")
                check(set(results) == {None, *added}, "somebody was told of another value")
                check(await two.get(key) == added[0], "another value is there")
                check(await two.add(key, added[0], _LONG) is None, "an equal value is in the way")

        self._run(use)

    def test_one_replaces(self) -> None:
        """A value is replaced only by somebody who knows it, once."""

        async def use(one: KeyValueStore, two: KeyValueStore) -> None:
            check(not await one.replace("key", b"old", b"new", _LONG), "replaced what is not there")
            check(await one.get("key") is None, "a value that replaces nothing is there")
            await one.set("key", b"old", _LONG)
            check(not await two.replace("key", b"other", b"new", _LONG), "replaced another value")
            results = await asyncio.gather(
                *(each.replace("key", b"old", value, _LONG) for each, value in ((one, b"1"), (two, b"2")))
            )
            check(sorted(results) == [False, True], "not exactly one of two has replaced a value")
            check(await one.get("key") == (b"1" if results[0] else b"2"), "another value is there")
            check(await two.replace("key", b"1" if results[0] else b"2", b"", _LONG), "a value was not replaced")
            check(await one.get("key") == b"", "another value is there")

        self._run(use)

    def test_one_removes(self) -> None:
        """A value is removed only by somebody who knows it, or who wants it gone whatever it is."""

        async def use(one: KeyValueStore, two: KeyValueStore) -> None:
            check(not await one.remove("key", b"old"), "removed what is not there")
            check(not await one.remove("key"), "removed what is not there")
            await one.set("key", b"old", _LONG)
            check(not await two.remove("key", b"other"), "removed another value")
            check(await two.get("key") == b"old", "a value is gone")
            check(await two.remove("key", b"old"), "a value was not removed")
            check(await one.get("key") is None, "a value that was removed is there")
            await one.set("key", b"", _LONG)
            check(await two.remove("key"), "a value was not removed")
            check(await one.get("key") is None, "a value that was removed is there")

        self._run(use)

    def _run(self, use: Using) -> None:
        async def run() -> None:
            async with self.stores() as (one, two):
                await use(one, two)

        asyncio.run(run())
