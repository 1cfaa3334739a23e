"""The answer to a load balancer that asks whether it may send clients to this server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from ...options import check_timeout

if TYPE_CHECKING:
    from ...types import Health

READY: Final = 200
NOT_READY: Final = 503


class Reachable(Protocol):
    """The cluster of a server."""

    @property
    def health(self) -> Health:
        """The state of the connection to the other servers."""

    @property
    def down_for(self) -> float:
        """Seconds for which the other servers could not be reached."""


class Serving(Protocol):
    """A server, as far as it matters here."""

    @property
    def is_serving(self) -> bool:
        """True while an application is served."""

    @property
    def is_draining(self) -> bool:
        """True when the server sends its clients away."""

    @property
    def others_serve(self) -> bool:
        """True while another worker of the same port takes new clients."""

    @property
    def cluster(self) -> Reachable:
        """The servers that are one with it."""


class Readiness:
    """Tells load balancers whether a server takes clients: a handler for aiohttp.

    It answers 200 with ``{"ready": true}``, or 503 with ``{"ready": false, "reason": …}``: ``"starting"``,
    ``"draining"``, ``"stopping"``, or ``"cluster"``, when the other servers could not be reached for longer than
    ``cluster_timeout`` seconds. All servers lose a broker at the same moment, so a short loss must not take all of them
    out of service; ``None``: it never matters.

    With several workers on one port (``rtframework run --workers``), one that starts, drains or stops says that the
    port is ready while another one takes clients.

    It is not for liveness: a server that has lost its broker works, and a restart would not help it.

    Example::

        readiness = Readiness(io)
        app.router.add_get("/ready", readiness.handler)
    """

    def __init__(self, io: Serving, *, cluster_timeout: float | None = 10.0) -> None:
        if cluster_timeout is not None:
            check_timeout("cluster_timeout", cluster_timeout)
        self._io = io
        self._cluster_timeout = cluster_timeout
        self._has_served = self._drains = False
        self._down_since: float | None = None
        """Time, by ``time.monotonic()``, at which the cluster was first found to be down."""

    def drain(self) -> None:
        """Answer 503 from now on: the server is about to stop. It goes on with its clients, and takes new ones.

        ``Server.drain`` says so as well, and sends clients away.
        """
        self._drains = True

    @property
    def reason(self) -> str | None:
        """The reason why the server is not ready, ``None`` if it is."""
        if not self._io.is_serving:
            return None if self._io.others_serve else "stopping" if self._has_served else "starting"
        self._has_served = True
        if self._drains or (self._io.is_draining and not self._io.others_serve):
            return "draining"
        return "cluster" if self._is_cut_off() else None

    async def handler(self, request: web.Request) -> web.Response:
        """Answer a request."""
        reason = self.reason
        return web.json_response(
            {"ready": True} if reason is None else {"ready": False, "reason": reason},
            status=READY if reason is None else NOT_READY,
            headers={"Cache-Control": "no-store"},
        )

    def _is_cut_off(self) -> bool:
        cluster, now = self._io.cluster, time.monotonic()
        if cluster.health.up:
            self._down_since = None
            return False
        since = now if self._down_since is None else self._down_since
        self._down_since = since = min(since, now - cluster.down_for)
        return self._cluster_timeout is not None and now - since > self._cluster_timeout
