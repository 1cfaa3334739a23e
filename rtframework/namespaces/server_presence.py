"""Presence of one server: its rules, and the store that all namespaces share."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from ..adapters.memory import MemoryAdapter
from ..adapters.presence_memory import MemoryPresence
from ..concurrency import TaskSet, start_now
from ..exceptions import ClusterUnavailable, EncodeError
from ..protocols import KeepsPresence, PresenceStore
from ..types import Packet, PacketType, Target
from .presence import RoomPresence

if TYPE_CHECKING:
    from ..adapters.presence import Presence
    from .host import Host
    from .namespace import Namespace

log: Final = logging.getLogger("rtframework.namespace")


class ServerPresence:
    """The presence of one server: its rules, and the store that all namespaces share."""

    def __init__(self, host: Host, rules: tuple[Presence, ...]) -> None:
        self._host = host
        self._rules = rules
        self._tasks = TaskSet()
        backbone = host.settings.backbone
        self._is_alone = backbone is None
        self.store: PresenceStore
        if isinstance(backbone, KeepsPresence):
            self.store = backbone.presence_store()
        else:
            self.store = MemoryPresence(self._publish)
            if backbone is not None:
                log.warning(
                    "presence tells of the clients of this server alone: %s keeps none for all servers",
                    type(backbone).__name__,
                    extra={"kind": type(backbone).__name__},
                )
        host.cluster.hear(self._hear)

    def of(self, nsp: Namespace) -> RoomPresence | None:
        """Return the presence of a namespace, if rooms of it may have any."""
        names = (None, nsp.name, nsp.label)
        rules = tuple(rule for rule in self._rules if rule.nsp in names)
        return RoomPresence(nsp, rules, self.store) if rules else None

    async def close(self) -> None:
        """Stop the store: the clients of this server have gone, and may come back elsewhere."""
        await self._tasks.cancel()
        await self.store.close()

    def _publish(self, nsp: str, room: str, event: str, user: str, meta: str, except_sid: str | None) -> None:
        """Tell a room of a change, for the store in memory."""
        namespace = self._host.namespaces.get(nsp)
        if namespace is None:
            return
        adapter = namespace.adapter
        packet = Packet(PacketType.EVENT, nsp, [event, {"room": room, "user": user, "meta": json.loads(meta)}])
        but = frozenset() if except_sid is None else frozenset((except_sid,))
        target = Target(frozenset((room,)), but, local=not self._is_alone)
        telling = adapter.broadcast(packet, target)
        if isinstance(adapter, MemoryAdapter) and inspect.iscoroutine(telling):
            start_now(telling, self._tasks)
        else:
            self._tasks.spawn(_wait(telling))

    def _hear(self, event: str, *args: Any) -> None:
        """Send lists again after the cluster was away, to clients without one, and after packets were lost, to all."""
        if event == "up":
            for namespace in list(self._host.namespaces.values()):
                if namespace._presence is not None:
                    self._tasks.spawn(namespace._presence.list_again(only_missing=True))
        elif event == "gap":
            found = self._host.namespaces.get(args[0])
            if found is not None and found._presence is not None:
                self._tasks.spawn(found._presence.list_again(only_missing=False))


async def _wait(telling: Awaitable[None]) -> None:
    with contextlib.suppress(ClusterUnavailable, EncodeError):
        await telling
