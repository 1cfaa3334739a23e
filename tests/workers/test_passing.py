"""Descriptors and bytes on their way from one worker to another."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtframework.workers import passing as module
from rtframework.workers.passing import Passing
from rtframework.workers.shared_table import SharedTable, SlotState, make_file
from tests.support.until import until


@pytest.fixture
def table() -> Iterator[SharedTable]:
    """Where three workers serve."""
    fd = make_file()
    found = SharedTable(fd)
    os.close(fd)
    for slot in range(3):
        found.set_state(slot, SlotState.SERVING)
    yield found
    found.close()


class Taken:
    """What a worker was passed."""

    def __init__(self) -> None:
        self.found: list[tuple[socket.socket, bytes, bool, Any]] = []

    def __call__(self, sock: socket.socket, data: bytes, *, is_settled: bool = False, peer: Any = None) -> None:
        self.found.append((sock, data, is_settled, peer))

    def close(self) -> None:
        """Let go of all."""
        for sock, *_ in self.found:
            sock.close()
        self.found.clear()


def descriptors() -> set[str]:
    """The open ones."""
    return set(os.listdir("/proc/self/fd"))


class Group:
    """Workers in this process."""

    def __init__(self, directory: Path, table: SharedTable) -> None:
        self.members = [Passing(directory, slot, table) for slot in range(3)]
        self.taken = [Taken() for _ in self.members]
        for passing, taken in zip(self.members, self.taken, strict=True):
            passing.listen(taken)

    def close(self) -> None:
        """End all."""
        for passing, taken in zip(self.members, self.taken, strict=True):
            passing.stop()
            taken.close()


@pytest.mark.parametrize("size", [0, 10, 65_536, 65_537, 3_000_000])
async def test_bytes_arrive_with_their_connection(tmp_path: Path, table: SharedTable, size: int) -> None:
    """The beginning of a request would be lost."""
    before = descriptors()
    group = Group(tmp_path, table)
    group.members[1].start()
    data = bytes(number % 251 for number in range(size))
    ours, theirs = socket.socketpair()
    assert group.members[0].pass_on(1, theirs.fileno(), data, is_settled=True)
    theirs.close()
    await until(lambda: group.taken[1].found)
    ((sock, got, is_settled, peer),) = group.taken[1].found
    assert (got, is_settled, peer) == (data, True, None)
    ours.send(b"more")
    assert sock.recv(10) == b"more"
    assert not sock.get_inheritable()
    ours.close()
    group.close()
    assert descriptors() == before


async def test_a_worker_that_takes_nothing_gets_it_later(tmp_path: Path, table: SharedTable) -> None:
    """Connections would be lost when a worker is busy for a moment."""
    before = descriptors()
    group = Group(tmp_path, table)
    group.members[1].start()
    pairs = [socket.socketpair() for _ in range(100)]
    for number, (_, theirs) in enumerate(pairs):  # more than a queue of the kernel takes, in one turn of the loop
        assert group.members[0].pass_on(1, theirs.fileno(), b"%d" % number)
        theirs.close()
    await until(lambda: len(group.taken[1].found) == 100)
    assert [data for _, data, *_ in group.taken[1].found] == [b"%d" % number for number in range(100)]
    for ours, _ in pairs:
        ours.close()
    group.close()
    assert descriptors() == before


async def test_a_worker_that_has_gone_takes_nothing(tmp_path: Path, table: SharedTable) -> None:
    """A client would wait for an answer that never comes."""
    group = Group(tmp_path, table)
    ours, theirs = socket.socketpair()
    assert not group.members[0].pass_on(1, theirs.fileno(), b"")  # it has never been there
    group.members[1].start()
    assert group.members[0].pass_on(1, theirs.fileno(), b"")
    await until(lambda: group.taken[1].found)
    group.members[1].stop()
    assert not group.members[0].pass_on(1, theirs.fileno(), b"")
    group.members[1].start()  # its successor
    assert group.members[0].pass_on(1, theirs.fileno(), b"")
    ours.close()
    theirs.close()
    group.close()


async def test_what_waits_for_a_worker_that_dies_comes_back(tmp_path: Path, table: SharedTable) -> None:
    """The clients of a worker that hangs would wait for ever."""
    before = descriptors()
    group = Group(tmp_path, table)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # one that takes nothing
    dead.bind(str(tmp_path / "1"))
    pairs = [socket.socketpair() for _ in range(50)]
    for number, (_, theirs) in enumerate(pairs):
        assert group.members[0].pass_on(1, theirs.fileno(), b"%d" % number)
        theirs.close()
    dead.close()
    await until(lambda: group.taken[0].found)
    await until(lambda: len(group.taken[0].found) == 50)  # those in its queue, too
    got = [(int(data), is_settled) for _, data, is_settled, _ in group.taken[0].found]
    assert sorted(got) == [(number, True) for number in range(50)]
    for ours, _ in pairs:
        ours.close()
    group.close()
    assert descriptors() == before


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_worker_dies_with_a_connection_that_it_has_not_taken(
    tmp_path: Path, table: SharedTable, is_known: bool
) -> None:
    """A client would be cut off while it connects; one that nobody else sends anything to, too."""
    before = descriptors()
    group = Group(tmp_path, table)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "1"))
    ours, theirs = socket.socketpair()
    assert group.members[0].pass_on(1, theirs.fileno(), b"it")
    theirs.close()
    dead.close()
    if is_known:
        table.set_state(1, SlotState.EMPTY)
    await until(lambda: group.taken[0].found)
    ((sock, data, is_settled, _),) = group.taken[0].found
    assert (data, is_settled) == (b"it", True)
    ours.send(b"x")
    assert sock.recv(1) == b"x"
    ours.close()
    group.close()
    assert descriptors() == before


async def test_a_connection_that_was_taken_is_forgotten(tmp_path: Path, table: SharedTable) -> None:
    """A client would not see the end of its connection; or would have it served by two workers."""
    group = Group(tmp_path, table)
    group.members[1].start()
    for turn in range(1, 4):
        ours, theirs = socket.socketpair()
        assert group.members[0].pass_on(1, theirs.fileno(), b"")
        theirs.close()
        await until(lambda: group.taken[1].found)
        assert table.taken(0, 1) == turn
        group.taken[1].close()
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        async with asyncio.timeout(10):
            assert await loop.sock_recv(ours, 1) == b""
        ours.close()
        if turn == 2:  # its successor counts on
            group.members[1].stop()
            group.members[1].start()
    assert group.taken[0].found == []
    group.close()


async def test_bytes_that_no_worker_has_sent_do_no_harm(
    tmp_path: Path, table: SharedTable, caplog: pytest.LogCaptureFixture
) -> None:
    """A program of the same user that writes to the wrong socket would end a worker, or use its descriptors up."""
    group = Group(tmp_path, table)
    group.members[1].start()
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stranger.connect(str(tmp_path / "1"))
    before = descriptors()
    file = os.open("/dev/null", os.O_RDONLY)
    for message in (
        b"x",
        b"\xff" * 5,
        b"\x02\x01\x00\x00\x02{}",
        b"\x02\x01\x00\x00\x01{",
        bytes([0, 1, 0, 0, 0]),
        bytes([8, 1, 0, 0, 0]),
    ):
        for fds in ([file], [file, file]):
            socket.send_fds(stranger, [message], fds)
            await asyncio.sleep(0)
    stranger.send(b"")
    ours, theirs = socket.socketpair()
    assert group.members[0].pass_on(1, theirs.fileno(), b"real")
    theirs.close()
    await until(lambda: group.taken[1].found)
    assert [data for _, data, *_ in group.taken[1].found] == [b"real"]
    assert "no connection" in caplog.text
    os.close(file)
    ours.close()
    group.taken[1].close()
    group.members[0].stop()
    assert descriptors() == before
    stranger.close()
    group.close()


async def test_no_file_descriptor_is_free(tmp_path: Path, table: SharedTable, caplog: pytest.LogCaptureFixture) -> None:
    """A worker at its limit would lose every connection that it is passed, and not only one."""
    group = Group(tmp_path, table)
    group.members[1].start()
    pairs = [socket.socketpair() for _ in range(8)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for _, theirs in pairs:
            assert group.members[0].pass_on(1, theirs.fileno(), b"")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        await until(lambda: "no free file descriptor" in caplog.text)
        for _ in range(10):
            await asyncio.sleep(0)
        assert group.taken[1].found == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: len(group.taken[1].found) == 7)
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
    group.close()


async def test_what_was_sent_before_the_end_is_served(tmp_path: Path, table: SharedTable) -> None:
    """The clients that were on their way to a worker that ends would be cut off."""
    group = Group(tmp_path, table)
    group.members[1].start()
    ours, theirs = socket.socketpair()
    assert group.members[0].pass_on(1, theirs.fileno(), b"last")
    group.members[1].stop()
    assert [data for _, data, *_ in group.taken[1].found] == [b"last"]
    assert not (tmp_path / "1").exists()
    ours.close()
    theirs.close()
    group.close()


async def test_a_new_session_goes_to_a_worker_that_has_clearly_fewer(tmp_path: Path, table: SharedTable) -> None:
    """One worker would be busy and another idle; or connections would be passed on for nothing."""
    passing = Passing(tmp_path, 0, table)
    for slot in range(3):
        table.set_clients(slot, 100)
    passing.count(108)
    assert passing.destination() is None
    passing.count(1)
    assert passing.destination() in (1, 2)
    table.set_clients(2, 10)
    assert passing.destination() == 2
    table.set_state(2, SlotState.DRAINING)
    passing.count(-1)
    assert passing.destination() is None
    passing.count(900)
    table.set_clients(1, 990)
    assert passing.destination() is None  # 18 more are less than two in a hundred
    table.set_clients(1, 980)
    assert passing.destination() == 1


async def test_no_new_session_goes_to_a_worker_that_hangs(tmp_path: Path, table: SharedTable) -> None:
    """It has the fewest clients: all that come would wait until it is killed."""
    group = Group(tmp_path, table)
    passing = group.members[0]
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hanging:
        hanging.bind(str(tmp_path / "1"))
        passing.count(100)
        table.set_clients(1, 10)
        table.set_clients(2, 50)
        assert passing.destination() == 1
        assert passing.pass_on(1, theirs.fileno(), b"")
        await until(lambda: passing.destination() == 2)
        table.set_state(2, SlotState.EMPTY)
        assert passing.destination() is None
        table.add_taken(0, 1)  # it goes on
        await until(lambda: passing.destination() == 1)
    ours.close()
    theirs.close()
    group.close()


async def test_sessions_that_are_on_their_way_count(tmp_path: Path, table: SharedTable) -> None:
    """A burst would go to one worker as a whole, which would then have too many."""
    passing = Passing(tmp_path, 0, table)
    table.set_state(2, SlotState.EMPTY)
    passing.count(20)
    sent = 0
    for _ in range(100):
        sent += passing.destination() is not None
    assert sent == 12


async def test_a_worker_that_drains_passes_all_on(tmp_path: Path, table: SharedTable) -> None:
    """It would never be empty."""
    passing = Passing(tmp_path, 0, table)
    table.set_state(0, SlotState.DRAINING)
    table.set_clients(1, 5_000)
    table.set_clients(2, 6_000)
    assert passing.destination() == 1
    table.set_state(1, SlotState.EMPTY)
    table.set_state(2, SlotState.EMPTY)
    assert passing.destination() is None


def test_whether_others_take_clients(tmp_path: Path, table: SharedTable) -> None:
    """A load balancer would take the port out of service when one worker is replaced, or send clients to nobody."""
    passing = Passing(tmp_path, 0, table)
    assert passing.others_serve()
    table.set_state(1, SlotState.DRAINING)
    assert passing.others_serve()
    table.set_state(2, SlotState.EMPTY)
    assert not passing.others_serve()


def test_who_is_there(tmp_path: Path, table: SharedTable) -> None:
    """A request would go to a worker that serves nobody, or to the worker that has it already, for ever."""
    passing = Passing(tmp_path, 0, table)
    table.set_state(2, SlotState.DRAINING)
    table.set_state(3, SlotState.STARTING)
    assert [slot for slot in range(64) if passing.is_there(slot)] == [1, 2]


async def test_a_socket_that_is_removed_is_made_again(
    tmp_path: Path, table: SharedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tidies up temporary files would cut off the clients that arrive at other workers."""
    monkeypatch.setattr(module, "_LOOK_AT_SOCKET", 0.01)
    before = descriptors()
    group = Group(tmp_path, table)
    zero, one, two = group.members
    one.start()

    def send(sender: Passing, data: bytes) -> bool:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            return sender.pass_on(1, theirs.fileno(), data)

    assert send(zero, b"first")
    (tmp_path / "1").unlink()
    assert send(zero, b"second"), "it knows the socket without its name"
    assert not send(two, b"lost")
    await until(lambda: (tmp_path / "1").exists())
    assert send(two, b"third")
    assert send(zero, b"fourth")
    await until(lambda: len(group.taken[1].found) == 4)
    assert {data for _, data, _, _ in group.taken[1].found} == {b"first", b"second", b"third", b"fourth"}
    group.close()
    assert descriptors() == before
