"""The script of presence: what it leaves in Redis, and what it costs Redis."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Awaitable, Callable

import pytest

from rtframework_redis.errors import ReplyError
from rtframework_redis.presence_script import LEASE, RENEW, SCRIPT, SHA
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.plugins.rtframework_redis.test_presence_store import published, stores, tab

Start = Callable[..., Awaitable[RedisServer]]


def test_its_hash() -> None:
    """Redis would not know the script that it has loaded, at each call."""
    assert hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest() == SHA


def test_a_killed_server_is_noticed_in_20_seconds() -> None:
    """Its people would be ghosts for longer than is said."""
    assert LEASE + RENEW < 20


async def test_names_do_not_meet_in_keys(redis_server: Start) -> None:
    """Two rooms, or two users, would be one in Redis."""
    async with stores(await redis_server()) as (one,):
        pairs = list(itertools.product(("1", "1:1", "a b"), ("u", "u 1", "\n"), ("r", ":r", "")))
        for number, (sid, user, room) in enumerate(pairs):
            await one.store.enter(tab(f"{sid}{number}", user, f"room{room}"), "null", 10)
        for room in ("r", ":r", ""):
            found = await one.store.members("/", f"room{room}", 99, None)
            assert {each.user: each.tabs for each in found} == {"u": 3, "u 1": 3, "\n": 3}
        for number, (sid, user, room) in enumerate(pairs):
            await one.store.leave(tab(f"{sid}{number}", user, f"room{room}"))
        assert one.link is not None
        keys = [b"sio:presence:{s}:calls", b"sio:presence:{s}:nodes"]
        assert sorted(await one.link.send("KEYS", "sio:presence*")) == keys
        assert len(await published(one)) == 18


async def test_an_unknown_operation_changes_nothing(redis_server: Start) -> None:
    """A newer server in the fleet could break the older ones' lists."""
    async with stores(await redis_server()) as (one,):
        assert one.link is not None
        with pytest.raises(ReplyError, match="unknown operation"):
            await one.link.send("EVALSHA", SHA, 2, *one.keys, "x", "u", "XADD", 1, 1, 1, 1, "r", "s")
