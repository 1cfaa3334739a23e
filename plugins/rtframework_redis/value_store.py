"""Small values in Redis, for all servers of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rtframework.exceptions import ClusterUnavailable

from .errors import LinkError, LinkLost

if TYPE_CHECKING:
    from .node_leases import Connection

_PAUSE: Final = 0.01
"""Seconds before a command is sent again whose reply was lost."""

_REPLACE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_REMOVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisStore:
    """Keeps small values in the adapter's Redis: ``sio:kv:{<tag>}:<key>``.

    ``connection``: returns the connection to the node that has these keys, or raises
    :class:`~rtframework.ClusterUnavailable`. ``tag``: what stands between braces, so that all keys are in one slot of a
    Redis Cluster. ``timeout``: seconds for an answer, over all attempts.

    A command whose reply was lost is sent again, which does no harm. ``remove`` may then say that there was nothing.
    Values are lost with a master that has no copy; when a copy takes its place, those of the last moment may be.
    """

    def __init__(self, connection: Callable[[], Connection], tag: str, timeout: float) -> None:
        self._connection = connection
        self._prefix = f"sio:kv:{{{tag}}}:"
        self._timeout = timeout

    async def get(self, key: str) -> bytes | None:
        """Return a value; ``None`` if there is none, or if its time is over."""
        found: bytes | None = await self._command("GET", self._prefix + key)
        return found

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds, whatever was there before."""
        await self._command("SET", self._prefix + key, value, "PX", _milliseconds(seconds))

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Keep a value if there is no other, and return ``None``; otherwise return the other."""
        name = self._prefix + key
        while True:
            if await self._command("SET", name, value, "PX", _milliseconds(seconds), "NX") is not None:
                return None
            found: bytes | None = await self._command("GET", name)
            if found == value:  # the reply to SET was lost
                return None
            if found is not None:
                return found

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value in place of another one. Return ``False``, and do nothing, if that is not there."""
        name, time = self._prefix + key, _milliseconds(seconds)
        if await self._command("EVAL", _REPLACE, 1, name, old, value, time):
            return True
        return bool(await self._command("GET", name) == value)  # the reply was lost

    async def remove(self, key: str, old: bytes | None = None) -> bool:
        """Remove a value; ``old``: only this one. Return ``False``, and do nothing, if it is not there."""
        if old is None:
            return bool(await self._command("DEL", self._prefix + key))
        return bool(await self._command("EVAL", _REMOVE, 1, self._prefix + key, old))

    async def _command(self, *args: Any) -> Any:
        """Send a command until there is a reply. Raises :class:`~rtframework.ClusterUnavailable`."""
        connection = self._connection()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    link = await connection.link()
                    try:
                        return await link.send(*args)
                    except LinkLost:
                        await asyncio.sleep(_PAUSE)  # the connection may be known as lost only in the next turn
        except TimeoutError as error:
            raise ClusterUnavailable(f"Redis did not answer within {self._timeout:g} s") from error
        except LinkError as error:
            raise ClusterUnavailable(f"Redis did not answer: {error}") from error


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
