"""Commands as bytes, and replies that differ between the versions of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

from hiredis import pack_command

Argument: TypeAlias = str | bytes | int | float | memoryview
"""A part of a command."""

Entry: TypeAlias = list[Any]
"""An entry of a stream as Redis sends it: its id, and the list of its fields: name, value, name, value …"""

pack: Final[Callable[[tuple[Argument, ...]], bytes]] = cast(Any, pack_command)
"""Return a command as bytes. Raises ``TypeError`` for values that are neither text, bytes nor numbers."""


def begin(count: int, *args: Argument) -> bytes:
    """Return the beginning of a command of ``count`` parts, to be followed by :func:`bulk` for each part that is left.

    Packing costs half of an XADD, and most parts of one are always the same. Example::

        prefix = begin(8, "XADD", "socket.io", "MAXLEN", "~", 10000, "*", "data")

        def publish(link, data):
            return link.send_packed(prefix + bulk(data))
    """
    if not 0 < len(args) <= count:
        raise ValueError(f"{len(args)} of {count} parts")
    return b"*%d\r\n%b" % (count, pack(args).partition(b"\r\n")[2])


def bulk(value: bytes) -> bytes:
    """Return one part of a command."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def read_streams(reply: Any) -> Sequence[tuple[bytes, Sequence[Entry]]]:
    """Return the streams of an XREAD's reply and their entries: a dict in RESP3, pairs in RESP2, ``None`` for none.

    Raises ``TypeError`` for a reply of another kind.
    """
    if reply is None:
        return ()
    if isinstance(reply, dict):
        return cast(Sequence[tuple[bytes, Sequence[Entry]]], reply.items())
    if isinstance(reply, list):
        return cast(Sequence[tuple[bytes, Sequence[Entry]]], reply)
    raise TypeError(f"this is no reply of XREAD: {type(reply).__name__}")
