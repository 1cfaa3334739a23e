"""Clients that are thrown out over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Identity, Server, StaticTokenAuth
from rtframework_http_api import APIKey
from tests.support.http_api import KEY, running_api
from tests.support.js import JSClients

PEOPLE = {"a": Identity("ada"), "b": Identity("42")}


def make_server() -> Server:
    """Make a server with people."""
    return Server(auth=StaticTokenAuth(PEOPLE))


async def test_a_user_is_thrown_out_and_told_why(js: JSClients) -> None:
    """Support could not throw anybody out without a program of its own."""
    async with running_api(make_server()) as (url, caller):
        tabs = [await js.connect(url, auth={"token": "b"}) for _ in range(2)]
        other = await js.connect(url, auth={"token": "a"})
        reply = await caller.post("/kick", user=42, reason="spam")
        assert (reply.status, reply.json) == (200, {"ok": True})
        for tab in tabs:
            assert await tab.wait_for("kicked") == [{"reason": "spam", "reconnect": False}]
            assert await tab.disconnected() == "io server disconnect"
        assert (await other.state()).connected


async def test_a_socket_is_thrown_out_and_its_neighbours_stay(js: JSClients) -> None:
    """All tabs of a user would close for one that floods."""
    async with running_api(make_server()) as (url, caller):
        one, two = [await js.connect(url, auth={"token": "a"}) for _ in range(2)]
        sid = await one.id()
        assert (await caller.post("/kick", socket=sid, reconnect=True)).status == 200
        assert await one.wait_for("kicked") == [{"reason": "", "reconnect": True}]
        assert await one.disconnected() == "transport close"
        assert (await two.state()).connected
        assert (await caller.post("/kick", socket=sid)).code == "unknown_socket"


async def test_tokens_are_taken_back(js: JSClients) -> None:
    """Somebody who has left the company would stay in."""
    async with running_api(make_server()) as (url, caller):
        ada, bob = await js.connect(url, auth={"token": "a"}), await js.connect(url, auth={"token": "b"})
        assert (await caller.post("/revoke", user="ada")).status == 200
        assert await ada.disconnected() == "transport close"
        again = await js.connect(url, auth={"token": "a"}, wait=False)
        assert (await again.refused())["data"] == {"code": "token_revoked"}
        assert (await bob.state()).connected


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/kick", {}, "either user or socket"),
        ("/kick", {"user": "a", "socket": "b"}, "either user or socket"),
        ("/kick", {"user": "a", "reason": ""}, "length >= 1"),
        ("/kick", {"user": "a", "reason": "$reconnect:x"}, "is no reason"),
        ("/kick", {"user": None}, "got `null`"),
        ("/revoke", {}, "say which tokens"),
        ("/revoke", {"id": "a", "user": "b"}, "stands alone"),
        ("/revoke", {"issued_before": -1}, ">= 0"),
    ],
)
async def test_a_call_that_makes_no_sense(path: str, body: dict[str, Any], told: str) -> None:
    """A mistake in a cron job would throw out nobody, or everybody."""
    async with running_api(make_server()) as (_, caller):
        reply = await caller.post(path, **body)
        assert (reply.status, reply.code) == (422, "invalid_body")
        assert told in reply.json["detail"]


async def test_a_client_without_a_user_has_no_other_credentials(js: JSClients) -> None:
    """A caller would believe that somebody is kept out who comes back at once."""
    async with running_api(Server()) as (url, caller):
        client = await js.connect(url)
        reply = await caller.post("/kick", socket=await client.id(), reconnect=True)
        assert (reply.code, reply.json["path"]) == ("invalid_body", "$.reconnect")
        assert (await client.state()).connected


async def test_everybody_is_for_admins() -> None:
    """Whoever may throw out one could throw out all."""
    kicker = "k1" * 8 + "abcdefgh" * 2
    keys = {"support": APIKey(kicker, scopes=("kick",)), "admin": KEY}
    async with running_api(make_server(), keys=keys) as (_, caller):
        reply = await caller.with_key(kicker).post("/revoke", issued_before=1)
        assert (reply.status, reply.code, reply.json["scope"]) == (403, "missing_scope", "admin")
        assert (await caller.post("/revoke", issued_before=1)).status == 200
        assert (await caller.with_key(kicker).post("/revoke", id="jti")).status == 200
