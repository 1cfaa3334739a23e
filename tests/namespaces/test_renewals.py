"""When clients are asked for new tokens, and what is left of those that have gone."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from rtframework import ClusterUnavailable, ConnectionRefused, Handshake, MemoryAdapter
from rtframework.authenticators import TokenDetails, tell_of_token
from rtframework.namespaces import renewals as module
from rtframework.namespaces.host import Host
from tests.support.clients import FakeClient, idle, make_host, turn


class Clock:
    """A time that the test moves."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Tokens:
    """An authenticator that believes everybody; ``auth["lives"]``: the seconds that a token lives."""

    def __init__(self, clock: Clock, *, before: float | None = 60, grace: float = 0) -> None:
        self._clock = clock
        self._before = before
        self._grace = grace

    async def authenticate(self, handshake: Handshake) -> Any:
        auth = handshake.auth
        if auth.get("token") == "broken":
            raise RuntimeError("the database is away")
        ends = None if auth.get("token") == "endless" else self._clock.now + float(auth.get("token") or auth["lives"])
        tell_of_token(TokenDetails(None, self._clock.now, ends, self._before, self._grace))
        return auth.get("user", "ada")


def tokens(clock: Clock, **options: Any) -> Host:
    """Make the namespaces of a server with tokens."""
    host = make_host(auth=Tokens(clock, **options))
    host.renewals._clock = clock
    return host


async def at(host: Host, clock: Clock, time: float) -> None:
    """Let it be that many seconds later than the beginning."""
    clock.now = Clock.now + time
    host.renewals._wake()
    await asyncio.sleep(0.002)  # the timer is due
    await turn(10)


def asked(client: FakeClient) -> list[float]:
    """Return the ``expires_in`` of each question."""
    return [line[3]["expires_in"] for line in client.heard() if line[0] == "question" and line[2] == "refresh_token"]


async def test_when_a_client_is_asked() -> None:
    """It would be asked too late to have another token in time, or all the time."""
    clock = Clock()
    host = tokens(clock)
    ada, short = FakeClient(host, "ada"), FakeClient(host, "short")
    await ada.connect(auth={"lives": 600})
    await short.connect(auth={"lives": 20})
    await at(host, clock, 9)
    assert (asked(ada), asked(short)) == ([], [])
    await at(host, clock, 10)
    assert (asked(ada), asked(short)) == ([], [10]), "of a short life, half"
    short.drop()
    await at(host, clock, 539)
    assert asked(ada) == []
    await at(host, clock, 540)
    assert asked(ada) == [60]
    (id,) = ada.questions()
    ada.answer(id, "600")
    await idle(host)
    await at(host, clock, 1079)
    assert asked(ada) == [60]
    await at(host, clock, 1080)
    assert asked(ada) == [60, 60]
    ada.answer(ada.questions()[1], "endless")
    await idle(host)
    assert (ada.line.closed, len(host.renewals)) == (None, 0)
    host.renewals.stop()


@pytest.mark.parametrize(("answer", "closes"), [("20", True), (None, True), ("broken", True), ("600", False)])
async def test_what_the_answer_does(answer: str | None, closes: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A client would stay with a token that has run out; or a fault of the server's keep everybody in."""
    clock = Clock()
    host = tokens(clock)
    ada = FakeClient(host, "ada")
    await ada.connect(auth={"lives": 600})
    await at(host, clock, 570)
    ada.answer(ada.questions()[0], answer)
    await idle(host)
    if answer == "broken":
        assert ada.line.closed == "token_expired"
        assert "unhandled error while a token is renewed" in caplog.text
    else:
        assert ada.line.closed is None
        await at(host, clock, 601)
        assert ada.line.closed == ("token_expired" if closes else None)
    host.renewals.stop()


@pytest.mark.parametrize("before", [None, 60])
async def test_tokens_that_are_not_to_be_renewed(before: float | None) -> None:
    """Connections that have no end would be in the table, and cost memory."""
    clock = Clock()
    host = tokens(clock, before=before)
    await FakeClient(host, "ada").connect(auth={"lives": 600, "token": "endless" if before else "600"})
    assert len(host.renewals) == 0
    assert host.renewals._timer is None


async def test_those_that_have_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clients that come and go, a server with tokens of a day would grow all day."""
    monkeypatch.setattr(module, "_FEW", 8)
    clock = Clock()
    host = tokens(clock)
    stays = FakeClient(host, "stays")
    await stays.connect(auth={"lives": 86_400})
    for number in range(100):
        client = FakeClient(host, f"{number}")
        await client.connect(auth={"lives": 86_400})
        client.drop()
        del client
        gc.collect(0)
    assert len(host.renewals) <= 9
    await at(host, clock, 86_395)
    assert len(asked(stays)) == 1
    stays.drop()
    host.renewals.stop()
    assert len(host.renewals) == 0


async def test_rooms_that_other_servers_do_not_reach() -> None:
    """A client would be thrown out, because the cluster is away when its token is renewed."""

    class Cut(MemoryAdapter):
        def add(self, sid: str, rooms: Any) -> Any:
            known = bool(self.rooms(sid))
            super().add(sid, rooms)
            if not known:
                return None
            late: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            late.set_exception(ClusterUnavailable("down"))
            return late

    clock = Clock()
    host = make_host(auth=Tokens(clock), adapter=Cut)
    host.renewals._clock = clock
    ada = FakeClient(host, "ada")
    await ada.connect(auth={"lives": 600})
    await at(host, clock, 570)
    ada.answer(ada.questions()[0], "600")
    await idle(host)
    assert ada.line.closed is None
    host.renewals.stop()


async def test_a_refusal_without_a_code(caplog: pytest.LogCaptureFixture) -> None:
    """An authenticator of a program's own would end in a traceback."""

    class Picky(Tokens):
        async def authenticate(self, handshake: Handshake) -> Any:
            if handshake.auth.get("token") == "no":
                raise ConnectionRefused("not you")
            return None if handshake.auth.get("token") == "nobody" else await super().authenticate(handshake)

    for answer, said in (("no", "not you"), ("nobody", "unauthorized")):
        clock = Clock()
        host = make_host(auth=Picky(clock))
        host.renewals._clock = clock
        ada = FakeClient(host, "ada")
        await ada.connect(auth={"lives": 600})
        await at(host, clock, 570)
        ada.answer(ada.questions()[0], answer)
        await idle(host)
        assert ada.line.closed == "token_expired"
        host.renewals.stop()
        assert said in caplog.text
