"""The start and the end of a server, whatever it sends by Redis."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import pytest
from aiohttp import web

from rtframework import ClusterUnavailable, Server
from rtframework.protocols import Backbone
from rtframework_redis import RedisPubSub, RedisStreams
from rtframework_redis.starting import starting
from tests.plugins.rtframework_redis.conftest import RedisServer, free_port
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.server import RunningServer
from tests.support.until import until

KINDS: Final[dict[str, Callable[..., Backbone]]] = {
    "streams": RedisStreams,
    "classic": RedisPubSub,
    "sharded": partial(RedisPubSub, sharded=True),
}
COUNTED: Final = {"streams": "socket.io#{nsp}#", "classic": "socket.io-request#{nsp}#"}
"""The channels by whose subscriptions servers are counted."""


def hurry(monkeypatch: pytest.MonkeyPatch, *, soon: float, start: float) -> None:
    """Wait less long."""
    monkeypatch.setattr("rtframework_redis.starting.SOON", soon)
    monkeypatch.setattr("rtframework_redis.starting.START", start)


async def test_the_log_says_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever starts a server before Redis would look at an empty screen for ten seconds."""
    hurry(monkeypatch, soon=0, start=3)
    with starting(lambda: "redis://x: gone") as seconds:
        await until(lambda: caplog.records)
    assert seconds == 3
    (record,) = caplog.records
    assert record.getMessage() == (
        "Redis is not reached yet, and after 3 s the application does not start: redis://x: gone"
    )
    assert record.levelno == logging.WARNING


async def test_a_server_that_starts_at_once_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each start would have a warning that means nothing."""
    hurry(monkeypatch, soon=0, start=3)
    with starting(str):
        pass
    await asyncio.sleep(0.01)
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_an_application_does_not_start_without_redis(
    kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong address would be found out by the users; or it would not be told for ten seconds."""
    hurry(monkeypatch, soon=0.1, start=0.5)
    backbone = KINDS[kind](f"{scheme}://127.0.0.1:{free_port()}")
    with pytest.raises(ClusterUnavailable, match=r"cannot be reached: .*127\.0\.0\.1"):
        await backbone.start()
    assert not backbone.health.up
    await backbone.stop()
    lines = [each.getMessage() for each in caplog.records if "not reached yet" in each.getMessage()]
    assert len(lines) == 1
    assert "127.0.0.1" in lines[0]


async def test_who_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a firewall that drops everything, nobody would learn which address is meant."""
    hurry(monkeypatch, soon=0.1, start=0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        streams = RedisStreams(f"redis://:secret@{place}")
        with pytest.raises(ClusterUnavailable, match=place):
            await streams.start()
        await streams.stop()
    assert place in caplog.text
    assert "secret" not in caplog.text


async def test_a_wrong_password_is_told(
    redis_server: Callable[..., Awaitable[RedisServer]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody would know why the application does not start."""
    hurry(monkeypatch, soon=0.1, start=0.5)
    redis = await redis_server("--requirepass", "right")
    for kind in KINDS.values():
        backbone = kind(redis.url.replace("redis://", "redis://:wrong@"))
        with pytest.raises(ClusterUnavailable, match="WRONGPASS"):
            await backbone.start()
        await backbone.stop()
    assert caplog.text.count("WRONGPASS") == 3
    assert ":wrong" not in caplog.text


@pytest.mark.parametrize("kind", COUNTED)
@needs("redis-server")
async def test_nothing_is_left_at_the_end(kind: str) -> None:
    """Servers that have left would be counted, and every request would wait for them."""
    async with running_redis() as redis:
        backbone = KINDS[kind](redis.url)
        io = Server(adapter=backbone)
        io.of("/chat")

        def make_app() -> web.Application:
            app = web.Application()
            io.attach(app)
            return app

        async def counts() -> list[int]:
            return [await redis.subscribers(COUNTED[kind].format(nsp=nsp)) for nsp in ("/", "/chat")]

        running = RunningServer(make_app)
        before = asyncio.all_tasks()
        await running.start()
        assert await counts() == [1, 1]
        await running.stop()
        await until(lambda: asyncio.all_tasks() <= before)
        assert await counts() == [0, 0]
        assert [each for each in await redis.clients() if "rtframework" in each["name"]] == []
        assert not backbone.health.up
        with pytest.raises(ClusterUnavailable, match="has not started"):
            await io.emit("news")
        await running.start()  # again
        await io.emit("news")
        await running.stop()
