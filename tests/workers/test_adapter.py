"""The conformance suite of clusters, for workers with and without recovery."""

from __future__ import annotations

import pytest

from rtframework import Recovery, Server, Socket, Workers
from rtframework.testing import ClusterBroker, ClusterConformance, TestServer
from rtframework.workers import backbone
from rtframework.workers.group import join
from rtframework.workers.sessions import read_session
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.workers import WorkersBroker, running_broker


class TestWorkers(ClusterConformance):
    """Workers whose clients get events at once."""

    named = True
    durable = True
    patience = 10.0
    outage = 0.1

    def broker(self) -> ClusterBroker:
        """Make a broker."""
        return WorkersBroker()


class TestRecoveringWorkers(TestWorkers):
    """Workers with recovery: all deliver in one order."""

    ordered = True
    recovers = True


@NOT_ON_UVLOOP
async def test_a_session_is_written_as_a_whole_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that joins thousands of rooms would stop its worker for seconds: each time, all would be written."""
    async with running_broker() as broker, await join(broker.directory) as group:
        backbone.use(group)
        try:
            io = Server(adapter=Workers(), connection_state_recovery=Recovery())

            @io.on("join")
            async def join_all(socket: Socket, first: int, count: int) -> int:
                for number in range(first, first + count):
                    await socket.join(f"room {number}")
                return len(socket.rooms)

            async with TestServer(io) as server:
                client = await server.connect()
                keep, whole = broker.sessions.keep, []

                def keep_counted(*args: object) -> None:
                    whole.append(args)
                    keep(*args)  # type: ignore[arg-type]

                monkeypatch.setattr(broker.sessions, "keep", keep_counted)
                for step in range(10):
                    assert await client.emit_with_ack("join", 300 * step, 300) == 300 * (step + 1) + 1
                await group.gather("nothing")  # the broker has read what was written before
                assert len(whole) <= 10
                ((pid, kept),) = broker.sessions._sessions.items()
                found = read_session(pid, kept.version, kept.value, kept.changes)
                assert len(found.session.rooms) == len(found.attendance.since) == 3001
        finally:
            backbone.use(None)
