"""A connection that blocks: logging in, replies, deadlines, and what is known when it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rtframework_redis.address import Address
from rtframework_redis.blocking_link import BlockingLink
from rtframework_redis.errors import LinkLost, LinkRefused, ReplyError
from rtframework_redis.link import wall_time
from tests.plugins.rtframework_redis.conftest import Fake, RedisServer, free_port, write_certificates

Start = Callable[..., Awaitable[RedisServer]]


def soon(seconds: float = 5.0) -> float:
    """Return a deadline."""
    return wall_time() + seconds


async def open_link(url: str, **options: Any) -> BlockingLink:
    """Connect, in a thread."""
    return await asyncio.to_thread(BlockingLink, Address.from_url(url), soon(), **options)


async def test_commands_are_answered(redis_server: Start) -> None:
    """Nothing could be sent."""
    redis = await redis_server()
    for url in (redis.url.replace("/0", "/3"), redis.unix_url.replace("db=0", "db=3")):
        link = await open_link(url, name="test")
        assert await asyncio.to_thread(link.command, soon(), "SET", "key", "x" * 200_000) == b"OK"
        assert len(await asyncio.to_thread(link.command, soon(), "GET", "key")) == 200_000
        info = await asyncio.to_thread(link.command, soon(), "CLIENT", "INFO")
        assert b" db=3 " in info
        assert b" name=test#" in info
        with pytest.raises(ReplyError) as caught:
            await asyncio.to_thread(link.command, soon(), "XADD", "key", "*", "a", "b")
        assert caught.value.code == "WRONGTYPE"
        link.close()


async def test_a_redis_without_a_password_takes_any(redis_server: Start) -> None:
    """A worker could not log in where the server does, with the same address."""
    redis = await redis_server()
    link = await open_link(redis.url.replace("//", "//:secret@"))
    assert await asyncio.to_thread(link.command, soon(), "PING") == b"PONG"
    link.close()


async def test_redis_before_6_gets_a_password_alone(fake_server: Fake) -> None:
    """A worker could not log in to a Redis that knows no users."""
    heard: list[list[bytes]] = []

    def log_in(peer: object, command: list[bytes]) -> bytes:
        heard.append(command)
        return b"+OK\r\n" if len(command) == 2 else b"-ERR wrong number of arguments for 'auth' command\r\n"

    redis = await fake_server({b"AUTH": log_in})
    (await open_link(redis.url.replace("//", "//:secret@"))).close()
    assert heard[-1] == [b"AUTH", b"secret"]


async def test_passwords_are_sent_and_not_told(redis_server: Start) -> None:
    """A worker could not log in; or its password would be in the log."""
    redis = await redis_server("--requirepass", "secret")
    link = await open_link(redis.url.replace("//", "//:secret@"))
    await asyncio.to_thread(link.command, soon(), "ACL", "SETUSER", "ada", "on", ">byron", "~*", "+@all")
    link.close()
    for login in (":secret", "default:secret", "ada:byron"):
        (await open_link(redis.url.replace("//", f"//{login}@"))).close()
    for login, code in ((":wrong-one", "WRONGPASS"), ("", "NOAUTH")):
        with pytest.raises(LinkRefused) as caught:
            await open_link(redis.url.replace("//", f"//{login}@" if login else "//"))
        assert caught.value.code == code
        assert "wrong-one" not in str(caught.value)


async def test_an_address_where_nobody_is_is_named() -> None:
    """A wrong address would be looked for in the program."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(LinkRefused, match=f"{url}: Connection refused"):
        await open_link(url)
    with pytest.raises(LinkRefused, match="unix:///nowhere"):
        await open_link("unix:///nowhere.sock")


async def test_what_ends_says_if_it_was_written(fake_server: Fake) -> None:
    """A command would be repeated that was executed."""

    def hang_up(peer: Any, command: list[bytes]) -> None:
        peer.writer.transport.abort()

    server = await fake_server({b"END": hang_up, b"RUBBISH": b"?\r\n"})
    for command in ("END", "RUBBISH"):
        link = await open_link(server.url)
        with pytest.raises(LinkLost) as caught:
            await asyncio.to_thread(link.command, soon(), command)
        assert caught.value.written
        with pytest.raises(LinkLost) as caught:
            await asyncio.to_thread(link.command, soon(), "PING")
        link.close()


async def test_silence_ends_at_the_deadline(fake_server: Fake) -> None:
    """A page would load for ever."""
    server = await fake_server({})
    link = await open_link(server.url)
    with pytest.raises(LinkLost, match="did not answer in time") as caught:
        await asyncio.to_thread(link.command, soon(0.1), "XADD")
    assert caught.value.written
    link = await open_link(server.url)
    with pytest.raises(LinkLost) as caught:
        await asyncio.to_thread(link.command, soon(-1), "PING")
    assert not caught.value.written
    mute = await fake_server({b"PING": None})
    with pytest.raises(LinkRefused, match="did not answer in time"):
        await asyncio.to_thread(BlockingLink, Address.from_url(mute.url), soon(0.1))


async def test_a_lost_connection_is_ended(redis_server: Start, fake_server: Fake) -> None:
    """Redis could execute later what was sent again already."""
    redis = await redis_server()
    lost, link = await open_link(redis.url), await open_link(redis.url)
    assert await asyncio.to_thread(link.end, lost.former, soon())
    with pytest.raises(LinkLost):
        await asyncio.to_thread(lost.command, soon(), "PING")
    assert await asyncio.to_thread(link.end, lost.former, soon())
    assert not await asyncio.to_thread(link.end, None, soon())
    elsewhere = await fake_server({b"CLIENT": b"-NOPERM no\r\n"})
    other = await open_link(elsewhere.url)
    assert other.former is None
    assert not await asyncio.to_thread(other.end, lost.former, soon())
    for each in (link, other):
        each.close()


async def test_a_replica_is_refused(fake_server: Fake) -> None:
    """After a failover, a worker would write to a server that takes nothing."""
    server = await fake_server({b"ROLE": b"*1\r\n$5\r\nslave\r\n"})
    address = Address(host="127.0.0.1", port=server.port, must_be_master=True)
    with pytest.raises(LinkRefused, match="is a replica"):
        await asyncio.to_thread(BlockingLink, address, soon())


async def test_a_slot_that_is_being_moved_is_asked_for(fake_server: Fake) -> None:
    """While a Cluster is resharded, nothing could be sent."""
    server = await fake_server({b"ASKING": b"+OK\r\n"})
    link = await asyncio.to_thread(BlockingLink, Address(host="127.0.0.1", port=server.port, asking=True), soon())
    await asyncio.to_thread(link.command, soon(), "PING")
    assert [each[0] for each in server.peers[0].received[-2:]] == [b"ASKING", b"PING"]
    link.close()


async def test_tls(fake_server: Fake, tmp_path: Path) -> None:
    """Redis in a cloud could not be reached, or be anybody's."""
    certificate, key = write_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await fake_server(tls=context)
    url = server.url.replace("redis://", "rediss://")
    link = await open_link(f"{url}?ssl_ca_certs={certificate}")
    assert await asyncio.to_thread(link.command, soon(), "PING") == b"PONG"
    link.close()
    with pytest.raises(LinkRefused, match="certificate"):
        await open_link(url)
