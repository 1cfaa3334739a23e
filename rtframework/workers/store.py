"""The store of all workers: their broker keeps the values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import ClusterUnavailable
from . import wire

if TYPE_CHECKING:
    from .group import Group

_ENDED: Final = "the broker of the workers has gone"


class WorkersStore:
    """Keeps small values with the broker, so that all workers have them, and those that come later.

    ``group``: returns the group, or raises :class:`~rtframework.ClusterUnavailable`. ``prefix``: returns what tells the
    keys of this server from those of other servers of the process. ``timeout``: seconds for an answer.
    """

    def __init__(self, group: Callable[[], Group], prefix: Callable[[], str], timeout: float) -> None:
        self._group = group
        self._prefix = prefix
        self._timeout = timeout

    async def get(self, key: str) -> bytes | None:
        """Return a value; ``None`` if there is none, or if its time is over."""
        found: bytes | None = (await self._ask(lambda request: wire.GetValue(request, self._key(key)))).value
        return found

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds, whatever was there before."""
        await self._ask(lambda request: wire.SetValue(request, self._key(key), value, seconds))

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Keep a value if there is no other, and return ``None``; otherwise return the other."""
        answer = await self._ask(lambda request: wire.AddValue(request, self._key(key), value, seconds))
        found: bytes | None = answer.value
        return found

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value in place of another one. Return ``False``, and do nothing, if that is not there."""
        answer = await self._ask(lambda request: wire.ReplaceValue(request, self._key(key), old, value, seconds))
        return bool(answer.done)

    async def remove(self, key: str, old: bytes | None = None) -> bool:
        """Remove a value; ``old``: only this one. Return ``False``, and do nothing, if it is not there."""
        return bool((await self._ask(lambda request: wire.RemoveValue(request, self._key(key), old))).done)

    def _key(self, key: str) -> str:
        return f"{self._prefix()}\0{key}"

    async def _ask(self, make: Callable[[int], wire.Control]) -> Any:
        link = self._group().link
        link.check()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(found: Any) -> None:
            if not answer.done():
                answer.set_result(found)

        link.send(wire.control(make(link.ask(answered))))
        done, _ = await asyncio.wait((answer,), timeout=self._timeout)
        if not done:
            raise ClusterUnavailable(f"the broker of the workers did not answer within {self._timeout:g} s")
        if answer.result() is None:
            raise ClusterUnavailable(_ENDED)
        return answer.result()
