"""Counts of the traffic of a server."""

from __future__ import annotations


class Traffic:
    """Counts of the traffic of all connections; see ``rtframework.protocols.Meter``."""

    __slots__ = ("bytes_in", "bytes_out", "closed", "opened", "packets_in", "packets_out")

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.packets_in = self.packets_out = 0
        self.bytes_in = self.bytes_out = 0
