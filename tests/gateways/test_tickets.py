"""Tickets in the query: good for a time, once, and to come back to the same stream."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Handshake,
    Identity,
    Recovery,
    Server,
    StaticTokenAuth,
    Tickets,
    TokenSources,
)
from rtframework.authenticators import authenticate
from tests.conftest import Serve
from tests.support.event_source import stream

SECRET = "a secret of enough bytes"


class Clock:
    """A clock that stands still."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def asks(ticket: str, last_id: str = "") -> Handshake:
    """Describe a client with a ticket."""
    return Handshake(query={"ticket": ticket}, headers={"Last-Event-ID": last_id} if last_id else {})


async def code_of(tickets: Tickets, handshake: Handshake) -> Any:
    """Return the code with which a client is refused."""
    with pytest.raises(ConnectionRefused) as refused:
        await tickets.authenticate(handshake)
    return refused.value.data["code"]


async def test_a_ticket_is_good_for_its_time_and_once() -> None:
    """A URL in a log would let anybody in who reads it."""
    clock = Clock()
    tickets = Tickets(SECRET, seconds=30, clock=clock)
    ticket = tickets.make("ada")
    clock.now += 29.9
    assert await tickets.authenticate(asks(ticket)) == "ada"
    assert await code_of(tickets, asks(ticket)) == "used"
    late = tickets.make("ada")
    clock.now += 30
    assert await code_of(tickets, asks(late)) == "expired"
    assert await tickets.authenticate(asks(tickets.make("eve"))) == "eve"
    assert len(tickets._used) == 1  # what has expired is forgotten


async def test_another_server_with_the_same_secret_takes_it() -> None:
    """Tickets would depend on the server that has made them."""
    clock = Clock()
    ticket = Tickets(SECRET, clock=clock).make(7)
    assert await Tickets(SECRET.encode(), clock=clock).authenticate(asks(ticket)) == 7
    assert await code_of(Tickets(SECRET + "!", clock=clock), asks(ticket)) == "bad_signature"


async def test_who_was_let_in_may_come_back_with_what_its_stream_has_said() -> None:
    """EventSource comes back with the same URL: each cut would end the stream for good."""
    clock = Clock()
    tickets = Tickets(SECRET, seconds=30, resume=3600, clock=clock)
    ticket, other = tickets.make("ada"), tickets.make("eve")
    _, told = await authenticate(tickets, asks(ticket))
    assert told is not None
    assert told.proof
    clock.now += 3599
    last_id = f"{told.proof}~pid~~x.1"
    assert await tickets.authenticate(asks(ticket, last_id)) == "ada"
    query = {"ticket": ticket, "lastEventId": last_id}
    assert await tickets.authenticate(Handshake(query=query)) == "ada"
    assert await code_of(tickets, asks(other, last_id)) == "expired"
    assert await code_of(tickets, asks(ticket, "x~pid~~x.1")) == "expired"
    assert await code_of(tickets, asks(ticket, "x.1")) == "expired"
    clock.now += 1
    assert await code_of(tickets, asks(ticket, last_id)) == "expired"


async def test_users_of_all_kinds() -> None:
    """A handler would get another user by ticket than by cookie."""
    ada = Identity("1", name="Ada", roles=frozenset({"admin", "dev"}), claims={"team": "x"})
    tickets = Tickets(SECRET)
    assert await tickets.authenticate(asks(tickets.make(ada))) == ada

    async def load(id: Any) -> Any:
        return None if id == "gone" else {"id": id}

    loading = Tickets(SECRET, load=load)
    assert await loading.authenticate(asks(loading.make("1"))) == {"id": "1"}
    assert await code_of(loading, asks(loading.make("gone"))) == "unknown_user"
    for user in ({"id": 1}, None, True):
        with pytest.raises(ConfigurationError):
            tickets.make(user)  # type: ignore[arg-type]


async def test_without_a_ticket_another_authenticator_is_asked() -> None:
    """Tickets would lock out everybody else."""
    others = StaticTokenAuth({"t": "eve"}, sources=TokenSources(cookie="session"))
    tickets = Tickets(SECRET, auth=others)
    assert await tickets.authenticate(Handshake(cookies={"session": "t"})) == "eve"
    assert await tickets.authenticate(asks(tickets.make("ada"))) == "ada"
    assert await code_of(Tickets(SECRET), Handshake()) == "missing"


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: data.hex()))
async def test_no_made_up_ticket_is_taken(text: str) -> None:
    """A crafted one could let somebody in, or raise an error that fills the log."""
    tickets = Tickets(SECRET)
    for ticket in (text, f"{text}.", f".{text}", f"{text}.{text}", tickets.make("ada") + text):
        assert await code_of(tickets, asks(ticket)) in ("malformed", "bad_signature")


async def test_used_tickets_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of tickets would fill the memory."""
    monkeypatch.setattr("rtframework.gateways.tickets._MOST_USED", 3)
    tickets = Tickets(SECRET)
    made = [tickets.make(n) for n in range(5)]
    for ticket in made:
        await tickets.authenticate(asks(ticket))
    assert len(tickets._used) == 3
    assert await code_of(tickets, asks(made[-1])) == "used"


def test_a_short_secret_is_refused() -> None:
    """It could be guessed."""
    for secret in ("", "short", b"short", None):
        with pytest.raises(ConfigurationError):
            Tickets(secret)  # type: ignore[arg-type]
    assert SECRET not in repr(Tickets(SECRET))


async def test_a_stream_with_a_ticket_is_resumed_when_that_has_expired(serve: Serve) -> None:
    """A page would have to ask for a new ticket, and have a gap, at each cut."""
    clock = Clock()
    tickets = Tickets(SECRET, seconds=5, clock=clock)
    io = Server(auth=tickets, connection_state_recovery=Recovery())
    app = web.Application()
    io.attach_sse(app)
    server = await serve(app)
    url = f"{server.url}/events?ticket={tickets.make('ada')}"
    ids = itertools.count()
    async with stream(url) as events:
        assert not (await events.data("connect"))["recovered"]
        await io.emit("n", next(ids))
        last = await events.next("n")
    clock.now += 60
    await io.emit("n", next(ids))
    async with stream(url) as stolen:
        assert stolen.status == 401
    async with stream(url, last_id=last.id) as events:
        assert (await events.data("connect"))["recovered"]
        assert await events.data() == 1
        assert [socket.user for socket in io.sockets.values()] == ["ada"]
