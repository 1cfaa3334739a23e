"""What a server has of its main namespace: methods that a program calls on the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never, TypeVar

from ..handlers.declarations import NOTHING
from ..handlers.mistakes import given_a_function, given_a_name, unknown_keywords

if TYPE_CHECKING:
    from ..types import AckResponses
    from .namespace import Namespace
    from .socket import Socket

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])


class OfMainNamespace:
    """The methods of the main namespace on a server; a base of :class:`~rtframework.Server`."""

    _main: Namespace

    @given_a_name
    def on_server_side(self, event: str | int) -> Callable[[F], F]:
        """Register a handler for an event of another server; see :meth:`Namespace.on_server_side`."""
        return self._main.on_server_side(event)

    def emits(
        self,
        event: str | int,
        /,
        *arguments: Any,
        rest: Any = NOTHING,
        names: Sequence[str] | None = None,
        returns: Any = NOTHING,
        description: str = "",
    ) -> Callable[[F], F]:
        """Declare an event that is emitted to clients of the main namespace; see :meth:`Namespace.emits`."""
        return self._main.emits(event, *arguments, rest=rest, names=names, returns=returns, description=description)

    async def server_side_emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to the other servers of the cluster; see :meth:`Namespace.server_side_emit`."""
        if unknown:
            raise unknown_keywords("server_side_emit", unknown)
        await self._main.server_side_emit(event, *args)

    async def server_side_emit_with_ack(self, event: str | int, *args: Any, timeout: float = 5.0) -> AckResponses:
        """Emit an event to the other servers and collect answers; see :meth:`Namespace.server_side_emit_with_ack`."""
        return await self._main.server_side_emit_with_ack(event, *args, timeout=timeout)

    @given_a_function
    def use(self, middleware: M) -> M:
        """Add connect middleware to the main namespace; see :meth:`Namespace.use`."""
        return self._main.use(middleware)

    @given_a_function
    def use_event(self, middleware: M) -> M:
        """Add event middleware to the main namespace; see :meth:`Namespace.use_event`."""
        return self._main.use_event(middleware)

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of the main namespace, by id; a live view."""
        return self._main.sockets
