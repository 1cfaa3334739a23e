"""Requests to other servers: answers by name or by number, servers that are silent, servers that die."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import AckTimeout, FetchTimeout
from rtframework.adapters import AckCollector
from rtframework.cluster.requests import FetchRequest, Requests, ServerSideRequest
from rtframework.types import Handshake, SocketDetails


def socket(sid: str) -> SocketDetails:
    """Describe a socket of another server."""
    return SocketDetails(sid, Handshake(), frozenset({sid}), {})


def ids(sockets: list[SocketDetails]) -> list[str]:
    """Return the ids of sockets."""
    return [each.id for each in sockets]


async def test_the_sockets_of_all_servers_come_together() -> None:
    """A list of who is online would lack those of other servers."""
    requests = Requests()
    request = FetchRequest(["one", "two"], [socket("own")])
    requests.open("id", request)
    result = asyncio.create_task(request.result(5))
    await asyncio.sleep(0)
    requests.fetched("id", [socket("a")], "one")
    requests.fetched("id", [socket("again")], "one")
    requests.fetched("id", [socket("stranger")], "other")  # it was forgotten, and is there
    requests.fetched("unknown", [socket("x")], "two")
    assert not result.done()
    requests.fetched("id", [], "two")
    assert ids(await result) == ["own", "a", "stranger"]
    requests.close("id")
    assert "id" not in requests
    assert len(requests) == 0


async def test_a_timeout_brings_what_did_come() -> None:
    """One frozen server would take away the answers of all the others."""
    request = FetchRequest(["one", "two", "three"], [socket("own")])
    request.answer([socket("a")], "two")
    with pytest.raises(FetchTimeout) as caught:
        await request.result(0.01)
    assert ids(caught.value.sockets) == ["own", "a"]
    assert caught.value.missing == ("one", "three")


async def test_servers_that_are_only_counted_are_missing_without_a_name() -> None:
    """A program could not tell how many servers were silent."""
    request = FetchRequest(2)
    request.answer([socket("a")])
    with pytest.raises(FetchTimeout) as caught:
        await request.result(0.01)
    assert (ids(caught.value.sockets), caught.value.missing) == (["a"], ("?",))


async def test_a_server_that_dies_is_not_waited_for() -> None:
    """Every request would take its whole time limit after a server was killed."""
    requests = Requests()
    fetch, event, vote = FetchRequest(["one", "two"]), ServerSideRequest(["one", "two"]), AckCollector(["one", "two"])
    requests.open("f", fetch)
    requests.open("e", event)
    requests.open("v", vote)
    results = (
        asyncio.create_task(fetch.result(5)),
        asyncio.create_task(event.result(5)),
        asyncio.create_task(vote.result(5)),
    )
    await asyncio.sleep(0)
    requests.fetched("f", [socket("a")], "one")
    requests.answered("e", "yes", "one")
    requests.counted("v", 1, "one")
    requests.acknowledged("v", ["aye"], "s1", "one")
    requests.counted("v", 2, "two")
    requests.acknowledged("v", ["aye"], "s2", "two")
    assert not any(each.done() for each in results)
    requests.server_gone("two")
    sockets, answers, votes = await asyncio.gather(*results)
    assert ids(sockets) == ["a"]
    assert dict(answers) == {"one": "yes"}
    assert dict(votes) == {"s1": "aye", "s2": "aye"}


async def test_answers_to_an_event_are_by_server() -> None:
    """A program could not tell which server has said what."""
    request = ServerSideRequest(2)
    request.answer("a")
    with pytest.raises(AckTimeout) as caught:
        await request.result(0.01)
    assert caught.value.responses == {"?0": "a"}
    assert caught.value.missing == ("?",)
    request.answer("b")
    assert list((await request.result(1)).values()) == ["a", "b"]


async def test_an_answer_of_another_kind_is_dropped() -> None:
    """A confused server would break a request of ours."""
    requests = Requests()
    fetch, vote = FetchRequest(1), AckCollector(1)
    requests.open("f", fetch)
    requests.open("v", vote)
    requests.answered("f", "text")
    requests.counted("f", 3)
    requests.acknowledged("f", [])
    requests.fetched("v", [])
    assert fetch.answers == {}
    requests.counted("v", 0)
    assert not await vote.result(1)


async def test_nobody_is_not_waited_for() -> None:
    """The only server of a cluster would wait for others."""
    assert await FetchRequest(0).result(None) == []
    assert await FetchRequest([]).result(None) == []
