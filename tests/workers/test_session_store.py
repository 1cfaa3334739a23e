"""Whose session it is, while clients move between workers."""

from __future__ import annotations

from rtframework.workers.session_store import SessionStore


def kept(slot: int = 0, pid: str = "p", seconds: float = 10.0) -> SessionStore:
    """Sessions with one of a client that is in."""
    store = SessionStore()
    store.keep(slot, pid, "/", "s", b"v", seconds)
    return store


def test_a_session_is_taken_once() -> None:
    """Two connections would both become the same client."""
    store = kept()
    found = store.find("p", 0.0)
    assert found is not None
    version = found.version
    taken = store.take(1, "p", version, 0.0)
    assert taken is not None
    assert taken[1] == 0
    assert store.take(2, "p", version, 0.0) is None
    assert store.find("p", 0.0) is None


def test_who_has_lost_a_client_to_another_worker_changes_nothing() -> None:
    """The dead connection's end would overwrite, or delete, the session of the living one."""
    store = kept()
    found = store.find("p", 0.0)
    assert found is not None
    store.take(1, "p", found.version, 0.0)
    store.keep(1, "p", "/", "s", b"new", 10.0)
    store.keep(0, "p", "/", "s", b"old", 10.0)
    store.note(0, "p", b"old")
    store.leave(0, "p", "/", "s", b"old", 10.0, 9, 0.0)
    store.forget(0, "p")
    now = store.find("p", 0.0)
    assert now is not None
    assert (now.value, now.changes, now.owner) == (b"new", [], 1)


def test_the_session_of_a_worker_that_has_died_can_be_taken() -> None:
    """A crash would cost its clients their sessions."""
    store = kept()
    store.note(0, "p", b"joined")
    store.worker_gone(0, 5.0)
    found = store.find("p", 14.0)
    assert found is not None
    assert found.changes == [b"joined"]
    assert store.find("p", 16.0) is None
    store.trim(16.0)
    assert len(store) == 0


def test_a_session_that_was_taken_by_a_worker_that_died_can_be_taken_again() -> None:
    """A client on its way in to a worker that dies would start anew."""
    store = kept()
    found = store.find("p", 0.0)
    assert found is not None
    store.take(1, "p", found.version, 0.0)
    store.worker_gone(1, 1.0)
    assert store.find("p", 2.0) is not None


def test_the_session_of_a_client_that_is_in_does_not_end() -> None:
    """A client that has been here for longer than a recovery lasts could not come back."""
    store = kept(seconds=1.0)
    store.trim(1e9)
    assert store.find("p", 1e9) is not None


def test_those_that_left_first_are_forgotten_first() -> None:
    """The broker would keep the sessions of all clients that have ever been there."""
    store = SessionStore()
    for pid in ("a", "b", "c"):
        store.keep(0, pid, "/", pid, b"v", 10.0)
        store.leave(0, pid, "/", pid, b"v", 10.0, 2, 0.0)
    assert [pid for pid, _ in store.left("/", 1.0)] == ["b", "c"]
    assert store.find("a", 1.0) is None
    assert store.left("/", 11.0) == []
    store.keep(1, "b", "/", "b", b"v", 10.0)  # it is in again
    assert [pid for pid, _ in store.left("/", 1.0)] == ["c"]


def test_only_what_was_seen_is_dropped() -> None:
    """A client that has come back meanwhile would lose its session to somebody else's logout."""
    store = kept()
    store.leave(0, "p", "/", "s", b"v", 10.0, 9, 0.0)
    ((pid, session),) = store.left("/", 1.0)
    version = session.version
    store.keep(1, "p", "/", "s", b"w", 10.0)
    assert store.drop([(pid, version)]) == 0
    found = store.find("p", 1.0)
    assert found is not None
    assert store.drop([("p", found.version), ("unknown", 1)]) == 1
    assert store.find("p", 1.0) is None
