"""What joins servers may keep who is in their rooms."""

from __future__ import annotations

from rtframework.adapters.presence_memory import MemoryPresence
from rtframework.protocols import KeepsPresence, PresenceStore, PresenceTab
from rtframework_redis import RedisPubSub, RedisStreams
from rtframework_redis.presence_store import RedisPresence


def test_who_keeps_presence_is_known_by_a_method() -> None:
    """A backbone's store would not be asked for, and each server would know its own people alone."""
    for backbone in (RedisStreams("redis://localhost"), RedisPubSub("redis://localhost")):
        assert isinstance(backbone, KeepsPresence)
        store: PresenceStore = backbone.presence_store()
        assert isinstance(store, RedisPresence)
    assert not isinstance(object(), KeepsPresence)


def test_a_store_may_answer_at_once() -> None:
    """A store in memory would cost each join a task."""
    store: PresenceStore = MemoryPresence(lambda *args: None)
    assert store.enter(PresenceTab("/", "r", "s", "ada"), "null", 10) is None
