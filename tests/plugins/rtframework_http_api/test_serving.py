"""Health, statistics and drain over HTTP."""

from __future__ import annotations

import pytest

from rtframework import ClusterUnavailable, Server
from rtframework_http_api.serving import add_up, plain_stats
from tests.conftest import Serve
from tests.support.http_api import KEYS, app_with_api, calling, running_api
from tests.support.js import JSClients
from tests.support.pairs import running_pair


async def test_health_of_one_server() -> None:
    """A monitor could not tell a server that is well from one that is not."""
    io = Server()
    async with running_api(io) as (_, caller):
        body = (await caller.get("/health")).json
        (node,) = body["cluster"].pop("nodes")
        assert body == {
            "node": io.cluster.node,
            "ready": True,
            "draining": False,
            "cluster": {"up": True, "reason": ""},
        }
        assert (node["name"], node["is_self"], node["sockets"]) == (io.cluster.node, True, 0)


async def test_health_while_the_others_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one call that says why would fail when it is needed."""
    io = Server()

    async def nodes() -> None:
        raise ClusterUnavailable("Redis is away")

    async with running_api(io) as (_, caller):
        monkeypatch.setattr(io.cluster, "nodes", nodes)
        body = (await caller.get("/health")).json
        assert (body["ready"], body["cluster"]) == (False, {"up": False, "reason": "Redis is away", "nodes": None})


async def test_statistics_of_one_server(js: JSClients) -> None:
    """A script without Prometheus could not count clients."""
    io = Server()
    async with running_api(io) as (url, caller):
        await js.connect(url, transports=["websocket"])
        body = (await caller.get("/stats")).json
        assert body["servers"] == {io.cluster.node: body["total"]}
        assert (body["total"]["connections"]["websocket"], body["total"]["sockets"], body["missing"]) == (
            1,
            {"/": 1},
            [],
        )
        assert body["total"]["cluster"] is None


async def test_statistics_while_the_others_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of one server would be taken for those of all."""

    async def cannot(*args: object, timeout: float) -> None:
        raise ClusterUnavailable

    async with running_pair("memory") as (one, _):
        pass
    io = one[0]
    async with running_api(io) as (_, caller):
        monkeypatch.setattr(io, "server_side_emit_with_ack", cannot)
        reply = await caller.get("/stats")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "cluster_unavailable", "2")
        assert (await caller.get("/stats", local="true")).status == 200


def test_sums() -> None:
    """The sum of two servers would lack what only one of them has counted."""
    one = {"a": 1, "b": {"x": 1}, "cluster": {"up": True, "gaps": 1}, "none": None}
    two = {"a": 2, "b": {"y": 2}, "cluster": {"up": False, "gaps": 0}, "none": None}
    assert add_up([one, two]) == {
        "a": 3,
        "b": {"x": 1, "y": 2},
        "cluster": {"up": False, "gaps": 1},
        "none": None,
    }


def test_all_statistics_are_plain() -> None:
    """A new table would fail the call."""
    found = plain_stats(Server().stats())
    assert all(value is None or isinstance(value, int | dict) for value in found.values())


async def test_drain_sends_clients_away(js: JSClients) -> None:
    """A deployment could not empty a server before it ends."""
    io = Server()
    async with running_api(io) as (url, caller):
        client = await js.connect(url)
        reply = await caller.post("/drain", seconds=0)
        assert (reply.status, reply.json) == (202, {"draining": [io.cluster.node], "missing": []})
        assert await client.disconnected() == "transport close"
        assert (await caller.get("/health")).json["draining"] is True
        assert (await caller.ask("POST", "/drain")).status == 202


async def test_a_server_that_does_not_serve_says_so(serve: Serve) -> None:
    """A call would hang, or end in a traceback, while the server starts."""
    io = Server()
    api = app_with_api(io, keys=KEYS)
    server = await serve(api)
    async with calling(f"{server.url}/api") as caller:
        io._host.started_at = None
        for path, body in (("/emit", {"event": "x"}), ("/drain", {}), ("/revoke", {"user": "a"})):
            reply = await caller.post(path, **body)
            assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "not_serving", "1")
        assert (await caller.get("/health")).json["ready"] is False
