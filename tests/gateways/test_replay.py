"""What was said in rooms before, as events of a stream."""

from __future__ import annotations

from rtframework.gateways.event_stream import BEGINNING
from rtframework.gateways.replay import replay_of
from rtframework.types import HistoryEntry, HistoryPage


def page(*ids: str) -> HistoryPage:
    """Make a page."""
    return HistoryPage(tuple(HistoryEntry(id, 0, text=f'["said","{id}"]') for id in ids))


def test_entries_of_several_rooms_come_in_one_order_and_once() -> None:
    """A conversation over two rooms could not be followed."""
    replay = replay_of([page("e.2", "e.10"), page("e.3", "e.10", "e.11"), page()])
    assert [each.id for each in replay.entries] == ["e.2", "e.3", "e.10", "e.11"]
    assert replay.newest == "e.11"
    assert replay.forms()[0].text == b'event: said\ndata: "e.2"\nid: e.2\n\n'


def test_ids_of_streams_are_ordered() -> None:
    """With Redis, rooms would be told one after another."""
    replay = replay_of([page("5-1", "17-0"), page("5-0", "5-2")])
    assert [each.id for each in replay.entries] == ["5-0", "5-1", "5-2", "17-0"]


def test_ids_that_say_no_order_are_no_position() -> None:
    """A cut in the middle would lose a part of the second room."""
    for pages in ([page("a.1"), page("b.2")], [page("x"), page("y")]):
        replay = replay_of(pages)
        assert not replay.is_ordered
        assert replay.newest == ""
        assert all(form.entry == b"" and b"id:" not in form.text for form in replay.forms())


def test_one_room_needs_no_order() -> None:
    """Stores with ids of their own would have no positions."""
    replay = replay_of([page("x", "y"), page()])
    assert replay.newest == "y"
    assert [form.entry for form in replay.forms()] == [b"x", b"y"]


def test_nothing_was_said() -> None:
    """A client that comes back would be told of a gap."""
    assert replay_of([]).newest == replay_of([page(), page()]).newest == BEGINNING


def test_bytes_are_base64_and_names_of_several_lines_left_out() -> None:
    """Streams would break."""
    entries = (HistoryEntry("1", 0, data=["file", b"\x00\xff"]), HistoryEntry("2", 0, data=["a\nb"]))
    (form,) = replay_of([HistoryPage(entries)]).forms()
    assert form.text == b'event: file\ndata: "AP8="\nid: 1\n\n'
