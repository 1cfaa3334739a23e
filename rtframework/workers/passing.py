"""TCP connections, passed from one worker to another: each has a Unix datagram socket in the group's directory.

A datagram is a header, the address of the client if that cannot be seen on the connection, and the bytes that have been
read of it. The connection's descriptor comes with it (SCM_RIGHTS, unix(7)), and a second one with the bytes if they are
many.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import struct
from array import array
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..logs import ThrottledLog
from .shared_table import SLOTS, SharedTable, SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

log: Final = logging.getLogger("rtframework.workers")

_lost: Final = ThrottledLog(
    log,
    logging.ERROR,
    "lost a connection on its way to another worker: the process has no free file descriptor, see ulimit -n",
)
_unreadable: Final = ThrottledLog(
    log, logging.ERROR, "dropped what came to the socket of a worker: it is no connection"
)
_HEADER: Final = struct.Struct("!BBBH")
"""Flags, the sender's slot + 1, the number of the receiver's server, bytes of the address."""
_IS_SETTLED: Final = 1
_HAS_PEER: Final = 2
_IS_SECURE: Final = 4
_IS_IN_FILE: Final = 8

_MOST_INLINE: Final = 65_536
"""Bytes that have been read and go into the datagram itself."""
_LARGEST: Final = _HEADER.size + 65_535 + _MOST_INLINE
_AT_ONCE: Final = 16
"""Connections that are taken in one turn of the event loop."""
_MOST_WAITING: Final = 4_096
"""Connections that may wait for one worker that takes none: about as many as wait for one that does not accept."""
_full: Final = ThrottledLog(
    log,
    logging.ERROR,
    f"closed a connection of another worker's: it has not taken the {_MOST_WAITING} before it, does it hang?",
)
_RETRY: Final = 0.01
"""Seconds until the next try when the system has too many descriptors on their way (ETOOMANYREFS)."""
_PAUSE: Final = 0.1
"""Seconds until connections are taken again if no file descriptor was free."""
_LOOK: Final = 0.01
"""Seconds until the next look whether connections that were sent have been taken."""
_STUCK: Final = 10
"""Looks after which no new sessions go to a worker that has taken nothing."""
_ASK: Final = 100
"""Looks after which a worker that has not taken one is asked if it is still there."""
_SHARE, _LEAST = 0.02, 8
"""A worker is clearly busier than another if it has more clients by this share, and by this number."""
_LOOK_AT_SOCKET: Final = 1.0
"""Seconds between two looks whether the socket of this worker is still in the directory."""
_MODULUS: Final = 0xFFFF_FFFF
_MEMORY: Final = 0.05
"""Seconds for which connections that were passed on may not be counted where they went."""


class Peer(Protocol):
    """The client of a request that is forwarded."""

    @property
    def name(self) -> Any:
        """The address, as of ``socket.getpeername()``."""

    @property
    def is_secure(self) -> bool:
        """True if it came over TLS."""


class _Passed(NamedTuple):
    """A connection on its way."""

    fd: int
    data: bytes
    site: int
    is_settled: bool
    peer: Any


class _Peer(NamedTuple):
    name: Any
    is_secure: bool


class Passing:
    """Passes connections to the other workers of a group, and takes those that they pass: a ``Neighbours``.

    ``directory``: the group's; ``slot``: the number of this worker; ``table``: where all see who is there.
    """

    def __init__(self, directory: Path, slot: int, table: SharedTable) -> None:
        self.slot = slot
        """The number of this worker."""
        self._directory = directory
        self._path = directory / str(slot)
        self._looking: asyncio.TimerHandle | None = None
        self._table = table
        self._clients = 0
        self._sites: list[Callable[..., None]] = []
        self._socket: socket.socket | None = None
        self._others: dict[int, _Other] = {}
        self._states = b""
        self._serving: list[int] = []
        self._recent: deque[tuple[float, int]] = deque()

    # --- start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take connections of others from now on, in the running loop."""
        self._path.unlink(missing_ok=True)  # of a worker that has died
        self._listen(self._bind())
        self._looking = asyncio.get_running_loop().call_later(_LOOK_AT_SOCKET, self._look)

    def _bind(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(os.fspath(self._path))
        except BaseException:
            sock.close()
            raise
        return sock

    def _listen(self, sock: socket.socket) -> None:
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._take)

    def _look(self) -> None:
        """Make the socket again if somebody has removed it, as soon as the broker has made the directory again."""
        self._looking = asyncio.get_running_loop().call_later(_LOOK_AT_SOCKET, self._look)
        if self._socket is None or self._path.exists():
            return
        try:
            sock = self._bind()
        except OSError:  # the next time
            return
        self._close_socket()
        self._listen(sock)

    def _close_socket(self) -> None:
        """Serve what others have sent, and close the socket: what they send after that, they take back."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            while self._take_one():
                pass
            self._socket.close()
            self._socket = None

    def stop(self) -> None:
        """Take nothing any more, and serve what others have sent before."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._socket is not None:
            self._path.unlink(missing_ok=True)
            self._close_socket()
        for other in self._others.values():
            other.close()
        self._others.clear()

    # --- what the engine asks -----------------------------------------------------------------------------------------

    def listen(self, serve: Callable[..., None]) -> int:
        """Have connections of others served by ``serve``. Return its number: others name it so."""
        self._sites.append(serve)
        return len(self._sites) - 1

    def share(self, topic: str, take: Callable[[bytes], None], known: Callable[[], bytes]) -> Callable[[bytes], None]:
        """Share nothing: there is no broker."""
        return lambda data: None

    def is_there(self, slot: int) -> bool:
        """Return whether another worker serves the sessions of a slot."""
        return slot != self.slot and self._table.state(slot) >= SlotState.SERVING

    def others_serve(self) -> bool:
        """Return whether another worker takes new sessions."""
        return any(slot != self.slot for slot in self._table.workers(SlotState.SERVING))

    def count(self, change: int) -> None:
        """Count connections of clients that were opened, or, if negative, closed."""
        self._clients += change
        self._table.set_clients(self.slot, self._clients)

    def destination(self) -> int | None:
        """Return the slot of the worker that is to have a new session; ``None``: this one."""
        states = self._table.states()
        if states != self._states:
            self._states, self._serving = states, self._table.workers(SlotState.SERVING)
        serves = self.slot in self._serving
        if serves:  # and nobody has clearly fewer clients, as most times
            clients, enough = self._table.clients, self._clients - _LEAST
            for each in self._serving:
                if clients(each) < enough:
                    break
            else:
                return None
        least, slot = self._least_of(self._serving)
        if slot != self.slot and self._is_stuck(slot):
            least, slot = self._least_of([each for each in self._serving if not self._is_stuck(each)])
        if slot == self.slot:
            return None
        if serves:
            margin = max(_LEAST, self._clients * _SHARE)
            if self._clients - least <= margin or self._clients - least - self._count_recent(slot) <= margin:
                return None
        self._recent.append((asyncio.get_running_loop().time(), slot))
        return slot

    def _least_of(self, slots: Iterable[int]) -> tuple[int, int]:
        """Return the smallest number of clients that one of these workers has, and its slot."""
        clients = self._table.clients
        return min(((clients(each), each) for each in slots), default=(0, self.slot))

    def _is_stuck(self, slot: int) -> bool:
        """Return whether a worker has not taken for a while what it was sent."""
        other = self._others.get(slot)
        return other is not None and other.is_stuck

    def _count_recent(self, slot: int) -> int:
        """Count the sessions that were sent to a worker, and may not be counted there yet."""
        recent, since = self._recent, asyncio.get_running_loop().time() - _MEMORY
        while recent and recent[0][0] < since:
            recent.popleft()
        return sum(each == slot for _, each in recent)

    def pass_on(
        self, slot: int, fd: int, data: bytes, *, site: int = 0, is_settled: bool = False, peer: Peer | None = None
    ) -> bool:
        """Pass a connection on, with what has been read of it. ``False``: that worker has gone.

        The descriptor stays the caller's, to be closed.
        """
        other = self._others.get(slot)
        if other is None:
            path = self._directory / str(slot)
            other = self._others[slot] = _Other(path, self.slot, slot, self._table, self._serve_here)
        return other.send(_Passed(fd, data, site, is_settled, peer))

    # --- what others send ---------------------------------------------------------------------------------------------

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        """Take one connection. ``False`` if there is none."""
        if self._socket is None:
            return False
        try:
            message, fds = _receive(self._socket)
        except BlockingIOError:
            return False
        except OSError as error:
            _lost(error=error)
            return True
        if not message:  # somebody asks if this worker is still there
            return True
        try:
            passed, sender = _read(message, fds)
        except (OSError, ValueError) as error:
            for fd in fds:
                os.close(fd)
            _unreadable(error=error)
            return True
        self._table.add_taken(sender, self.slot)
        if passed is None:
            _lost()
            self._pause()
            return False
        self._serve(passed)
        return True

    def _pause(self) -> None:
        """Take nothing until there are free file descriptors: what waits is not lost."""
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            loop.remove_reader(self._socket)
            loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._socket is None:
            return
        try:
            with self._socket.dup(), self._socket.dup():
                pass
        except OSError:
            self._pause()
        else:
            asyncio.get_running_loop().add_reader(self._socket, self._take)

    def _serve(self, passed: _Passed) -> None:
        try:
            sock = socket.socket(fileno=passed.fd)
        except OSError as error:
            os.close(passed.fd)
            _unreadable(error=error)
            return
        if passed.site >= len(self._sites):
            sock.close()
            return
        self._sites[passed.site](sock, passed.data, is_settled=passed.is_settled, peer=passed.peer)

    def _serve_here(self, passed: _Passed) -> None:
        """Serve a connection of which the other worker has gone before it took it."""
        if passed.peer is not None:
            os.close(passed.fd)
        else:
            self._serve(passed._replace(is_settled=True))


class _Other:
    """The way to one worker; ``give_back`` gets the connections that it does not take any more.

    A connection that was sent is kept open here until the worker has taken it, as the table says: if it dies before,
    nothing is lost.
    """

    def __init__(
        self, path: Path, sender: int, receiver: int, table: SharedTable, give_back: Callable[[_Passed], None]
    ) -> None:
        self._path = path
        self._sender = sender
        self._receiver = receiver
        self._table = table
        self._give_back = give_back
        self._socket: socket.socket | None = None
        self._waiting: deque[_Passed] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        """The number in the table when all that was sent has been taken."""
        self._on_the_way: deque[tuple[int, _Passed]] = deque()
        """Connections that were sent, and the number in the table when it has taken them."""
        self._looking: asyncio.TimerHandle | None = None
        self._looks = 0

    @property
    def is_stuck(self) -> bool:
        """True if the worker has not taken for a while what it was sent."""
        return bool(self._waiting) or self._looks >= _STUCK

    def send(self, passed: _Passed) -> bool:
        """Send a connection, or keep it until there is room. ``False``: the worker has gone."""
        if not self._waiting:
            sent = self._try(passed)
            if sent is not None:
                return sent
        if len(self._waiting) >= _MOST_WAITING:
            _full()
            return True
        try:
            self._waiting.append(passed._replace(fd=os.dup(passed.fd)))
        except OSError:
            _lost()
            return False
        return True

    def close(self) -> None:
        """Give up what waits."""
        self._stop_waiting()
        self._stop_looking()
        while self._waiting:
            os.close(self._waiting.popleft().fd)
        while self._on_the_way:
            os.close(self._on_the_way.popleft()[1].fd)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _try(self, passed: _Passed) -> bool | None:
        """Send a connection. ``False``: the worker has gone; ``None``: there is no room."""
        for _ in range(2):
            try:
                if self._socket is None:
                    self._socket = self._connect()
                _send(self._socket, passed, self._sender)
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._socket, self._go_on)  # type: ignore[arg-type]
                return None
            except OSError as error:
                if error.errno in (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                    if self._timer is None:
                        self._timer = asyncio.get_running_loop().call_later(_RETRY, self._go_on)
                    return None
                self._disconnect()  # it has gone; another may be there by now
            else:
                self._sent = (self._sent + 1) & _MODULUS
                if passed.peer is None:  # who forwards a request sees by itself that nobody serves it
                    self._keep(passed)
                return True
        return False

    def _keep(self, passed: _Passed) -> None:
        """Keep a connection that was sent, until it is taken."""
        if self._on_the_way:
            self._forget_taken()
        try:
            self._on_the_way.append((self._sent, passed._replace(fd=os.dup(passed.fd))))
        except OSError:  # no descriptor is free
            return
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _forget_taken(self) -> None:
        taken = self._table.taken(self._sender, self._receiver)
        while self._on_the_way and (taken - self._on_the_way[0][0]) & _MODULUS <= _MODULUS // 2:
            os.close(self._on_the_way.popleft()[1].fd)
            self._looks = 0

    def _look(self) -> None:
        """Forget what was taken; if the worker has died, take back what was not."""
        self._looking = None
        self._forget_taken()
        if not self._on_the_way:
            self._looks = 0
            return
        self._looks += 1
        if self._table.state(self._receiver) < SlotState.SERVING or self._looks % _ASK == 0:
            try:
                if self._socket is not None:
                    self._socket.send(b"")
            except BlockingIOError:  # it has not, or not yet
                pass
            except OSError:
                self._disconnect()
                return
        self._looking = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(os.fspath(self._path))
        except BaseException:
            sock.close()
            raise
        self._sent = self._table.taken(self._sender, self._receiver)
        return sock

    def _disconnect(self) -> None:
        """Let go of a worker that has died, and take back what it has not taken."""
        self._stop_waiting()
        self._stop_looking()
        self._forget_taken()
        lost, self._on_the_way = self._on_the_way, deque()
        for _, passed in lost:
            asyncio.get_running_loop().call_soon(self._give_back, passed)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_writer(self._socket)

    def _go_on(self) -> None:
        """Send what waits."""
        self._stop_waiting()
        while self._waiting:
            sent = self._try(self._waiting[0])
            if sent is None:
                return
            if not sent:
                lost, self._waiting = self._waiting, deque()  # first: to give one back may be to send it again
                for passed in lost:
                    self._give_back(passed)
                return
            os.close(self._waiting.popleft().fd)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a datagram and its descriptors, which children do not inherit: ``socket.recv_fds`` knows no flags."""
    message, ancillary, _, _ = sock.recvmsg(
        _LARGEST, socket.CMSG_SPACE(2 * array("i").itemsize), socket.MSG_CMSG_CLOEXEC
    )
    fds = array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def _send(sock: socket.socket, passed: _Passed, sender: int) -> None:
    """Send a connection. Raises ``BlockingIOError`` if there is no room, ``OSError`` if nobody is there."""
    flags = _IS_SETTLED if passed.is_settled else 0
    name, data, fds = b"", passed.data, [passed.fd]
    if passed.peer is not None:
        flags |= _HAS_PEER | (_IS_SECURE if passed.peer.is_secure else 0)
        name = json.dumps(passed.peer.name).encode()
    with contextlib.ExitStack() as stack:
        if len(data) > _MOST_INLINE:
            flags |= _IS_IN_FILE
            fds.append(_file_of(data))
            stack.callback(os.close, fds[1])
            data = b""
        socket.send_fds(sock, [_HEADER.pack(flags, sender + 1, passed.site, len(name)), name, data], fds)


def _file_of(data: bytes) -> int:
    """Write bytes into a file without a name. Return its descriptor."""
    fd = os.memfd_create("rtframework-passing")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def _read(message: bytes, fds: Sequence[int]) -> tuple[_Passed | None, int]:
    """Read a datagram. Return the connection, ``None`` if its descriptors did not arrive, and the slot of the sender.

    Raises ``ValueError`` or ``OSError`` for one that no worker has sent.
    """
    if len(message) < _HEADER.size:
        raise ValueError(f"{len(message)} bytes")
    flags, sender, site, length = _HEADER.unpack_from(message)
    if sender > SLOTS:
        raise ValueError(f"from slot {sender - 1}")
    wanted = 2 if flags & _IS_IN_FILE else 1
    if len(fds) > wanted:
        raise ValueError(f"{len(fds)} descriptors")
    if len(fds) < wanted:
        for fd in fds:
            os.close(fd)
        return None, sender - 1
    start = _HEADER.size + length
    peer = None
    if flags & _HAS_PEER:
        peer = _Peer(json.loads(message[_HEADER.size : start]), bool(flags & _IS_SECURE))
    data = message[start:]
    if flags & _IS_IN_FILE:
        with open(fds[1], "rb", closefd=False) as file:
            file.seek(0)
            data = file.read()
        os.close(fds[1])
    return _Passed(fds[0], data, site, bool(flags & _IS_SETTLED), peer), sender - 1
