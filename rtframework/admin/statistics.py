"""The statistics of a server that the Admin UI gets every two seconds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..protocols import ConnectionMonitor


class Traffic:
    """Counts of the traffic on all connections of a server; see ``rtframework.protocols.Meter``."""

    __slots__ = ("bytes_in", "bytes_out", "closed", "opened", "packets_in", "packets_out")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.opened = self.closed = 0
        self.packets_in = self.packets_out = 0
        self.bytes_in = self.bytes_out = 0

    def take(self) -> list[dict[str, Any]]:
        """Return the counts since the last call, under the names of Node's Admin UI, and reset them."""
        counts = {
            "rawConnection": self.opened,
            "rawDisconnection": self.closed,
            "packetsIn": self.packets_in,
            "packetsOut": self.packets_out,
            "bytesIn": self.bytes_in,
            "bytesOut": self.bytes_out,
        }
        self._clear()
        now = int(time.time()) * 1000
        return [{"timestamp": now, "type": type, "count": count} for type, count in counts.items() if count]


class Statistics:
    """The statistics of a server. Traffic is counted from :meth:`start` to :meth:`stop` only.

    ``server_id``: the server's name in the UI; host name and process id by default.
    """

    __slots__ = ("_line", "_namespaces", "_self", "_since", "_traffic")

    def __init__(self, line: ConnectionMonitor, namespaces: Mapping[str, Sized], server_id: str | None) -> None:
        hostname, pid = socket.gethostname(), os.getpid()
        self._line = line
        self._namespaces = namespaces
        self._self = {"serverId": server_id or f"{hostname}#{pid}", "hostname": hostname, "pid": pid}
        self._since = time.monotonic()
        self._traffic: Traffic | None = None

    def start(self) -> None:
        """Start to count traffic."""
        self._traffic = Traffic()
        self._line.measure(self._traffic)

    def stop(self) -> None:
        """Stop counting traffic."""
        if self._traffic is not None:
            self._line.unmeasure(self._traffic)
        self._traffic = None

    def now(self, *, take: bool) -> dict[str, Any]:
        """Return the statistics; ``take``: with the traffic since it was last taken, which is then reset."""
        clients = self._line.count_clients()
        return {
            **self._self,
            "uptime": round(time.monotonic() - self._since, 3),
            "clientsCount": sum(clients.values()),
            "pollingClientsCount": clients["polling"],
            "aggregatedEvents": self._traffic.take() if take and self._traffic is not None else [],
            "namespaces": [
                {"name": name, "socketsCount": len(namespace)} for name, namespace in self._namespaces.items()
            ],
        }
