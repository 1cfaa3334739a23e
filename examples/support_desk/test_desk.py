"""The desk's tests: no network, no browser, no waiting."""

import time

import pytest
from server import io, make_app, token_for

from rtframework import ConnectionRefused
from rtframework.testing import Clock, TestClient, TestServer


async def come(server: TestServer, name: str, room: str = "desk", **options: object) -> TestClient:
    return await server.connect(auth={"token": token_for(name, **options), "room": room})


async def test_people_see_who_is_here() -> None:
    """People would talk to somebody who has gone, or be told of every tunnel."""
    async with TestServer(io, clock=Clock()) as server:
        ada = await come(server, "Ada")
        bob = await come(server, "Bob")
        assert [each["user"] for each in (await bob.receive("presence"))["members"]] == ["ada", "bob"]
        assert (await ada.receive("presence_join"))["meta"] == {"name": "Bob"}
        await bob.lose_connection()
        await server.clock.advance(9)
        await ada.receive_nothing("presence_leave")
        await server.clock.advance(2)
        assert (await ada.receive("presence_leave"))["user"] == "bob"


async def test_who_comes_later_reads_what_was_said() -> None:
    """Newcomers would ask what was answered a minute ago."""
    async with TestServer(io) as server:
        ada = await come(server, "Ada", "later")
        for number in range(40):
            await ada.emit_with_ack("say", f"message {number}", f"key of {number}")
        bob = await come(server, "Bob", "later")
        page = await bob.receive("history")
        assert [each["args"][0]["text"] for each in page["entries"]][::29] == ["message 10", "message 39"]
        assert page["more"]
        older = await bob.emit_with_ack("older", page["entries"][0]["id"])
        assert [each["args"][0]["text"] for each in older["entries"]][::9] == ["message 0", "message 9"]
        assert not older["more"]


async def test_what_is_sent_again_is_said_once() -> None:
    """Each lost answer would be a message that stands there twice."""
    async with TestServer(io) as server:
        ada, bob = await come(server, "Ada", "once"), await come(server, "Bob", "once")
        first = await ada.emit_with_ack("say", "Hello!", "key of hello")
        await ada.lose_connection()
        await ada.reconnect()
        assert await ada.emit_with_ack("say", "Hello!", "key of hello") == first
        assert (await bob.receive("said"))[0] == first
        await bob.receive_nothing("said")


async def test_staff_throws_out() -> None:
    """Staff would only watch, or everybody be staff."""
    async with TestServer(io) as server:
        ada, eve = await come(server, "Ada", staff=True), await come(server, "Eve", since=int(time.time()) - 60)
        assert (await eve.emit_with_ack("throw out", "ada", "because"))["error"]["code"] == "forbidden"
        await ada.emit_with_ack("throw out", "eve", "spam")
        assert await eve.receive("kicked") == {"reason": "spam", "reconnect": True}
        assert (await ada.receive("presence_leave"))["user"] == "eve"
        with pytest.raises(ConnectionRefused) as refused:
            await come(server, "Eve", since=int(time.time()) - 60)  # another token of the same session
        assert refused.value.data["code"] == "kicked"
        await come(server, "Eve")  # has signed in again


async def test_a_token_is_renewed() -> None:
    """People would lose their connection every five minutes."""
    async with TestServer(io) as server:
        ada = await come(server, "Ada", exp=time.time() + 4)
        before = ada.id
        asked = await ada.receive_event("refresh_token", within=10)  # after half of its life
        await asked.ack(token_for("Ada Lovelace", sub="ada"))
        said = await ada.emit_with_ack("say", "Still here", "key of still here")
        assert said["author"] == "Ada Lovelace"
        assert ada.id == before


async def test_signing_in() -> None:
    """Anybody could talk in anybody's name, or be staff."""
    async with TestServer(make_app) as server:
        async with server.http.post("/token") as response:
            assert response.status == 401
        async with server.http.post("/sign-in", json={"name": "Ada", "code": "a guess"}) as response:
            assert response.status == 400
        async with server.http.post("/sign-in", json={"name": "Ada"}) as response:
            assert response.status == 200
            cookie = response.cookies["desk"].value
        async with server.http.post("/token", headers={"Cookie": f"desk={cookie}"}) as response:
            await server.connect(auth=await response.json())
        for auth in ({"token": cookie}, {"token": token_for("Ada"), "room": "no such room"}):
            with pytest.raises(ConnectionRefused):
                await server.connect(auth=auth)
