"""A worker's membership in its group: the way to the other workers, and the connections that they pass to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .passing import Passing
from .shared_table import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from .group import Group


class Membership(Passing):
    """A ``Neighbours`` of servers that is in a group.

    ``serves_at_once``: take connections of others as soon as a server of this process can, without being told so by
    :meth:`serve`.
    """

    def __init__(self, group: Group, *, serves_at_once: bool = False) -> None:
        super().__init__(Path(group.directory), group.slot, group.table)
        self.group = group
        self._serves_at_once = serves_at_once
        self._has_left = False

    def listen(self, serve: Callable[..., Any]) -> int:
        """Have connections of others served by ``serve``. Return its number: others name it so."""
        number = super().listen(serve)
        if self._serves_at_once:
            self._serves_at_once = False
            self.serve()
        return number

    def serve(self) -> None:
        """Take connections of the others, in the running loop, and tell them that this worker serves."""
        self.start()
        self._set_state(SlotState.SERVING)

    def drain(self) -> None:
        """Have the others take new clients, and go on with those that are here."""
        self._set_state(SlotState.DRAINING)

    def stop(self) -> None:
        """Take no connections of the others any more."""
        self._set_state(SlotState.EMPTY)
        super().stop()

    def count(self, change: int) -> None:
        """Count connections of clients that were opened, or, if negative, closed."""
        if not self._has_left:
            super().count(change)

    def share(self, topic: str, take: Callable[[bytes], None], known: Callable[[], bytes]) -> Callable[[bytes], None]:
        """Share something small with the other workers, see ``Neighbours``, in the running loop."""
        group = self.group

        def told(data: bytes) -> bytes:
            take(data)
            return b""

        async def ask() -> None:
            for answer in (await group.gather(f"all {topic}")).answers.values():
                take(answer)

        group.answer(topic, told)
        group.answer(f"all {topic}", lambda data: known())
        group.spawn(ask())
        return lambda data: group.spawn(group.gather(topic, data))

    async def leave(self) -> None:
        """Leave the group."""
        self.stop()
        self._has_left = True
        await self.group.leave()

    def _set_state(self, state: SlotState) -> None:
        if self.group.up:  # the slot is another's otherwise
            self.group.set_state(state)
