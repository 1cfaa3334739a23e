"""The other servers of the cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import Server
from rtframework_http_api import others as module
from rtframework_http_api.others import Others
from tests.support.pairs import KINDS, Kind, running_pair


class Member:
    """A server with others."""

    def __init__(self, io: Server) -> None:
        self.drains: list[float] = []
        self.others = Others(io, lambda: {"sockets": 1}, self.drains.append)
        self.others.start()


@pytest.mark.parametrize("kind", KINDS)
async def test_all_tell_their_statistics(kind: Kind) -> None:
    """Each question would be answered by another worker, by chance."""
    members: list[Member] = []
    async with running_pair(kind, lambda io: members.append(Member(io))) as (_, two):
        assert members[0].others.exist
        await _hear_each_other(members[0])
        stats, missing = await members[0].others.stats(5)
        assert (stats, missing) == ({two[0].cluster.node: {"sockets": 1}}, ())


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_who_has_no_api_is_named(kind: Kind) -> None:
    """A sum would be taken for that of all."""
    members: list[Member] = []

    def prepare(io: Server) -> None:
        if not members:
            members.append(Member(io))

    async with running_pair(kind, prepare) as (one, two):
        await _know_each_other(one[0])
        assert await members[0].others.stats(0.2) == ({}, (two[0].cluster.node,))


@pytest.mark.parametrize("port", ["the same", "another"])
async def test_the_workers_of_a_port_are_drained_together(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients would be sent from one worker to the next, or another machine be drained as well."""
    members: list[Member] = []
    async with running_pair("workers", lambda io: members.append(Member(io))) as (one, two):
        await _hear_each_other(members[0])
        group: Any = one[0]._host.backbone
        monkeypatch.setattr(module, "current_group", lambda: group.joined)
        ports = iter(["a", "a"] if port == "the same" else ["a", "b"])
        monkeypatch.setattr(module, "this_port", lambda: next(ports))
        names, missing = await members[0].others.drain(7.0, 5)
        expected = [one[0].cluster.node, *([two[0].cluster.node] if port == "the same" else [])]
        assert (names, missing) == (expected, ())
        assert (members[0].drains, members[1].drains) == ([7.0], [7.0] if port == "the same" else [])


async def test_alone_nobody_is_asked() -> None:
    """A server without others would log that nobody is reached, or wait for them."""
    member = Member(Server())
    assert not member.others.exist
    assert await member.others.stats(5) == ({}, ())
    names, missing = await member.others.drain(1.0, 5)
    assert (len(names), missing, member.drains) == (1, (), [1.0])


async def _know_each_other(io: Server) -> None:
    """Wait until a server lists the other one."""
    async with asyncio.timeout(20):
        while len(await io.cluster.nodes()) < 2:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)


async def _hear_each_other(member: Member) -> None:
    """Wait until the other server answers: it is listed before it serves."""
    async with asyncio.timeout(20):
        while not (await member.others.stats(1))[0]:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
