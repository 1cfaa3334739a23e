"""What a contract says of presence."""

from __future__ import annotations

from rtframework import Presence, Server
from rtframework.contracts import asyncapi, describe, typescript
from tests.support.contract import namespace_of

EVENTS = ["presence", "presence_join", "presence_leave", "presence_update"]


def test_the_events_of_presence_are_in_the_contract() -> None:
    """A page in TypeScript could not listen to them."""
    io = Server(presence=[Presence("a", nsp="/chat"), Presence("b", nsp="/of/{tenant}")])
    io.of("/chat").emits("presence_join", str)
    io.of("/of/{tenant}")
    assert [each.name for each in namespace_of(io).sends] == []
    assert sorted(str(each.name) for each in namespace_of(io, "/chat").sends) == EVENTS
    assert [each.name for each in namespace_of(io, "/of/{tenant}").sends] == EVENTS
    text = typescript(describe(io))
    assert "presence: (list: MemberList) => void" in text
    assert "presence_join: (presence_join: string) => void" in text or "presence_join: (" in text
    assert "MemberChange" in str(asyncapi(describe(io), title="chat", version="1"))


def test_a_server_without_presence_sends_none() -> None:
    """A contract would promise what never comes."""
    assert [each.name for each in namespace_of(Server()).sends] == []
