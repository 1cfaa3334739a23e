"""Publishers of both forms with one set of methods, so that a test holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rtframework_redis import Publisher, SyncPublisher

_STEPS: Final = ("to", "in_", "except_", "compress", "of")


class InThreads:
    """A ``SyncPublisher``, or a selection of one, whose calls run in threads: it has the methods of ``Publisher``."""

    def __init__(self, operator: Any) -> None:
        self._operator = operator

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._operator, name)
        if name in _STEPS:
            return lambda *args: InThreads(found(*args))
        if name == "volatile":
            return InThreads(found)

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(found, *args, **options)

        return call

    async def __aenter__(self) -> InThreads:
        await asyncio.to_thread(self._operator.__enter__)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self._operator.close)


def in_threads(*args: Any, **options: Any) -> InThreads:
    """Make a ``SyncPublisher`` with the methods of ``Publisher``."""
    return InThreads(SyncPublisher(*args, **options))


FORMS: Final[dict[str, Callable[..., Any]]] = {"async": Publisher, "sync": in_threads}
"""Both publishers, by name."""
