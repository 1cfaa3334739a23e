"""People in rooms, seen over HTTP."""

from __future__ import annotations

from rtframework import Identity, Presence, Server, Socket, StaticTokenAuth
from tests.support.http_api import READER, running_api
from tests.support.js import JSClients

PEOPLE = {"a": Identity("ada"), "b": Identity("bob"), "c": Identity("cy")}


async def test_who_is_in_a_room(js: JSClients) -> None:
    """Another program could not tell who is there, or take tabs for people."""
    io = Server(
        auth=StaticTokenAuth(PEOPLE), presence=Presence("lobby", meta=lambda socket: {"name": socket.user.id.title()})
    )

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    async with running_api(io) as (url, caller):
        for token in "abac":
            await js.connect(url, auth={"token": token})
        reader = caller.with_key(READER)
        found = (await reader.get("/presence", room="lobby")).json
        assert all(user.pop("since") > 0 for user in found["users"])
        people = [
            {"user": "ada", "meta": {"name": "Ada"}, "tabs": 2},
            {"user": "bob", "meta": {"name": "Bob"}, "tabs": 1},
            {"user": "cy", "meta": {"name": "Cy"}, "tabs": 1},
        ]
        assert found == {"users": people, "next": None}
        first = (await reader.get("/presence", room="lobby", limit=2)).json
        assert ([user["user"] for user in first["users"]], first["next"]) == (["ada", "bob"], "bob")
        second = (await reader.get("/presence", room="lobby", limit=2, after=first["next"])).json
        assert ([user["user"] for user in second["users"]], second["next"]) == (["cy"], None)


async def test_a_room_without_presence() -> None:
    """A room of which nothing is known would look like one that is empty."""
    for io in (Server(), Server(presence=Presence("lobby"))):
        async with running_api(io) as (_, caller):
            reply = await caller.get("/presence", room="other")
            assert (reply.status, reply.code) == (404, "no_presence")
    async with running_api(Server(presence=Presence("lobby"))) as (_, caller):
        assert (await caller.get("/presence", room="lobby")).json == {"users": [], "next": None}
        assert (await caller.get("/presence")).code == "invalid_query"
