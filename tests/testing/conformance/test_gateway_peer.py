"""A client of a gateway's protocol, for the suite."""

from __future__ import annotations

import pytest

from rtframework.testing.conformance.gateway_peer import GatewayPeer, GatewayRefused


async def test_the_base_class_says_what_is_missing() -> None:
    """An author would look for the reason in the gateway."""
    peer = GatewayPeer()
    for work in (
        peer.receive(),
        peer.emit("a"),
        peer.ask("a"),
        peer.answer(),
        peer.send_raw(""),
        peer.leave(),
    ):
        with pytest.raises(NotImplementedError):
            await work
    for act in (peer.drop, peer.stop_reading):
        with pytest.raises(NotImplementedError):
            act()
    assert peer.garbage() == ()


async def test_the_end_is_waited_for() -> None:
    """A test would go on before the server has closed."""

    class Peer(GatewayPeer):
        left = 3

        async def receive(self) -> tuple[str, list[object]]:
            self.left -= 1
            if not self.left:
                raise EOFError
            return "a", []

    peer = Peer()
    await peer.closed()
    assert peer.left == 0
    assert str(GatewayRefused("no")) == "no"
