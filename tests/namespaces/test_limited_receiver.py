"""The rate of all events of a client, in front of everything that serves them."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Event, Packet, PacketType, RateLimit, Socket
from rtframework.namespaces.host import Host
from rtframework.namespaces.limited_receiver import LimitedReceiver
from rtframework.protocols import CallNext
from tests.support.clients import FakeClient, held_clock, make_host


def say_what_comes(host: Host) -> list[str]:
    """Serve ``say``; note who sees an event."""
    main = host.of("/", None)
    seen: list[str] = []

    @main.on_any
    async def catch(socket: Socket, event: str, *args: Any) -> None:
        seen.append("catch-all")

    @main.use_event
    async def middleware(socket: Socket, event: Event, call_next: CallNext) -> Any:
        seen.append("middleware")
        return await call_next()

    @main.on("say")
    async def say(socket: Socket) -> str:
        seen.append("handler")
        return "said"

    return seen


async def joined(host: Host, name: str = "ada") -> FakeClient:
    """A client in the main namespace."""
    client = FakeClient(host, name)
    assert await client.connect() == "connected"
    return client


async def test_without_a_rate_it_is_not_there() -> None:
    """Programs without limits would pay for them at every packet."""
    ada = await joined(make_host())
    assert isinstance(ada.receivers["/"], Socket)
    ada = await joined(make_host(rate_limit=RateLimit(events="1/s")))
    assert isinstance(ada.receivers["/"], LimitedReceiver)


async def test_events_beyond_the_rate_are_seen_by_nobody() -> None:
    """A flood would cost catch-alls and middleware their time; or a client would wait for its answer for ever."""
    host = make_host(rate_limit=RateLimit(events="1/s"))
    seen = say_what_comes(host)
    async with held_clock() as clock:
        ada = await joined(host)
        assert await ada.ask("say") == ["said"]
        for event in ("say", "unknown"):
            (answer,) = await ada.ask(event)
            assert answer["error"]["code"] == "rate_limited"
            assert answer["error"]["details"] == {"retry_after": 1.0}
        assert ada.say("say") is None
        assert seen == ["catch-all", "middleware", "handler"]
        assert (host.counts.limited["events"], host.counts.events_refused["rate_limited"]) == (3, 3)
        await clock.advance(1)
        assert await ada.ask("say") == ["said"]
        assert await (await joined(host, "bob")).ask("say") == ["said"]
        ada.drop()
        assert not host.of("/", None).sockets["bob1"].disconnected
        assert list(host.of("/", None).sockets) == ["bob1"]


async def test_answers_of_clients_are_no_events() -> None:
    """A program that asks its clients would not get their answers."""
    host = make_host(rate_limit=RateLimit(events="1/s", bytes="10/s"))
    async with held_clock():
        ada = await joined(host)
        ada.say("say")
        ada.received = 1_000
        ada.answer(0, "late")
        ada.received = 1_000
        ada.answer(1, "later")
        assert ada.line.is_open


async def test_bytes_count_from_one_packet_to_the_next() -> None:
    """A client could send as much as it likes in attachments."""
    host = make_host(rate_limit=RateLimit(bytes="100/s"))
    say_what_comes(host)
    async with held_clock() as clock:
        ada = await joined(host)
        ada.received = 100
        assert await ada.ask("say") == ["said"]
        assert ada.received == 0
        ada.received = 50
        (answer,) = await ada.ask("say")
        assert answer["error"]["details"] == {"retry_after": 0.5}
        await clock.advance(0.5)
        ada.received = 50
        assert await ada.ask("say") == ["said"]
    assert host.counts.limited["bytes"] == 1


@pytest.mark.parametrize("kind", ["events", "bytes"])
async def test_a_client_beyond_the_rate_may_be_closed(kind: str) -> None:
    """A program that wants no such clients would have to keep them."""
    rates: dict[str, Any] = {kind: "100/min"}
    host = make_host(rate_limit=RateLimit(**rates, on_exceed="close"))
    say_what_comes(host)
    async with held_clock():
        ada = await joined(host)
        for _ in range(100):
            ada.received = 1
            assert await ada.ask("say") == ["said"]
        ada.received = 1
        assert ada.say("say", id=200) is None
        assert ada.line.closed == "rate limited"
        assert (host.counts.limited[kind], host.of("/", None).sockets) == (1, {})


async def test_a_client_that_is_not_let_in_yet_is_closed_as_ever() -> None:
    """A client that sends before it is let in would get an answer that it cannot understand."""
    host = make_host(rate_limit=RateLimit(events="1/min"))
    said: list[Any] = []

    @host.of("/", None).on("connection")
    async def connection(socket: Socket) -> None:
        receiver = ada.receivers["/"]
        packets = [Packet(PacketType.EVENT, "/", ["say"], number) for number in range(2)]
        said.extend(map(receiver._receive, packets))

    async with held_clock():
        ada = FakeClient(host)
        await ada.connect()
    assert (ada.line.closed, said) == ("forced server close", [None, None])
