"""The answer to a load balancer, by what the server and its cluster are doing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework import ConfigurationError, Readiness, Server
from rtframework.testing import TestServer
from rtframework.types import Health
from tests.support.in_process import NOT_ON_UVLOOP


@dataclass
class FakeCluster:
    """A cluster that is as a test wants it."""

    up: bool = True
    down_for: float = 0.0

    @property
    def health(self) -> Health:
        """The state."""
        return Health(self.up, "" if self.up else "no network")


@dataclass
class FakeServer:
    """A server that is as a test wants it."""

    is_serving: bool = True
    is_draining: bool = False
    others_serve: bool = False
    cluster: FakeCluster = field(default_factory=FakeCluster)


async def answer(readiness: Readiness) -> tuple[int, dict[str, object]]:
    """Ask as a load balancer does."""
    response = await readiness.handler(make_mocked_request("GET", "/ready"))
    assert response.headers["Cache-Control"] == "no-store"
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


async def test_a_server_on_its_way() -> None:
    """Clients would be sent to a server that does not take them yet, or does not any more."""
    io = FakeServer(is_serving=False)
    readiness = Readiness(io)
    assert await answer(readiness) == (503, {"ready": False, "reason": "starting"})
    io.is_serving = True
    assert await answer(readiness) == (200, {"ready": True})
    io.is_draining = True
    assert await answer(readiness) == (503, {"ready": False, "reason": "draining"})
    io.is_draining = False
    readiness.drain()
    assert await answer(readiness) == (503, {"ready": False, "reason": "draining"})
    io.is_serving = False
    assert await answer(readiness) == (503, {"ready": False, "reason": "stopping"})


async def test_other_workers_of_the_port_take_clients() -> None:
    """A load balancer would take the whole port out of service whenever one of its workers is replaced."""
    io = FakeServer(is_serving=False, others_serve=True)
    readiness = Readiness(io)
    assert (await answer(readiness))[0] == 200
    io.is_serving = io.is_draining = True
    assert (await answer(readiness))[0] == 200
    io.is_serving = False
    assert (await answer(readiness))[0] == 200
    io.is_serving = True
    readiness.drain()
    assert await answer(readiness) == (503, {"ready": False, "reason": "draining"}), "the program says so"


async def test_a_short_loss_of_the_others_is_no_reason() -> None:
    """All servers lose the broker at once: clients would find none, because of a restart of two seconds."""
    io = FakeServer()
    readiness = Readiness(io)
    io.cluster.up, io.cluster.down_for = False, 9.9
    assert (await answer(readiness))[0] == 200
    io.cluster.down_for = 10.1
    assert await answer(readiness) == (503, {"ready": False, "reason": "cluster"})
    io.cluster.up, io.cluster.down_for = True, 0.0
    assert (await answer(readiness))[0] == 200
    io.cluster.up, io.cluster.down_for = False, 1.0
    assert (await answer(readiness))[0] == 200, "it is another loss"


async def test_the_time_can_be_chosen() -> None:
    """Who can do without the others would lose all servers with the broker, whatever it takes."""
    io = FakeServer(cluster=FakeCluster(up=False, down_for=1000.0))
    assert (await answer(Readiness(io, cluster_timeout=None)))[0] == 200
    assert (await answer(Readiness(io, cluster_timeout=2000)))[0] == 200
    assert (await answer(Readiness(io, cluster_timeout=0)))[0] == 503
    with pytest.raises(ConfigurationError, match="cluster_timeout"):
        Readiness(io, cluster_timeout="10")  # type: ignore[arg-type]


async def test_a_backbone_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that has a state, but tells of no changes, would be ready for ever."""
    now = 0.0
    monkeypatch.setattr("rtframework.engine.http.readiness.time.monotonic", lambda: now)
    io = FakeServer(cluster=FakeCluster(up=False))
    readiness = Readiness(io)
    assert readiness.reason is None
    now = 10.5
    assert readiness.reason == "cluster"


@NOT_ON_UVLOOP
@pytest.mark.asyncio(loop_factories=["asyncio"])  # which a test server needs
async def test_a_real_server() -> None:
    """The states of the double would not be those of a server."""
    io = Server()
    readiness = Readiness(io)
    assert readiness.reason == "starting"
    async with TestServer(io):
        assert readiness.reason is None
    assert readiness.reason == "stopping"
