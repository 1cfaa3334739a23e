"""`rtframework emit`, against our server and Node's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rtframework import ConnectionRefused, Event, Server, Socket
from rtframework.cli.main import main
from rtframework.protocols import CallNext
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cli import rtframework
from tests.support.cluster.clients import light_clients
from tests.support.cluster.needs import needs
from tests.support.cluster.processes import lasting_port
from tests.support.cluster.redis_server import running_redis
from tests.support.echo_servers import Peer

by = pytest.mark.parametrize("by", ["polling", "websocket"])


@by
async def test_the_answer_is_printed(peer: Peer, by: str, tmp_path: Path) -> None:
    """Who asks a server from a terminal would not see what it says, or not all of it."""
    (tmp_path / "data.bin").write_bytes(b"\x00\x01\xff")
    args = ("echo", "hello", "-1", '{"a": [null, "ü"]}', '"1"', "--binary", f"@{tmp_path / 'data.bin'}")
    done = await rtframework("emit", peer.url, *args, "--ack", "--json", "--transport", by, *peer.options)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == ["hello", -1, {"a": [None, "ü"]}, "1", {"$base64": "AAH/"}]


async def test_an_answer_is_a_line_for_each_value(url: str) -> None:
    """Output that people read would be one long list, and full of base64."""
    done = await rtframework("emit", url, "echo", "--ack", "hello", "2", "--binary", "@-", stdin=b"12345")
    assert done.lines == ['"hello"', "2", '"<5 bytes>"']


@by
async def test_all_that_is_shown_at_the_door_arrives(peer: Peer, by: str, tmp_path: Path) -> None:
    """A server that asks for a token, a header or a parameter could not be talked to."""
    (tmp_path / "auth.json").write_text('{"token": "right"}')
    shown = ("--auth", f"@{tmp_path / 'auth.json'}", "-H", "X-Test: 7", "--query", "color=red", "--transport", by)
    done = await rtframework("emit", f"{peer.url}/chat", "who", "--ack", *shown, *peer.options)
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"nsp": "/chat", "auth": {"token": "right"}, "header": "7", "query": "red"}


@by
async def test_an_event_without_an_answer_arrives(serve: Serve, by: str) -> None:
    """The connection would be closed before the event has left."""
    come: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    io = Server()

    @io.on("news")
    async def news(socket: Socket, text: str) -> None:
        come.set_result(text)

    server = await serve(io)
    done = await rtframework("emit", server.url, "news", "hi", "--transport", by)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert await asyncio.wait_for(come, 5) == "hi"


async def test_a_number_and_its_string_are_one_event(peer: Peer) -> None:
    """Ours would serve another handler than Node does, or none."""
    for written, answer in (("1", "one"), ('"1"', "one"), ("2", "two"), ('"2"', "two")):
        done = await rtframework("emit", peer.url, written, "--ack", *peer.options)
        assert (done.code, done.lines) == (0, [json.dumps(answer)]), done.err


async def test_digits_are_a_number(serve: Serve) -> None:
    """A server whose events are numbers could not be talked to, or one that takes strings alone."""
    io = Server()

    @io.use_event
    async def name_of(socket: Socket, event: Event, call_next: CallNext) -> str | int:
        return event.name

    url = (await serve(io)).url
    for written, name in (("1", 1), ("0", 0), ('"1"', "1"), ("01", "01"), ('"a"', '"a"'), (str(2**53), str(2**53))):
        done = await rtframework("emit", url, written, "--ack")
        assert (done.code, json.loads(done.out)) == (0, name), done.err


async def test_what_a_server_says_stays_in_its_line(serve: Serve) -> None:
    """A server could move the cursor of who talks to it, or feign lines of the command's own."""
    io = Server()

    @io.use
    async def refuse(socket: Socket, call_next: Callable[[], Awaitable[None]]) -> None:
        if socket.handshake.auth:
            raise ConnectionRefused("no\nway\x1b[2J")
        await call_next()

    @io.on("echo")
    async def echo(socket: Socket) -> tuple[str, str]:
        return "\x9b2J\x7f", "a\u2028b"

    url = (await serve(io)).url
    done = await rtframework("emit", url, "x", "--auth", '{"a": 1}')
    assert done.complaint == 'rtframework emit: refused by namespace /: "no\\nway\\u001b[2J"'
    done = await rtframework("emit", url, "echo", "--ack")
    assert done.out == '"\\u009b2J\\u007f"\n"a\\u2028b"\n'


async def test_no_answer(url: str) -> None:
    """A script would wait for ever."""
    done = await rtframework("emit", url, "silence", "--ack", "--timeout", "0.2")
    assert (done.code, done.complaint) == (4, 'rtframework emit: "silence" was not answered within 0.2 s')


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("ftp://x", "e"), "ftp://x is no URL of a server"),
        (("http://x:99999", "e"), "http://x:99999 is no URL of a server"),
        (("http://x", "connect"), '"connect" can be no event'),
        (("http://x", "e", "--auth", "{"), "--auth is no JSON"),
        (("http://x", "e", "--auth", "[1]"), "--auth has to be a JSON object"),
        (("http://x", "e", "--auth", "@nowhere.json"), "nowhere.json cannot be read: No such file"),
        (("http://x", "e", "-H", "no header"), "'no header' is no header"),
        (("http://x", "e", "--query", "nothing"), "'nothing' is no parameter"),
        (("http://x", "e", "--timeout", "soon"), "'soon' is no number of seconds"),
        (("http://x",), "the following arguments are required: EVENT"),
        ((), "the following arguments are required: URL, EVENT"),
        (("--redis", "redis://x"), "the following arguments are required: EVENT"),
        (("--redis", "redis://x", "connect"), '"connect" can be no event'),
        (("--redis", "http://x", "e"), "http://x"),
        (("--redis", "redis://x", "e", "--ack"), "--ack cannot be used with --redis"),
        (("--redis", "redis://x", "e", "-H", "a: b"), "--header cannot be used with --redis"),
        (("--redis", "redis://x", "e", "-n", "a,b"), "the name of a namespace"),
        (("--redis", "redis://x", "e", "--adapter", "kafka"), "invalid choice: 'kafka'"),
        (("http://x", "e", "--to", "red"), "--to is for --redis only"),
        (("http://x", "e", "--except", "red"), "--except is for --redis only"),
        (("redis://x", "e"), "write --redis redis://x"),
        (("http://x", "e", "-x"), "rtframework emit: unrecognized arguments: -x"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], says: str) -> None:
    """A mistake in the command would be blamed on the server."""
    done = await rtframework("emit", *args)
    assert (done.code, done.out) == (2, ""), done.err
    assert says in done.err.splitlines()[0]


@needs("redis-server")
async def test_the_clients_of_all_servers_get_it(serve: Serve, tmp_path: Path) -> None:
    """A cron job in a shell would have to be a client, with a token, that a server listens to."""
    (tmp_path / "data.bin").write_bytes(b"\x00\xff")
    async with running_redis() as redis, light_clients() as clients:
        found = {}
        for room in ("red", "blue"):
            io = Server(adapter=RedisStreams(redis.url))

            @io.of("/chat").on("join")
            async def join(socket: Socket, room: str) -> None:
                await socket.join(room)

            found[room] = await clients.connect((await serve(io)).url, nsp="/chat")
            await found[room].emit_with_ack("join", room)
        emit = ("emit", "--redis", redis.url, "-n", "chat")
        binary = ("--binary", f"@{tmp_path / 'data.bin'}")
        for args in (
            ("--to", "red", "news", "-1", '{"a": "ü"}', '"1"', "one", *binary),
            ("news", "--except", "red"),
            ("news", "--to", "red", "--to", "blue", "both"),
            ("--adapter", "pubsub", "end"),
        ):
            done = await rtframework(*emit, *args)
            assert (done.code, done.out, done.err) == (0, "", "")
        for client in found.values():
            await client.wait_for("end")
        assert found["red"].received("news") == [[-1, {"a": "ü"}, "1", "one", b"\x00\xff"], ["both"]]
        assert found["blue"].received("news") == [[], ["both"]]
        await redis.set_maxmemory(1)
        done = await rtframework(*emit, "news")
        assert (done.code, "nobody: Redis refused it: OOM" in done.complaint) == (1, True)
    done = await rtframework(*emit, "news")
    assert (done.code, done.out) == (3, "")
    assert done.complaint.startswith(f"rtframework emit: Redis cannot be reached: {redis.url}")


async def test_a_redis_that_refuses_or_is_silent() -> None:
    """A script could not tell a wrong password from a server that is down, or send twice what has arrived."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"AUTH" in data:
                writer.write(b"-WRONGPASS no\r\n")
            elif b"XREVRANGE" in data:
                writer.write(b"*0\r\n")
            elif b"XADD" not in data:
                writer.write(b":1\r\n")
        writer.close()

    port = lasting_port()
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        done = await rtframework("emit", "--redis", f"redis://:secret@127.0.0.1:{port}", "news")
        assert (done.code, "WRONGPASS" in done.complaint, "secret" in done.err) == (1, True, False)
        done = await rtframework("emit", "--redis", f"redis://127.0.0.1:{port}", "news", "--connect-timeout", "1")
        assert (done.code, "it is not known whether" in done.complaint) == (5, True)


async def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Who has not installed it would see a traceback."""
    monkeypatch.setitem(sys.modules, "rtframework_redis", None)
    assert main(["emit", "--redis", "redis://localhost", "news"]) == 1
    assert capsys.readouterr().err == (
        "rtframework emit: --redis needs rtframework_redis: pip install 'rtframework[redis]'\n"
    )
