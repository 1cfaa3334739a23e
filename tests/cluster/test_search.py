"""Whether messages are in the stream, asked by a program that does not read it."""

from __future__ import annotations

import pytest

from rtframework.cluster.search import find

Stream = list[tuple[bytes, list[bytes]]]


def stream(*names: str) -> Stream:
    """Make entries 1-0, 2-0 …, with the ids of messages; one without an ``m`` for an empty name."""
    return [
        (b"%d-0" % number, [b"uid", b"x", *([b"m", name.encode()] if name else [])])
        for number, name in enumerate(names, 1)
    ]


def search(entries: Stream, *wanted: str, since: str = "0-0", size: int = 2) -> tuple[dict[bytes, str], int]:
    """Return what is found, and the number of pages that were read."""
    steps = find({name.encode() for name in wanted}, len(wanted), since)
    pages = 0
    try:
        at = next(steps)
        while True:
            pages += 1
            reachable = [each for each in entries if at == "+" or int(each[0][:-2]) <= int(at[:-2])]
            at = steps.send(reachable[::-1][:size])
    except StopIteration as end:
        return end.value, pages


def test_what_was_added_is_found() -> None:
    """A message whose reply was lost would be sent twice."""
    assert search(stream("a", "", "b", "c", "d"), "b", "d") == ({b"d": "5-0", b"b": "3-0"}, 2)


def test_it_ends_when_all_is_found() -> None:
    """Thousands of entries would be read for one that is the last."""
    assert search(stream("a", "b", "c", "d"), "d") == ({b"d": "4-0"}, 1)


def test_it_ends_where_the_message_cannot_be() -> None:
    """Everything that the stream keeps would be read, for a message that was not added."""
    entries = stream(*"abcdefgh")
    assert search(entries, "x", since="7-0") == ({}, 1)
    assert search(entries, "a", "h", since="2-0") == ({b"h": "8-0"}, 6)


@pytest.mark.parametrize("entries", [stream(), stream("a"), stream("a", "b"), stream("a", "b", "c")])
def test_it_ends_at_the_beginning(entries: Stream) -> None:
    """An emit would never return where the stream has lost the entry before it."""
    found, _ = search(entries, "x")
    assert found == {}
