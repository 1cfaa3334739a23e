"""Tokens through real clients: where they are looked for, and what a refused client learns."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from rtframework import Handshake, Identity, Server, Socket, StaticTokenAuth, TokenSources
from rtframework_jwt import JWTAuth
from tests.conftest import Serve
from tests.support.js import ClientOptions, JSClients
from tests.support.transports import Transport

KEY = "a key for tests that is long enough for HS256"


def token(key: str = KEY, **claims: Any) -> str:
    """A token that is good for an hour, longer than any test run, unless the claims say otherwise."""
    return jwt.encode({"sub": "42", "name": "Ada", "exp": time.time() + 3600, **claims}, key, algorithm="HS256")


def whoami(io: Server) -> Server:
    """Answers who the server thinks one is."""

    @io.on("whoami")
    async def answer(socket: Socket) -> Any:
        return {"id": socket.user.id, "name": socket.user.name, "roles": sorted(socket.user.roles)}

    return io


async def test_static_tokens(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Examples and small programs could tell nobody apart."""
    io = whoami(Server(auth=StaticTokenAuth({"secret-a": Identity("1", name="Ada", roles=frozenset({"admin"}))})))
    server = await serve(io)
    client = await js.connect(server.url, via=transport, auth={"token": "secret-a"})
    assert await client.emit_with_ack("whoami") == {"id": "1", "name": "Ada", "roles": ["admin"]}
    for auth, code in (({"token": "wrong"}, "unknown_token"), ({}, "missing"), ({"token": 5}, "malformed")):
        refused = await js.connect(server.url, via=transport, auth=auth, wait=False)
        assert (await refused.refused())["data"]["code"] == code


async def test_jwt(serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """Who is signed in elsewhere could not use the token here; who is refused would not learn why."""
    io = whoami(Server(auth=JWTAuth(key=KEY, algorithms=["HS256"])))
    server = await serve(io)
    client = await js.connect(server.url, via=transport, auth={"token": token(roles=["admin"])})
    assert await client.emit_with_ack("whoami") == {"id": "42", "name": "Ada", "roles": ["admin"]}
    forged = {
        "expired": token(exp=time.time() - 60),
        "not_yet_valid": token(nbf=time.time() + 600),
        "bad_signature": token(key=KEY + "!"),
        "bad_algorithm": jwt.encode({"sub": "42"}, "", algorithm="none"),
        "malformed": "no token at all",
        "missing_claim": jwt.encode({"sub": "42"}, KEY, algorithm="HS256"),
    }
    for code, bad in forged.items():
        refused = await js.connect(server.url, via=transport, auth={"token": bad}, wait=False)
        error = await refused.refused()
        assert error["data"]["code"] == code
        assert bad not in str(error)
        assert bad not in caplog.text
    assert len(io.sockets) == 1


@pytest.mark.parametrize(
    ("sources", "options"),
    [
        (TokenSources(), {"auth": {"token": token()}}),
        (TokenSources(), {"extraHeaders": {"Authorization": f"Bearer {token()}"}}),
        (TokenSources(cookie="session"), {"extraHeaders": {"Cookie": f"session={token()}"}}),
        (TokenSources(query="token"), {"query": {"token": token()}}),
    ],
    ids=["auth", "header", "cookie", "query"],
)
async def test_where_a_token_may_be(
    sources: TokenSources, options: ClientOptions, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """Clients that can only send a header, a cookie or a query parameter would be left outside."""
    server = await serve(whoami(Server(auth=JWTAuth(key=KEY, algorithms=["HS256"], sources=sources))))
    client = await js.connect(server.url, via=transport, **options)
    assert (await client.emit_with_ack("whoami"))["id"] == "42"
    nowhere = TokenSources(auth=None, header=False)
    closed = await serve(whoami(Server(auth=JWTAuth(key=KEY, algorithms=["HS256"], sources=nowhere))))
    refused = await js.connect(closed.url, via=transport, wait=False, **options)
    assert (await refused.refused())["data"]["code"] == "missing"


async def test_a_refused_client_comes_back_with_another_token(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """After an expired token one would have to reload the page."""
    server = await serve(whoami(Server(auth=JWTAuth(key=KEY, algorithms=["HS256"]))))
    client = await js.connect(server.url, via=transport, auth={"token": token(exp=1)}, wait=False)
    assert (await client.refused())["data"]["code"] == "expired"
    await client.set_auth({"token": token()})
    await client.open()
    await client.connected()
    assert (await client.emit_with_ack("whoami"))["name"] == "Ada"


async def test_an_authenticator_of_ones_own(serve: Serve, js: JSClients) -> None:
    """Programs with accounts of their own could not use them."""

    class ByName:
        async def authenticate(self, handshake: Handshake) -> dict[str, str]:
            return {"name": handshake.auth["name"], "nsp": handshake.nsp}

    io = Server(auth=ByName())

    @io.of("/chat").on("whoami")
    async def answer(socket: Socket) -> Any:
        return socket.user

    client = await js.connect((await serve(io)).url + "/chat", auth={"name": "Ada"})
    assert await client.emit_with_ack("whoami") == {"name": "Ada", "nsp": "/chat"}
