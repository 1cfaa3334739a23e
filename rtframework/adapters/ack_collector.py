"""Collecting the acknowledgements of one broadcast until all have arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from ..exceptions import AckTimeout
from ..packets import from_ack
from ..types import AckResponses


class AckCollector:
    """Collector of the acknowledgements of this server's clients and, in a cluster, of other servers' clients.

    ``servers``: the other servers that got the packet, by name, or only their number; each reports once how many
    clients it has asked. With names, a server that leaves the cluster is not waited for any longer.

    Example, in an adapter of a cluster::

        collector = AckCollector(servers=self.others())
        collector.ask(self._emitter.ask(sids, packet))     # clients of this server
        self._collectors[request_id] = collector       # other servers' messages call server(count, name), answer(args)
        try:
            return await collector.result(timeout)
        finally:
            del self._collectors[request_id]
    """

    __slots__ = ("_asked", "_clients", "_done", "_gone", "_left", "_owed", "_responses", "_servers", "_waited")

    def __init__(self, servers: int | Collection[str] = 0) -> None:
        self._waited: dict[str, None] = {} if isinstance(servers, int) else dict.fromkeys(servers)
        """The servers that have not reported, by name."""
        self._servers = servers if isinstance(servers, int) else len(self._waited)
        self._owed: dict[str, int] = {}
        """By name of a server: the clients that it has asked and that have not answered."""
        self._gone: set[str] = set()
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

        ``name``: the server's, if it was given by name. A second report of a server, and one of a server that has gone,
        are ignored. A server that was not expected counts as well: it has joined the cluster meanwhile.
        """
        if name is None:
            self._servers -= 1
        else:
            if name in self._gone or (name in self._owed and name not in self._waited):
                return
            if name in self._waited:
                del self._waited[name]
                self._servers -= 1
            self._owed[name] = self._owed.get(name, 0) + clients
        self._clients += clients
        self._check()

    def server_gone(self, name: str) -> None:
        """Wait no longer for a server that has left the cluster, nor for its clients.

        If it has not reported, or owes answers, its name is among those that are missing.
        """
        if name in self._gone:
            return
        self._gone.add(name)
        owed = self._owed.pop(name, 0)
        if name in self._waited:
            del self._waited[name]
            self._servers -= 1
            self._left.append(name)
        elif owed:
            self._left.append(name)
        self._clients -= owed
        self._check()

    def answer(self, args: list[Any], sid: str | None = None, name: str | None = None) -> None:
        """Add the answer of another server's client. Answers without ``sid``, as Node's servers send, are numbered.

        ``name``: the name of its server, if servers were given by name.
        """
        if self._settle(name):
            self._responses[f"?{len(self._responses)}" if sid is None else sid] = from_ack(args)
            self._check()

    def gone(self, sid: str | None = None, name: str | None = None) -> None:
        """Count a client of another server that left before it answered; ``name``: as for :meth:`answer`."""
        if self._settle(name):
            if sid is not None:
                self._left.append(sid)
            self._check()

    def _settle(self, name: str | None) -> bool:
        """Count a client no longer. Return ``False`` if its server has gone: it was taken off with that."""
        if name is not None:
            if name in self._gone:
                return False
            self._owed[name] = self._owed.get(name, 0) - 1
        self._clients -= 1
        return True

    async def result(self, timeout: float | None) -> AckResponses:
        """Wait for all answers and return them.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, after ``timeout`` seconds. Servers that were
        given by name and have not reported are among those that are missing.
        """
        try:
            if self._clients or self._servers:
                self._done = asyncio.get_running_loop().create_future()
                async with asyncio.timeout(timeout):
                    await self._done
        except TimeoutError:
            asked = (sid for sid in self._asked if sid not in self._responses)
            missing = dict.fromkeys([*self._left, *asked, *self._waited])
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

    def _check(self) -> None:
        if not self._clients and not self._servers and self._done is not None and not self._done.done():
            self._done.set_result(None)
