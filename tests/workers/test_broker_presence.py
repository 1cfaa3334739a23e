"""Who is in rooms, as the broker keeps it: against a model, with deaths of workers and time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rtframework.workers.broker_presence import PresenceTable, Told
from rtframework.workers.wire_rooms import EnterPresence, UpdatePresence
from tests.support.thorough import is_thorough


def entering(
    sid: str, user: str, room: str = "r", grace: float = 5.0, meta: str = "1", key: str = "/"
) -> EnterPresence:
    """Make the message that enters a tab."""
    join, leave = f"+{user}{meta}".encode(), f"-{user}{meta}".encode()
    return EnterPresence(1, key, room, sid, user, meta, grace, 3, join, leave)


def payloads(told: list[Told]) -> list[bytes]:
    """Return what is published."""
    return [each.payload for each in told]


def test_the_first_and_the_last_tab_are_told() -> None:
    """A user would come and go with each tab."""
    table = PresenceTable()
    assert table.enter(0, entering("a", "ada"), 7.0) == [Told("/", "r", 3, b"+ada1")]
    assert table.enter(1, entering("b", "ada", meta="2"), 8.0) == []
    assert table.enter(0, entering("a", "ada"), 9.0) == []
    assert table.members("/", "r", 10, None) == [("ada", "1", 2, 7.0)]
    assert table.leave(0, "/", "r", "a") == []
    assert table.leave(0, "/", "r", "b") == []  # it is another worker's
    assert table.leave(1, "/", "r", "b") == [Told("/", "r", 3, b"-ada1")]
    assert table.leave(1, "/", "r", "b") == []
    assert table.members("/", "r", 10, None) == []
    assert len(table) == 0


def test_a_tab_that_is_away_has_time() -> None:
    """A user would leave with each bad connection, or stay for ever."""
    table = PresenceTable()
    table.enter(0, entering("a", "ada"), 0.0)
    assert table.away(0, "/", "r", "a", 2.0, 10.0) == []
    assert table.due == 12.0
    assert table.members("/", "r", 10, None) == [("ada", "1", 0, 0.0)]
    assert table.enter(1, entering("a", "ada"), 0.0) == []  # the same socket, at another worker
    assert table.expire(12.0, 99) == []
    assert table.away(0, "/", "r", "a", 2.0, 12.0) == []  # not its own any more
    assert table.members("/", "r", 10, None) == [("ada", "1", 1, 0.0)]
    table.away(1, "/", "r", "a", 2.0, 12.0)
    assert table.expire(13.9, 99) == []
    assert payloads(table.expire(14.0, 99)) == [b"-ada1"]
    assert table.due is None
    table.enter(1, entering("a", "ada"), 0.0)
    assert payloads(table.away(1, "/", "r", "a", 0.0, 15.0)) == [b"-ada1"]


def test_a_socket_that_is_another_user_now() -> None:
    """The first user would be a ghost."""
    table = PresenceTable()
    table.enter(0, entering("a", "ada"), 0.0)
    assert payloads(table.enter(0, entering("a", "bob"), 0.0)) == [b"-ada1", b"+bob1"]
    assert table.members("/", "r", 10, None) == [("bob", "1", 1, 0.0)]


def test_an_update_changes_what_is_told_at_the_end() -> None:
    """Others would be shown what a user was."""
    table = PresenceTable()
    update = UpdatePresence(1, "/", "r", "ada", "2", 0, b"=ada2", b"-ada2")
    assert table.update(update) == []
    table.enter(0, entering("a", "ada"), 0.0)
    assert table.update(update) == [Told("/", "r", 0, b"=ada2")]
    assert table.members("/", "r", 10, None) == [("ada", "2", 1, 0.0)]
    assert payloads(table.leave(0, "/", "r", "a")) == [b"-ada2"]


def test_the_tabs_of_a_dead_worker_are_away_each_for_its_grace() -> None:
    """A crash would leave ghosts, or make everybody leave who comes back at once."""
    table = PresenceTable()
    table.enter(0, entering("a", "ada", grace=5.0), 0.0)
    table.enter(0, entering("b", "bob", grace=0.0), 0.0)
    table.enter(0, entering("c", "cyd", grace=9.0), 0.0)
    table.enter(0, entering("d", "dan", grace=9.0), 0.0)
    table.away(0, "/", "r", "d", 1.0, 0.0)
    table.enter(1, entering("e", "eve", grace=5.0), 0.0)
    table.worker_gone(0, 0.5)
    assert payloads(table.expire(0.5, 99)) == [b"-bob1"]
    table.worker_gone(0, 0.6)  # the slot is another worker's
    assert payloads(table.leave(0, "/", "r", "a")) == []
    assert payloads(table.expire(1.0, 99)) == [b"-dan1"]
    assert table.enter(1, entering("c", "cyd"), 1.0) == []
    assert payloads(table.expire(100.0, 99)) == [b"-ada1"]
    assert [user for user, *_ in table.members("/", "r", 10, None)] == ["cyd", "eve"]


def test_a_server_that_stops_lets_go_of_its_own_tabs() -> None:
    """The people of another server of the same process would leave."""
    table = PresenceTable()
    for number, key in enumerate(("/", "/one\0/", "/two\0/", "/one\0/chat")):
        table.enter(0, entering(f"s{number}", f"u{number}", key=key, grace=0.0), 0.0)
    table.release(0, "/one\0", 0.0)
    assert payloads(table.expire(0.0, 99)) == [b"-u11", b"-u31"]
    table.release(0, "", 0.0)
    assert payloads(table.expire(0.0, 99)) == [b"-u01"]
    table.worker_gone(0, 0.0)
    assert payloads(table.expire(0.0, 99)) == [b"-u21"]


def test_many_are_removed_in_steps() -> None:
    """All messages would wait while the people of a large worker that has died are told of."""
    table = PresenceTable()
    for number in range(10):
        table.enter(0, entering(f"s{number}", f"u{number}", grace=1.0), 0.0)
    table.worker_gone(0, 0.0)
    assert [len(table.expire(1.0, 4)) for _ in range(4)] == [4, 4, 2, 0]
    assert table.due is None


def test_pages() -> None:
    """A long list would be cut, or have somebody twice."""
    table = PresenceTable()
    users = ["é", "a", "\U0001f600", "b", "\uffff", "z"]
    for user in users:
        table.enter(0, entering(user, user), 0.0)
    found: list[str] = []
    while page := table.members("/", "r", 2, found[-1] if found else None):
        found += [user for user, *_ in page]
    assert found == sorted(users)


def test_those_who_come_and_go_leave_nothing_behind() -> None:
    """The broker would grow for as long as clients have bad connections."""
    table = PresenceTable()
    table.enter(0, entering("a", "ada"), 0.0)
    for number in range(10_000):
        table.away(0, "/", "r", "a", 1e6 + number, 0.0)
        table.enter(0, entering("a", "ada"), 0.0)
    assert len(table._late) <= 200
    table.leave(0, "/", "r", "a")
    assert not table._rooms
    assert not table._owned


class Model:
    """The same, written as plainly as possible."""

    def __init__(self) -> None:
        self.tabs: dict[tuple[str, str], dict[str, Any]] = {}
        """By room and socket."""
        self.meta: dict[tuple[str, str], str] = {}
        """By room and user."""

    def users(self, room: str) -> dict[str, int]:
        """Return the users of a room, with their tabs that are there."""
        found: dict[str, int] = {}
        for (of, _), tab in self.tabs.items():
            if of == room:
                found[tab["user"]] = found.get(tab["user"], 0) + (tab["ends"] is None)
        return found

    def change(self, room: str, user: str, act: Any) -> list[bytes]:
        """Do something, and return what it tells of a user."""
        before = user in self.users(room)
        act()
        after = user in self.users(room)
        if before and not after:
            return [f"-{user}{self.meta.pop((room, user))}".encode()]
        return [] if before or not after else [f"+{user}{self.meta[room, user]}".encode()]

    def remove(self, room: str, sid: str) -> list[bytes]:
        """Remove a tab."""
        return self.change(room, self.tabs[room, sid]["user"], lambda: self.tabs.pop((room, sid)))


@pytest.mark.parametrize("seed", range(200 if is_thorough() else 20))
def test_against_a_model(seed: int) -> None:
    """A ghost would stay in a room, or somebody who is there would be missing, after some order of events."""
    choose = random.Random(seed)
    table, model, now = PresenceTable(), Model(), 0.0
    rooms, sids, users, owners = ["r1", "r2"], [f"s{n}" for n in range(6)], ["ada", "bob", "cyd"], [0, 1, 2]
    for step in range(500):
        room, sid, owner = choose.choice(rooms), choose.choice(sids), choose.choice(owners)
        tab = model.tabs.get((room, sid))
        is_own = tab is not None and tab["owner"] == owner
        what = choose.choice(["enter", "enter", "leave", "away", "update", "die", "wait"])
        expected: list[bytes] = []
        if what == "enter":
            user, grace = choose.choice(users), choose.choice([0.0, 1.0, 3.0])
            if tab is not None and tab["user"] != user:
                expected += model.remove(room, sid)
            new = {"user": user, "owner": owner, "grace": grace, "ends": None}
            model.meta.setdefault((room, user), str(step))
            expected += model.change(room, user, lambda: model.tabs.__setitem__((room, sid), new))  # noqa: B023 - at once
            told = table.enter(owner, entering(sid, user, room, grace, str(step)), now)
        elif what == "leave":
            expected += model.remove(room, sid) if is_own else []
            told = table.leave(owner, "/", room, sid)
        elif what == "away":
            seconds = choose.choice([0.0, 1.0, 2.0])
            if tab is not None and is_own:
                tab["ends"] = now + seconds
                expected += [] if seconds else model.remove(room, sid)
            told = table.away(owner, "/", room, sid, seconds, now)
        elif what == "update":
            user = choose.choice(users)
            if user in model.users(room):
                model.meta[room, user] = str(step)
                expected.append(b"=")
            told = table.update(UpdatePresence(1, "/", room, user, str(step), 0, b"=", f"-{user}{step}".encode()))
        elif what == "die":
            for (of, each), its in list(model.tabs.items()):
                if its["owner"] == owner:
                    its["owner"] = None
                    if its["ends"] is None:
                        its["ends"] = now + its["grace"]
                        expected += [] if its["grace"] else model.remove(of, each)
            table.worker_gone(owner, now)
            told = table.expire(now, 99)
        else:
            now += choose.choice([0.5, 1.0])
            for (of, each), its in list(model.tabs.items()):
                if its["ends"] is not None and its["ends"] <= now:
                    expected += model.remove(of, each)
            told = table.expire(now, 99)
        if what in ("die", "wait"):
            assert sorted(payloads(told)) == sorted(expected)
        else:
            assert payloads(told) == expected
        for each in rooms:
            found = {user: tabs for user, _, tabs, _ in table.members("/", each, 100, None)}
            assert found == model.users(each)
            assert {user: meta for user, meta, *_ in table.members("/", each, 100, None)} == {
                user: meta for (of, user), meta in model.meta.items() if of == each
            }
    assert len(table) == len(model.tabs)
