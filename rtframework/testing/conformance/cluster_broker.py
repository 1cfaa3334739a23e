"""The broker of the cluster suite: what joins the servers under test, and what can happen to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import SkipTest

if TYPE_CHECKING:
    from ...protocols import Backbone


class ClusterBroker:
    """A real broker, or one in memory, and the faults that it can be given; the author of an adapter supplies it.

    Implement :meth:`backbone`, and :meth:`start` and :meth:`stop` if the broker is a process. Every other method is a
    fault, or something that the suite wants to know. Implement those that are possible: a test that needs another one
    is skipped, and the reason names the method.

    ``name`` is always that of a server: what :meth:`backbone` was given.
    """

    async def start(self) -> None:
        """Start the broker, empty, in the event loop of a test."""

    async def stop(self) -> None:
        """Stop it, whatever was done to it before. All servers have been stopped."""

    def backbone(self, name: str) -> Backbone:
        """Return a new server's backbone, not started, whose connections to the broker the faults below concern."""
        raise NotImplementedError("give the broker a backbone()")

    # --- the broker ---------------------------------------------------------------------------------------------------

    async def kill(self) -> None:
        """End the broker, as a crash does: connections end, and new ones are refused."""
        self._cannot("kill")

    async def revive(self, *, empty: bool = False) -> None:
        """Start the broker again after :meth:`kill`, with its data. ``empty``: without them."""
        self._cannot("revive")

    async def freeze(self) -> None:
        """Let the broker do nothing, while its connections stay open."""
        self._cannot("freeze")

    async def thaw(self) -> None:
        """Let it go on."""
        self._cannot("thaw")

    async def empty(self) -> None:
        """Throw away all data, while the broker runs."""
        self._cannot("empty")

    async def trim(self) -> None:
        """Throw away all messages that are kept, except the newest."""
        self._cannot("trim")

    async def save(self) -> None:
        """Remember the data as they are now, for :meth:`rewind`."""
        self._cannot("save")

    async def rewind(self) -> None:
        """Go back to the data of :meth:`save`, as a failover to a replica that lags does; connections end."""
        self._cannot("rewind")

    async def rubbish(self) -> None:
        """Send what no server understands, where messages of servers are expected."""
        self._cannot("rubbish")

    # --- one server's connections -------------------------------------------------------------------------------------

    async def cut(self, name: str) -> None:
        """End the connections of a server; it may connect again."""
        self._cannot("cut")

    async def isolate(self, name: str) -> None:
        """Let nothing pass between a server and the broker, while the connections stay open."""
        self._cannot("isolate")

    async def rejoin(self, name: str) -> None:
        """Let everything pass again after :meth:`isolate`."""
        self._cannot("rejoin")

    async def crash(self, name: str) -> None:
        """Cut a server off for good, as if its process were killed: its connections end, and it opens no others."""
        self._cannot("crash")

    async def lose_reply(self, name: str) -> None:
        """End the connection by which a server publishes when its next message has been taken, before the reply."""
        self._cannot("lose_reply")

    async def deafen(self, name: str) -> None:
        """Let a server hear no more messages on the connection that it has now, which stays open."""
        self._cannot("deafen")

    # --- what the suite asks ------------------------------------------------------------------------------------------

    async def connections(self) -> int:
        """Return the number of connections that servers have to the broker."""
        self._cannot("connections")

    async def subscriptions(self) -> int:
        """Return the number of subscriptions that servers have at the broker."""
        self._cannot("subscriptions")

    async def messages(self) -> Sequence[Any]:
        """Return the messages of servers to each other that the broker has kept, decoded to plain values."""
        self._cannot("messages")

    def can(self, *methods: str) -> None:
        """Skip the test unless all these methods are implemented."""
        for method in methods:
            if getattr(type(self), method) is getattr(ClusterBroker, method):
                self._cannot(method)

    def _cannot(self, method: str) -> NoReturn:
        raise SkipTest(f"{type(self).__name__} has no {method}()")
