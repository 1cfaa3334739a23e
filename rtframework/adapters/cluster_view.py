"""The cluster as a program sees it: ``io.cluster``, and ``sio.cluster`` of the drop-in."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, overload, runtime_checkable

from ..types import ClusterDown, ClusterGap, ClusterLoss, ClusterNode, ClusterTraffic, ClusterUp, Health

if TYPE_CHECKING:
    from ..protocols import Backbone
    from .cluster_events import ClusterEvents

U = TypeVar("U", bound=Callable[[ClusterUp], Any])
D = TypeVar("D", bound=Callable[[ClusterDown], Any])
G = TypeVar("G", bound=Callable[[ClusterGap], Any])
L = TypeVar("L", bound=Callable[[ClusterLoss], Any])
F = TypeVar("F", bound=Callable[[Any], Any])


def _version() -> str:
    try:
        return version("rtframework")
    except PackageNotFoundError:  # a checkout that was not installed
        return ""


VERSION: Final = _version()


@runtime_checkable
class ListsNodes(Protocol):
    """A backbone that can list the servers of its cluster. Not all can."""

    async def nodes(self) -> list[ClusterNode]:
        """Describe all servers, this one among them. Raises :class:`~rtframework.ClusterUnavailable`."""


@runtime_checkable
class CountsTraffic(Protocol):
    """A backbone that counts what it sends and receives. Not all do."""

    @property
    def traffic(self) -> ClusterTraffic:
        """The counts so far."""


class Member(Protocol):
    """A server, as far as its cluster is concerned."""

    @property
    def backbone(self) -> Backbone | None:
        """What joins it to the others, if anything does."""

    @property
    def cluster(self) -> ClusterEvents:
        """What it hears of them."""

    @property
    def started_at(self) -> float | None:
        """Time at which the application that is served had started, in seconds since the epoch."""

    def count_sockets(self) -> int:
        """Count the sockets of all namespaces."""


class Cluster:
    """The cluster of a server: ``io.cluster``. Without an adapter of several servers it is this server alone.

    Example::

        @io.cluster.on("down")
        def down(event: ClusterDown) -> None:
            print(f"{io.cluster.node} has lost the others: {event.reason}")

        for node in await io.cluster.nodes():
            print(node.name, node.sockets)
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._name = f"{socket.gethostname()}-{os.getpid()}"

    def __repr__(self) -> str:
        return f"<Cluster of {self.node}>"

    @property
    def node(self) -> str:
        """The name of this server in the cluster."""
        backbone = self._member.backbone
        return self._name if backbone is None else backbone.node

    @property
    def health(self) -> Health:
        """The state of the connection to the other servers; without a cluster it is up."""
        backbone = self._member.backbone
        return Health(True) if backbone is None else backbone.health

    @property
    def traffic(self) -> ClusterTraffic:
        """Counts of what was sent to the other servers and received; zeros if nobody counts it. See ``io.stats()``."""
        backbone = self._member.backbone
        return backbone.traffic if isinstance(backbone, CountsTraffic) else ClusterTraffic()

    async def nodes(self) -> list[ClusterNode]:
        """Describe all servers of the cluster, this one first, then by name.

        Servers of Node are only counted, see :class:`~rtframework.types.ClusterNode`. A server that was killed is
        listed for up to 15 seconds. Raises :class:`~rtframework.ClusterUnavailable` if the others cannot be asked.
        """
        backbone = self._member.backbone
        others: list[ClusterNode] = await backbone.nodes() if isinstance(backbone, ListsNodes) else []
        here = ClusterNode(
            name=self.node,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            started=self._member.started_at,
            sockets=self._member.count_sockets(),
            is_self=True,
        )
        return [here, *sorted((each for each in others if not each.is_self), key=_order)]

    @overload
    def on(self, event: Literal["up"]) -> Callable[[U], U]: ...
    @overload
    def on(self, event: Literal["down"]) -> Callable[[D], D]: ...
    @overload
    def on(self, event: Literal["gap"]) -> Callable[[G], G]: ...
    @overload
    def on(self, event: Literal["lost"]) -> Callable[[L], L]: ...
    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function, ``async`` or not, for an event of the cluster.

        ``"down"``: the other servers cannot be reached, with a :class:`~rtframework.types.ClusterDown`.
        ``"up"``: they can be reached again, with a :class:`~rtframework.types.ClusterUp`.
        ``"gap"``: packets of other servers may be missing, with a :class:`~rtframework.types.ClusterGap`.
        ``"lost"``: the other servers did not get an emit, with a :class:`~rtframework.types.ClusterLoss`, whether or
        not somebody awaited it.

        What a function raises is logged. Raises :class:`~rtframework.ConfigurationError` for another event.
        """

        def register(function: F) -> F:
            self._member.cluster.on(event, function)
            return function

        return register

    def off(self, event: Literal["up", "down", "gap", "lost"], function: Callable[..., Any] | None = None) -> None:
        """Remove a function, or all functions of an event."""
        self._member.cluster.off(event, function)

    @property
    def down_for(self) -> float:
        """Seconds for which the other servers could not be reached; 0.0 while they can."""
        since = self._member.cluster.down_at
        return 0.0 if since is None else time.monotonic() - since


def _order(node: ClusterNode) -> tuple[bool, str]:
    return node.runtime != "rtframework", node.name
