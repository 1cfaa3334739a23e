"""Sending messages of a program that is no server, from any number of threads, each of which waits for Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from rtframework.cluster.messages import EMITTER, new_id
from rtframework.cluster.search import find
from rtframework.cluster.stream_ids import BEGINNING
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable

from .address import Address
from .blocking_link import BlockingLink
from .commands import Argument
from .entry_writer import GRACE
from .errors import LinkError, LinkLost, ReplyError
from .handshake import Former
from .history_scripts import append_command
from .keeper import Pauses
from .link import STALE, wall_time
from .publication import ChannelMessage, Publication, StreamMessage
from .publisher_link import PAGE
from .topology import SingleServer, Source, make_topology


class BlockingWriter:
    """Sends messages over connections that threads take in turn; a forked process opens its own."""

    def __init__(self, redis: Source, stream: str, *, max_len: int, timeout: float) -> None:
        make_topology(redis)  # a mistake in the address shows here
        self._redis = redis
        self._stream = stream
        self._max_len = max_len
        self._timeout = timeout
        self._address: Address | None = None
        self._idle: dict[int, list[BlockingLink]] = {}
        """Connections that nobody uses, by the process that has opened them."""
        self._is_closed = False

    def open(self) -> None:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if that fails."""
        try:
            link, _ = self._take(wall_time() + self._timeout)
        except LinkError as error:
            raise ClusterUnavailable(f"Redis cannot be reached: {error}") from error
        self._give_back(link)

    def close(self) -> None:
        """Close the connections, each when it is not used any more."""
        self._is_closed = True
        self._close_idle()

    def send(self, message: Publication) -> None:
        """Send a message. Raises :class:`~rtframework.ClusterUnavailable`."""
        if isinstance(message, StreamMessage):
            self._repeat(_Addition(message, self._stream, self._max_len, self._timeout / 2))
        else:
            self._repeat(_Publishing(message))

    def _repeat(self, task: _Task) -> None:
        """Try until it is done, or is not to be tried again, or the time is over."""
        if self._is_closed:
            raise ClusterUnavailable("the message has reached nobody: the publisher is closed")
        deadline = wall_time() + self._timeout
        pauses = Pauses()
        while True:
            was_idle = False
            try:
                link, was_idle = self._take(deadline)
                try:
                    task.attempt(link, deadline)
                except BaseException:
                    link.close()
                    raise
                self._give_back(link)
                return
            except ReplyError as error:
                if error.code not in STALE:
                    raise _unavailable(f"Redis refused it: {error}", task.uncertain) from error
                self._follow(error)
                problem: LinkError = error
            except LinkError as error:
                self._address = None
                self._close_idle()
                problem = error
            if not task.may_repeat or wall_time() >= deadline:
                raise _unavailable(str(problem), task.uncertain) from problem
            if not was_idle:  # one that was idle has perhaps ended long ago
                time.sleep(min(pauses.take(), max(deadline - wall_time(), 0)))
                if wall_time() >= deadline:  # another attempt would only find that there is no time
                    raise _unavailable(str(problem), task.uncertain) from problem

    # --- connections --------------------------------------------------------------------------------------------------

    def _take(self, deadline: float) -> tuple[BlockingLink, bool]:
        """Return a connection, and whether it was idle before."""
        own = os.getpid()
        for pid in list(self._idle):
            if pid != own:
                self._idle.pop(pid, None)  # the parent's: this process closes its copies alone
        try:
            return self._idle[own].pop(), True
        except (KeyError, IndexError):
            pass
        if self._address is None:
            self._address = _locate(self._redis, self._stream, deadline)
        return BlockingLink(self._address, deadline, name="rtframework-publisher"), False

    def _give_back(self, link: BlockingLink) -> None:
        self._idle.setdefault(os.getpid(), []).append(link)
        if self._is_closed:
            self._close_idle()

    def _close_idle(self) -> None:
        links = self._idle.pop(os.getpid(), [])
        while links:
            links.pop().close()

    def _follow(self, error: ReplyError) -> None:
        """Go to the server that an error names, or look for the master again."""
        self._close_idle()
        redirect, address = error.redirect, self._address
        if redirect is None or address is None:
            self._address = None
        else:
            host = redirect.host or address.host
            self._address = dataclasses.replace(address, host=host, port=redirect.port, asking=redirect.asking)


def _locate(redis: Source, stream: str, deadline: float) -> Address:
    """Find the master. Sentinels and the nodes of a Cluster are asked in a thread, which has an event loop."""
    topology = make_topology(redis)
    if isinstance(topology, SingleServer):
        return topology.address

    async def ask() -> Address:
        try:
            async with asyncio.timeout(deadline - wall_time()):
                return await topology.locate(stream.encode())
        except TimeoutError:
            raise LinkLost(f"{topology} did not say in time where the master is") from None
        finally:
            await topology.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()


def _unavailable(why: str, uncertain: bool) -> ClusterUnavailable:
    known = "it is not known whether Redis has taken the message" if uncertain else "the message has reached nobody"
    return ClusterUnavailable(f"{known}: {why}", uncertain=uncertain)


class _Task(Protocol):
    """A message on its way."""

    @property
    def uncertain(self) -> bool:
        """True if it may have been sent."""

    @property
    def may_repeat(self) -> bool:
        """True if another attempt cannot double it."""

    def attempt(self, link: BlockingLink, deadline: float) -> None:
        """Send it, unless it was sent before. Raises ``LinkError``."""


class _Publishing:
    """A message for a channel. Nobody can tell if it was published when the reply is lost."""

    def __init__(self, message: ChannelMessage) -> None:
        self._message = message
        self.uncertain = False

    @property
    def may_repeat(self) -> bool:
        return not self.uncertain

    def attempt(self, link: BlockingLink, deadline: float) -> None:
        try:
            link.command(deadline, "PUBLISH", *self._message)
        except LinkLost as error:
            self.uncertain = error.written
            raise


class _Addition:
    """A message for the stream. If a reply is lost, the connection is ended and the message looked for."""

    may_repeat: Final = True

    def __init__(self, message: StreamMessage, stream: str, max_len: int, patience: float) -> None:
        self._m = new_id().encode()
        self._fields: list[Argument] = list(
            fields_of(_UID, message.nsp, message.kind, message.data, self._m, message.room)
        )
        self._kept = message.kept
        if self._kept:
            self._fields += b"h", b"1"
        self._stream = stream
        self._max_len = max_len
        self._patience = patience
        self._lost: tuple[Former | None, str] | None = None
        """The connection on which it may have been added, and the end of the stream before."""
        self._is_marked = self._may_be_known = False

    @property
    def uncertain(self) -> bool:
        return self._lost is not None or self._may_be_known

    def attempt(self, link: BlockingLink, deadline: float) -> None:
        soon = min(deadline, wall_time() + self._patience)
        if self._lost is not None and self._was_added(link, *self._lost, deadline):
            return
        last = link.command(soon, "XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        since = last[0][0].decode() if last else BEGINNING
        fields = [*self._fields, b"a", b"1"] if self._is_marked else self._fields
        try:
            if self._kept:
                link.command(soon, *append_command(self._stream, self._max_len, self._kept, fields))
            else:
                link.command(soon, "XADD", self._stream, "MAXLEN", "~", self._max_len, "*", *fields)
        except LinkLost as error:
            if error.written:
                self._lost = link.former, since
                self._is_marked = True
            raise

    def _was_added(self, link: BlockingLink, former: Former | None, since: str, deadline: float) -> bool:
        if not link.end(former, deadline):
            time.sleep(max(0, min(GRACE, deadline - wall_time())))
        steps = find({self._m}, 1, since)
        at = next(steps)
        try:
            while True:
                at = steps.send(link.command(deadline, "XREVRANGE", self._stream, at, "-", "COUNT", PAGE))
        except StopIteration as end:
            if end.value:
                return True
        # What comes after an entry that is still there is there, too.
        if since == BEGINNING or not link.command(deadline, "XRANGE", self._stream, since, since):
            self._may_be_known = True
        self._lost = None
        return False


_UID: Final = EMITTER.encode()
