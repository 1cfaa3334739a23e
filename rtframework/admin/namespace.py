"""The namespace of the Admin UI: its users, the events that they get, and their commands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from ..exceptions import ClusterUnavailable, ConfigurationError, EncodeError, EventError, FetchTimeout
from ..logs import ThrottledLog, printable, quote
from ..namespaces.membership import State
from ..namespaces.namespace import Namespace
from ..types import Packet, PacketType
from .authenticator import AdminAuthenticator
from .credentials import Credentials
from .live_events import LiveEvents, now
from .peers import ANSWER, EVENT, Peers
from .serialization import AdminSerializer
from .statistics import Statistics

if TYPE_CHECKING:
    from ..namespaces.operators import BroadcastOperator, RemoteSocket
    from ..protocols import ConnectionMonitor, Outlet

log: Final = logging.getLogger("rtframework.admin")

_shown_in_part: Final = ThrottledLog(
    log, logging.WARNING, "the Admin UI is shown %d of %d sockets: see Limits.max_outbox"
)

Mode: TypeAlias = Literal["production", "development"]

PERIOD: Final = 2.0
"""Seconds between two ``server_stats`` events."""

_MOST_NAMESPACES: Final = 50
"""Namespaces in which Node's servers are asked for their sockets."""

_COMMANDS: Final = ("EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT")
"""The UI's names of its commands; ``M``: for many sockets at once."""


class AdminNamespace(Namespace):
    """The Admin UI's namespace, made by :meth:`rtframework.Server.instrument`, which documents the parameters.

    The namespace authenticates its clients itself; the server's authenticator is not asked. Without clients it has no
    overhead: no timer runs, and nothing is registered with other namespaces or the engine.
    """

    _may_keep = False

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
        self._peers = Peers(self, self._name_in_cluster)
        self._is_read_only = read_only
        self._pages: dict[str, _Page] = {}
        """By socket id, in a cluster."""
        self.on_server_side(EVENT)(self._hear)
        self._features = ["AGGREGATED_EVENTS"]
        self.on("connection")(self._arrive)
        self.on("disconnect")(self._leave)
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

    def stop(self) -> None:
        """End: the server stops, and its sockets have gone."""
        self._peers.flush()
        self._peers.forget()
        self._pages.clear()
        self._rest()

    def _emptied(self) -> None:
        super()._emptied()
        if self._timer is not None:
            self._peers.release()
        self._rest()

    # --- pages of the Admin UI --------------------------------------------------------------------------------------

    async def _arrive(self, socket: Any) -> None:
        self._begin()
        outlet = self._membership.outlets[socket.id]
        to = [outlet]
        if socket.user.session_id is not None:
            self._show(to, "session", socket.user.session_id)
        self._show(to, "config", {"supportedFeatures": self._features})
        self._show(to, "server_stats", self._statistics.now(take=False))
        if self._peers.exist:
            # The sockets of all servers are one packet, which has to come before events of any of them.
            page = self._pages[socket.id] = _Page()
            self._spawn(self._show_cluster(socket.id, page, self._all_sockets()))
        elif self._watch is not None:
            self._show(to, "all_sockets", self._all_sockets())

    def _leave(self, socket: Any, reason: str) -> None:
        self._pages.pop(socket.id, None)

    async def _show_cluster(self, id: str, page: _Page, sockets: list[dict[str, Any]]) -> None:
        """Show a page the sockets and the statistics of all servers, then what has happened meanwhile."""
        answers, is_whole = await self._peers.describe(everything=self._watch is not None)
        if self._watch is not None:
            theirs = [each for answer in answers for each in _dicts(answer.get("sockets"))]
            known = {each.get("id") for each in (*sockets, *theirs)}
            if not is_whole:
                theirs += await self._sockets_of_node(known)
            sockets = self._bounded(len(sockets) + len(theirs), (*sockets, *theirs))
            page.known = {each.get("id") for each in sockets}
        held, page.held = page.held or [], None
        outlet = self._membership.outlets.get(id)
        if outlet is not None:
            if self._watch is not None:
                self._show([outlet], "all_sockets", sockets)
            for stats in _dicts([answer.get("stats") for answer in answers]):
                self._show([outlet], "server_stats", stats)
            for event, args in held:
                self._show_page(id, outlet, event, args)

    async def _sockets_of_node(self, known: Collection[Any]) -> list[dict[str, Any]]:
        """Describe the sockets of servers that have not answered: Node's, which know nothing of this."""

        async def fetch(namespace: Namespace) -> list[RemoteSocket]:
            try:
                found = await namespace.timeout(ANSWER).fetch_sockets()
            except FetchTimeout as error:
                found = error.sockets
            except ClusterUnavailable:
                return []
            return [each for each in found if each.id not in known and each.id not in namespace.sockets]

        namespaces = list(self._server_namespaces.values())[:_MOST_NAMESPACES]
        found = await asyncio.gather(*map(fetch, namespaces))
        return [self._serializer.of_remote(each) for sockets in found for each in sockets]

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)
            self._statistics.start()
            if self._watch is not None:
                self._watch.start()

    def _rest(self) -> None:
        """Stop, unless there is a page here or on another server."""
        if self._timer is not None and not self._membership.outlets and not self._peers:
            self._timer.cancel()
            self._timer = None
            self._statistics.stop()
            if self._watch is not None:
                self._watch.stop()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)
        self._peers.tick()
        if self._membership.outlets:
            self._peers.watch(everything=self._watch is not None)
        else:
            self._rest()  # if the last server that watched has gone
        if self._timer is not None:
            self._show_all("server_stats", self._statistics.now(take=True))
            if self._watch is not None:
                self._watch.look()

    def _all_sockets(self) -> list[dict[str, Any]]:
        """Describe the sockets of all namespaces of this server, as many as fit into half of ``max_outbox``."""
        if self._watch is None:
            return []
        there = [
            socket
            for namespace in self._server_namespaces.values()
            for socket in namespace.sockets.values()
            if socket._state is State.CONNECTED
        ]
        return self._bounded(len(there), map(self._serializer.of, there))

    def _bounded(self, count: int, portraits: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return as many descriptions of sockets as fit into half of ``max_outbox``."""
        shown: list[dict[str, Any]] = []
        room = self._limits.max_outbox // 2
        for portrait in portraits:
            room -= self._engine.encode(Packet(PacketType.EVENT, self.name, [portrait])).size
            if room < 0:
                _shown_in_part(len(shown), count, extra={"nsp": self.name, "limit": self._limits.max_outbox})
                break
            shown.append(portrait)
        return shown

    def _show_all(self, event: str, *args: Any) -> None:
        """Emit to all pages of the Admin UI, without awaiting, also to those of other servers."""
        if self._peers and (event == "server_stats" or self._peers.want_everything):
            self._peers.tell(event, args)
        if not self._pages:
            self._show(list(self._membership.outlets.values()), event, *args)
            return
        for id, outlet in self._membership.outlets.items():
            page = self._pages.get(id)
            if page is not None and page.held is not None:
                page.held.append((event, args))
            else:
                self._show([outlet], event, *args)

    def _show_page(self, id: str, outlet: Outlet, event: str, args: Sequence[Any]) -> None:
        """Show a page what has happened on another server; a socket that it knows already is not shown again."""
        page = self._pages.get(id)
        if page is not None and page.held is not None:
            page.held.append((event, args))
            return
        if page is not None and args:
            if event == "socket_connected":
                sid = args[0].get("id") if isinstance(args[0], dict) else None
                if sid in page.known:
                    return
                page.known.add(sid)
            elif event == "socket_disconnected" and len(args) > 1:
                page.known.discard(args[1])
        self._show([outlet], event, *args)

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

    # --- other servers ----------------------------------------------------------------------------------------------

    def _name_in_cluster(self) -> str | None:
        backbone = None if self._host is None else self._host.settings.backbone
        return None if backbone is None else backbone.node

    async def _hear(self, message: dict[str, Any]) -> Any:
        """Handle a message of this namespace on another server, see :class:`Peers`."""
        match message:
            case {"watch": str(name), "everything": bool(everything)}:
                is_new = self._peers.watched_by(name, everything)
                self._begin()
                if message.get("describe") is True:
                    sockets = self._all_sockets() if everything else []
                    return {"stats": self._statistics.now(take=False), "sockets": sockets}
                if is_new and everything:  # this server has come later than the page
                    for portrait in self._all_sockets():
                        self._peers.tell("socket_connected", [portrait, now()])
            case {"release": str(name)}:
                self._peers.released_by(name)
                self._rest()
            case {"show": list(events)}:
                for event in events:
                    match event:
                        case [str(name), *args]:
                            for id, outlet in list(self._membership.outlets.items()):
                                self._show_page(id, outlet, name, args)
            case {"command": str(command), "nsp": str(nsp), "filter": str() | None as filter, "args": list(args)}:
                namespace = self._server_namespaces.get(nsp)
                if namespace is not None and not self._is_read_only:
                    await _perform(command, namespace.local.to(filter) if filter else namespace.local, args)
                    return {"done": True}
        return None

    # --- commands ---------------------------------------------------------------------------------------------------

    async def _command(self, text: str, by: Any, nsp: str, filter: str | None, command: str, *args: Any) -> None:
        """Log a command and carry it out: for the sockets in a room (or a socket's own room), or the namespace."""
        namespace = self._server_namespaces.get(nsp)
        if namespace is None and not self._peers.exist:
            raise _unknown_namespace(nsp)
        address = by.handshake.address
        extra = {
            "nsp": nsp,
            "address": address,
            "user": by.user.name,
            "room": filter if filter is None else printable(filter),
        }
        log.info(
            "Admin UI: %s, in %s, to %s, by %r from %s", text, nsp, quote(filter), by.user.name, address, extra=extra
        )
        if self._guard.audit.is_on:
            self._guard.audit.write("admin", address=address, user=by.user, nsp=nsp, sid=by.id, code=text)
        if namespace is not None:
            await _perform(command, namespace.to(filter) if filter else namespace, args)
            return
        # Made for clients of other servers: each that has it does its part.
        message = {"command": command, "nsp": nsp, "filter": filter, "args": list(args)}
        if not any(answer.get("done") for answer in (await self._peers.ask(message))[0]):
            raise _unknown_namespace(nsp)

    async def _command_emit(self, socket: Any, nsp: str, filter: str | None, event: str, *args: Any) -> None:
        try:
            await self._command(f"emit {quote(event)}", socket, nsp, filter, "emit", event, *args)
        except ConfigurationError as error:
            raise EventError("reserved_event", str(error)) from None

    async def _command_join(self, socket: Any, nsp: str, room: str | list[str], filter: str | None = None) -> None:
        await self._command(f"join {quote(room)}", socket, nsp, filter, "join", room)

    async def _command_leave(self, socket: Any, nsp: str, room: str | list[str], filter: str | None = None) -> None:
        await self._command(f"leave {quote(room)}", socket, nsp, filter, "leave", room)

    async def _command_disconnect(self, socket: Any, nsp: str, close: bool = False, filter: str | None = None) -> None:
        await self._command("disconnect", socket, nsp, filter, "disconnect", close)


class _Page:
    """A page of the Admin UI on a server of a cluster."""

    __slots__ = ("held", "known")

    def __init__(self) -> None:
        self.held: list[tuple[str, Sequence[Any]]] | None = []
        """Events that it gets after the sockets of all servers; ``None`` once it has those."""
        self.known: set[Any] = set()
        """Ids of sockets that it has been shown."""


async def _perform(command: str, to: BroadcastOperator | Namespace, args: Sequence[Any]) -> None:
    match command, args:
        case "emit", [event, *more]:
            await to.emit(event, *more)
        case "join", [room]:
            await to.sockets_join(room)
        case "leave", [room]:
            await to.sockets_leave(room)
        case "disconnect", [close]:
            await to.disconnect_sockets(close=bool(close))


def _unknown_namespace(nsp: str) -> EventError:
    return EventError("unknown_namespace", f"there is no namespace {nsp!r}")


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


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
