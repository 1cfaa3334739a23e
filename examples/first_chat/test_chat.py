"""The chat's tests: no network, no browser, no waiting."""

import pytest
from server import io, make_app, token_for

from rtframework import ConnectionRefused
from rtframework.testing import TestClient, TestServer


async def come(server: TestServer, name: str, room: str = "lobby") -> TestClient:
    client = await server.connect(auth={"token": token_for(name)})
    await client.emit_with_ack("enter", room)
    return client


async def test_a_message_reaches_the_others_in_the_room() -> None:
    """People would talk to nobody, or to everybody."""
    async with TestServer(io) as server:
        ada, bob, eve = await come(server, "Ada"), await come(server, "Bob"), await come(server, "Eve", "cellar")
        posted = await ada.emit_with_ack("say", "Hello!")
        assert posted["author"] == "Ada"
        assert await bob.receive("said") == posted
        await eve.receive_nothing("said")


async def test_who_comes_later_reads_what_was_said() -> None:
    """Newcomers would come into an empty room."""
    async with TestServer(io) as server:
        ada = await come(server, "Ada")
        await ada.emit_with_ack("say", "Anybody here?")
        bob = await server.connect(auth={"token": token_for("Bob")})
        entered = await bob.emit_with_ack("enter", "lobby")
        assert entered["people"] == ["Ada", "Bob"]
        assert [message["text"] for message in entered["messages"]] == ["Anybody here?"]
        assert await ada.receive("people") == ["Ada", "Bob"]
        await bob.disconnect()
        assert await ada.receive("people") == ["Ada"]


async def test_what_does_not_fit_is_refused() -> None:
    """Clients send what they like."""
    async with TestServer(io) as server:
        ada = await server.connect(auth={"token": token_for("Ada")})
        for event, argument, code in (
            ("say", "too early", "no_room"),
            ("enter", "no spaces please", "invalid_payload"),
            ("say", "   ", "invalid_payload"),
        ):
            answer = await ada.emit_with_ack(event, argument)
            assert answer["error"]["code"] == code


async def test_nobody_comes_in_without_a_name() -> None:
    """Anybody could talk in anybody's name."""
    async with TestServer(make_app) as server:
        with pytest.raises(ConnectionRefused) as refused:
            await server.connect(auth={"token": "made up"})
        assert refused.value.data["code"] == "malformed"
        async with server.http.post("/sign-in", json={"name": "Ada"}) as response:
            session = await response.json()
        await server.connect(auth=session)
        async with server.http.post("/sign-in", json={"name": ""}) as response:
            assert response.status == 400
