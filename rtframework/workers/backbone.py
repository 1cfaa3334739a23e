"""``Workers``: the adapter of a server that is served by several processes on one port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

from ..adapters.partial_views import warn_while
from ..exceptions import ClusterUnavailable, ConfigurationError
from ..options import whole_number
from ..types import ClusterNode, ClusterTraffic, Health
from . import wire_rooms
from .adapter import WorkersAdapter
from .broker_process import join_or_start
from .group import Group, join
from .membership import Membership
from .parent import directory_of, this_parent
from .presence import WorkersPresence
from .store import WorkersStore

if TYPE_CHECKING:
    from ..protocols import Emitter

DIRECTORY: Final = "RTFRAMEWORK_WORKERS"
"""Variable of the environment that names the directory of a worker's group."""

_SOFTWARE: Final = "SERVER_SOFTWARE"
"""Variable of the environment in which gunicorn names itself to what it starts."""

_current: Group | None = None


def use(group: Group | None) -> None:
    """Let all servers of this process be in a group that was joined already."""
    global _current
    _current = group
    warn_while(None if group is None else lambda: bool(group.members))


def current_group() -> Group | None:
    """Return the group that this process has joined, ``None`` if it is not one of several workers."""
    membership = _process.membership
    return _current if membership is None else membership.group


class Workers:
    """Joins the servers of several processes that serve one port, without a broker to install.

    ``rtframework run --workers`` gives it to programs that have no other adapter. Under gunicorn, with the worker
    classes of aiohttp, workers find each other by their parent process.

    ``name``: tells the servers of one process apart; the path under which the server is attached by default.
    ``publish_timeout``: seconds after which ``emit`` raises ``ClusterUnavailable`` if the others cannot be reached.
    ``max_message``: bytes that one message may have.
    ``history_bytes`` and ``history_rooms``: bounds of the history that the broker keeps for all workers; beyond, the
    rooms that were used least recently are forgotten.

    Example::

        io = Server(adapter=Workers())
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        publish_timeout: float = 5.0,
        max_message: int = 64 * 1024 * 1024,
        history_bytes: int = 64 * 1024 * 1024,
        history_rooms: int = 10_000,
        group: Group | None = None,
    ) -> None:
        if not publish_timeout > 0:
            raise ConfigurationError(f"publish_timeout is a time in seconds, not {publish_timeout!r}")
        self.name = name
        self.publish_timeout = publish_timeout
        self.max_message = max_message
        self.history_bytes = whole_number("history_bytes", history_bytes, least=1)
        self.history_rooms = whole_number("history_rooms", history_rooms, least=1)
        self.renew = 10.0
        """Seconds between two looks at what programs have changed in ``socket.data``."""
        self.gaps = 0
        self.store = WorkersStore(lambda: self.group, lambda: self.name or "", publish_timeout)
        """Small values of all workers."""
        self._given = group
        self._group: Group | None = None
        self._has_joined = False
        self._process: _Process | None = None

    def __call__(self, nsp: str, emitter: Emitter) -> WorkersAdapter:
        """Make the adapter of a namespace."""
        return WorkersAdapter(self, nsp, emitter)

    def __repr__(self) -> str:
        return f"<Workers {self.node}>"

    def mounted(self, path: str) -> None:
        """Hear of the path under which the server is attached."""
        if self.name is None:
            self.name = path

    def key_of(self, nsp: str) -> str:
        """Return the key of a namespace in the group."""
        return f"{self.name}\0{nsp}" if self.name else nsp

    def presence_store(self) -> WorkersPresence:
        """Make the store of who is in the rooms of all workers."""
        return WorkersPresence(self)

    @property
    def group(self) -> Group:
        """The group. Raises :class:`~rtframework.ClusterUnavailable` before the start."""
        if self._group is None:
            raise ClusterUnavailable("the server has not started, and is not connected to the other workers")
        return self._group

    @property
    def node(self) -> str:
        """The name of this worker."""
        group = self._group or self._given or _current
        return f"{socket.gethostname()}-{os.getpid()}" if group is None else group.name

    @property
    def health(self) -> Health:
        """The state of the connection to the broker."""
        if self._group is None:
            return Health(False, "not started")
        problem = self._group.link.problem
        return Health(not problem, problem)

    async def nodes(self) -> list[ClusterNode]:
        """Describe all workers, this one among them."""
        if self._group is None:
            return []
        group = self._group
        found = []
        for member in (group._me, *group.members.values()):
            sockets = group.table.clients(member.slot)
            found.append(
                ClusterNode(
                    member.name, member.host, member.pid, member.version, member.started, sockets, member is group._me
                )
            )
        return found

    @property
    def traffic(self) -> ClusterTraffic:
        """What was sent and received so far, by all servers of this worker."""
        group = self._group
        return (
            ClusterTraffic() if group is None else ClusterTraffic(group.published, group.received, group.link.pending)
        )

    @property
    def neighbours(self) -> Membership | None:
        """The other workers for the engine of this server, unless what has started it has told that of them."""
        return None if self._process is None else self._process.membership

    async def start(self) -> None:
        """Join the group. Raises :class:`~rtframework.ClusterUnavailable` if there is no broker."""
        group = self._given or _current
        if group is None:
            directory = os.environ.get(DIRECTORY)
            if directory is not None:
                group = await join(directory)
                self._has_joined = True
            elif os.environ.get(_SOFTWARE, "").startswith("gunicorn/"):
                group = await _process.enter()
                self._process = _process
            else:
                raise ClusterUnavailable(
                    "this process has no other workers: start it with rtframework run --workers, or with gunicorn"
                )
        self._group = group
        group.link.send(wire_rooms.frame_of(wire_rooms.KeepHistory(self.history_bytes, self.history_rooms)))

    async def stop(self) -> None:
        """Leave the group, if this server has joined it."""
        group, self._group = self._group, None
        process, self._process = self._process, None
        if process is not None:
            await process.leave()
        elif group is not None and self._has_joined:
            self._has_joined = False
            await group.leave()


class _Process:
    """The membership of this process in the group of its parent, which all its servers share."""

    def __init__(self) -> None:
        self.membership: Membership | None = None
        self._servers = 0
        self._turn = asyncio.Lock()

    async def enter(self) -> Group:
        """Join for one more server. Raises :class:`~rtframework.ClusterUnavailable`."""
        async with self._turn:
            if self.membership is None:
                parent = this_parent()
                group = await join_or_start(directory_of(parent), parent, on_lost=_end)
                self.membership = Membership(group, serves_at_once=True)
                warn_while(lambda: bool(group.members))
            self._servers += 1
            return self.membership.group

    async def leave(self) -> None:
        """Leave with the last server."""
        async with self._turn:
            self._servers -= 1
            if not self._servers and self.membership is not None:
                membership, self.membership = self.membership, None
                warn_while(None)
                await membership.leave()


_process: Final = _Process()


def _end() -> None:
    """End this worker in order, since the broker has gone: gunicorn starts another one."""
    os.kill(os.getpid(), signal.SIGTERM)
