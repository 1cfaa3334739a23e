"""Workers that share a port: a request that has come to the wrong one takes its connection to the right one.

The first letter of a session id names the worker that has the session. It is read in the request line, before anything
is parsed: then the connection is passed on, with the bytes that have been read.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

from .ids import SLOTS

if TYPE_CHECKING:
    from socket import socket

    from aiohttp import web

HERE: Final = -1
"""The worker that is asked, or any, in the place of a slot."""


KEYED: Final = (b"xhr", b"xhr_send", b"xhr_streaming", b"eventsource", b"htmlfile")
"""Ends of URLs of sessions whose ids their clients have chosen: SockJS's, ``<path>/<server>/<session>/xhr``."""


class Peer(NamedTuple):
    """The client of a request that another worker forwards, as that sees it."""

    name: Any
    """The address, as of ``socket.getpeername()``."""
    is_secure: bool
    """True if it came over TLS."""


class Serve(Protocol):
    """Serves a connection that another worker has passed on."""

    def __call__(self, sock: socket, data: bytes, *, is_settled: bool = False, peer: Peer | None = None) -> None:
        """Serve it. ``data``: what has been read of it.

        ``is_settled``: its first request is to be served here. ``peer``: it brings one request that
        is forwarded, of this client.
        """


class Neighbours(Protocol):
    """The other workers of the same port."""

    @property
    def slot(self) -> int:
        """The number of this worker, 0 to 63."""

    def is_there(self, slot: int) -> bool:
        """Return whether another worker serves the sessions of a slot."""

    def pass_on(
        self, slot: int, fd: int, data: bytes, *, site: int = 0, is_settled: bool = False, peer: Peer | None = None
    ) -> bool:
        """Pass a connection on, with what has been read of it. ``False``: that worker has gone.

        The descriptor stays the caller's, to be closed. ``site``: the number that ``listen`` has returned. The others
        are as for :class:`Serve`.
        """

    def destination(self) -> int | None:
        """Return the slot of the worker that is to have a new session; ``None``: this one."""

    def others_serve(self) -> bool:
        """Return whether another worker takes new sessions."""

    def count(self, change: int) -> None:
        """Count connections of clients that were opened, or, if negative, closed."""

    def listen(self, serve: Serve) -> int:
        """Have connections of others served by ``serve`` from now on. Return its number: others name it so."""

    def share(self, topic: str, take: Callable[[bytes], None], known: Callable[[], bytes]) -> Callable[[bytes], None]:
        """Share something small with the other workers. Return a function that tells them what has changed.

        ``take``: called with what others tell, and, soon, with what each of them has known before; ``known``: returns
        what is known here, for workers that come later. What is told reaches ``take`` of this worker, too.
        """

    def stop(self) -> None:
        """Take no connections of the others any more: this process ends."""


class Joinable:
    """A server that may be one of several workers."""

    neighbours: Neighbours | None = None
    """The other workers of its port."""

    @abstractmethod
    def join(self, neighbours: Neighbours, path: str) -> None:
        """Be one of several workers from now on: before the first connection. ``path``: where it is attached."""


def join_workers(app: web.Application, neighbours: Neighbours) -> None:
    """Make all servers of an application workers, those in sub-applications too; before it is served."""
    for server, path in _servers_of(app):
        if server.neighbours is not neighbours:
            server.join(neighbours, path)


def join_workers_of(app: web.Application, backbone: object) -> None:
    """Make all servers of an application workers if a backbone that was started knows the others."""
    neighbours: Neighbours | None = getattr(backbone, "neighbours", None)
    if neighbours is not None:
        join_workers(app, neighbours)


def neighbours_of(app: web.Application) -> tuple[Neighbours, list[str]] | None:
    """Return the other workers of the servers of an application, and the paths of these; ``None`` if there are none."""
    found = [(server.neighbours, path) for server, path in _servers_of(app) if server.neighbours is not None]
    return (found[0][0], [path for _, path in found]) if found else None


def _servers_of(app: web.Application) -> Iterator[tuple[Joinable, str]]:
    """List the servers of an application, and the paths that are theirs."""
    for route in app.router.routes():
        owner = getattr(route.handler, "__self__", None)
        server = getattr(owner, "joinable", owner)  # a gateway's
        if isinstance(server, Joinable) and route.resource is not None and "{" not in route.resource.canonical:
            yield server, route.resource.canonical


class RequestLines:
    """Reads in request lines which worker a request is for; ``paths``: those of the servers."""

    def __init__(self, paths: Iterable[str]) -> None:
        prefixes = {re.escape(path.rstrip("/").encode()) for path in paths}
        methods = rb"(?:GET|POST|HEAD|PUT|DELETE|PATCH)"  # any worker answers OPTIONS
        url = rb"%b (?:https?://[^/ ]*)?(?:%b)(?:/[^ ?]*)?\?" % (methods, b"|".join(prefixes))
        self.begins: Final = re.compile(url).match
        """Matches requests to the servers that have a query."""
        self.session: Final = re.compile(rb"%b(?:[^ ]*&)?sid=([\w-])" % url).match
        """Matches requests to the servers that have a session id; the group is its first letter."""
        self.handshake: Final = re.compile(rb"%b[^ ]* HTTP/1" % url).match
        """Matches requests to the servers whose line is whole: those without a session id are handshakes."""
        of_session = rb"%b (?:https?://[^/ ]*)?(?:%b)/[^/.? ]+/([^/.? ]+)/(?:%b)[? ]"
        self._keyed: Final = re.compile(of_session % (methods, b"|".join(prefixes), b"|".join(KEYED))).match

    def key_of(self, data: bytes) -> str | None:
        """Return the id in a request for a session whose id its client has chosen; ``None`` if it is none."""
        found = self._keyed(data)
        return None if found is None else unquote(found[1].decode(errors="surrogateescape"), errors="surrogateescape")

    def slot_of(self, target: str) -> int:
        """Return the slot that the URL of a request names; ``HERE``: it has no session id."""
        found = self.session(b"GET %b HTTP/1.1" % target.encode(errors="surrogateescape"))
        return HERE if found is None else SLOTS[found[1][0]]
