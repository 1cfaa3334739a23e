"""Emitting without an event loop: threads, forked processes, and a coroutine. See test_publisher for both forms."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

from rtframework_redis import Publisher, SyncPublisher
from rtframework_redis.selection import Selection
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.preload import ROOT

Found = tuple[Cluster, RedisServer]


async def test_it_has_the_methods_of_the_other() -> None:
    """Who moves code between a worker and a view would write it anew."""
    names = {name for name in dir(Publisher) if not name.startswith("_")}
    assert {name for name in dir(SyncPublisher) if not name.startswith("_")} == names
    assert issubclass(SyncPublisher, Selection)


async def test_many_threads_share_one(cluster: Found) -> None:
    """A WSGI server with threads would lose events, mix them up or send them twice."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    with SyncPublisher(redis.url) as publisher:

        def emit(name: int) -> None:
            for number in range(30):
                publisher.emit("n", name, number)

        threads = [threading.Thread(target=emit, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        events = await client.wait_for("n", 240, timeout=20)
        for thread in threads:
            thread.join()
    assert sorted(map(tuple, events)) == [(name, number) for name in range(8) for number in range(30)]
    for name in range(8):
        assert [number for who, number in events if who == name] == list(range(30))


async def test_it_blocks_a_coroutine_and_no_more(cluster: Found) -> None:
    """A call in the wrong place would hang the program for good."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    with SyncPublisher(redis.url) as publisher:
        publisher.emit("from the server's own loop")
    await client.wait_for("from the server's own loop")


FORKING = """
import os, sys
from rtframework_redis import SyncPublisher

publisher = SyncPublisher(sys.argv[1])
publisher.emit("n", "parent", 0)
children = []
for name in range(3):
    pid = os.fork()
    if not pid:
        for number in range(20):
            publisher.emit("n", name, number)
        os._exit(0)
    children.append(pid)
for number in range(1, 20):
    publisher.emit("n", "parent", number)
codes = [os.waitpid(pid, 0)[1] for pid in children]
publisher.emit("n", "parent", 20)
publisher.close()
sys.exit(any(codes))
"""


async def test_forked_processes_have_connections_of_their_own(cluster: Found) -> None:
    """Gunicorn's workers would read each other's replies, and lose events."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-X", "dev", "-c", FORKING, redis.url]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")
    events = await client.wait_for("n", 81)
    await client.barrier()
    assert len(client.received("n")) == 81
    for name, count in ((0, 20), (1, 20), (2, 20), ("parent", 21)):
        assert [number for who, number in events if who == name] == list(range(count))
