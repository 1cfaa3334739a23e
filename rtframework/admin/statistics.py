"""What a server says of itself every two seconds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..protocols import Line


class Traffic:
    """Counts what passes on all connections of a server; see ``rtframework.protocols.Meter``."""

    __slots__ = ("_bytes_in", "_bytes_out", "_closed", "_opened", "_packets_in", "_packets_out")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._opened = self._closed = 0
        self._packets_in = self._packets_out = 0
        self._bytes_in = self._bytes_out = 0

    def opened(self) -> None:
        """A connection was opened."""
        self._opened += 1

    def closed(self) -> None:
        """A connection has ended."""
        self._closed += 1

    def came(self, data: str | bytes) -> None:
        """A message came in."""
        self._packets_in += 1
        self._bytes_in += len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())

    def went(self, size: int) -> None:
        """A packet of that many bytes goes out."""
        self._packets_out += 1
        self._bytes_out += size

    def take(self) -> list[dict[str, Any]]:
        """What was counted since the last time, by the names of Node's Admin UI."""
        counts = {
            "rawConnection": self._opened,
            "rawDisconnection": self._closed,
            "packetsIn": self._packets_in,
            "packetsOut": self._packets_out,
            "bytesIn": self._bytes_in,
            "bytesOut": self._bytes_out,
        }
        self._clear()
        now = int(time.time()) * 1000
        return [{"timestamp": now, "type": type, "count": count} for type, count in counts.items() if count]


class Statistics:
    """A server's figures. Traffic is counted from :meth:`start` to :meth:`stop` only.

    ``server_id``: the server's name in the UI, host and process by default.
    """

    __slots__ = ("_line", "_namespaces", "_self", "_since", "_traffic")

    def __init__(self, line: Line, namespaces: Mapping[str, Sized], server_id: str | None) -> None:
        hostname, pid = socket.gethostname(), os.getpid()
        self._line = line
        self._namespaces = namespaces
        self._self = {"serverId": server_id or f"{hostname}#{pid}", "hostname": hostname, "pid": pid}
        self._since = time.monotonic()
        self._traffic: Traffic | None = None

    def start(self) -> None:
        """Count from now on."""
        self._traffic = Traffic()
        self._line.measure(self._traffic)

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._line.measure(None)
        self._traffic = None

    def now(self, *, take: bool) -> dict[str, Any]:
        """The figures of this moment; ``take``: with what was counted since they were last taken."""
        clients, polling = self._line.count_clients()
        return {
            **self._self,
            "uptime": round(time.monotonic() - self._since, 3),
            "clientsCount": clients,
            "pollingClientsCount": polling,
            "aggregatedEvents": self._traffic.take() if take and self._traffic is not None else [],
            "namespaces": [
                {"name": name, "socketsCount": len(namespace)} for name, namespace in self._namespaces.items()
            ],
        }
