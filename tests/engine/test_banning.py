"""Bans that a server and its neighbours tell each other; over the wire: tests/integration/test_one_port.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from rtframework import Server
from rtframework.engine.banning import Banning
from rtframework.engine.handover import Neighbours


class Others:
    """Neighbours that know what they are told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.topic = ""
        self.take: Callable[[bytes], None]
        self.known: Callable[[], bytes]

    def share(self, topic: str, take: Callable[[bytes], None], known: Callable[[], bytes]) -> Callable[[bytes], None]:
        """Write down what is shared."""
        self.topic, self.take, self.known = topic, take, known
        return self.told.append


def banning_of(io: Server) -> Banning:
    """That of a server."""
    found: Banning = cast("Any", io.engine)._server.banning
    return found


async def test_others_are_told() -> None:
    """A ban would hold at one worker of several."""
    io, others = Server(), Others()
    io.engine.ban("203.0.113.7", 60)
    banning_of(io).join(cast("Neighbours", others), "/socket.io/")
    assert others.topic == "bans /socket.io/"
    assert b"203.0.113.7" in others.known()
    io.engine.ban("2001:db8::1", 60)
    assert io.engine.unban("203.0.113.7")
    assert others.told == [b'{"2001:db8::/64":60}', b'{"203.0.113.7":0.0}']


async def test_what_others_tell_holds_here() -> None:
    """Who is banned would come in at another worker."""
    io, others = Server(), Others()
    banning_of(io).join(cast("Neighbours", others), "/socket.io/")
    others.take(b'{"2001:db8::/64":60,"203.0.113.7":30.5}')
    assert {key: round(left) for key, left in io.engine.bans.items()} == {"2001:db8::/64": 60, "203.0.113.7": 30}
    others.take(b'{"203.0.113.7":0.0}')
    assert list(io.engine.bans) == ["2001:db8::/64"]
    assert others.told == [], "it is not told again"
