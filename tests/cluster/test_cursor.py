"""The reader's position: gaps are found, and found once, and nothing is read twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rtframework.cluster.cursor import RECENT, Cursor, Ends, Exists, Gap, Question, Resume, drive
from rtframework.cluster.stream_ids import parse_id
from rtframework.exceptions import DecodeError


def resume(cursor: Cursor, ids: Sequence[str], server: str = "a") -> Resume:
    """Drive the cursor's questions with a stream of these entries."""
    steps = cursor.resume(server)
    answer: bool | tuple[str, str] | None = None
    asked = 0
    try:
        while True:
            question = steps.send(answer)
            asked += 1
            assert asked < 20
            if isinstance(question, Exists):
                answer = question.id in ids
            else:
                assert isinstance(question, Ends)
                answer = (ids[0], ids[-1]) if ids else None
    except StopIteration as end:
        found: Resume = end.value
    return found


def cursor_at(*ids: str) -> Cursor:
    """Make a reader that has read these entries."""
    cursor = Cursor()
    cursor.begin(ids[:1], "a")
    cursor.advance(ids[1:])
    return cursor


def test_nothing_is_missing_after_an_entry_that_exists() -> None:
    """Every reconnection would close all clients that can recover."""
    cursor = cursor_at("1-0", "2-0")
    assert resume(cursor, ["1-0", "2-0", "3-0"]) == Resume("2-0")
    assert resume(cursor, ["2-0"], "b") == Resume("2-0")
    assert cursor.continues(["2-0", "3-0"], "c")
    assert not cursor.continues(["3-0"], "c")
    assert not cursor.continues([], "c")


def test_a_stream_cut_under_a_slow_reader_is_a_gap() -> None:
    """A server that was too slow would miss messages, and nobody would know."""
    cursor = cursor_at("1-0", "2-0")
    assert resume(cursor, ["9-0", "10-0"]) == Resume("2-0", Gap("2-0", "trimmed"))


@pytest.mark.parametrize("ids", [[], ["1-5", "1-6"], ["9-0"]])
def test_a_stream_that_began_anew_is_read_from_its_beginning(ids: list[str]) -> None:
    """After a restart without its data, the reader would wait for ids that come a day later, or never."""
    cursor = cursor_at("2-0", "3-0")
    assert resume(cursor, ids, "b") == Resume("0-0", Gap("0-0", "history"))
    cursor.advance(["9-0"])
    assert resume(cursor, ["9-0"], "b") == Resume("9-0")


def test_an_older_stream_is_read_from_where_it_parts() -> None:
    """After a failover, the reader would deliver again what it has delivered, or skip what is new."""
    cursor = cursor_at(*(f"{number}-0" for number in range(1, 101)))
    older = [f"{number}-0" for number in range(50, 74)]
    assert resume(cursor, [*older, "73-1"], "b") == Resume("73-0", Gap("73-0", "history"))
    trimmed = cursor_at("1-0", "2-0", "3-0", "4-0", "5-0", "6-0")
    assert resume(trimmed, ["4-0"], "b") == Resume("4-0", Gap("4-0", "history"))
    cursor.advance(["73-1"])
    assert resume(cursor, [*older, "73-1", "200-0"], "b") == Resume("73-1")


def test_an_empty_stream_is_a_beginning() -> None:
    """The first server of a cluster would report a gap, or miss what was written before a restart."""
    cursor = Cursor()
    cursor.begin([], "a")
    assert cursor.continues(["1-0"], "a")
    assert not cursor.continues(["1-0"], "b")
    assert resume(cursor, ["1-0"]) == Resume("0-0")
    assert resume(cursor, ["1-0"], "b") == Resume("0-0", Gap("0-0", "history"))
    assert resume(cursor, ["1-0"], "b") == Resume("0-0")


def test_a_server_that_cannot_see_the_gap_is_told() -> None:
    """A server that was behind at a failover would never know that the others had read more."""
    ahead, behind = cursor_at("1-0", "2-0"), cursor_at("1-0")
    assert resume(ahead, ["1-0"], "b").gap == Gap("1-0", "history")
    assert resume(behind, ["1-0"], "b").gap is None
    assert ahead.notice == "1-0@b"
    assert ahead.hears(ahead.notice) is None
    assert behind.hears(ahead.notice) == Gap("1-0", "history")
    assert behind.hears(ahead.notice) is None
    assert behind.hears("1-0@c") == Gap("1-0", "history")
    with pytest.raises(DecodeError):
        behind.hears("rubbish")


def test_a_message_that_was_sent_again_is_delivered_once() -> None:
    """A client would get an event twice after a failover."""
    cursor = Cursor()
    assert cursor.is_new(b"m1")
    assert not cursor.is_new(b"m1", again=True)
    assert cursor.is_new(b"m2", again=True)
    assert cursor.is_new(None, again=True)
    for number in range(RECENT):
        cursor.is_new(b"%d" % number)
    assert cursor.is_new(b"m1", again=True)


def test_positions_are_compared_as_numbers() -> None:
    """The writer would send again what was added."""
    cursor = cursor_at("9-0", "10-0")
    assert cursor.has_passed("9-5", "a")
    assert cursor.has_passed("10-0", "a")
    assert not cursor.has_passed("10-1", "a")
    assert cursor.has_passed(None, "a")
    assert not cursor.has_passed("9-5", "b")
    assert parse_id(cursor.position) == (10, 0)


async def test_the_questions_are_answered_one_by_one() -> None:
    """A link would have to know how a generator is driven."""
    asked: list[Question] = []

    async def ask(question: Question) -> bool:
        asked.append(question)
        return True

    assert await drive(cursor_at("1-0").resume("a"), ask) == Resume("1-0")
    assert asked == [Exists("1-0")]


def test_an_old_history_that_comes_back_is_not_delivered_again() -> None:
    """Clients would get the events of an hour ago once more, after a failover to a copy that was older than a wipe."""
    cursor = Cursor()
    cursor.begin(["1-0"], "one")
    cursor.advance(["2-0", "3-0"])
    assert cursor.is_new(b"a")
    assert cursor.is_new(b"b")

    assert resume(cursor, [], "two").gap is not None  # emptied, and something new came
    cursor.advance(["9-0"])
    assert cursor.is_new(b"c")
    assert resume(cursor, ["2-0", "3-0", "4-0"], "three").gap is not None
    assert not cursor.is_new(b"a")
    assert cursor.is_new(b"d")
    cursor.advance(["2-0", "3-0"])
    assert not cursor.is_new(b"b")
    cursor.advance(["4-0"])
    assert cursor.is_new(b"b"), "nothing is looked up any more"
