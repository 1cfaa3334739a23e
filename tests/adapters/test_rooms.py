"""The room index: pure, so every question can be asked directly and against a naive model."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.adapters.rooms import RoomIndex
from tests.support.thorough import examples


def make(**members: str) -> RoomIndex:
    """``make(a="x y")``: sid "a" is in the rooms "x" and "y"."""
    index = RoomIndex()
    for sid, rooms in members.items():
        index.add(sid, rooms.split())
    return index


def test_both_directions_agree() -> None:
    """A socket would be told that it is in a room whose broadcasts it does not get."""
    index = make(a="x y", b="y", c="")
    assert index.rooms("a") == {"x", "y"}
    assert index.rooms("c") == frozenset()
    assert list(index.members("y")) == ["a", "b"]
    assert set(index.all_rooms()) == {"x", "y"}
    assert len(index) == 3
    assert "c" in index
    assert "d" not in index


def test_leaving_is_forgiving_and_leaves_nothing() -> None:
    """A room that nobody is in any more would cost memory for ever."""
    index = make(a="x y", b="y")
    index.remove("a", ["x", "x", "nowhere"])
    index.remove("stranger", ["y"])
    assert index.rooms("a") == {"y"}
    assert "x" not in index.all_rooms()
    assert index.remove_all("a") == {"y"}
    assert index.remove_all("a") == frozenset()
    assert list(index.members("y")) == ["b"]
    assert index.members("x") == ()
    index.remove_all("b")
    assert not index.all_rooms()
    assert len(index) == 0


def test_members_come_in_the_order_they_joined() -> None:
    """Broadcasts would reach people in an order that changes from run to run."""
    index = RoomIndex()
    for number in range(100):
        index.add(f"s{number}", ["room"])
    index.add("s5", ["room"])
    assert list(index.members("room")) == [f"s{number}" for number in range(100)]


def test_what_is_handed_out_is_not_the_index_itself() -> None:
    """A handler that loops over a socket's rooms and leaves them would fail half-way."""
    index = make(a="x y")
    rooms = index.rooms("a")
    for room in rooms:
        index.remove("a", [room])
    assert rooms == {"x", "y"}
    selected = make(a="x").select(None, frozenset())
    selected.clear()
    assert index.select(None, frozenset()) == ["a"]


def test_an_empty_selection_is_nobody() -> None:
    """``to([])`` would reach everybody, as it does elsewhere."""
    index = make(a="x", b="")
    assert index.select(frozenset(), frozenset()) == []
    assert index.select(frozenset({"nowhere"}), frozenset()) == []
    assert index.select(None, frozenset()) == ["a", "b"]


def test_a_socket_in_several_rooms_is_selected_once() -> None:
    """People in two of the rooms would get every message twice."""
    index = make(a="x y", b="y z", c="z q")
    assert sorted(index.select(frozenset({"x", "y", "z"}), frozenset())) == ["a", "b", "c"]
    assert index.select(frozenset({"x", "y", "z"}), frozenset({"q"})).count("b") == 1
    assert sorted(index.select(frozenset({"x", "y", "z"}), frozenset({"x", "q"}))) == ["b"]
    assert sorted(index.select(None, frozenset({"nowhere"}))) == ["a", "b", "c"]


SIDS = st.sampled_from("abcdef")
ROOMS = st.sets(st.sampled_from("uvwxyz"), max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove", "remove_all"]), SIDS, ROOMS), max_size=40)


@settings(max_examples=examples(150))
@given(STEPS, st.none() | ROOMS, ROOMS)
def test_it_answers_as_the_plainest_index_would(
    steps: list[tuple[str, str, set[str]]], rooms: set[str] | None, except_: set[str]
) -> None:
    """Some sequence of joining and leaving would put somebody into the wrong room."""
    index = RoomIndex()
    model: dict[str, set[str]] = {}
    for step, sid, names in steps:
        if step == "add":
            index.add(sid, names)
            model.setdefault(sid, set()).update(names)
        elif step == "remove":
            index.remove(sid, names)
            model.get(sid, set()).difference_update(names)
        else:
            assert index.remove_all(sid) == model.pop(sid, set())
    for sid in "abcdef":
        assert index.rooms(sid) == model.get(sid, set())
    for room in "uvwxyz":
        assert set(index.members(room)) == {sid for sid, joined in model.items() if room in joined}
    selected = index.select(None if rooms is None else frozenset(rooms), frozenset(except_))
    assert len(selected) == len(set(selected))
    assert set(selected) == {
        sid for sid, joined in model.items() if (rooms is None or joined & rooms) and not joined & except_
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.parametrize("question", ["leave", "rooms"])
def test_leaving_costs_the_own_rooms_only(question: str) -> None:
    """With 100,000 rooms every disconnect would stop the server for 20 ms."""
    index = RoomIndex()
    for number in range(100_000):
        index.add(f"s{number}", [f"r{number}"])
    index.add("me", ["r1", "r2"])
    ask: Callable[[], object] = (lambda: index.remove_all("me")) if question == "leave" else (lambda: index.rooms("me"))
    assert _seconds(ask) < 0.002
