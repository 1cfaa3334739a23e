"""The package for JavaScript clients: a device that the server knows again."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Handshake, Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import ClientPage, client_page, open_server
from tests.support.until import until


class Everybody:
    """Lets everybody in, and remembers what was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def authenticate(self, handshake: Handshake) -> str:
        """Return the user."""
        self.told.append(dict(handshake.auth))
        return "ada"


def telling(users: Everybody) -> tuple[Server, list[Any]]:
    """Make a server, and a list of what it knows of devices."""
    io = open_server(auth=users, devices=3600)
    known: list[Any] = []

    @io.on("connection")
    def connection(socket: Socket) -> None:
        known.append(socket.device)

    return io, known


@pytest.mark.parametrize("place", ["page", "worker", "shared-worker"])
async def test_a_page_that_is_opened_again(serve: Serve, browser: Pages, place: str) -> None:
    """People would be warned of a new device at each visit, wherever their connection runs."""
    users = Everybody()
    io, known = telling(users)
    url = (await serve(io)).url
    page = (await serve(client_page())).url
    client = ClientPage(await browser.open())
    await client.load(page)
    await client.start({"hosts": url, "runIn": place, "device": True, "auth": {"more": 1}})
    await until(lambda: len(known) == 1)
    await client.load(page)
    await client.start({"hosts": url, "runIn": place, "device": True})
    await until(lambda: len(known) == 2)
    first, second = known
    assert [each.is_new for each in known] == [True, False]
    assert first.id == second.id
    assert first.seen is None
    assert second.last_seen is not None
    assert second.seen is not None
    assert users.told[0] == {"more": 1, "device": {"id": first.id}}


async def test_what_pages_may_decide(serve: Serve, browser: Pages) -> None:
    """A page that keeps nothing would be a new device each time; and a program's own id be replaced."""
    users = Everybody()
    io, known = telling(users)
    url = (await serve(io)).url
    page = (await serve(client_page())).url
    own = {"id": "the-device-of-a-program"}
    for before, options in (
        ("", {}),
        ("Storage.prototype.getItem = () => { throw new Error('blocked') }", {"device": True}),
        ("localStorage.setItem('rtframework.device', '{]')", {"device": True}),
        ("", {"device": True, "auth": {"device": own}}),
    ):
        client = ClientPage(await browser.open())
        await client.load(page)
        await client.run(f"(() => {{ {before} }})()")
        await client.start({"hosts": url, **options})
        await client.connected()
    assert [each and each.id for each in known][:2] == [None, None]
    assert known[2] is not None
    assert len(known[2].id) == 32
    assert known[3].id == own["id"]
