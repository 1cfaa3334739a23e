"""The AsyncAPI document of a contract."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft7Validator

from rtframework import ConfigurationError, Server, Socket
from rtframework.contracts import asyncapi, describe, typescript
from rtframework.testing import TestServer
from tests.gateways import Numbered
from tests.support.contract import make, problems_of


def test_the_document_satisfies_the_official_schema() -> None:
    """No tool would read it."""
    document = asyncapi(describe(make()), title="All", version="2.1.0", url="https://example.org/live", description="!")
    assert problems_of(document) == []
    assert document["info"] == {"title": "All", "version": "2.1.0", "description": "!"}
    assert document["servers"]["server"]["protocol"] == "wss"
    assert document["servers"]["server"]["pathname"] == "/live"
    assert list(document["channels"]) == ["main", "clock", "tenants-tenant"]
    assert document["channels"]["tenants-tenant"]["address"] == "/tenants/{tenant}"
    assert list(document["channels"]["tenants-tenant"]["parameters"]) == ["tenant"]
    assert document["operations"]["receive.ask-me"]["reply"]["messages"] == [
        {"$ref": "#/channels/main/messages/receive.ask-me.ack"}
    ]
    assert "reply" not in document["operations"]["send.ping"]


def test_a_server_without_anything_has_a_document() -> None:
    """The first thing that a newcomer tries would fail."""
    assert problems_of(asyncapi(describe(Server()))) == []
    assert "export interface ServerToClientEvents {\n}" in typescript(describe(Server()))


def test_keys_do_not_meet() -> None:
    """One event would take the place of another."""
    io = Server()
    for name in ("a b", "a-b", "a/b", "é"):
        io.emits(name, int)
        io.of(re.compile(f"/{name}"))
    io.of("/main")
    document = asyncapi(describe(io))
    assert problems_of(document) == []
    assert len(document["channels"]["main"]["messages"]) == 4
    assert len(document["channels"]) == 6


def test_events_that_are_named_by_integers() -> None:
    """The document would be no AsyncAPI, whose names are strings; or nobody would know that the name is a number."""
    io = Server()
    io.emits(1, str)

    @io.on(1)
    async def one(socket: Socket, text: str) -> str: ...  # type: ignore[empty-body]

    document = asyncapi(describe(io))
    assert problems_of(document) == []
    messages = document["channels"]["main"]["messages"]
    assert list(messages) == ["receive.1", "receive.1.ack", "send.1"]
    for key in ("receive.1", "send.1"):
        assert (messages[key]["name"], messages[key]["summary"]) == ("1", "The event's name is a number.")


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "https://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The document would send its readers nowhere."""
    with pytest.raises(ConfigurationError, match="a server's URL is like"):
        asyncapi(describe(Server()), url=url)


def served(*, socketio: bool, url: str) -> list[tuple[str, str, str]]:
    """Attach a server for other protocols, to a sub-application. Return protocol, path and description."""
    io, app, outer = Server(), web.Application(), web.Application()
    if socketio:
        io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_websocket(app, "/old", codec=Numbered())
    io.attach_sse(app, "events/")
    io.attach_stomp(app, "/stomp")
    io.attach_sockjs(app, "/sockjs")
    io.attach_sockjs(app, "/spring", carries="stomp")
    outer.add_subapp("/live", app)
    document = asyncapi(describe(io), url=url)
    assert problems_of(document) == []
    assert {each["host"] for each in document["servers"].values()} == {"example.org:8080"}
    return [(each["protocol"], each["pathname"], each["description"]) for each in document["servers"].values()]


def test_the_paths_of_other_protocols_are_servers() -> None:
    """Whoever writes a plain websocket or an EventSource would not find where it connects, and what is spoken."""
    found = served(socketio=True, url="https://example.org:8080/live/socket.io/")
    assert [each[:2] for each in found] == [
        ("wss", "/live/socket.io/"),
        ("wss", "/live/ws"),
        ("wss", "/live/old"),
        ("https", "/live/events"),
        ("wss", "/live/stomp"),
        ("https", "/live/sockjs"),
        ("https", "/live/spring"),
    ]
    assert [each[2].partition(":")[0] for each in found] == [
        "Socket.IO, protocol 5, over Engine.IO 4.",
        "Plain websockets, rtframework.v1",
        "Plain websockets, in the form of Numbered.",
        "Server-sent events",
        "STOMP 1.2 and 1.1",
        "SockJS 1.x, which carries",
        "SockJS 1.x, which carries",
    ]
    assert "STOMP 1.2 and 1.1: clients emit by SEND" in found[-1][2]


def test_a_server_without_socket_io_does_not_promise_it() -> None:
    """Clients of Socket.IO would be sent to a path that answers 404."""
    found = served(socketio=False, url="ws://example.org:8080")
    assert [each[:2] for each in found] == [
        ("ws", "/live/ws"),
        ("ws", "/live/old"),
        ("http", "/live/events"),
        ("ws", "/live/stomp"),
        ("http", "/live/sockjs"),
        ("http", "/live/spring"),
    ]


async def test_what_goes_over_the_wire_satisfies_the_document() -> None:
    """The document would describe another server."""
    io = make()
    document = asyncapi(describe(io))

    def check(operation: str, args: Sequence[Any], *, reply: bool = False) -> list[str]:
        (message,) = (document["operations"][operation]["reply"] if reply else document["operations"][operation])[
            "messages"
        ]
        key = message["$ref"].rpartition("/")[2]
        payload = document["channels"]["main"]["messages"][key]["payload"]
        # Bytes are no JSON: a text stands for them here.
        text = json.dumps(list(args), default=lambda value: "bytes")
        validator = Draft7Validator({**document, **payload})
        return [error.message for error in validator.iter_errors(json.loads(text))]

    picture = {"type": "picture", "data": b"abc", "replies": [{"type": "text", "text": "a"}]}
    async with TestServer(io) as server:
        client = await server.connect()
        assert check("receive.post", (picture, {"fullName": "Ada"})) == []
        answer = await client.emit_with_ack("post", picture, {"fullName": "Ada"})
        assert check("receive.post", [answer], reply=True) == []
        posted = (await client.receive_event("posted")).args
        assert check("send.posted", posted) == []
        assert check("send.posted", (picture, *posted[1:])) != []
        refused = ({"type": "text"}, {"fullName": "Ada"})
        assert check("receive.post", refused) != []
        answer = await client.emit_with_ack("post", *refused)
        assert answer["error"]["code"] == "invalid_payload"
        assert check("receive.post", [answer], reply=True) == []
        assert check("receive.divide", await client.emit_with_ack("divide", 7, 2), reply=True) == []
        assert check("receive.divide", (7,), reply=True) != []
        assert check("receive.move", ({"x": 1, "y": 2}, True)) == []
        assert check("receive.move", ({"x": 1, "y": 2}, True, 3)) != []
        assert check("receive.find", ({"limit": 1}, "a", "b")) == []
        assert check("receive.find", ({"limit": 1}, "a", 2)) != []
