"""Connecting and logging in: with every kind of server, and with clear errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rtframework_redis.address import Address
from rtframework_redis.errors import LinkRefused
from rtframework_redis.handshake import Former, connect, end_former
from rtframework_redis.link import Link, LinkOptions
from tests.plugins.rtframework_redis.conftest import HELLO, Fake, Peer, RedisServer, free_port, write_certificates
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]


async def open_link(url: str, *, seconds: float = 5, name: str = "test") -> Link:
    """Open a connection to a server of the test."""
    return await connect(Address.from_url(url), name=name, options=LinkOptions(connect_timeout=seconds))


async def refusal(url: str, *, seconds: float = 5) -> LinkRefused:
    """Return the error of an attempt that must fail."""
    with pytest.raises(LinkRefused) as caught:
        await open_link(url, seconds=seconds)
    return caught.value


async def test_a_connection_has_a_name_and_a_number(redis_server: Start) -> None:
    """An operator would not know whose connections these are, and a successor could not end the former one."""
    server = await redis_server()
    link = await open_link(server.url + "?client_name=mine")
    other = await open_link(f"redis://127.0.0.1:{server.port}/3")
    listed = bytes(await link.send("CLIENT", "LIST")).decode()
    assert link.name.startswith("mine#")
    assert f"id={link.client_id} " in listed
    assert f"name={link.name} " in listed
    assert other.name.startswith("test#")
    assert await other.send("SET", "a", 1) == b"OK"
    assert await link.send("GET", "a") is None  # the databases are 0 and 3
    await link.close()
    await other.close()


async def test_passwords_and_users(redis_server: Start) -> None:
    """Nobody could use a Redis that has a password, or would not learn what is wrong with it."""
    user = ("--user", "app", "on", ">word", "~*", "&*", "+@all", "-client|id")
    server = await redis_server("--requirepass", "secret", *user)
    place = f"127.0.0.1:{server.port}"
    for login, number in (("default:secret@", True), (":secret@", True), ("app:word@", False)):
        link = await open_link(f"redis://{login}{place}")
        assert (link.resp3, link.client_id is not None) == (True, number)
        await link.close()
        old = await open_link(f"redis://{login}{place}?protocol=2")
        assert await old.send("INCR", "a")
        assert not old.resp3
        await old.close()
    wrong = await refusal(f"redis://app:wrong@{place}/0")
    assert str(wrong).startswith(f"redis://app@{place}/0 refused: WRONGPASS")
    assert wrong.code == "WRONGPASS"
    assert "wrong" not in str(wrong)
    assert (await refusal(f"redis://{place}/0")).code == "NOAUTH"
    assert (await refusal(f"redis://{place}/0?protocol=2")).code == "NOAUTH"
    assert (await refusal(f"redis://:secret@{place}/99")).code == "ERR"  # no such database


@pytest.mark.parametrize("error", [b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'u' 'secret'"])
async def test_a_redis_without_hello(fake_server: Fake, error: bytes) -> None:
    """Old servers, and some that only resemble Redis, could not be used."""
    server = await fake_server({b"HELLO": error + b"\r\n", b"AUTH": b"+OK\r\n"})
    link = await open_link(f"redis://u:secret@127.0.0.1:{server.port}/2")
    assert not link.resp3
    assert server.peers[0].received[1] == [b"AUTH", b"u", b"secret"]
    assert [b"SELECT", b"2"] in server.peers[0].received
    await link.close()


async def test_an_error_that_repeats_the_password(fake_server: Fake) -> None:
    """Redis 5 repeats what it does not understand: the password would stand in the log."""
    error = b"-ERR unknown command `AUTH`, with args beginning with: `u`, `secret`, \r\n"
    server = await fake_server({b"HELLO": error, b"AUTH": error})
    assert "`u`, `***`" in str(await refusal(f"redis://u:secret@127.0.0.1:{server.port}/2"))


async def test_nobody_listens(tmp_path: Path) -> None:
    """The message would not say what could not be reached."""
    port = free_port()
    assert str(await refusal(f"redis://:secret@127.0.0.1:{port}")).startswith(f"redis://127.0.0.1:{port}/0: ")
    assert "No such file" in str(await refusal(f"unix://{tmp_path}/none.sock"))


async def test_a_slow_hello(fake_server: Fake) -> None:
    """A server that accepts and says nothing would hold the start for ever."""

    async def wait(peer: Peer, command: list[bytes]) -> bytes:
        await asyncio.sleep(0.2)
        return HELLO

    server = await fake_server({b"HELLO": wait})
    link = await open_link(server.url)
    await link.close()
    assert str(await refusal(server.url, seconds=0.05)) == f"{server.url} did not answer within 0.05 s"
    short = await refusal(server.url + "?socket_connect_timeout=0.05")
    assert "within 0.05 s" in str(short)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", b"%1\r\n*0\r\n:1\r\n"])
async def test_something_else_listens_there(fake_server: Fake, answer: bytes) -> None:
    """A wrong port would look as if Redis were broken."""
    server = await fake_server({b"HELLO": answer})
    assert server.url in str(await refusal(server.url))


async def test_a_connection_that_ends_at_once(fake_server: Fake) -> None:
    """A Redis with too many clients would hold the start until the time is up."""

    def hang_up(peer: Peer, command: list[bytes]) -> bytes:
        peer.write(b"-ERR max number of clients reached\r\n")
        peer.writer.transport.close()
        return b""

    server = await fake_server({b"HELLO": hang_up})
    assert server.url in str(await refusal(server.url))


async def test_a_redis_that_loads_its_data_is_not_there_yet(fake_server: Fake) -> None:
    """Servers would take it for ready and lose what they write."""
    server = await fake_server({b"PING": b"-LOADING Redis is loading the dataset in memory\r\n"})
    assert (await refusal(server.url)).code == "LOADING"


async def test_a_replica_is_refused_where_a_master_must_be(fake_server: Fake) -> None:
    """After a failover a server could go on with the former master, whose writes are thrown away."""
    server = await fake_server({b"HELLO": HELLO.replace(b"$6\r\nmaster", b"$5\r\nslave")})
    address = Address.from_url(server.url)
    with pytest.raises(LinkRefused, match="is a replica"):
        await connect(replace(address, must_be_master=True))
    link = await connect(address)
    assert link.role == "replica"
    await link.close()


async def test_a_cancelled_attempt_leaves_nothing(fake_server: Fake) -> None:
    """A server that is stopped while Redis hangs would keep a connection."""
    server = await fake_server({b"HELLO": b""})
    attempt = asyncio.create_task(open_link(server.url))
    await until(lambda: server.peers and server.peers[0].received)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await until(lambda: server.peers[0].reader.at_eof() or server.peers[0].reader.exception())


async def test_tls(redis_server: Start, tmp_path: Path) -> None:
    """Passwords and events would cross the network in the clear, or to whoever answers."""
    certificate, key = write_certificates(tmp_path)
    port = free_port()
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    server = await redis_server("--tls-port", str(port), *files)
    url = f"rediss://127.0.0.1:{port}"
    mutual = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
    link = await open_link(f"{url}?{mutual}")
    value = bytes(3_000_000)
    assert await link.send("SET", "a", value) == b"OK"
    assert await link.send("GET", "a") == value
    await link.close()
    plain = url.replace(str(port), str(server.port))
    assert "did not answer" in str(await refusal(f"{plain}?{mutual}", seconds=0.2))
    assert "certificate" in str(await refusal(url)).lower()  # nobody we trust has signed it
    await refusal(f"{url}?ssl_ca_certs={certificate}")  # it wants ours


async def test_tls_with_a_server_that_hangs(fake_server: Fake, tmp_path: Path) -> None:
    """Closing would wait half a minute for the other side's last word."""
    certificate, key = write_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await fake_server({}, tls=context)
    link = await open_link(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={certificate}")
    await asyncio.wait_for(link.close(), 5)


async def test_the_former_connection_is_ended(redis_server: Start) -> None:
    """What it has written could still be executed, behind what its successor writes."""
    server = await redis_server()
    former, link, bystander = [await open_link(server.url) for _ in range(3)]
    assert former.client_id is not None
    assert bystander.client_id is not None
    assert await end_former(link, Former("", former.client_id, former.name))
    assert "closed" in str(await asyncio.wait_for(former.lost, 5))
    assert await end_former(link, Former("", former.client_id, former.name))  # it has ended
    # After a restart the number is somebody else's.
    assert await end_former(link, Former("", bystander.client_id, former.name))
    assert await bystander.send("PING") == b"PONG"
    await link.send("ACL", "SETUSER", "default", "-client|list")
    assert not await end_former(link, Former("", bystander.client_id, bystander.name))
    for each in (former, link, bystander):
        await each.close()
