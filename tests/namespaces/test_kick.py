"""Throwing clients out: what other servers are told, and what happens when they cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ClusterUnavailable, ConfigurationError, MemoryAdapter, Namespace, Packet, Target
from rtframework.namespaces.kick import check_disconnect, check_reason, coming_back, kick, kicked, read_reason
from tests.support.clients import FakeClient, make_host


@pytest.mark.parametrize("reason", [None, "spam", "a: b", "Ünï"])
def test_orders_between_servers(reason: str | None) -> None:
    """A client that is to come back would stay away, or its disconnect handler hear an order between servers."""
    assert read_reason(reason) == (reason, False)
    assert read_reason(coming_back(reason)) == (reason, True)


@pytest.mark.parametrize("reason", ["", 1, b"spam", coming_back("spam"), coming_back(None)])
def test_what_is_no_reason(reason: Any) -> None:
    """A reason that a client has given would be taken for an order between servers."""
    with pytest.raises(ConfigurationError):
        check_reason(reason)


def test_a_reason_in_the_place_of_close() -> None:
    """All namespaces of a client would be closed, and nobody hear of the reason."""
    with pytest.raises(ConfigurationError, match=r"write disconnect\(reason='spam'\)"):
        check_disconnect("spam", None)
    check_disconnect(True, None)


def test_what_a_client_is_told() -> None:
    """Clients look for these names."""
    assert kicked("/x", "spam", False).data == ["kicked", {"reason": "spam", "reconnect": False}]
    assert kicked("/x", None, True).data == ["kicked", {"reason": "", "reconnect": True}]


class Cut(MemoryAdapter):
    """An adapter that reaches no other server."""

    local = False

    async def broadcast(self, packet: Packet, target: Target) -> None:
        if target.local or self.local:
            await super().broadcast(packet, target)
        if not target.local:
            error = ClusterUnavailable("down")
            error.local = self.local
            raise error

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        await super().disconnect_sockets(target, close, reason)
        raise ClusterUnavailable("down")


@pytest.mark.parametrize("local", [False, True])
async def test_the_clients_of_this_server_when_others_cannot_be_told(
    local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could be thrown out during an outage, or be told twice; or the program not hear of it."""
    monkeypatch.setattr(Cut, "local", local)
    host = make_host(adapter=Cut)
    nsp: Namespace = host.of("/", None)
    ada = FakeClient(host, "ada")
    await ada.connect()
    with pytest.raises(ClusterUnavailable):
        await kick(nsp, Target(frozenset({"ada1"})), False, "spam", False, ())
    assert ada.heard()[1:] == [("event", "kicked", {"reason": "spam", "reconnect": False}), ("disconnect",)]


async def test_without_credentials() -> None:
    """A program would believe that a client without a user is kept out."""
    host = make_host()
    with pytest.raises(ConfigurationError, match="fresh credentials"):
        await kick(host.of("/", None), Target(), False, None, True, ())
