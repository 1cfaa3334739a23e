"""What a client has missed, read again from the stream."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from rtframework.protocols import Session
from rtframework_redis.stream_recovery import missed_frames, read_since
from rtframework_redis.stream_sessions import Kept
from rtframework_redis.streams_adapter import StreamsAdapter
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer

Found = tuple[Cluster, RedisServer]


def event(name: str, *, rooms: list[str] | None = None, **more: Any) -> list[bytes]:
    """Make the fields of an entry with an event."""
    opts = {"rooms": rooms or [], "except": more.pop("except_", []), "flags": more.pop("flags", {})}
    packet = {"type": 2, "data": [name], **more.pop("packet", {})}
    data = msgspec.json.encode({"packet": packet, "opts": opts, **more.pop("data", {})})
    fields = {"uid": "other", "nsp": "/", "type": "3", "data": data, **more}
    return [part if isinstance(part, bytes) else str(part).encode() for pair in fields.items() for part in pair]


async def test_only_what_was_for_the_client_is_missed(cluster: Found) -> None:
    """A client would get what it was not to see, or miss what was for it."""
    servers, _ = cluster
    io, _, _ = await servers.server()
    adapter = io.of("/").adapter
    assert isinstance(adapter, StreamsAdapter)
    kept = Kept(b"", Session("sid", "pid", frozenset({"sid", "red"}), {}), False, None, {"red": "5-0"})
    entries: list[Any] = [
        [b"1-0", event("all")],
        [b"5-0", event("to red before it came", rooms=["red"])],
        [b"6-0", event("to red", rooms=["red", "blue"])],
        [b"7-0", event("to blue", rooms=["blue"])],
        [b"8-0", event("to itself", rooms=["sid"])],
        [b"9-0", event("but not red", except_=["red"])],
        [b"10-0", event("volatile", flags={"volatile": True})],
        [b"11-0", event("asks", data={"requestId": "1"})],
        [b"12-0", event("asks alone", packet={"id": 0})],
        [b"13-0", event("elsewhere", nsp="/other")],
        [b"14-0", event("no event", type="4")],
        [b"15-0", [b"rubbish", b""]],
        [b"16-0", event("once", m="0")],
        [b"17-0", event("once", m="0", a="1")],
        [b"18-0", event("rubbish", data={"opts": 1})],
        [b"19-0", event("number", rooms=[7])],  # type: ignore[list-item]
    ]
    found = missed_frames(adapter, kept, entries)
    assert found is not None
    texts = [frames.polling for frames in found]
    assert texts == [
        '42["all","1-0"]',
        '42["to red","6-0"]',
        '42["to itself","8-0"]',
        '42["once","16-0"]',
    ]
    gap: list[Any] = [[b"20-0", [*event("gap", type="2"), b"gap", b"1-0@x"]]]
    assert missed_frames(adapter, kept, [*entries, *gap]) is None


async def test_pages_reach_a_position_that_moves_on(cluster: Found) -> None:
    """What comes during a recovery would be lost, or come twice."""
    servers, _ = cluster
    _, _, streams = await servers.server()
    link = await streams.writer.link()
    ids = await asyncio.gather(*(link.send("XADD", "pages", "*", "n", str(number)) for number in range(1200)))
    positions = iter([ids[700].decode(), ids[1100].decode(), ids[1100].decode()])
    found = await read_since(link, "pages", ids[0].decode(), lambda: next(positions))
    assert found is not None
    assert [each[0] for each in found] == ids[1:1101]
    await link.send("XTRIM", "pages", "MAXLEN", 100)
    assert await read_since(link, "pages", ids[0].decode(), lambda: "1-0") is None
    await link.send("DEL", "pages")
    assert await read_since(link, "pages", ids[1199].decode(), lambda: "1-0") is None
