"""Everything that crosses servers, on two workers of one port: clients arrive where the system puts them."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

import aiohttp
import pytest

from tests.integration.test_deployment import in_front_of, place
from tests.support.front import program
from tests.support.js import JSClient, JSClients
from tests.support.port import Port
from tests.support.transports import Transport

_numbers: Final = itertools.count()


@pytest.fixture
def room() -> str:
    """The name of a room that no other test has."""
    return f"room {next(_numbers)}"


async def two(js: JSClients, url: str, room: str, **options: Any) -> tuple[JSClient, JSClient]:
    """Two clients of different workers, ``a`` and ``b``, in one room and each in one of its name."""
    auth = {"rooms": [room, f"{room} a"], "name": f"{room} a"}
    first = await js.connect(url, auth=auth, **options)
    here = await first.emit_with_ack("pid")
    async with asyncio.timeout(20):
        while True:
            second = await js.connect(url, auth={"rooms": [room, f"{room} b"], "name": f"{room} b"}, **options)
            if await second.emit_with_ack("pid") != here:
                return first, second
            await second.emit_with_ack("leave")  # it stays: after a few of them, new ones go to the other worker


async def heard(client: JSClient, event: str) -> list[Any]:
    """The arguments of an event, without the offset at its end."""
    return (await client.wait_for(event))[:-1]


async def test_rooms(port: Port, js: JSClients, transport: Transport, room: str) -> None:
    """A room would end at the worker that somebody happens to be on."""
    a, b = await two(js, port.url, room, via=transport)
    clients = {"a": a, "b": b}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"to": [room]}, "ab"),
        ({"to": [f"{room} b"]}, "b"),
        ({"to": [room], "except": [f"{room} b"]}, "a"),
        ({"to": [room, f"{room} a"]}, "ab"),
        ({"to": [room], "local": True}, "a"),
        ({"to": [f"{room} c"]}, ""),
    )
    for number, (options, expected) in enumerate(cases):
        await a.emit_with_ack("emit", options, ["case", number, b"\x00\xff" if number % 2 else "é"])
        for name in expected:
            assert await heard(clients[name], "case") == [number, b"\x00\xff" if number % 2 else "é"], options
    for client in clients.values():
        await client.expect_nothing("case")
    await a.emit_with_ack("emit", {"to": [room], "volatile": True}, ["volatile"])
    await a.wait_for("volatile")  # b may not be ready for it


async def test_questions_and_answers(port: Port, js: JSClients, transport: Transport, room: str) -> None:
    """An answer that is given to another worker than the one that asks would be lost."""
    a, b = await two(js, port.url, room, via=transport)
    await a.answer("question", "a!")
    await b.answer("question", "b!")
    assert await a.emit_with_ack("ask", room, "who?") == ["a!", "b!"]
    large = bytes(range(256)) * 2000
    assert await b.ack_args("echo", "grüß dich", large) == ["grüß dich", large]


async def test_selections(port: Port, js: JSClients, room: str) -> None:
    """Who is there, who joins and who is thrown out would be known of one worker alone."""
    a, b = await two(js, port.url, room)
    assert {f"{room} a", f"{room} b"} <= set(await a.emit_with_ack("who"))
    assert await b.emit_with_ack("gather", room, f"{room} gathered") == "joined"
    for client in (a, b):
        assert await heard(client, "welcome") == [f"{room} gathered"]
    assert await a.emit_with_ack("ping others") == 1
    await b.emit_with_ack("kick", f"{room} a")
    assert await a.disconnected() == "io server disconnect"


async def test_a_namespace_made_for_its_clients(port: Port, js: JSClients, room: str) -> None:
    """The second worker would not know the namespace that the first has made."""
    a, b = await two(js, port.url, room)
    name = f"/tenant/{next(_numbers)}"
    one, other = await a.of(name), await b.of(name)
    assert await one.emit_with_ack("pid") != await other.emit_with_ack("pid")
    await one.emit("say", "hello")
    assert await heard(one, "said") == ["hello"]
    assert await heard(other, "said") == ["hello"]


async def test_version_2(port: Port, js: JSClients, room: str) -> None:
    """Old apps would get "Session ID unknown", or not see what newer ones say."""
    a, _ = await two(js, port.url, room)
    here = await a.emit_with_ack("pid")
    pids: set[int] = set()
    async with asyncio.timeout(20):
        while len(pids) < 2:
            old = await js.connect(port.url, v2=True)
            pids.add(await old.emit_with_ack("pid"))
    assert here in pids
    name = f"news of {room}"
    await a.emit_with_ack("emit", {}, [name, {"text": "grüß dich"}])
    assert await heard(old, name) == [{"text": "grüß dich"}]


async def test_a_client_is_recovered_at_another_worker(port: Port, js: JSClients, room: str) -> None:
    """Who comes back reaches another worker, by chance, and would have missed everything."""
    a, b = await two(js, port.url, room, reconnection=True, reconnectionDelay=20, reconnectionDelayMax=20)
    before = await b.state()
    await a.emit_with_ack("emit", {"to": [room]}, ["said", "first"])
    assert await heard(b, "said") == ["first"]
    came_to = {await b.emit_with_ack("pid")}
    async with asyncio.timeout(20):
        for number in itertools.count():
            await b.close_engine()
            await a.emit_with_ack("emit", {"to": [room]}, ["said", number])
            assert (await b.reconnected())["recovered"]
            assert await heard(b, "said") == [number]
            came_to.add(await b.emit_with_ack("pid"))
            if len(came_to) > 1:
                break
    assert (await b.state()).id == before.id


@pytest.mark.parametrize("proxy", ["nginx", "haproxy", "caddy"])
async def test_no_proxy_has_to_be_sticky(port: Port, js: JSClients, room: str, proxy: str) -> None:
    """Polling would fail behind a proxy that keeps a few connections for everybody."""
    if program(proxy) is None:
        pytest.skip(f"{proxy} is not installed")
    async with in_front_of(proxy, place(port.url)) as front:
        a, b = await two(js, front.url, room, transports=["polling"])
        for number in range(20):
            await a.emit_with_ack("emit", {"to": [room]}, ["n", number])
            assert await heard(b, "n") == [number]
            await b.emit_with_ack("emit", {"to": [f"{room} a"]}, ["answer", "x" * 20_000])
            await a.wait_for("answer")


@pytest.mark.parametrize("query", ["EIO=4&transport=polling", "EIO=3&transport=polling"])
async def test_a_poll_that_comes_after_the_end(port: Port, query: str) -> None:
    """A client that leaves while it polls would see an error, if its poll had come to another worker."""
    async with aiohttp.ClientSession() as http:
        url = f"{port.url}/socket.io/?{query}"
        async with http.get(url) as answer:
            packet = await answer.text()
        sid = json.loads(packet[packet.index("{") : packet.index("}") + 1])["sid"]
        url += f"&sid={sid}"
        async with http.post(url, data="1" if "EIO=4" in query else "1:1") as answer:
            assert answer.status == 200
        found = []
        for _ in range(2):
            async with http.get(url) as answer:
                found.append((answer.status, (await answer.text())[:8]))
        unknown = (400, '{"code":')
        assert found == [(200, "6") if "EIO=4" in query else unknown, unknown]


async def test_a_client_that_hangs_up_while_it_is_passed_on(port: Port) -> None:
    """Each one that closes its page would write a traceback into the log, and anybody could fill it."""
    host, number = port.url.removeprefix("http://").split(":")
    async with aiohttp.ClientSession() as http:
        for letter in "AB" * 20:
            _, writer = await asyncio.open_connection(host, int(number))
            target = f"/socket.io/?EIO=4&transport=polling&sid={letter}{'x' * 19}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            writer.close()
            await writer.wait_closed()
            async with http.get(f"{port.url}{target}") as answer:  # by now it has been taken
                assert answer.status == 400
    assert not [line for line in port.command.err if "Error" in line]


async def handshakes(url: str, address: str) -> set[int]:
    """The answers to handshakes of an address, which come to both workers."""
    found = set()
    for _ in range(16):
        async with (
            aiohttp.ClientSession(headers={"X-Forwarded-For": address}) as http,
            http.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer,
        ):
            found.add(answer.status)
    return found


async def test_a_ban_is_one_of_all_workers(port: Port, js: JSClients, room: str) -> None:
    """Who is thrown out would come back in at once, by chance, at the worker that does not know of it."""
    a, b = await two(js, port.url, room)
    address = "203.0.113.7"
    assert await handshakes(port.url, address) == {200}
    guest = await js.connect(port.url, auth={"name": "guest"}, extraHeaders={"X-Forwarded-For": address})
    banned_by, other = (a, b) if await guest.emit_with_ack("pid") == await b.emit_with_ack("pid") else (b, a)
    await banned_by.emit_with_ack("ban", address, 600)
    await guest.disconnected()
    assert await other.emit_with_ack("bans") == await banned_by.emit_with_ack("bans") == [address]
    assert await handshakes(port.url, address) == {403}
    assert await handshakes(port.url, "203.0.113.8") == {200}
    assert await other.emit_with_ack("unban", address) is True
    async with asyncio.timeout(20):
        while await banned_by.emit_with_ack("bans"):
            pass
    assert await handshakes(port.url, address) == {200}


async def metrics(url: str) -> dict[str, float]:
    """One scrape, over a connection of its own."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


async def test_one_scrape_shows_all(port: Port, js: JSClients, room: str) -> None:
    """Each scrape would show another worker, by chance."""
    a, b = await two(js, port.url, room)
    event = 'rtframework_events_total{event="echo",namespace="/",outcome="ok"}'
    before = await metrics(port.url)
    for client in (a, b, b):
        await client.emit_with_ack("echo")
    for _ in range(4):  # whichever is asked
        after = await metrics(port.url)
        assert after[event] - before.get(event, 0.0) == 3
        assert after['rtframework_worker_up{worker="0"}'] == after['rtframework_worker_up{worker="1"}'] == 1
        assert min(after[f'rtframework_worker_clients{{worker="{slot}"}}'] for slot in (0, 1)) >= 1
        assert after['rtframework_sockets{namespace="/"}'] >= 2


async def test_the_admin_ui_shows_all(port: Port, js: JSClients, room: str) -> None:
    """An operator would see the clients of one worker, by chance."""
    a, b = await two(js, port.url, room)
    here, there = await a.id(), await b.id()
    page = await js.connect(f"{port.url}/admin")
    (sockets,) = await page.wait_for("all_sockets")
    assert {here, there} <= {each["id"] for each in sockets}
    pids: set[int] = set()
    async with asyncio.timeout(20):
        while len(pids) < 2:
            (stats,) = await page.wait_for("server_stats")
            pids.add(stats["pid"])
    assert pids == {await a.emit_with_ack("pid"), await b.emit_with_ack("pid")}
    for id, client in ((here, a), (there, b)):
        await page.emit_with_ack("_disconnect", "/", False, id)
        assert await client.disconnected() == "io server disconnect"
