"""Short polling: what came since an id, answered at once."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from rtframework import (
    ClusterUnavailable,
    ConnectionRefused,
    EventError,
    History,
    Server,
    Socket,
    StaticTokenAuth,
    Tickets,
)
from rtframework.adapters.memory_history import MemoryHistory
from tests.conftest import Serve
from tests.gateways.test_sse import serve_events, status_of
from tests.support.event_source import stream


def server_with_history(**options: Any) -> Server:
    """Make a server whose rooms keep what was said."""
    return Server(history=History("chat:{room}"), **options)


async def poll(url: str, **headers: str) -> tuple[int, Any, Any]:
    """Ask. Return the status, the answer and its headers."""
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        return response.status, await response.json() if response.status == 200 else None, response.headers


async def test_each_request_gets_what_came_since_the_one_before(serve: Serve) -> None:
    """A script without streams would have to read everything again and again."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1", "chat:2"])
    url = f"{server.url}/events/poll?room=chat:1&room=chat:2"
    status, first, headers = await poll(url)
    assert (status, first) == (200, {"events": [], "next": "0", "gap": False, "more": False})
    assert headers["Cache-Control"] == "private, no-cache"
    await io.to("chat:1").emit("said", "a")
    await io.to("chat:2").emit("said", 1, 2)
    await io.to("chat:1", "chat:2").emit("left")
    _, second, _ = await poll(f"{url}&since={first['next']}")
    assert [(each["event"], each["data"]) for each in second["events"]] == [
        ("said", "a"),
        ("said", [1, 2]),
        ("left", None),
    ]
    assert all(isinstance(each["at"], int) for each in second["events"])
    assert (second["gap"], second["more"], second["next"]) == (False, False, second["events"][-1]["id"])
    _, third, _ = await poll(f"{url}&since={second['next']}")
    assert (third["events"], third["next"]) == ([], second["next"])
    _, newest, _ = await poll(f"{url}&limit=2")
    assert [each["event"] for each in newest["events"]] == ["said", "left"]
    assert newest["more"]
    assert not io.sockets


async def test_pages_of_several_rooms_leave_nothing_out(serve: Serve) -> None:
    """A room that has less to tell would lose what it said in between."""
    io = Server(history=History("chat:{room}", size=1000, page=7))
    server = await serve_events(serve, io, rooms=["chat:1", "chat:2"])
    for number in range(60):
        await io.to("chat:1" if number % 5 else "chat:2").emit("n", number)
    since, got = "0", []
    while True:
        _, page, _ = await poll(f"{server.url}/events/poll?room=chat:1&room=chat:2&limit=10&since={since}")
        got += [each["data"] for each in page["events"]]
        since = page["next"]
        if not page["more"]:
            break
        assert page["events"]
    assert got == list(range(60))


async def test_nothing_new_is_304(serve: Serve) -> None:
    """Each request would bring the same events."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1"])
    await io.to("chat:1").emit("said", 1)
    url = f"{server.url}/events/poll?room=chat:1"
    status, _, headers = await poll(url)
    tag = headers["ETag"]
    assert status == 200
    for known in (tag, f"W/{tag}", f'"x", {tag}'):
        status, _, headers = await poll(url, **{"If-None-Match": known})
        assert (status, headers["ETag"]) == (304, tag)
    await io.to("chat:1").emit("said", 2)
    status, page, headers = await poll(url, **{"If-None-Match": tag})
    assert (status, len(page["events"])) == (200, 2)
    assert headers["ETag"] != tag


async def test_the_path_of_streams_answers_who_asks_for_json(serve: Serve) -> None:
    """Tools that cannot choose the path would get a stream that never ends."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1"])
    await io.to("chat:1").emit("said", 1)
    status, page, headers = await poll(f"{server.url}/events?room=chat:1", Accept="application/json")
    assert (status, page["events"][0]["data"], headers["Vary"]) == (200, 1, "Accept")


async def test_a_gap_is_told(serve: Serve) -> None:
    """A script would take a part for the whole."""
    io = Server(history=History("chat:{room}", size=2))
    server = await serve_events(serve, io, rooms=["chat:1"])
    url = f"{server.url}/events/poll?room=chat:1"
    await io.to("chat:1").emit("n", 0)
    _, first, _ = await poll(url)
    for number in range(1, 4):
        await io.to("chat:1").emit("n", number)
    for since in (first["next"], "nonsense", "x.7"):
        _, page, _ = await poll(f"{url}&since={since}")
        assert ([each["data"] for each in page["events"]], page["gap"]) == ([2, 3], True)
    await io.clear_history("chat:1")
    _, page, _ = await poll(f"{url}&since={first['next']}")
    assert page == {"events": [], "next": "0", "gap": True, "more": False}


async def test_the_last_id_of_a_stream_goes_on_here(serve: Serve) -> None:
    """A page whose stream is not let through would begin anew."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1"])
    async with stream(f"{server.url}/events?room=chat:1") as events:
        await events.next("connect")
        await io.to("chat:1").emit("n", 1)
        last = await events.next("n")
    await io.to("chat:1").emit("n", 2)
    for id in (events.events[0].id, last.id):
        _, page, _ = await poll(f"{server.url}/events/poll?room=chat:1&since={id}")
        assert page["events"][-1]["data"] == 2
    assert len(page["events"]) == 1


async def test_it_is_decided_about_as_about_a_stream(serve: Serve) -> None:
    """What nobody may read in a stream would be readable here."""

    class Names:
        async def authenticate(self, handshake: Any) -> Any:
            if "name" not in handshake.query:
                raise ConnectionRefused("who?", {"code": "missing"})
            return handshake.query["name"]

    def rooms(socket: Socket, names: list[str]) -> Any:
        if socket.user == "bad":
            raise EventError("too_many_rooms", "no")
        if socket.user == "broken":
            raise OSError
        return socket.user == "ada"

    seen: list[str] = []
    io = server_with_history(auth=Names())

    @io.use
    async def middleware(socket: Socket, call_next: Any) -> None:
        seen.append(socket.conn.transport)
        if socket.user == "banned":
            raise ConnectionRefused("banned")
        await call_next()

    server = await serve_events(serve, io, rooms=rooms)
    await io.to("chat:1").emit("n", 1)
    url = f"{server.url}/events/poll?room=chat:1"
    assert (await poll(f"{url}&name=ada"))[0] == 200
    assert await status_of(url) == (401, {"message": "who?", "data": {"code": "missing"}})
    for name, status in (("eve", 403), ("banned", 403), ("bad", 400), ("broken", 500)):
        assert (await status_of(f"{url}&name={name}"))[0] == status
    assert (await status_of(f"{url}&name=ada&nsp=/x"))[0] == 404
    assert set(seen) == {"short polling"}
    assert not io.sockets


async def test_what_was_not_for_a_room_is_not_in_it(serve: Serve) -> None:
    """Who is left out of an emit could read it here."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1", "chat:2"])
    await io.to("chat:1").except_("chat:2").emit("n", 1)
    _, page, _ = await poll(f"{server.url}/events/poll?room=chat:1")
    assert len(page["events"]) == 1
    _, page, _ = await poll(f"{server.url}/events/poll?room=chat:1&room=chat:2")
    assert page["events"] == []


async def test_a_token_in_the_query_lets_a_script_in(serve: Serve) -> None:
    """A script with a good token would be refused, and one with a revoked token read as nobody in particular."""
    io = server_with_history(auth=StaticTokenAuth({"right": "ada"}))
    server = await serve_events(serve, io, rooms=["chat:1"])
    url = f"{server.url}/events/poll?room=chat:1"
    assert [(await poll(url + token))[0] for token in ("&token=right", "&token=wrong", "")] == [200, 401, 401]


async def test_a_ticket_lasts_for_the_next_request(serve: Serve) -> None:
    """A script would have to get a ticket for each request."""
    tickets = Tickets("a secret of enough bytes")
    io = server_with_history(auth=tickets)
    server = await serve_events(serve, io, rooms=["chat:1"])
    url = f"{server.url}/events/poll?room=chat:1&ticket={tickets.make('ada')}"
    _, page, _ = await poll(url)
    assert (await poll(url))[0] == 401
    await io.to("chat:1").emit("n", 1)
    for _ in range(2):
        _, later, _ = await poll(f"{url}&since={page['next']}")
        assert later["events"][0]["data"] == 1


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_room"),
        ("room=", 400, "invalid_room"),
        ("&".join(f"room=chat:{n}" for n in range(51)), 400, "invalid_room"),
        ("room=chat:1&limit=0", 400, "invalid_limit"),
        ("room=chat:1&limit=x", 400, "invalid_limit"),
        ("room=chat:1&limit=-1", 400, "invalid_limit"),
        ("room=chat:1&limit=9999999", 400, "invalid_limit"),
        ("room=other", 404, "no_history"),
        ("room=chat:1&room=other", 404, "no_history"),
    ],
)
async def test_mistakes_are_told(serve: Serve, query: str, status: int, code: str) -> None:
    """A script would wait for events that cannot come."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=lambda socket, names: True)
    found, told = await status_of(f"{server.url}/events/poll?{query}")
    assert (found, told["data"]["code"]) == (status, code)


async def test_methods(serve: Serve) -> None:
    """Caches ask by HEAD, and forms by POST."""
    server = await serve_events(serve, server_with_history(), rooms=["chat:1"])
    url = f"{server.url}/events/poll?room=chat:1"
    assert (await status_of(url, "HEAD"))[0] == 200
    assert (await status_of(url, "POST"))[0] == 405


async def test_a_history_that_cannot_be_read_is_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would take it for a room in which nothing was said."""
    io = server_with_history()
    server = await serve_events(serve, io, rooms=["chat:1"])

    def fail(*args: Any) -> Any:
        raise ClusterUnavailable("no")

    monkeypatch.setattr(MemoryHistory, "find", fail)
    assert (await status_of(f"{server.url}/events/poll?room=chat:1"))[0] == 503
