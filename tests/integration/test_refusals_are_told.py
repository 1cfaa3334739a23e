"""A refusal is one line in the log, with the way to let the client in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import ConnectionRefused, Handshake, Server
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.raw import raw_client
from tests.support.until import until


class Nobody:
    """Refuses everybody, with the token in its own message to itself."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Refuse."""
        raise ConnectionRefused("Unauthorized", {"code": "token_expired"})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of the framework."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("rtframework") and record.levelname == "WARNING"
    ]


@pytest.mark.parametrize(
    ("options", "query", "headers", "line"),
    [
        (
            {},
            {"EIO": "4", "transport": "polling"},
            {"Origin": "https://other.example"},
            "refused a page of 'https://other.example' at the host '127.0.0.1:",
        ),
        ({"require_origin": True}, {"EIO": "4", "transport": "polling"}, {}, "require_origin is set"),
        ({}, {"EIO": "3", "transport": "polling"}, {}, "Engine.IO '3': rtframework.Server(allow_eio3=True) lets in"),
        ({}, {"transport": "polling"}, {}, "Engine.IO '3': rtframework.Server(allow_eio3=True) lets in"),
        ({"transports": ["websocket"]}, {"EIO": "4", "transport": "polling"}, {}, "see the option transports"),
    ],
)
async def test_requests(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    query: dict[str, str],
    headers: dict[str, str],
    line: str,
) -> None:
    """A programmer whose client does not connect would look for the reason in the client."""
    async with raw_client((await serve(Server(**options))).url) as client:
        answer = await client.request("GET", query=query, headers=headers)
        assert answer.status in (400, 403)
    (said,) = lines(caplog)
    assert line in said


async def test_an_unknown_namespace(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """A typing error in the name of a namespace would look like a network that does not work."""
    io = Server()
    io.of("/admin")
    server = await serve(io)
    for name in ("/typo", "/amdin"):
        client = await js.connect(server.url + name, wait=False)
        await client.life("connect_error")
    assert lines(caplog) == [
        "refused a client that asks for the namespace '/typo': io.of('/typo') makes it",
        "refused a client that asks for the namespace '/amdin': did you mean '/admin'? io.of('/amdin') makes it",
    ]


async def test_a_refused_token(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could tell an expired token from a wrong secret; the token itself is nobody's business."""
    server = await serve(Server(auth=Nobody()))
    client = await js.connect(server.url, auth={"token": "secret.of.ada"}, wait=False)
    await client.life("connect_error")
    assert lines(caplog) == ["the authenticator refused a client of /: 'token_expired'"]
    assert "secret.of.ada" not in caplog.text


async def test_another_serializer(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """A client with another parser would reconnect for ever, and the server would seem to do nothing."""
    server = await serve(Server())
    client = await js.connect(server.url, parser="msgpack", transports=["websocket"], wait=False)
    await client.life("engine_close")
    await until(lambda: bool(lines(caplog)))
    (said,) = lines(caplog)
    assert "does the client have another parser than the server's serializer?" in said


@pytest.mark.usefixtures("throttled")
async def test_a_client_cannot_forge_or_flood(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody could write lines into the log, or fill the disk."""
    async with raw_client((await serve(Server())).url) as client:
        names = [f"/{number}\\n2030 CRITICAL root forged" + "x" * 1000 for number in range(50)]
        websocket, _ = await client.open_websocket()
        for name in names:
            await websocket.send(f"40{name},")
            assert "Invalid namespace" in str(await websocket.receive())
        await asyncio.sleep(0)
    (said,) = lines(caplog)
    assert "\n" not in said
    assert len(said) < 400


async def test_a_healthy_server_is_silent(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """The one line that matters would stand among many."""
    io = Server()
    client = await js.connect((await serve(io)).url)
    await client.disconnect()
    await until(lambda: not io.sockets)
    assert lines(caplog) == []
