"""Cases 8 to 12: servers ask each other, and each other's clients."""

from __future__ import annotations

import asyncio
import time

from tests.support.cluster.cases.table import (
    case,
    until_rooms,
)
from tests.support.cluster.fleet import REMOTE, Fleet
from tests.support.js import JSError
from tests.support.until import until


@case("8", "sockets of other servers: fetch, emit, join, leave, disconnect", REMOTE)
async def remote_sockets(fleet: Fleet) -> None:
    """A program could not see or move the clients of another server."""
    for here, there in fleet.ways():
        far = await fleet.connect(there, rooms=["far"], data={"n": 1})
        near = await fleet.connect(here, rooms=["near"])
        found = {each["id"]: each for each in await here.fetch_sockets()}
        assert set(found) == {far.sid, near.sid}
        assert found[far.sid]["rooms"] == sorted([far.sid, "far"])
        assert found[far.sid]["data"] == {"n": 1}
        assert found[far.sid]["auth"]["rooms"] == ["far"]
        assert [each["id"] for each in await here.fetch_sockets(rooms=["far"])] == [far.sid]
        assert [each["id"] for each in await here.fetch_sockets(except_=["far"])] == [near.sid]
        await here.emit("to you", rooms=[far.sid])
        await far.wait_for("to you")
        await here.sockets_join("added", rooms=["far"])
        await until_rooms(here, 1, "added")
        await here.sockets_leave("added", rooms=["far"])
        await until_rooms(here, 0, "added")
        await here.disconnect_sockets(rooms=["far"])
        await until(lambda far=far: far.ends == ["namespace"])  # type: ignore[misc]
        await near.close()


@case("9", "fetch_sockets without a match, and with a server that does not answer", REMOTE)
async def unanswered(fleet: Fleet) -> None:
    """A request would hang for as long as a dead server stays subscribed."""
    for here, there in fleet.ways():
        assert await here.fetch_sockets(rooms=["nobody"]) == []
        there.freeze()
        try:
            start = time.monotonic()
            try:
                await here.fetch_sockets(timeout=0.5)
            except JSError as error:
                assert "imeout" in error.message or "imed out" in error.message, error.message  # noqa: PT017
            else:
                raise AssertionError("the request did not fail")
            assert time.monotonic() - start < 5.5
        finally:
            there.thaw()


@case("9b", "fetch_sockets while a server is killed: an error in 5 s, and none after that", REMOTE)
async def killed_while_asked(fleet: Fleet) -> None:
    """A crash would leave requests of other servers hanging."""
    for here, there in fleet.ways():
        there.freeze()
        asked = asyncio.ensure_future(here.fetch_sockets())
        try:
            done, _ = await asyncio.wait([asked], timeout=0.3)
            assert not done
            await there.kill()
            done, _ = await asyncio.wait([asked], timeout=5.2)
            assert done
            assert isinstance(asked.exception(), JSError)
        finally:
            await there.kill()
            await asyncio.gather(asked, return_exceptions=True)
            await fleet.start(there.name)
        assert await here.fetch_sockets() == []


@case("10", "server-side events, with and without an answer", REMOTE)
async def server_side(fleet: Fleet) -> None:
    """Servers could not tell each other anything."""
    for here, there in fleet.ways():
        mark = f"from {here.name}"
        await here.server_side_emit("told", mark, {"n": [1, None]}, nsp="/chat")
        await there.logged("told", nsp="/chat", args=[mark, {"n": [1, None]}])
        await here.server_side_emit("told", mark)
        await there.logged("told", nsp="/", args=[mark])
        answers = await here.server_side_emit_with_ack("question", mark)
        assert answers.complete
        assert sorted(answers.responses) == sorted(name for name in fleet.servers if name != here.name)
        assert not [each for each in await here.log("told") if each["args"][:1] == [mark]]


@case("10b", "bytes in server-side events", REMOTE)
async def server_side_bytes(fleet: Fleet) -> None:
    """Servers would tell each other rubbish."""
    for here, there in fleet.ways():
        await here.server_side_emit("told", f"bytes from {here.name}", b"\x00\xff")
        await there.logged("told", args=[f"bytes from {here.name}", b"\x00\xff"], timeout=1)


@case("11", "a broadcast with answers, one client silent", REMOTE)
async def broadcast_with_ack(fleet: Fleet) -> None:
    """A vote would hang, or its answers be lost."""
    for here, there in fleet.ways():
        clients = [await fleet.connect(server, rooms=["vote"]) for server in (here, here, there, there)]
        for number, client in enumerate(clients):
            client.answers["vote?"] = number
        answers = await here.emit_with_ack("vote?", rooms=["vote"])
        assert (sorted(answers.responses), answers.complete) == ([0, 1, 2, 3], True)
        del clients[3].answers["vote?"]
        answers = await here.emit_with_ack("vote?", rooms=["vote"], timeout=0.3)
        assert (sorted(answers.responses), answers.complete) == ([0, 1, 2], False)
        for client in clients:
            await client.close()


@case("12", "an answer of one client on another server", REMOTE)
async def call(fleet: Fleet) -> None:
    """A program could not ask a client of another server."""
    for here, there in fleet.ways():
        client = await fleet.connect(there)
        client.answers["how?"] = {"so": 1}
        assert await here.call(client.sid, "how?") == {"so": 1}
        await client.close()
