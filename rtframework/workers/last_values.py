"""Values that outlive the worker that has written them, for the others: the broker keeps them."""

from __future__ import annotations

import asyncio
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import ClusterUnavailable
from . import wire

if TYPE_CHECKING:
    from .group import Group

_KIND: Final = "\0last\0"
"""The beginning of ids and keys among the sessions: no namespace and no client's private id begins so."""


@dataclass(frozen=True, slots=True)
class LastValue:
    """What a worker that has gone has written last."""

    id: str
    version: int
    value: bytes


class LastValues:
    """The last values of one topic. Each worker has one value at a time, which the next one replaces."""

    def __init__(self, group: Group, topic: str) -> None:
        self._group = group
        self._key = _KIND + topic

    def write(self, value: bytes) -> None:
        """Write this worker's value. It is lost if the broker has gone."""
        group = self._group
        if group.link.is_open:
            id = self._id_of(group.name)
            group.link.send(wire.control(wire.KeepSession(id, self._key, group.name, value, math.inf)))

    async def of_worker(self, name: str) -> bytes | None:
        """Return the value of a worker that is there. Raises :class:`~rtframework.ClusterUnavailable`."""
        found = await self._ask(lambda request: wire.FindSession(request, self._id_of(name)))
        return found.value if found.version else None

    async def of_those_gone(self) -> list[LastValue]:
        """Return the values of all workers that have gone. Raises :class:`~rtframework.ClusterUnavailable`."""
        found = await self._ask(lambda request: wire.ListSessions(request, self._key))
        return [LastValue(id, version, value) for id, version, value, _ in found.found]

    async def replace(self, values: Sequence[LastValue], value: bytes) -> None:
        """Put one value in the place of several of workers that have gone. Raises
        :class:`~rtframework.ClusterUnavailable`.

        Two workers that do so at once, with the same values, do it once.
        """
        names = hashlib.sha256("\0".join(sorted(each.id for each in values)).encode()).hexdigest()
        leave = wire.LeaveSession(self._id_of(names), self._key, names, value, math.inf, sys.maxsize)
        drop = [(each.id, each.version) for each in values]
        self._group.link.check()
        self._group.link.send(wire.control(leave))
        await self._ask(lambda request: wire.DropSessions(request, drop))

    def _id_of(self, name: str) -> str:
        return f"{self._key}\0{name}"

    async def _ask(self, make: Callable[[int], wire.Control]) -> Any:
        link = self._group.link
        link.check()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(found: Any) -> None:
            if not answer.done():
                answer.set_result(found)

        link.send(wire.control(make(link.ask(answered))))
        found = await answer
        if found is None:
            raise ClusterUnavailable("the broker of the workers has gone")
        return found
