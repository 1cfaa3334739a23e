"""Replies to commands that were sent together."""

from __future__ import annotations

from typing import Any

from rtframework_redis.errors import ReplyError
from rtframework_redis.expected_replies import Batch, Transaction


def fed(batch: Batch, *replies: Any) -> list[Any]:
    """Give a batch its replies one by one, and return what it gives on."""
    found = []
    for reply in replies:
        batch.replies.append(reply)
        batch.left -= 1
        found += batch.take()
    return found


def test_replies_are_given_on_as_they_come() -> None:
    """An emit would wait for the slowest of its turn."""
    batch = Batch(2, lambda replies: None)
    assert fed(batch, b"1-0") == [b"1-0"]
    assert fed(batch, b"2-0") == [b"2-0"]


def test_a_transaction_gives_the_replies_of_its_commands() -> None:
    """Whoever has sent two commands would get four replies."""
    refused: list[bool] = []
    batch = Transaction(2, lambda replies: None, lambda: refused.append(True))
    assert fed(batch, b"OK", b"QUEUED", b"QUEUED") == []
    assert fed(batch, [b"1-0", b"2-0"]) == [b"1-0", b"2-0"]
    assert not refused


def test_replies_that_say_nothing_are_left_out() -> None:
    """Each event of a burst would cost the reading of two replies in place of one."""
    batch = Transaction(2, lambda replies: None, lambda: None)
    begun = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"
    assert batch.skip(begun[:-1]) == begun[:-1]
    assert batch.skip(b"+OK\r\n+QUEUED\r\n-ERR no\r\n") == b"+OK\r\n+QUEUED\r\n-ERR no\r\n"
    assert batch.left == 4
    assert batch.skip(begun + b"*2\r\n") == b"*2\r\n"
    assert batch.skip(begun) == begun
    assert fed(batch, [b"1-0", b"2-0"]) == [b"1-0", b"2-0"]
    failed, error = Transaction(2, lambda replies: None, lambda: None), ReplyError("EXECABORT discarded")
    assert failed.skip(begun) == b""
    assert fed(failed, error) == [error, error]


def test_one_refused_command_undoes_all() -> None:
    """An emit would count as sent that Redis has not executed."""
    mistake, aborted = ReplyError("ERR wrong number of arguments"), ReplyError("EXECABORT discarded")
    batch = Transaction(2, lambda replies: None, lambda: None)
    assert fed(batch, b"OK", b"QUEUED", mistake, aborted) == [aborted, mistake]


def test_without_the_right_to_transactions_commands_count_by_themselves() -> None:
    """A user of Redis without MULTI could not emit at all."""
    refused: list[bool] = []
    batch = Transaction(2, lambda replies: None, lambda: refused.append(True))
    forbidden, needless = ReplyError("NOPERM no rights"), ReplyError("ERR EXEC without MULTI")
    assert fed(batch, forbidden, b"1-0", b"2-0", needless) == [b"1-0", b"2-0"]
    assert refused
