"""What was said in rooms, read over HTTP."""

from __future__ import annotations

from rtframework import History, Server
from tests.support.http_api import READER, running_api


async def test_what_was_said_is_read_page_by_page() -> None:
    """A moderator could not see what somebody complains about."""
    io = Server(history=History("chat:{room}"))
    async with running_api(io) as (_, caller):
        for number in range(5):
            await caller.post("/emit", event="said", args=[number], rooms=["chat:1"])
        await caller.post("/emit", event="file", args=[{"$base64": "AQ=="}], rooms=["chat:1"], binary=True)
        page = (await caller.get("/history", room="chat:1", limit=2)).json
        assert [(each["event"], each["args"]) for each in page["entries"]] == [
            ("said", [4]),
            ("file", [{"$base64": "AQ=="}]),
        ]
        assert (page["gap"], page["more"]) == (False, True)
        assert all(each["at"] > 1e12 for each in page["entries"])
        before = (await caller.get("/history", room="chat:1", before=page["entries"][0]["id"])).json
        assert ([each["args"] for each in before["entries"]], before["more"]) == ([[0], [1], [2], [3]], False)
        after = (await caller.get("/history", room="chat:1", after=before["entries"][0]["id"], limit=1)).json
        assert ([each["args"] for each in after["entries"]], after["more"]) == ([[1]], True)
        assert (await caller.get("/history", room="chat:2")).json == {"entries": [], "gap": False, "more": False}


async def test_what_was_said_is_forgotten() -> None:
    """Something that must not be kept would be told everybody who comes later."""
    io = Server(history=History("chat:{room}"))
    async with running_api(io) as (_, caller):
        await caller.post("/emit", event="said", args=[1], rooms=["chat:1"])
        assert (await caller.post("/history/clear", room="chat:1")).json == {"ok": True}
        assert (await caller.get("/history", room="chat:1")).json["entries"] == []


async def test_a_room_without_history() -> None:
    """A room of which nothing is kept would look like one in which nobody has said anything."""
    for io in (Server(), Server(history=History("chat:{room}"))):
        async with running_api(io) as (_, caller):
            assert (await caller.get("/history", room="lobby")).code == "no_history"
            assert (await caller.post("/history/clear", room="lobby")).code == "no_history"


async def test_reading_sockets_is_not_reading_what_people_say() -> None:
    """A monitor's key would open all conversations."""
    async with running_api(Server(history=History("chat:{room}"))) as (_, caller):
        reply = await caller.with_key(READER).get("/history", room="chat:1")
        assert (reply.status, reply.code, reply.json["scope"]) == (403, "missing_scope", "history")
