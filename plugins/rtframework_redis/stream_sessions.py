"""Sessions in Redis: Node's value with a part of our own, and the packets that a client has missed."""

from __future__ import annotations

import asyncio
import binascii
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rtframework.cluster.payloads import to_msgpack, to_plain
from rtframework.exceptions import EncodeError
from rtframework.logs import ThrottledLog
from rtframework.protocols import UNKNOWN, Session

from .errors import ReplyError

if TYPE_CHECKING:
    from .link import Link
    from .stream_writer import StreamWriter

log: Final = logging.getLogger("rtframework.cluster")

_not_kept: Final = ThrottledLog(
    log, logging.WARNING, "the session of a client of %s is not kept, so that it is not recovered: %s", period=60.0
)

_RENEW: Final = 10.0
"""Seconds, at most, between two looks at what programs have changed in ``socket.data``."""

_CHANGED: Final = 0.1
"""Seconds after a change of rooms until it is written down."""

_TAKEN: Final = 10_000
"""Milliseconds for which a server can find a session that it has taken without hearing that it has."""

_AT_ONCE: Final = 100
"""Sessions that are looked at together, before others have their turn."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as it was read."""

    value: bytes
    """What Redis had."""
    session: Session
    here: bool
    """True if the client was in when this was written, and is not known to have left."""
    at: str | None
    """Position of the stream when the client came in."""
    since: Mapping[str, str]
    """Positions at which the client has joined its rooms."""


class Sessions:
    """The sessions of all namespaces of one server.

    A client that is in has one as well, so that it can come back when the process has died.
    """

    def __init__(self, writer: StreamWriter, prefix: str, node: str) -> None:
        self._writer = writer
        self._prefix = prefix
        self._node = node
        self._written: dict[str, int] = {}
        """By private id: the hash of the session of a client that is in."""
        self._unsent: dict[str, tuple[Any, ...]] = {}
        """By private id: commands that wait for a connection."""
        self._sent: set[asyncio.Future[Any]] = set()

    # --- writing ------------------------------------------------------------------------------------------------------

    def keep(self, session: Session, nsp: str, seconds: float, at: Mapping[str | None, str]) -> None:
        """Write down the session of a client that is in. Raises ``EncodeError``."""
        value = self._encode(session, nsp, at, here=True)
        before = self._written.get(session.pid)
        self._written[session.pid] = digest = hash(value)
        if before is None:
            self._send(session.pid, "SET", self._key(session.pid), value, "PX", _milliseconds(seconds))
        elif before == digest:
            self._send(session.pid, "PEXPIRE", self._key(session.pid), _milliseconds(seconds))
        else:  # only if nobody has taken it
            self._send(session.pid, "SET", self._key(session.pid), value, "PX", _milliseconds(seconds), "XX")

    def persist(self, session: Session, nsp: str, seconds: float, at: Mapping[str | None, str]) -> None:
        """Write down the session of a client that has left and may come back. Raises ``EncodeError``."""
        value = self._encode(session, nsp, at, here=False)
        if session.left_at is not None:
            seconds -= time.time() - session.left_at
        command: tuple[Any, ...] = ("SET", self._key(session.pid), value, "PX", _milliseconds(seconds))
        if self._written.pop(session.pid, None) is not None:
            command = (*command, "XX")  # another server that has taken it has the client now
        self._send(session.pid, *command)

    def forget(self, pid: str) -> None:
        """Forget a session."""
        self._written.pop(pid, None)
        self._send(pid, "DEL", self._key(pid))

    def give_up(self, pid: str, nsp: str, error: EncodeError) -> None:
        """Keep no session that cannot be written down: what Redis has of it is old, and would be wrong."""
        if pid in self._written:
            self.forget(pid)
        _not_kept(nsp, error, key=nsp, extra={"nsp": nsp})

    def has(self, pid: str) -> bool:
        """Tell whether the session of a client that is in has been written down."""
        return pid in self._written

    def release(self, pid: str) -> None:
        """Leave a session to the server that has the client now."""
        self._written.pop(pid, None)
        self._unsent.pop(pid, None)

    def resend(self) -> None:
        """Send what could not be sent while there was no connection."""
        unsent, self._unsent = self._unsent, {}
        for pid, command in unsent.items():
            self._send(pid, *command)

    async def flush(self, timeout: float) -> None:
        """Wait until everything is written, for a bounded time."""
        if self._sent:
            await asyncio.wait(self._sent, timeout=timeout)

    def _send(self, pid: str, *command: Any) -> None:
        reply = self._writer.send(*command)
        if reply is None:
            self._unsent[pid] = command
        else:
            self._sent.add(reply)
            reply.add_done_callback(self._sent.discard)

    def _key(self, pid: str) -> str:
        return self._prefix + pid

    def _taken(self, pid: str) -> str:
        return f"{self._prefix}{pid}:{self._node}"

    def _encode(self, session: Session, nsp: str, at: Mapping[str | None, str], *, here: bool) -> bytes:
        x: dict[str, Any] = {"v": 1, "nsp": nsp, "node": self._node, "here": here, "at": at.get(None)}
        x["since"] = {room: position for room, position in at.items() if room is not None}
        if session.identity is not UNKNOWN:
            x["identity"] = _readable(session.identity)
        if session.replaced:
            x["replaced"] = True
        if session.replayed is not None:
            x["replayed"] = session.replayed
        if not here:
            x["left_at"] = time.time() if session.left_at is None else session.left_at
        value = {"sid": session.sid, "pid": session.pid, "rooms": sorted(session.rooms), "data": session.data, "x": x}
        try:
            return b64encode(to_msgpack({**value, "data": to_plain(session.data)}))
        except EncodeError as error:
            raise EncodeError(f"socket.data {error}") from error

    # --- reading ------------------------------------------------------------------------------------------------------

    async def find(self, link: Link, pid: str, nsp: str) -> Kept | None:
        """Return a session of a namespace, without taking it; one, too, that this server has taken and not used."""
        taken, value = await asyncio.gather(link.send("GET", self._taken(pid)), link.send("GET", self._key(pid)))
        return self._decode(taken if value is None else value, pid, nsp)

    async def take(self, link: Link, kept: Kept, nsp: str) -> Kept | None:
        """Take a session away, so that nobody else gets it; ``None`` if somebody else was faster.

        It gets another name: if the connection ends before the reply, this server finds it there.
        """
        pid = kept.session.pid
        renamed = link.send("RENAME", self._key(pid), self._taken(pid))
        link.send("PEXPIRE", self._taken(pid), _TAKEN)
        read = link.send("GET", self._taken(pid))
        await asyncio.gather(renamed, read, return_exceptions=True)
        if (error := renamed.exception()) is not None and not isinstance(error, ReplyError):
            raise error
        return self._decode(await read, pid, nsp)

    def use(self, pid: str) -> None:
        """Drop what was taken: the client has it now."""
        self._send(f"{pid} taken", "DEL", self._taken(pid))

    async def forget_all(self, nsp: str, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions of clients that have left and for which ``belongs`` returns true."""
        count = 0
        cursor: Any = b"0"
        while True:
            cursor, keys = await self._writer.command(
                "SCAN", cursor, "MATCH", f"{_escape(self._prefix)}*", "COUNT", 500
            )
            for key in keys:
                kept = self._decode(
                    await self._writer.command("GET", key), key.decode(errors="replace")[len(self._prefix) :], nsp
                )
                if (
                    kept is not None
                    and not kept.here
                    and kept.session.identity is not UNKNOWN
                    and belongs(kept.session)
                ):
                    count += await self._writer.command("DEL", key)
            if int(cursor) == 0:
                return count

    def _decode(self, value: bytes | None, pid: str, nsp: str) -> Kept | None:
        if value is None:
            return None
        try:
            found = msgspec.msgpack.decode(b64decode(value, validate=True))
            x = found.get("x") or {}
            if found["pid"] != pid or x.get("nsp", nsp) != nsp:
                return None
            session = Session(
                found["sid"],
                pid,
                frozenset(found["rooms"]),
                dict(found["data"] or {}),
                replayed=x.get("replayed"),
                left_at=x.get("left_at"),
                identity=x.get("identity", UNKNOWN),
                replaced=bool(x.get("replaced")),
                origin=x.get("node", "node"),
            )
            return Kept(value, session, bool(x.get("here")), x.get("at"), x.get("since") or {})
        except (msgspec.MsgspecError, binascii.Error, ValueError, TypeError, KeyError, AttributeError):
            return None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _readable(identity: Any) -> Any:
    """Return an identity if it comes back as an equal value. Raises ``EncodeError``."""
    try:
        if msgspec.msgpack.decode(msgspec.msgpack.encode(identity)) == identity:
            return identity
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        pass
    raise EncodeError("Recovery.identity has made a key that cannot be read back")


def _escape(text: str) -> str:
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in text)


class Renewal:
    """Writes down, from time to time, what has changed in the sessions of one namespace's clients."""

    def __init__(self, sids: Callable[[], Sequence[str]], keep: Callable[[str], None], lifetime: float) -> None:
        self._sids = sids
        self._keep = keep
        self._pause = max(0.05, min(_RENEW, lifetime / 3))
        self._changed: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._renew())

    async def close(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def change(self, sid: str) -> None:
        """Note that a client's rooms have changed."""
        self._changed.add(sid)
        if self._timer is None and self._task is not None:
            self._timer = asyncio.get_running_loop().call_later(_CHANGED, self._write)

    def _write(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for sid in changed:
            self._keep(sid)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            for number, sid in enumerate(self._sids()):
                self._keep(sid)
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
