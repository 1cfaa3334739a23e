"""Commands over a kept connection, whichever connection that is at the moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rtframework.exceptions import ClusterUnavailable

from .errors import LinkError

if TYPE_CHECKING:
    from .commands import Argument
    from .keeper import Keeper
    from .link import Link


class Commander:
    """Sends commands over a kept connection, each once.

    A subclass sets ``keeper``, and ``_timeout``: seconds for a connection, and seconds for a reply.
    """

    keeper: Keeper
    _timeout: float

    async def link(self) -> Link:
        """Return the connection, waiting for it a while. Raises :class:`~rtframework.ClusterUnavailable`."""
        found = self.keeper.link
        if found is not None:
            return found
        try:
            return await self.keeper.up(self._timeout)
        except LinkError as error:
            raise ClusterUnavailable(f"Redis cannot be reached: {error}") from error

    async def command(self, *args: Argument) -> Any:
        """Send a command and return its reply. Raises :class:`~rtframework.ClusterUnavailable`."""
        link = await self.link()
        try:
            async with asyncio.timeout(self._timeout):
                return await link.send(*args)
        except TimeoutError as error:
            raise ClusterUnavailable(f"Redis did not answer within {self._timeout:g} s") from error
        except LinkError as error:
            raise ClusterUnavailable(f"Redis did not answer: {error}") from error

    def send(self, *args: Argument) -> asyncio.Future[Any] | None:
        """Send a command whose reply nobody needs; return its future, ``None`` if there is no connection."""
        link = self.keeper.link
        if link is None:
            return None
        try:
            reply = link.send(*args)
        except LinkError:
            return None
        reply.add_done_callback(ignore)
        return reply


def ignore(future: asyncio.Future[Any]) -> None:
    """Take the error of a future that nobody awaits, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()
