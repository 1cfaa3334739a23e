"""The other servers of the cluster, asked for what only they know, and told what only they can do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from rtframework.exceptions import AckTimeout
from rtframework.workers.backbone import current_group

if TYPE_CHECKING:
    from rtframework import Server

STATS: Final = "$http_api:stats"
DRAIN: Final = "$http_api:drain"


class Others:
    """Asks the same API on the other servers.

    ``stats``: returns the statistics of this one. ``drain``: begins to drain this one, over so many seconds.
    """

    def __init__(self, io: Server, stats: Callable[[], Mapping[str, Any]], drain: Callable[[float], None]) -> None:
        self._io = io
        self._stats = stats
        self._drain = drain

    def start(self) -> None:
        """Begin to answer the others. Not before the program is complete: it may still replace the main namespace."""
        self._io.on_server_side(STATS)(self._tell_stats)
        self._io.on_server_side(DRAIN)(self._drain_with_port)

    async def _tell_stats(self) -> list[Any]:
        return [self._io.cluster.node, self._stats()]

    async def _drain_with_port(self, port: str, seconds: float) -> list[str]:
        if port != this_port():
            return []
        self._drain(seconds)
        return [self._io.cluster.node]

    @property
    def exist(self) -> bool:
        """True if the server has an adapter of several servers."""
        return self._io.stats().cluster is not None

    async def stats(self, timeout: float) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the statistics of the others by name, and the names of those that have not answered in time."""
        if not self.exist:
            return {}, ()
        answers, silent = await self._ask(timeout, STATS)
        found = {name: stats for name, stats in answers if isinstance(stats, dict)}
        others = {node.name for node in await self._io.cluster.nodes() if not node.is_self}
        missing = {*silent, *others} - found.keys()
        return found, tuple(sorted(missing))

    async def drain(self, seconds: float, timeout: float) -> tuple[list[str], tuple[str, ...]]:
        """Drain this server, and the other workers of its port. Return their names, and those of silent workers."""
        group = current_group()
        others: list[str] = []
        missing: tuple[str, ...] = ()
        if self.exist and group is not None and group.members:
            answers, missing = await self._ask(timeout, DRAIN, this_port(), seconds)
            others = [name for answer in answers for name in answer]
        self._drain(seconds)
        return [self._io.cluster.node, *sorted(others)], missing

    async def _ask(self, timeout: float, event: str, *args: Any) -> tuple[list[Any], tuple[str, ...]]:
        try:
            answers: Any = await self._io.server_side_emit_with_ack(event, *args, timeout=timeout)
            missing = answers.missing
        except AckTimeout as error:
            answers, missing = error.responses, error.missing
        return [each for each in answers.values() if isinstance(each, list)], missing


def this_port() -> str:
    """Return what the workers of one port have in common; empty if this process is not one of them."""
    group = current_group()
    return "" if group is None else f"{socket.gethostname()}:{group.directory}"
