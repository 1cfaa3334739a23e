"""Handlers with a rate: composed at registration, and only where there is one."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError, Event, Namespace, Rate, RateLimited, Socket, limited
from rtframework.handlers.handler import Handler
from rtframework.handlers.limited import LimitedHandler, rates_for
from rtframework.namespaces.host import Host
from rtframework.protocols import CallNext
from tests.support.clients import FakeClient, held_clock, make_host


def refused(answer: Any) -> Any:
    """The code and the seconds of a refusal."""
    error = answer[0]["error"]
    return error["code"], error["details"]["retry_after"]


async def joined(host: Host, name: str = "ada") -> FakeClient:
    """A client in the main namespace."""
    client = FakeClient(host, name)
    assert await client.connect() == "connected"
    return client


def test_a_handler_without_a_rate_is_as_it_was() -> None:
    """Programs without limits would pay for them at every event."""
    host = make_host()
    main = host.of("/", None)

    @main.on("free")
    async def free(socket: Socket) -> None: ...

    @main.on("limited", rate="1/s")
    async def bound(socket: Socket) -> None: ...

    assert type(main._listening.handlers["free"]) is Handler
    assert type(main._listening.handlers["limited"]) is LimitedHandler


@pytest.mark.parametrize("way", ["rate", "decorator", "event", "class", "middleware", "validated", "group"])
async def test_a_handler_does_not_run_beyond_its_rate(way: str) -> None:
    """One client could have a costly handler run as often as it likes; or a rate would be forgotten in one place."""
    host = make_host(validate_returns=way == "validated")
    main = host.of("/", None)
    calls: list[str] = []

    async def say(socket: Any, text: str) -> str:
        calls.append(text)
        return text

    if way in ("rate", "middleware", "validated", "group"):
        main.on("say", rate=Rate(2))(say)
    elif way == "decorator":
        main.on("say")(limited("2/s")(say))
    elif way == "event":
        main.event(limited("2/s")(say))
    else:

        class Chat(Namespace):
            @limited("2/s")
            async def on_say(self, socket: Any, text: str) -> str:
                return await say(socket, text)

        host.add(Chat("/chat"))
    if way == "middleware":

        @main.use_event
        async def pass_on(socket: Socket, event: Event, call_next: CallNext) -> Any:
            return await call_next()

    if way == "group":

        @main.on("say")
        async def silent(socket: Socket, text: str) -> None: ...

    async with held_clock() as clock:
        nsp = "/chat" if way == "class" else "/"
        ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
        await ada.connect(nsp)
        await bob.connect(nsp)
        assert [await ada.ask("say", text, nsp=nsp) for text in "ab"] == [["a"], ["b"]]
        assert refused(await ada.ask("say", "c", nsp=nsp)) == ("rate_limited", 0.5)
        assert await bob.ask("say", "d", nsp=nsp) == ["d"]
        await clock.advance(0.5)
        assert await ada.ask("say", "e", nsp=nsp) == ["e"]
    assert calls == ["a", "b", "d", "e"]
    assert host.counts.limited["handler"] == 1
    assert host.counts.events_refused["rate_limited"] == 1


async def test_an_event_without_ack_is_dropped_and_counted() -> None:
    """A flood that waits for no answer would pass."""
    host = make_host()
    calls = []

    @host.of("/", None).on("tick", rate="1/min")
    async def tick(socket: Socket) -> None:
        calls.append(socket.id)

    async with held_clock():
        ada = await joined(host)
        for _ in range(10):
            task = ada.say("tick")
            assert task is not None
            await task
    assert (len(calls), host.counts.events_refused["rate_limited"]) == (1, 9)


async def test_users_and_children_share_a_rate() -> None:
    """A user would get round the rate with many connections, or by the many namespaces of one parent."""

    class ByName:
        async def authenticate(self, handshake: Any) -> str:
            return str(handshake.auth["user"])

    host = make_host(auth=ByName())

    @host.of("/chat/{room}", None).on("say", rate={"user": "1/s"})
    async def say(socket: Socket) -> str:
        return "said"

    async with held_clock():
        one, two, other = (FakeClient(host, name) for name in ("one", "two", "other"))
        await one.connect("/chat/a", {"user": "ada"})
        await two.connect("/chat/b", {"user": "ada"})
        await other.connect("/chat/b", {"user": "bob"})
        assert await one.ask("say", nsp="/chat/a") == ["said"]
        assert refused(await two.ask("say", nsp="/chat/b")) == ("rate_limited", 1.0)
        assert await other.ask("say", nsp="/chat/b") == ["said"]


async def test_a_socket_has_rates_of_its_own() -> None:
    """Handlers that are registered for one client would have no limit."""
    host = make_host()

    @host.of("/", None).on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("roll", rate="1/s")
        async def roll() -> int:
            return 4

        with pytest.raises(ConfigurationError, match=r"for its connection only, not for 'user': write it with @io\.on"):
            socket.on("other", rate={"user": "1/s"})(roll)

    async with held_clock():
        ada, bob = await joined(host), await joined(host, "bob")
        assert await ada.ask("roll") == [4]
        assert refused(await ada.ask("roll"))[0] == "rate_limited"
        assert await bob.ask("roll") == [4]


def test_a_wrong_rate_is_told_at_registration() -> None:
    """A handler would run without the limit that was meant."""
    main = make_host().of("/", None)

    async def function(socket: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"write rate=Rate\(10\)"):
        main.on("say", rate=10)(function)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"'connection' has no rate: .*RateLimit\(connects=\.\.\.\)"):
        main.on("connect", rate="1/s")(function)
    with pytest.raises(ConfigurationError, match=r'write @limited\("10/s"\)'):
        limited(function)  # type: ignore[arg-type]
    assert rates_for(limited("1/s")(function), "2/s", of_socket=False) == {"connection": Rate(2)}


def test_the_time_to_wait_is_not_too_short() -> None:
    """A client that waits as long as it is told would be refused again."""
    error = RateLimited(0.0123456)
    assert error.retry_after == 0.013
    assert error.to_payload() == {
        "error": {
            "code": "rate_limited",
            "message": "too many, try again in 0.013 s",
            "details": {"retry_after": 0.013},
        }
    }
