"""Collecting the acknowledgements of one broadcast until all have arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from ..exceptions import AckTimeout
from ..packets import from_ack
from ..types import AckResponses


class Servers:
    """Other servers that have not answered yet: known by name, or only counted, as Node's servers are."""

    __slots__ = ("_count", "_names", "_settled")

    def __init__(self, servers: int | Collection[str]) -> None:
        self._names = None if isinstance(servers, int) else dict.fromkeys(servers)
        self._count = servers if isinstance(servers, int) else 0
        self._settled: set[str] = set()
        """Names of those that were only counted, and have answered or left."""

    def __bool__(self) -> bool:
        return bool(self._count if self._names is None else self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the servers; empty if they have only been counted."""
        return tuple(self._names or ())

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the servers; ``"?"`` for each that has only been counted."""
        return ("?",) * self._count if self._names is None else tuple(self._names)

    def arrive(self, name: str | None) -> bool:
        """Take the answer of a server. False if it was not awaited (any more)."""
        if self._names is None:
            if name is not None:
                self._settled.add(name)
            self._count -= 1
            return True
        if name not in self._names:
            return False
        del self._names[name]
        return True

    def leave(self, name: str) -> bool:
        """Wait no longer for a server of this name. True if it was awaited: of those that were counted, if it is one
        that has not answered."""
        if self._names is None:
            if name in self._settled or self._count <= 0:
                return False
            self._settled.add(name)
            self._count -= 1
            return True
        if name not in self._names:
            return False
        del self._names[name]
        return True


class AckCollector:
    """Collector of the acknowledgements of this server's clients and, in a cluster, of other servers' clients.

    ``servers``: the other servers that got the packet, by name or only their number; each reports once how many clients
    it has asked.

    Example, in an adapter of a cluster::

        collector = AckCollector(servers=await self.count_others())
        collector.ask(self._emitter.ask(sids, packet))     # clients of this server
        self._collectors[request_id] = collector       # other servers' messages call server(count), answer(args)
        try:
            return await collector.result(timeout)
        finally:
            del self._collectors[request_id]
    """

    __slots__ = ("_asked", "_clients", "_clients_of", "_done", "_gone", "_left", "_reported", "_responses", "_servers")

    def __init__(self, servers: int | Collection[str] = 0) -> None:
        self._servers: Final = Servers(servers)
        self._clients_of: dict[str, int] = {}
        """By name of a server: the clients that it has asked and that have not answered."""
        self._gone: set[str] = set()
        self._reported: set[str] = set()
        self._clients = 0
        self._asked: dict[str, asyncio.Future[list[Any]]] = {}
        self._responses: dict[str, Any] = {}
        self._left: list[str] = []
        self._done: asyncio.Future[None] | None = None

    def ask(self, asked: Mapping[str, asyncio.Future[list[Any]]]) -> None:
        """Add the answers of this server's clients: the futures that ``Emitter.ask`` returned."""
        self._clients += len(asked)
        self._asked.update(asked)
        for sid, future in asked.items():
            future.add_done_callback(partial(self._answered, sid))

    def server(self, clients: int, name: str | None = None) -> None:
        """Add the number of clients that another server has asked.

        A second report of a named server, and one of a server that has gone, are dropped. A server that was not
        expected counts as well: it has joined the cluster meanwhile.
        """
        if name is not None:
            if name in self._gone or name in self._reported:
                return
            self._reported.add(name)
        self._servers.arrive(name)
        self._clients += clients
        self._of(name, clients)
        self._check()

    def server_gone(self, name: str) -> None:
        """Wait no longer for a server that has died or left, nor for its clients; their ids are not known.

        If it has not reported, or owes answers, its name is among those that are missing.
        """
        if name in self._gone:
            return
        self._gone.add(name)
        owed = self._clients_of.pop(name, 0)
        if self._servers.leave(name) or owed:
            self._left.append(name)
        self._clients -= owed
        self._check()

    def answer(self, args: list[Any], sid: str | None = None, name: str | None = None) -> None:
        """Add the answer of another server's client. Answers without ``sid``, as Node's servers send, are numbered.

        ``name``: the server's, so that it is known for how many clients not to wait when it has gone.
        """
        if self._settle(name):
            self._responses[f"?{len(self._responses)}" if sid is None else sid] = from_ack(args)
            self._check()

    def gone(self, sid: str | None = None, name: str | None = None) -> None:
        """Count a client of another server, ``name``, that left before it answered."""
        if self._settle(name):
            if sid is not None:
                self._left.append(sid)
            self._check()

    def _settle(self, name: str | None) -> bool:
        """Count a client no longer. False if its server has gone: it was taken off with that."""
        if name in self._gone:
            return False
        self._clients -= 1
        self._of(name, -1)
        return True

    async def result(self, timeout: float | None) -> AckResponses:
        """Wait for all answers and return them.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, after ``timeout`` seconds.
        """
        try:
            if self._clients or self._servers:
                self._done = asyncio.get_running_loop().create_future()
                async with asyncio.timeout(timeout):
                    await self._done
        except TimeoutError:
            silent = [sid for sid in self._asked if sid not in self._responses]
            missing = dict.fromkeys([*self._left, *silent, *self._servers.names])
            raise AckTimeout(responses=self._responses, missing=tuple(missing)) from None
        else:
            return AckResponses(self._responses, tuple(self._left))
        finally:
            self._done = None
            for future in self._asked.values():
                future.cancel()

    def _answered(self, sid: str, future: asyncio.Future[list[Any]]) -> None:
        if future.cancelled():
            return
        if future.exception() is None:
            self._responses[sid] = from_ack(future.result())
        else:
            self._left.append(sid)
        self._clients -= 1
        self._check()

    def _of(self, name: str | None, clients: int) -> None:
        if name is not None:
            self._clients_of[name] = self._clients_of.get(name, 0) + clients

    def _check(self) -> None:
        if not self._clients and not self._servers and self._done is not None and not self._done.done():
            self._done.set_result(None)
