"""Sockets and rooms, seen and moved over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Identity, Server, Socket, StaticTokenAuth
from tests.support.http_api import READER, running_api
from tests.support.js import JSClients
from tests.support.until import until

PEOPLE = {"a": Identity("ada"), "b": Identity("bob")}


def make_server() -> Server:
    """Make a server whose clients choose their rooms."""
    io = Server(auth=StaticTokenAuth(PEOPLE))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["tab"] = b"\x01"
        await socket.join(*socket.handshake.auth["rooms"])

    return io


async def test_rooms_are_counted(js: JSClients) -> None:
    """Nobody could see which rooms are full; the rooms of single sockets would hide them."""
    async with running_api(make_server()) as (url, caller):
        for token, rooms in (("a", ["x"]), ("b", ["x", "y"]), ("b", ["z"])):
            await js.connect(url, auth={"token": token, "rooms": rooms})
        everything = [{"name": "x", "sockets": 2}, {"name": "y", "sockets": 1}, {"name": "z", "sockets": 1}]
        assert (await caller.get("/rooms")).json == {"rooms": everything, "total": 3, "next": None}
        assert (await caller.get("/rooms", prefix="y")).json["rooms"] == everything[1:2]
        assert (await caller.get("/rooms", limit=2)).json == {"rooms": everything[:2], "total": 3, "next": "y"}
        assert (await caller.get("/rooms", limit=2, after="y")).json["rooms"] == everything[2:]
        assert (await caller.get("/rooms", after="z")).json == {"rooms": [], "total": 3, "next": None}


async def test_sockets_are_listed_by_room_and_user(js: JSClients) -> None:
    """Support could not tell which tabs somebody has open."""
    async with running_api(make_server()) as (url, caller):
        ids = {}
        for name, token, rooms in (("1", "a", ["x"]), ("2", "b", ["x", "y"]), ("3", "b", [])):
            ids[name] = await (await js.connect(url, auth={"token": token, "rooms": rooms})).id()

        async def found(**query: Any) -> set[str]:
            names = {sid: name for name, sid in ids.items()}
            return {names[each["id"]] for each in (await caller.get("/sockets", **query)).json["sockets"]}

        assert await found() == {"1", "2", "3"}
        assert await found(room="x") == {"1", "2"}
        assert await found(user="bob") == {"2", "3"}
        assert await found(user="bob", room="x") == {"2"}
        assert await found(user="nobody") == set()
        pages: list[str] = []
        after: Any = ""
        for _ in range(3):
            page = (await caller.get("/sockets", limit=1, after=after)).json
            pages += [each["id"] for each in page["sockets"]]
            assert page["total"] == 3
            after = page["next"]
        assert (pages, after) == (sorted(ids.values()), None)


async def test_a_socket_is_described_and_shows_no_secret(js: JSClients) -> None:
    """A token in the handshake would be shown to whoever may look."""
    async with running_api(make_server()) as (url, caller):
        client = await js.connect(url, auth={"token": "a", "rooms": ["x"]})
        sid = await client.id()
        reply = await caller.with_key(READER).get(f"/sockets/{sid}")
        described = reply.json
        assert described.pop("connected_at") > 0
        assert described == {"id": sid, "namespace": "/", "user": "ada", "rooms": ["x"], "address": "127.0.0.1"}
        assert (await caller.get(f"/sockets/{sid}", data="true")).json["data"] == {"tab": {"$base64": "AQ=="}}
        refused = await caller.with_key(READER).get(f"/sockets/{sid}", data="true")
        assert (refused.status, refused.code) == (403, "missing_scope")


@pytest.mark.parametrize("sid", ["nobody", "a%2Fb", "%2e%2e%2f", "x%00", "%ff"])
async def test_an_id_that_is_none(sid: str) -> None:
    """An id with a slash or dots in it would be another path."""
    async with running_api(Server()) as (_, caller):
        reply = await caller.get(f"/sockets/{sid}")
        assert (reply.status, reply.code) == (404, "unknown_socket")


async def test_a_room_is_no_socket(js: JSClients) -> None:
    """A room's name would be answered by somebody who is in it."""
    async with running_api(make_server()) as (url, caller):
        await js.connect(url, auth={"token": "a", "rooms": ["x"]})
        assert (await caller.get("/sockets/x")).code == "unknown_socket"


async def test_sockets_are_moved(js: JSClients) -> None:
    """Another program could not put somebody into a room."""
    io = make_server()
    async with running_api(io) as (url, caller):
        one, two, three = [
            await (await js.connect(url, auth={"token": token, "rooms": rooms})).id()
            for token, rooms in (("a", []), ("b", []), ("a", ["x"]))
        ]

        def vips() -> set[str]:
            return {sid for sid, socket in io.sockets.items() if "vip" in socket.rooms}

        cases: tuple[tuple[str, dict[str, Any], set[str]], ...] = (
            ("/join", {"sockets": [two]}, {two}),
            ("/join", {"users": ["ada"]}, {one, two, three}),
            ("/leave", {"in": ["x"]}, {one, two}),
            ("/leave", {"in": ["vip"]}, set()),
            ("/join", {"in": ["x"], "users": ["bob"]}, {two, three}),
        )
        for path, selection, expected in cases:
            assert (await caller.post(path, rooms=["vip"], **selection)).json == {"ok": True}
            await until(lambda expected=expected: vips() == expected)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"rooms": ["a"]}, "invalid_body"),
        ({"rooms": []}, "invalid_body"),
        ({"rooms": ["a"], "sockets": []}, "invalid_body"),
        ({"rooms": ["$user:ada"], "sockets": ["x"]}, "reserved_room"),
    ],
)
async def test_what_cannot_be_moved(body: dict[str, Any], code: str) -> None:
    """Everybody would be moved by a list that is empty by mistake, or somebody into another user's room."""
    async with running_api(Server()) as (_, caller):
        for path in ("/join", "/leave"):
            assert (await caller.post(path, **body)).code == code
