"""Events that are emitted over HTTP: who gets them."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Identity, Server, Socket, StaticTokenAuth
from tests.support.http_api import running_api
from tests.support.js import JSClients

PEOPLE = {"a": Identity("ada"), "b": Identity("42"), "c": Identity("carl")}


def make_server() -> Server:
    """Make a server whose clients choose their rooms."""
    io = Server(auth=StaticTokenAuth(PEOPLE))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join(*socket.handshake.auth["rooms"])

    return io


CASES: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "abc"),
    ({"rooms": ["x"]}, "ab"),
    ({"rooms": ["x", "y"]}, "abc"),
    ({"rooms": []}, ""),
    ({"users": []}, ""),
    ({"rooms": [], "users": []}, ""),
    ({"users": ["ada"]}, "a"),
    ({"users": [42]}, "b"),
    ({"users": ["ada"], "rooms": ["y"]}, "abc"),
    ({"except": ["x"]}, "c"),
    ({"except_users": ["ada"]}, "bc"),
    ({"rooms": ["x"], "except_users": [42]}, "a"),
    ({"rooms": ["x"], "volatile": True}, "ab"),
    ({"rooms": ["nobody"]}, ""),
)


async def test_who_gets_it(js: JSClients) -> None:
    """An event would reach somebody whom it is not for; an empty list, everybody."""
    async with running_api(make_server()) as (url, caller):
        clients = {
            name: await js.connect(url, auth={"token": name, "rooms": rooms})
            for name, rooms in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"]))
        }
        for number, (options, expected) in enumerate(CASES):
            reply = await caller.post("/emit", event="case", args=[number, {"é": None}], **options)
            assert (reply.status, reply.json) == (200, {"ok": True})
            for name in expected:
                assert await clients[name].wait_for("case") == [number, {"é": None}], (options, name)
        for client in clients.values():
            await client.expect_nothing("case")


async def test_bytes_arrive_as_bytes_where_they_are_asked_for(js: JSClients) -> None:
    """A picture would arrive as an object, or an object of the caller's be taken for a picture."""
    async with running_api(Server()) as (url, caller):
        client = await js.connect(url)
        args = [{"picture": {"$base64": "AP8="}}]
        await caller.post("/emit", event="picture", args=args, binary=True)
        assert await client.wait_for("picture") == [{"picture": b"\x00\xff"}]
        await caller.post("/emit", event="picture", args=args)
        assert await client.wait_for("picture") == args


async def test_answers_are_collected(js: JSClients) -> None:
    """A cron job could not ask its devices."""
    async with running_api(Server()) as (url, caller):
        one, two, three = [await js.connect(url) for _ in range(3)]
        await one.answer("ask", "yes")
        await two.answer("ask", b"\x01")
        await three.answer("ask")
        reply = await caller.post("/emit", event="ask", with_ack=True)
        ids = [await client.id() for client in (one, two, three)]
        responses = dict(zip(ids, ["yes", {"$base64": "AQ=="}, None], strict=True))
        assert reply.json == {"ok": True, "responses": responses, "missing": []}


async def test_who_does_not_answer_is_named(js: JSClients) -> None:
    """The answers of all would be lost, because one is asleep."""
    async with running_api(Server()) as (url, caller):
        one, two = [await js.connect(url) for _ in range(2)]
        await one.answer("ask", "yes")
        reply = await caller.post("/emit", event="ask", with_ack=True, timeout=0.2)
        assert (reply.status, reply.code) == (504, "ack_timeout")
        assert (reply.json["responses"], reply.json["missing"]) == ({await one.id(): "yes"}, [await two.id()])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"event": "connect"}, 422, "invalid_body"),
        ({"event": 2**60}, 422, "invalid_body"),
        ({"event": True}, 422, "invalid_body"),
        ({"event": "x", "args": [{"$base64": "%"}], "binary": True}, 422, "invalid_body"),
        ({"event": "x", "args": [{"$base64": ""}] * 11, "binary": True}, 422, "cannot_be_sent"),
        ({"event": "x", "namespace": "/nope"}, 404, "unknown_namespace"),
        ({"event": "x", "users": [""]}, 422, "invalid_body"),
    ],
)
async def test_what_cannot_be_emitted(body: dict[str, Any], status: int, code: str) -> None:
    """A caller would believe that an event was sent which no client can receive."""
    async with running_api(Server()) as (_, caller):
        reply = await caller.post("/emit", **body)
        assert (reply.status, reply.code) == (status, code)


async def test_numbered_events(js: JSClients) -> None:
    """Programs that save bytes by numbers for names could not be reached."""
    async with running_api(Server()) as (url, caller):
        client = await js.connect(url)
        await caller.post("/emit", event=7, args=["a"])
        assert await client.wait_for(7) == ["a"]
