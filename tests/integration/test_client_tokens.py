"""The package for JavaScript clients: tokens that run out or are revoked, and clients that are thrown out.

The servers here emit and refuse by hand what the framework does, so that the wire is written down once more.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from rtframework import ConnectionRefused, DisconnectReason, Handshake, Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import ClientPage, client_page, open_server
from tests.support.until import until

FAST: Final = {"min": 20, "max": 40, "jitter": 0.5}
PLACES: Final = ("page", "worker", "shared-worker")
TOKENS: Final = """
getToken: async (request) => { heard.push(['asked', request]); return tokens.shift() },
onKicked: (kick) => heard.push(['thrown out', kick]),
onSignedOut: () => heard.push(['signed out']),
"""


@pytest.fixture
async def client(serve: Serve, browser: Pages) -> ClientPage:
    """A page. A poll that is on its way when the server closes the session is answered with 400."""
    browser.expect_errors("Failed to load resource|WebSocket connection to")
    client = ClientPage(await browser.open())
    await client.load((await serve(client_page())).url)
    return client


class Gate:
    """Lets in tokens that are good; ``refusals`` are what others are told."""

    def __init__(self) -> None:
        self.refusals: dict[str, str] = {}
        self.seen: list[Any] = []
        self.here: list[Socket] = []

    async def authenticate(self, handshake: Handshake) -> str:
        """Refuse, or return the user."""
        self.seen.append(handshake.auth)
        token = handshake.auth.get("token", "")
        if code := self.refusals.get(token):
            raise ConnectionRefused(f"no {token}", data={"code": code})
        return "ada"

    def server(self) -> Server:
        """Make the server, with two namespaces."""
        io = open_server(auth=self)
        for nsp in (io.of("/"), io.of("/den")):

            @nsp.on("connection")
            async def connection(socket: Socket) -> None:
                self.here.append(socket)

            @nsp.on("disconnect")
            async def disconnect(socket: Socket, reason: str) -> None:
                self.here.remove(socket)

        return io

    def cut(self) -> None:
        """Close the connections, not the sockets: clients come back by themselves."""
        for socket in list(self.here):
            socket.conn.close(DisconnectReason.FORCED_CLOSE)


async def start(client: ClientPage, url: str, tokens: list[Any], place: str = "page", **options: Any) -> None:
    """Connect with the tokens of a list, one after another."""
    await client.run(f"window.tokens = {json.dumps(tokens)}")
    await client.start({"hosts": url, "retry": FAST, "runIn": place, "auth": {"device": "laptop"}, **options}, TOKENS)


async def asked(client: ClientPage) -> list[str]:
    """Return why tokens were asked for."""
    reasons: list[str] = await client.run("heard.filter(([e]) => e === 'asked').map(([, { reason }]) => reason)")
    return reasons


@pytest.mark.parametrize("place", PLACES)
async def test_a_token_is_renewed_while_connected(serve: Serve, client: ClientPage, place: str) -> None:
    """People would lose their connection each hour, and with it what was on its way."""
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two", {"token": "three", "device": "phone"}], place)
    await client.until("socket.connected")
    assert gate.seen == [{"device": "laptop", "token": "one"}]
    (socket,) = gate.here
    renew = socket.timeout(10).emit_with_ack
    assert await renew("refresh_token", {"expires_in": 60}) == {"device": "laptop", "token": "two"}
    assert await renew("refresh_token", {"expires_in": 60}) == {"device": "phone", "token": "three"}
    assert await renew("refresh_token", {"expires_in": 60}) is None
    assert await client.run("heard.filter(([e]) => e === 'asked').map(([, request]) => request).slice(0, 2)") == [
        *({"reason": "connect"}, {"reason": "refresh", "expiresIn": 60}),
    ]
    assert gate.here == [socket]


async def test_a_page_that_cannot_get_a_token_yet_tries_again(serve: Serve, client: ClientPage) -> None:
    """A moment without a network would cost the connection, though the server waits for the token."""
    gate = Gate()
    server = await serve(gate.server())
    await client.start(
        {"hosts": server.url, "retry": FAST},
        "getToken: ({ reason }) => { heard.push([reason]); "
        "if (heard.filter(([e]) => e === reason).length === 1) throw new Error('no network'); return 'token' }",
    )
    await client.until("socket.connected")  # the second time
    assert await gate.here[0].timeout(10).emit_with_ack("refresh_token", {"expires_in": 60}) == {"token": "token"}


@pytest.mark.parametrize(
    ("code", "reason"), [("token_expired", "expired"), ("token_revoked", "revoked"), ("expired", "expired")]
)
@pytest.mark.parametrize("place", ["page", "shared-worker"])
async def test_a_token_that_is_refused_is_replaced(
    serve: Serve, client: ClientPage, code: str, reason: str, place: str
) -> None:
    """A laptop that was closed over night would show the sign-in page in the morning."""
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "one", "two"], place)
    await client.until("socket.connected")
    gate.refusals["one"] = code
    gate.cut()
    await client.until("heard.filter(([event]) => event === 'connect').length === 2")
    assert await asked(client) == ["connect", "connect", reason]
    assert [auth["token"] for auth in gate.seen] == ["one", "one", "two"]
    gate.cut()
    await client.until("state() === 'signed-out'")  # there are no more tokens
    assert await asked(client) == ["connect", "connect", reason, "connect"]
    assert await client.run("heard.filter(([event]) => event === 'signed out').length") == 1


async def test_a_new_token_that_is_refused_is_the_end(serve: Serve, client: ClientPage) -> None:
    """A page with a wrong clock would ask for tokens in an endless circle."""
    gate = Gate()
    gate.refusals = dict.fromkeys(["one", "two"], "token_expired")
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two", "three"])
    await client.until("state() === 'refused'")
    assert await asked(client) == ["connect", "expired"]
    status = await client.run("connection.status.get()")
    assert status["error"] == {"message": "no two", "data": {"code": "token_expired"}}
    await client.run("connection.connect()")  # by hand
    await client.connected()


async def test_other_refusals_are_the_end(serve: Serve, client: ClientPage) -> None:
    """A new token would be asked for, and be refused, where the server does not want this user at all."""
    gate = Gate()
    gate.refusals = {"one": "banned"}
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two"])
    await client.until("state() === 'refused'")
    assert await asked(client) == ["connect"]


async def test_namespaces_ask_for_one_token(serve: Serve, client: ClientPage) -> None:
    """Where a token may be used once only, one of two namespaces would be refused."""
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two", "three", "four"], autoConnect=False)
    await client.run("window.den = connection.of('/den'), connection.connect()")
    await client.until("socket.connected && den.connected")
    assert [auth["token"] for auth in gate.seen] == ["one", "one"]


@pytest.mark.parametrize("place", PLACES)
async def test_a_client_that_is_thrown_out_stays_away(serve: Serve, client: ClientPage, place: str) -> None:
    """Somebody who was thrown out would be back a second later, and not know why he was away."""
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two"], place)
    await client.until("socket.connected")
    await gate.here[0].emit("kicked", {"reason": "spam", "reconnect": False})
    await gate.here[0].disconnect()
    await client.until("state() === 'kicked'")
    assert await client.run("connection.status.get().kick") == {"reason": "spam", "reconnect": False}
    kick = {"reason": "spam", "reconnect": False}
    assert await client.run("heard.filter(([e]) => ['kicked', 'thrown out', 'disconnect'].includes(e)).sort()") == [
        *(["disconnect", "io server disconnect"], ["kicked", kick], ["thrown out", kick]),
    ]
    await client.run("void dispatchEvent(new Event('online'))")
    assert await asked(client) == ["connect"]
    assert len(gate.seen) == 1


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_that_is_thrown_out_comes_back_with_new_credentials(
    serve: Serve, client: ClientPage, transport: str
) -> None:
    """Somebody whose role has changed would be refused with the token that still says the old one.

    By polling, the stock client's socket gets the event only when it is back: it comes with the end of the connection.
    """
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "two"], transports=[transport])
    await client.until("socket.connected")
    gate.refusals["one"] = "kicked"
    await gate.here[0].emit("kicked", {"reason": "new role", "reconnect": True})
    gate.cut()
    await client.until("heard.filter(([event]) => event === 'connect').length === 2")
    assert await asked(client) == ["connect", "kicked"]
    assert [auth["token"] for auth in gate.seen] == ["one", "two"]
    assert await client.run("heard.filter(([event]) => event === 'thrown out').length") == 1


async def test_a_client_that_is_thrown_out_and_has_nothing_new(serve: Serve, client: ClientPage) -> None:
    """A page that was told that it may come back would try for ever."""
    gate = Gate()
    server = await serve(gate.server())
    await start(client, server.url, ["one", "one", "one", "one"])
    await client.until("socket.connected")
    gate.refusals["one"] = "kicked"
    await gate.here[0].emit("kicked", {"reason": "new role", "reconnect": True})
    gate.cut()
    await client.until("state() === 'kicked'")
    assert await asked(client) == ["connect", "kicked", "kicked"]
    await until(lambda: not gate.here)


async def test_a_program_that_does_it_by_hand(serve: Serve, client: ClientPage) -> None:
    """A handler of the program's own would not be asked, or the answer be sent twice."""
    gate = Gate()
    server = await serve(gate.server())
    await client.start({"hosts": server.url}, "auth: () => ({ token: 'one' })")
    await client.until("socket.connected")
    await client.run("socket.on('refresh_token', (detail, answer) => answer('by hand')), undefined")
    assert await gate.here[0].timeout(10).emit_with_ack("refresh_token", {"expires_in": 60}) == "by hand"
