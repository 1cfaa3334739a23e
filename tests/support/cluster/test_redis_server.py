"""Redis servers of the harness: they start, fail as they are told, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as NoAnswer

from tests.support.cluster import processes
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_fleets import running_cluster, running_sentinels
from tests.support.cluster.redis_server import STREAM, RedisServer, running_redis

pytestmark = needs("redis-server", "redis-sentinel", "redis-cli")


def client_of(server: RedisServer) -> Redis:
    """Make a client that tries once."""
    return Redis(port=server.port, retry=Retry(NoBackoff(), 0), socket_timeout=2)


async def add(server: RedisServer, *values: int) -> list[str]:
    """Add entries to the stream and return their ids."""
    return [(await server.command("XADD", STREAM, "*", "n", value)).decode() for value in values]


async def numbers(server: RedisServer) -> list[int]:
    """Return the values of all entries of the stream."""
    return [int(fields["n"]) for _, fields in await server.entries()]


def wait_for_end(pid: int) -> None:
    """Wait until a process that is no child of ours has ended, whether or not its parent has taken notice."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline, f"process {pid} lives"
            time.sleep(0.01)


async def test_starts_fast_and_leaves_nothing_behind() -> None:
    """Tests of clusters would be slow, and machines would fill up with servers that nobody ends."""
    start = time.monotonic()
    async with running_redis() as server:
        assert time.monotonic() - start < 1.0
        pid, folder = server.program.pid, server.folder
        assert await server.command("PING")
        over_socket = Redis.from_url(server.unix_url)
        assert await over_socket.ping()
        await over_socket.aclose()
        assert os.getpgid(pid) == pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not folder.exists()


async def test_data_outlives_a_kill_with_aof_only() -> None:
    """A test of a restart with data would be one without, or the other way round."""
    async with running_redis(persistence="aof") as kept, running_redis() as lost:
        for server in (kept, lost):
            await add(server, 1, 2)
            port = server.port
            await server.restart()
            assert server.port == port
        assert await numbers(kept) == [1, 2]
        assert await numbers(lost) == []
        await kept.restart(empty=True)
        assert await numbers(kept) == []


async def test_killed_refuses_and_frozen_is_silent() -> None:
    """A frozen server that answers, or a dead one that does not refuse, would test something else."""
    async with running_redis() as server:
        client = client_of(server)
        await client.ping()
        server.freeze()
        with pytest.raises((NoAnswer, TimeoutError)):
            await server.command("PING", timeout=0.1)
        asked = asyncio.ensure_future(client.ping())
        server.thaw()
        assert await asked
        server.kill()
        with pytest.raises((NotConnected, OSError)):
            await client.ping()
        with pytest.raises((NotConnected, OSError)):
            await server.command("PING")
        await client.aclose()


async def test_connections_of_clients_are_killed() -> None:
    """Reconnecting would not be tested at all."""
    async with running_redis() as server:
        client = client_of(server)
        pubsub = client.pubsub()
        await pubsub.subscribe("channel")
        assert await pubsub.get_message(timeout=2)
        await client.ping()
        assert await server.subscribers("channel") == 1
        assert len(await server.clients()) == 2
        assert await server.kill_clients("pubsub") == 1
        assert await server.kill_clients() == 1
        assert await server.subscribers("channel") == 0
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await client.aclose()


async def test_the_stream_is_trimmed_deleted_and_emptied() -> None:
    """Losses of data would not be what the test says they are."""
    async with running_redis() as server:
        ids = await add(server, 1, 2, 3, 4)
        await server.delete(ids[1])
        assert await numbers(server) == [1, 3, 4]
        await server.trim(1)
        assert await numbers(server) == [4]
        await server.trim()
        assert await numbers(server) == []
        assert await server.command("EXISTS", STREAM)
        await server.delete()
        assert not await server.command("EXISTS", STREAM)
        await add(server, 5)
        await server.flush()
        assert not await server.command("EXISTS", STREAM)


async def test_memory_can_be_full() -> None:
    """Servers would never be tried with a Redis that refuses to write."""
    async with running_redis() as server:
        await server.set_maxmemory(1)
        with pytest.raises(OutOfMemoryError):
            await add(server, 1)
        await server.set_maxmemory(0)
        await add(server, 1)
        assert (await server.info())["redis_version"]


async def test_the_log_is_shown_when_the_body_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever looks into a failure would not know what Redis said."""

    async def fail() -> None:
        async with running_redis():
            raise LookupError("of the test")

    with pytest.raises(LookupError):
        await fail()
    assert "Ready to accept connections" in capfd.readouterr().err


def test_a_program_of_another_group_is_ended_with_its_children(tmp_path: Path) -> None:
    """Children of a program would live on."""
    program = processes.Program("sleepers", ["sh", "-c", "sleep 60 & echo $!; wait"], tmp_path)
    program.start(piped=True)
    child = int(program.stdout.readline())
    assert processes.end_all() >= 1
    assert not program.alive
    wait_for_end(child)
    program.kill()


PYTHON_PROGRAM: Final = """
import os, sys
print(os.getpid(), os.getpgid(0), flush=True)
print(sys.stdin.readline().strip(), flush=True)
print("to the log", file=sys.stderr)
raise SystemExit(int(sys.stdin.readline()))
"""


def test_a_program_in_python_has_its_own_pipes_group_and_exit_code(tmp_path: Path) -> None:
    """Servers in Python are forked: a test would drive one that is not as the others are."""
    (tmp_path / "program.py").write_text(PYTHON_PROGRAM)
    program = processes.Program("python", [sys.executable, "program.py"], tmp_path)
    program.start(piped=True)
    assert program.stdout.readline().split() == [b"%d" % program.pid] * 2
    program.stdin.write(b"heard\n")
    assert program.stdout.readline() == b"heard\n"
    assert program.alive
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0)
    program.stdin.write(b"7\n")
    assert program.wait(10) == 7
    assert not program.alive
    assert program.logged().endswith("to the log")


def test_a_program_in_python_is_killed(tmp_path: Path) -> None:
    """A test of a crash would hang, or leave a server behind."""
    (tmp_path / "program.py").write_text("import time\ntime.sleep(60)\n")
    program = processes.Program("python", [sys.executable, "program.py"], tmp_path)
    program.start(piped=True)
    program.freeze()
    pid = program.pid
    program.kill()
    wait_for_end(pid)
    assert program.wait(0) == -signal.SIGKILL


@needs("setpriv")
def test_programs_die_with_the_process_that_is_killed(tmp_path: Path) -> None:
    """A test run that is killed would leave servers behind, which hold ports and memory for days."""
    (tmp_path / "p.py").write_text("print('started')\nimport time\ntime.sleep(60)\n")
    code = (
        "import pathlib, sys, time; from tests.support.cluster.processes import Program;"
        f"folder = pathlib.Path({str(tmp_path)!r});"
        "p = Program('s', ['sleep', '60'], folder); p.start();"
        "comm = pathlib.Path(f'/proc/{p.pid}/comm')\n"
        "while comm.read_text() != 'sleep\\n': time.sleep(0.01)\n"
        "q = Program('q', [sys.executable, '-u', 'p.py'], folder); q.start(piped=True); q.stdout.readline();"
        "print(p.pid, q.pid, flush=True);"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for child in children:
        wait_for_end(child)


def test_missing_programs_are_told() -> None:
    """Tests would fail where they should be skipped."""
    with pytest.raises(processes.MissingProgram, match="no-such-program"):
        processes.find_program("no-such-program")
    mark = needs("no-such-program").mark
    assert mark.args == (True,)
    assert "no-such-program" in mark.kwargs["reason"]


async def test_sentinels_fail_over() -> None:
    """A failover would be a story that tests tell each other."""
    async with running_sentinels() as fleet:
        before = await fleet.master()
        await add(before, 1)
        assert await before.command("WAIT", 1, 2000) == 1
        after = await fleet.fail_over(kill=True)
        assert after is not before
        assert await numbers(after) == [1]
        assert len(fleet.addresses) == 3


async def test_a_slot_of_a_cluster_moves_with_its_stream() -> None:
    """Resharding would lose the stream, or not happen."""
    async with running_cluster() as cluster:
        slot = await cluster.slot_of(STREAM)
        assert slot == await cluster.slot_of(f"sio:x:{{{STREAM}}}:more")
        before = await cluster.owner(slot)
        await add(before, 1)
        after = await cluster.move(slot)
        assert after is not before
        assert await cluster.owner(slot) is after
        assert await numbers(after) == [1]
