"""The namespace of the Admin UI: its users, the events that they get, and their commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from ..exceptions import ConfigurationError, EncodeError, EventError
from ..logs import ThrottledLog, printable, quote
from ..namespaces.membership import State
from ..namespaces.namespace import Namespace
from ..types import Packet, PacketType
from .authenticator import AdminAuthenticator
from .credentials import Credentials
from .live_events import LiveEvents
from .serialization import AdminSerializer
from .statistics import Statistics

if TYPE_CHECKING:
    from ..namespaces.operators import BroadcastOperator
    from ..protocols import ConnectionMonitor, Outlet

log: Final = logging.getLogger("rtframework.admin")

_shown_in_part: Final = ThrottledLog(
    log, logging.WARNING, "the Admin UI is shown %d of %d sockets: see Limits.max_outbox"
)

Mode: TypeAlias = Literal["production", "development"]

PERIOD: Final = 2.0
"""Seconds between two ``server_stats`` events."""

_COMMANDS: Final = ("EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT")
"""The UI's names of its commands; ``M``: for many sockets at once."""


class AdminNamespace(Namespace):
    """The Admin UI's namespace, made by :meth:`rtframework.Server.instrument`, which documents the parameters.

    The namespace authenticates its clients itself; the server's authenticator is not asked. Without clients it has no
    overhead: no timer runs, and nothing is registered with other namespaces or the engine.
    """

    def __init__(
        self,
        name: str,
        *,
        namespaces: Mapping[str, Namespace],
        line: ConnectionMonitor,
        username: str | None = None,
        password: str | None = None,
        auth: Literal[False] | None = None,
        mode: Mode = "production",
        read_only: bool = False,
        server_id: str | None = None,
        show_handshake: bool = False,
    ) -> None:
        super().__init__(name)
        if mode not in get_args(Mode):
            raise ConfigurationError(f"mode is one of {get_args(Mode)}, not {mode!r}")
        self._authenticator = AdminAuthenticator(username or "", _credentials(username, password, auth))
        self._serializer = AdminSerializer(show_handshake=show_handshake)
        self._statistics = Statistics(line, namespaces, server_id)
        self._watch = (
            LiveEvents(namespaces, self._serializer, self._show_all, silent=name) if mode == "development" else None
        )
        self._server_namespaces = namespaces
        self._timer: asyncio.TimerHandle | None = None
        self._features = ["AGGREGATED_EVENTS"]
        self.on("connection")(self._arrive)
        if mode == "development":
            self._features.append("ALL_EVENTS")
        if not read_only:
            self._features = [*_COMMANDS, *self._features]
            self.on("emit")(self._command_emit)
            self.on("join")(self._command_join)
            self.on("leave")(self._command_leave)
            self.on("_disconnect")(self._command_disconnect)

    def introduce(self, namespace: Namespace) -> None:
        """Watch a namespace that the server has made, in development mode."""
        if self._watch is not None:
            self._watch.introduce(namespace)

    def _emptied(self) -> None:
        super()._emptied()
        self._rest()

    # --- pages of the Admin UI --------------------------------------------------------------------------------------

    async def _arrive(self, socket: Any) -> None:
        if self._timer is None:
            self._begin()
        to = [self._membership.outlets[socket.id]]
        if socket.user.session_id is not None:
            self._show(to, "session", socket.user.session_id)
        self._show(to, "config", {"supportedFeatures": self._features})
        self._show(to, "server_stats", self._statistics.now(take=False))
        if self._watch is not None:
            self._show(to, "all_sockets", self._all_sockets())

    def _begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)
        self._statistics.start()
        if self._watch is not None:
            self._watch.start()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._statistics.stop()
            if self._watch is not None:
                self._watch.stop()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)
        self._show_all("server_stats", self._statistics.now(take=True))
        if self._watch is not None:
            self._watch.look()

    def _all_sockets(self) -> list[dict[str, Any]]:
        """Describe the sockets of all namespaces, as many as fit into half of ``max_outbox``."""
        shown: list[dict[str, Any]] = []
        room = self._limits.max_outbox // 2
        there = [
            socket
            for namespace in self._server_namespaces.values()
            for socket in namespace.sockets.values()
            if socket._state is State.CONNECTED
        ]
        for socket in there:
            portrait = self._serializer.of(socket)
            room -= self._engine.encode(Packet(PacketType.EVENT, self.name, [portrait])).size
            if room < 0:
                extra = {"nsp": self.name, "limit": self._limits.max_outbox}
                _shown_in_part(len(shown), len(there), extra=extra)
                break
            shown.append(portrait)
        return shown

    def _show_all(self, event: str, *args: Any) -> None:
        """Emit to all pages of the Admin UI, without awaiting."""
        self._show(list(self._membership.outlets.values()), event, *args)

    def _show(self, outlets: Sequence[Outlet], event: str, *args: Any) -> None:
        # Not through the adapter: with connection state recovery it would keep all of these events for pages that come
        # back, but such pages get everything anew.
        try:
            frames = self._engine.encode(Packet(PacketType.EVENT, self.name, [event, *args]))
        except EncodeError:
            log.debug(
                "the Admin UI cannot be told of a %s", event, exc_info=True, extra={"nsp": self.name, "event": event}
            )
            return
        for outlet in outlets:
            outlet.send(frames)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _select(self, command: str, by: Any, nsp: str, filter: str | None) -> BroadcastOperator | Namespace:
        """Log a command and return its target: the sockets in a room (or a socket's own room), or the namespace."""
        namespace = self._server_namespaces.get(nsp)
        if namespace is None:
            raise EventError("unknown_namespace", f"there is no namespace {nsp!r}")
        address = by.handshake.address
        extra = {
            "nsp": nsp,
            "address": address,
            "user": by.user.name,
            "room": filter if filter is None else printable(filter),
        }
        log.info(
            "Admin UI: %s, in %s, to %s, by %r from %s", command, nsp, quote(filter), by.user.name, address, extra=extra
        )
        if self._guard.audit.is_on:
            self._guard.audit.write("admin", address=address, user=by.user, nsp=nsp, sid=by.id, code=command)
        return namespace.to(filter) if filter else namespace

    async def _command_emit(self, socket: Any, nsp: str, filter: str | None, event: str, *args: Any) -> None:
        try:
            await self._select(f"emit {quote(event)}", socket, nsp, filter).emit(event, *args)
        except ConfigurationError as error:
            raise EventError("reserved_event", str(error)) from None

    async def _command_join(self, socket: Any, nsp: str, room: str | list[str], filter: str | None = None) -> None:
        await self._select(f"join {quote(room)}", socket, nsp, filter).sockets_join(room)

    async def _command_leave(self, socket: Any, nsp: str, room: str | list[str], filter: str | None = None) -> None:
        await self._select(f"leave {quote(room)}", socket, nsp, filter).sockets_leave(room)

    async def _command_disconnect(self, socket: Any, nsp: str, close: bool = False, filter: str | None = None) -> None:
        await self._select("disconnect", socket, nsp, filter).disconnect_sockets(close=close)


def _credentials(username: str | None, password: str | None, auth: Literal[False] | None) -> Credentials | None:
    if auth is False:
        if username is not None or password is not None:
            raise ConfigurationError("the Admin UI has either username and password, or auth=False")
        return None
    if auth is not None:
        raise ConfigurationError("auth is False, or left out: give username and password")
    if username is None or password is None:
        raise ConfigurationError(
            "the Admin UI needs username and password: whoever is let in sees every client and may disconnect it. "
            "auth=False says that anybody may"
        )
    return Credentials(username, password)
