"""What was said in rooms, as the broker keeps it."""

from __future__ import annotations

from rtframework.types import HistoryQuery, KeptRoom
from rtframework.workers import wire
from rtframework.workers.broker_history import BrokerHistory

ROOM = KeptRoom("r", 3)


def numbers(history: BrokerHistory, query: HistoryQuery, without: tuple[str, ...] = ()) -> list[str]:
    """Return the ids of a page, without the epoch."""
    return [each.id.removeprefix("e.") for each in history.find_without("/", ROOM, query, without).entries]


def test_entries_have_the_numbers_of_the_brokers_messages() -> None:
    """Ids would not grow as others' messages do, and a client would be sent what it has."""
    history = BrokerHistory("e")
    history.bound(1_000_000, 10)
    for number in (7, 9, 30, 31):
        history.keep(number, "/", [ROOM, KeptRoom("other", 1)], wire.encode_kept(5, b"%d" % number))
    assert numbers(history, HistoryQuery()) == ["9", "30", "31"]
    assert numbers(history, HistoryQuery(upto="e.30", limit=1)) == ["30"]
    page = history.find_without("/", ROOM, HistoryQuery(after="e.7"))
    assert not page.gap
    assert [wire.kept_at(each.data[0]) for each in page.entries] == [5, 5, 5]
    assert history.find_without("/", ROOM, HistoryQuery(after="e.6")).gap
    assert history.find_without("/", ROOM, HistoryQuery(after="f.9")).gap
    assert history.find_without("/", ROOM, HistoryQuery(after="e.32")).gap
    history.forget("/", "r")
    history.forget("/", "r")
    assert history.find_without("/", ROOM, HistoryQuery(after="e.31")).gap
    assert history.find_without("/", KeptRoom("other", 1), HistoryQuery()).entries


def test_a_page_without_some_entries_is_as_long() -> None:
    """A client that joins while others emit would get a shorter page, or be told that there is no more."""
    history = BrokerHistory("e")
    history.bound(1_000_000, 10)
    for number in range(1, 4):
        history.keep(number, "/", [ROOM], wire.encode_kept(5, bytes(100)))
    assert numbers(history, HistoryQuery(limit=1), ("e.3", "e.9")) == ["2"]
    assert history.find_without("/", ROOM, HistoryQuery(limit=1), ("e.3",)).more
    assert not history.find_without("/", ROOM, HistoryQuery(limit=2), ("e.3",)).more
    assert numbers(history, HistoryQuery(max_bytes=150), ("e.3",)) == ["2"]


def test_bounds_are_the_most_that_anybody_wants() -> None:
    """One server of a process would cut the history of another."""
    history = BrokerHistory("e")
    history.bound(10_000, 3)
    history.bound(5_000, 2)
    for number in range(1, 5):
        history.keep(number, f"/{number}", [ROOM], wire.encode_kept(5, b""))
    assert (len(history), history.forgotten) == (3, 1)
    history.keep(5, "/4", [ROOM], wire.encode_kept(5, bytes(9_500)))
    assert (len(history), history.forgotten) == (1, 3)
    assert history.bytes < 10_000
