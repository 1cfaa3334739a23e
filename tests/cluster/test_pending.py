"""Messages on their way: an emit ends in one of three ways, and no other, whatever the broker does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework.cluster.pending import PendingLimits, PendingMessage, PendingMessages, State


def future() -> asyncio.Future[Any]:
    """Make a future of the running loop."""
    return asyncio.get_running_loop().create_future()


def begin(limits: PendingLimits | None = None) -> PendingMessages:
    """Make a writer that is connected."""
    pending = PendingMessages(future, limits)
    pending.settle(0)
    return pending


def add(pending: PendingMessages, name: str, now: float = 0, size: int = 10) -> PendingMessage:
    """Add a message of this id."""
    assert pending.reserve(size, now) is None
    return pending.add(name.encode(), b"", name, size, now)


def taken(pending: PendingMessages, now: float = 0) -> list[bytes]:
    """Return the ids of the messages that are to be sent."""
    return [message.m for message in pending.take(now)]


async def test_a_message_ends_when_it_is_read_back() -> None:
    """An acknowledgement would overtake the event before it."""
    pending = begin()
    message = add(pending, "a")
    assert taken(pending) == [b"a"]
    assert taken(pending) == []
    pending.added(b"a", "1-0")
    assert message.state is State.ADDED
    assert not message.future.done()
    assert pending.read(b"a", "1-0") is message
    assert message.future.result() == "1-0"
    assert pending.read(b"a", "1-0") is None
    assert (len(pending), pending.size) == (0, 0)


async def test_what_was_added_is_not_sent_again() -> None:
    """A lost reply would double a message, as redis-py's own retry does."""
    pending = begin()
    for name in "abc":
        add(pending, name)
    assert taken(pending) == [b"a", b"b", b"c"]
    pending.lost()
    add(pending, "d")
    assert taken(pending) == []
    pending.read(b"a", "1-0")
    pending.settle(1)
    assert taken(pending, 1) == [b"b", b"c", b"d"]
    assert [message.again for message in pending] == [True, True, False]
    assert b"b" in pending


async def test_of_what_may_have_been_added_nobody_says_that_nobody_has_it() -> None:
    """An emit would wait without a bound, or say that nobody has the message, and everybody would have it."""
    pending = begin()
    sent = add(pending, "sent")
    taken(pending)
    waiting = add(pending, "waiting")
    pending.lost()
    pending.expire(4.9)
    assert not sent.future.done()
    pending.expire(6)
    for message, uncertain in ((sent, True), (waiting, False)):
        error = message.future.exception()
        assert isinstance(error, ClusterUnavailable)
        assert (error.uncertain, error.local) == (uncertain, False)
    pending.expire(12)
    assert [each.m for each in pending] == [b"sent"]


async def test_an_error_says_what_is_wrong_with_the_broker() -> None:
    """Whoever reads the log would have to guess: a wrong password, a wrong address, or a network."""
    pending = begin()
    pending.problem = lambda: "WRONGPASS"
    message = add(pending, "a")
    pending.expire(6)
    with pytest.raises(ClusterUnavailable, match=r"has reached nobody.*\(WRONGPASS\)"):
        await message.future


async def test_what_nobody_knew_of_is_delivered_if_it_comes() -> None:
    """The clients of this server would lack an event that the others' have."""
    pending = begin()
    message = add(pending, "a")
    taken(pending)
    pending.expire(6)
    pending.added(b"a", "1-0")
    assert pending.read(b"a", "1-0") is message
    assert (len(pending), pending.size) == (0, 0)


async def test_what_nobody_knew_of_is_not_sent_again() -> None:
    """A program that has emitted it again would have it twice."""
    pending = begin()
    add(pending, "a")
    taken(pending)
    kept = add(pending, "b", 3)
    assert taken(pending, 0.5) == [b"b"]
    pending.lost()
    pending.expire(6)
    pending.settle(7)
    assert taken(pending, 7) == [b"b"]
    assert (pending.size, kept.again) == (10, True)


async def test_who_emits_does_not_wait_for_a_reader_that_is_away() -> None:
    """An emit that all servers will read would wait, or raise, while this one's own reader is cut off."""
    pending = begin()
    message = add(pending, "a")
    taken(pending)
    pending.added(b"a", "1-0")
    pending.expire(6)
    assert message.future.result() == "1-0"
    pending.lost()
    pending.settle(7)  # Redis has lost it meanwhile
    pending.expire(8)
    assert taken(pending, 8) == [b"a"]
    assert pending.read(b"a", "2-0") is message


async def test_what_has_failed_is_not_sent_later() -> None:
    """Everybody would get an event of which the program was told that nobody has it."""
    pending = begin()
    pending.lost()
    failed, kept = add(pending, "a", 0), add(pending, "b", 3)
    pending.expire(6)
    with pytest.raises(ClusterUnavailable):
        await failed.future
    pending.settle(7)
    assert taken(pending, 7) == [b"b"]
    pending.lost()
    pending.settle(7)
    pending.read(b"b", "1-0")
    assert taken(pending, 7) == []
    assert kept.state is State.SETTLED


async def test_what_has_failed_is_forgotten() -> None:
    """Memory would fill while the broker is away."""
    pending = begin()
    pending.lost()
    futures = [weakref.ref(add(pending, str(number)).future) for number in range(3)]
    pending.expire(6)
    gc.collect()
    assert [each() for each in futures] == [None] * 3


async def test_nothing_is_sent_to_a_broker_that_does_not_answer() -> None:
    """All that was emitted to a frozen broker could not be taken back."""
    pending = begin()
    add(pending, "a")
    assert taken(pending) == [b"a"]
    late = add(pending, "b", 1.5)
    assert taken(pending, 1.5) == []
    pending.added(b"a", "1-0")
    assert taken(pending, 1.6) == [b"b"]
    assert late.state is State.SENT


async def test_an_error_is_told() -> None:
    """An emit would wait for ever when the broker is out of memory."""
    pending = begin()
    message = add(pending, "a")
    taken(pending)
    pending.refused(b"a", ClusterUnavailable("OOM"))
    with pytest.raises(ClusterUnavailable, match="OOM"):
        await message.future
    pending.refused(b"a", ClusterUnavailable("OOM"))
    pending.added(b"a", "1-0")


async def test_what_was_cut_off_before_it_was_read_is_covered() -> None:
    """An emit would wait for ever for an entry that is no longer there."""
    pending = begin()
    old, new = add(pending, "a"), add(pending, "b")
    taken(pending)
    pending.added(b"a", "9-0")
    pending.added(b"b", "10-0")
    assert pending.cover("10-0") == [old]
    assert old.future.result() is None
    assert not new.future.done()


async def test_what_may_have_been_cut_off_does_not_fail() -> None:
    """A program would be told that nobody has a message that all others have, and would emit it again."""
    for is_late in (False, True):
        pending = begin()
        message = add(pending, "a")
        taken(pending)
        if not is_late:
            pending.lost()
        pending.cover("10-0")  # it was added, read by others and trimmed, or it was not added
        if is_late:
            pending.lost()
        pending.expire(3)
        pending.settle(3)
        pending.expire(4)
        assert not message.future.done()
        assert [each.m for each in pending.take(4)] == [b"a"]
        assert message.again
        pending.read(b"a", "11-0")
        assert message.future.result() == "11-0"


async def test_of_what_may_have_been_cut_off_nobody_says_that_nobody_has_it() -> None:
    """An emit would wait for as long as the broker is away, or be told what is not true."""
    pending = begin()
    message = add(pending, "a")
    taken(pending)
    pending.cover("10-0")
    pending.lost()
    pending.settle(4)
    pending.lost()
    pending.expire(6)
    error = message.future.exception()
    assert isinstance(error, ClusterUnavailable)
    assert error.uncertain
    pending.settle(7)
    assert (taken(pending, 7), pending.size) == ([], 0)


async def test_what_was_cut_off_is_covered_when_it_becomes_known() -> None:
    """A message would be sent again, and come after those that were emitted later."""
    pending = begin()
    first, second, third = add(pending, "a"), add(pending, "b"), add(pending, "c")
    taken(pending)
    assert pending.cover("10-0") == []
    pending.added(b"a", "9-0")
    assert first.future.result() is None
    pending.read(b"c", "11-0")
    assert second.future.result() is None
    assert third.future.result() == "11-0"


async def test_emitters_wait_for_room_in_their_order() -> None:
    """Memory would fill while the broker is slow; or a small message would overtake a large one."""
    pending = begin(PendingLimits(max_bytes=25))
    for name in "ab":
        add(pending, name)
    large, small = pending.reserve(20, 0), pending.reserve(5, 0)
    assert large is not None
    assert small is not None
    pending.read(b"a", "1-0")
    assert not large.done()
    assert not small.done()
    pending.read(b"b", "2-0")
    assert large.done()
    assert small.done()
    assert pending.size == 25
    late = asyncio.create_task(pending.admit(1, 0))
    await asyncio.sleep(0)
    pending.expire(5)
    with pytest.raises(ClusterUnavailable):
        await late


async def test_an_emitter_that_is_cancelled_gives_its_room_back() -> None:
    """The room would shrink with each cancelled emit, until nothing is emitted any more."""
    pending = begin(PendingLimits(max_bytes=10))
    add(pending, "a")
    waiting, admitted = (asyncio.create_task(pending.admit(10, 0)) for _ in range(2))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    pending.read(b"a", "1-0")
    admitted.cancel()
    await asyncio.gather(waiting, admitted, return_exceptions=True)
    assert pending.size == 0
    await pending.admit(100, 0)
    assert pending.size == 100


async def test_closing_fails_what_waits() -> None:
    """A server would not stop while an emit waits."""
    pending = begin(PendingLimits(max_bytes=5))
    message = add(pending, "a")
    waiter = pending.reserve(10, 0)
    assert waiter is not None
    pending.close()
    for each in (message.future, waiter):
        with pytest.raises(ClusterUnavailable):
            await each


async def test_what_was_found_in_the_stream_ends() -> None:
    """A program that reads no stream would wait for ever, or send again what was added."""
    pending = begin()
    first, second, third = (add(pending, name) for name in "abc")
    assert taken(pending) == [b"a", b"b", b"c"]
    pending.lost()
    pending.found({b"b": "2-0", b"z": "3-0"})
    assert (second.future.result(), first.future.done(), third.future.done()) == ("2-0", False, False)
    pending.settle(1)
    assert taken(pending, 1) == [b"a", b"c"]
    pending.found({b"a": "4-0", b"c": "5-0"})
    assert (first.future.result(), third.future.result(), pending.size) == ("4-0", "5-0", 0)


async def test_who_may_not_wait_is_told_what_is_not_known() -> None:
    """A page of a website would load until Redis is back; or it would say that nobody has what somebody has."""
    pending = begin(PendingLimits(timeout=5, forgets=True))
    sent = add(pending, "a")
    assert taken(pending) == [b"a"]
    waiting = add(pending, "b", now=1)
    pending.expire(6)
    for message, uncertain in ((sent, True), (waiting, False)):
        error = message.future.exception()
        assert isinstance(error, ClusterUnavailable)
        assert error.uncertain is uncertain
    pending.added(b"a", "1-0")
    pending.settle(7)
    assert (taken(pending, 7), pending.size) == ([], 0)


async def test_many_that_wait_for_each_other_do_not_fail() -> None:
    """Who emits thousands of events at once would be told that Redis is away, while it takes one after the other."""
    pending = begin(PendingLimits(timeout=5, max_bytes=20, forgets=True))
    first, second = add(pending, "a"), add(pending, "b")
    waiter = pending.reserve(10, 0)
    assert waiter is not None
    assert taken(pending) == [b"a", b"b"]
    pending.found({b"a": "1-0"})
    pending.expire(6)
    pending.expire(10)
    pending.lost()
    pending.settle(10.5)
    assert (first.future.done(), second.future.done(), waiter.done()) == (True, False, True)
    pending.expire(11)
    assert isinstance(second.future.exception(), ClusterUnavailable)


class Emitted(list[ClusterUnavailable]):
    """What is told of an event whose emitter was cancelled."""

    local = True

    def lost(self, error: ClusterUnavailable) -> None:
        self.append(error)


async def test_what_is_lost_after_its_emitter_was_cancelled_is_told() -> None:
    """A handler that was cancelled would leave an event behind that no other server gets, unknown to all."""
    pending, emits = begin(), [Emitted() for _ in range(3)]
    futures = [pending.offer(b"%d" % number, b"x", None, 0, emit) for number, emit in enumerate(emits)]
    assert None not in futures
    for found in futures[:2]:
        assert found is not None
        found.cancel()
    assert taken(pending) == [b"0", b"1", b"2"]
    pending.read(b"0", "1-0")
    pending.lost()
    pending.settle(6)
    assert futures[2] is not None
    with pytest.raises(ClusterUnavailable) as caught:
        await futures[2]
    assert caught.value.local
    assert [len(each) for each in emits] == [0, 1, 0]
    assert emits[1][0].local
    assert (len(pending), pending.size) == (0, 0)


async def test_a_message_for_which_there_is_no_room_is_not_taken() -> None:
    """What is emitted while the broker is slow would fill the memory, or pass what waits for room."""
    pending = begin(PendingLimits(max_bytes=10))
    assert pending.offer(b"large", b"x" * 30, None, 0) is not None
    assert pending.offer(b"a", b"x", None, 0) is None
    waiter = pending.reserve(1, 0)
    assert waiter is not None
    pending.read(b"large", "1-0")
    assert waiter.done()
    assert pending.offer(b"b", b"x" * 9, None, 0) is not None
    assert pending.size == 10


async def test_replies_that_come_together_are_taken_as_each_by_itself() -> None:
    """An emit whose entry was trimmed at once would wait for ever."""
    pending = begin()
    messages = [add(pending, name) for name in "abc"]
    taken(pending)
    pending.read(b"a", "1-0")
    pending.added_all(messages, [b"1-0", b"2-0", b"3-0"])
    assert [each.state for each in messages] == [State.SETTLED, State.ADDED, State.ADDED]
    assert pending.cover("3-0") == [messages[1]]
    late = add(pending, "d")
    taken(pending)
    pending.added_all([late], [b"2-9"])
    assert late.future.result() is None
