"""Leases of servers: what each says of itself for a time, and who is awaited by a request. Without I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ..exceptions import DecodeError
from ..types import ClusterNode
from .payloads import JSONReader, to_json


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself, and renews while it lives.

    ``uid``: its sender's id in messages, another one after each start. ``started``: seconds since the epoch, by its
    own clock, which nobody compares with another.
    """

    name: str
    uid: str
    host: str = ""
    pid: int = 0
    version: str = ""
    started: float = 0.0
    sockets: int = 0
    runtime: str = "rtframework"

    def describe(self, *, is_self: bool = False) -> ClusterNode:
        """Return the description for programs."""
        return ClusterNode(
            self.name, self.host, self.pid, self.version, self.started, self.sockets, is_self, self.runtime
        )


_LEASE: Final = JSONReader(Lease)


def encode_lease(lease: Lease) -> bytes:
    """Encode a lease: JSON, which people can read in Redis."""
    return to_json(lease)


def read_lease(value: bytes) -> Lease:
    """Decode a lease. Raises ``DecodeError``."""
    lease: Lease = _LEASE(value)
    if not lease.name or not lease.uid:
        raise DecodeError("invalid lease of another server: no name")
    return lease


def awaited(
    count: int, serving: Mapping[str, str], alive: Mapping[str, str], left: Collection[str] = (), *, strangers: bool
) -> dict[str, str] | int:
    """Return the servers that a request waits for: names with uids, or only their number.

    ``count``: the others that are subscribed at this moment. ``serving``: names with uids that have entered themselves
    for the namespace, without this server. ``alive``: names with uids that have a lease. ``left``: uids of those that
    have said since they were counted that they leave. ``strangers``: servers without leases, such as Node's, were heard
    lately.

    More are subscribed than have a name: Node's servers are among them, or one is about to start, and all are counted.
    Fewer: one that lives is connecting to the broker at this moment, and is awaited all the same.
    """
    named = {name: uid for name, uid in serving.items() if alive.get(name) == uid}
    if count > len(named) or (strangers and count):
        return max(0, count - len(left))
    return {name: uid for name, uid in named.items() if uid not in left}
