"""Requests to other servers, and their answers: all of them, or those that came in time and who is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..adapters.ack_collector import AckCollector, Servers
from ..exceptions import AckTimeout, FetchTimeout
from ..types import AckResponses, SocketDetails


class ServerAnswers:
    """Answers of other servers to one request, one each.

    ``servers``: their names, or only their number, as Node's servers are counted: then the missing ones have no names.
    """

    __slots__ = ("_awaited", "_done", "answers", "left")

    def __init__(self, servers: int | Collection[str]) -> None:
        self._awaited = Servers(servers)
        self._done: asyncio.Future[None] | None = None
        self.answers: dict[str, Any] = {}
        """Answers by the server's name, in the order in which they came."""
        self.left: list[str] = []
        """Names of servers that have died or left before they answered."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the servers that have not answered; ``"?"`` for each that has only been counted."""
        return self._awaited.missing

    def answer(self, value: Any, name: str | None = None) -> None:
        """Take the answer of a server. A second one is dropped.

        That of a server that was not awaited counts, too: it has joined the cluster meanwhile, or it was forgotten.
        """
        if name is not None and name in self.answers:
            return
        self._awaited.arrive(name)
        self.answers[f"?{len(self.answers)}" if name is None else name] = value
        self._check()

    def server_gone(self, name: str) -> None:
        """Wait no longer for a server that has died or left."""
        if self._awaited.leave(name):
            self.left.append(name)
        self._check()

    async def wait(self, timeout: float | None) -> bool:
        """Wait until all have answered or are gone. Return false after ``timeout`` seconds."""
        if not self._awaited:
            return True
        self._done = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._done
        except TimeoutError:
            return False
        finally:
            self._done = None
        return True

    def _check(self) -> None:
        if not self._awaited and self._done is not None and not self._done.done():
            self._done.set_result(None)


class FetchRequest(ServerAnswers):
    """A request for the sockets of other servers; each answers with a list."""

    __slots__ = ("_own",)

    def __init__(self, servers: int | Collection[str], own: Sequence[SocketDetails] = ()) -> None:
        super().__init__(servers)
        self._own = own

    async def result(self, timeout: float | None) -> list[SocketDetails]:
        """Wait for all answers and return the sockets, this server's first.

        Raises :class:`~rtframework.FetchTimeout`, with what did come, after ``timeout`` seconds.
        """
        in_time = await self.wait(timeout)
        sockets = [*self._own, *(socket for answer in self.answers.values() for socket in answer)]
        if not in_time:
            raise FetchTimeout(sockets=sockets, missing=self.missing)
        return sockets


class ServerSideRequest(ServerAnswers):
    """An event for other servers that asks for their answers."""

    __slots__ = ()

    async def result(self, timeout: float | None) -> AckResponses:
        """Wait for all answers and return them by the server's name.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, after ``timeout`` seconds.
        """
        if not await self.wait(timeout):
            raise AckTimeout(responses=self.answers, missing=self.missing)
        return AckResponses(self.answers, tuple(self.left))


class Requests:
    """The open requests of one namespace, by id. Answers to others, late ones above all, are dropped."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, AckCollector | ServerAnswers] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, id: str) -> bool:
        return id in self._open

    def open(self, id: str, request: AckCollector | ServerAnswers) -> None:
        """Let answers with this id go to a request. Its owner closes it when it has its result."""
        self._open[id] = request

    def close(self, id: str) -> None:
        """Drop further answers with this id."""
        self._open.pop(id, None)

    def fetched(self, id: str, sockets: Iterable[SocketDetails], name: str | None = None) -> None:
        """Take the sockets of a server."""
        request = self._open.get(id)
        if isinstance(request, FetchRequest):
            request.answer(list(sockets), name)

    def answered(self, id: str, value: Any, name: str | None = None) -> None:
        """Take a server's answer to an event."""
        request = self._open.get(id)
        if isinstance(request, ServerSideRequest):
            request.answer(value, name)

    def counted(self, id: str, clients: int, name: str | None = None) -> None:
        """Take the number of clients that a server has asked."""
        request = self._open.get(id)
        if isinstance(request, AckCollector):
            request.server(clients, name)

    def acknowledged(self, id: str, args: list[Any], sid: str | None = None, name: str | None = None) -> None:
        """Take the answer of a server's client."""
        request = self._open.get(id)
        if isinstance(request, AckCollector):
            request.answer(args, sid, name)

    def gone(self, id: str, sid: str | None = None, name: str | None = None) -> None:
        """Take it that a server's client has left before it answered."""
        request = self._open.get(id)
        if isinstance(request, AckCollector):
            request.gone(sid, name)

    def server_gone(self, name: str) -> None:
        """Let no request wait for a server that has died or left."""
        for request in list(self._open.values()):
            request.server_gone(name)
