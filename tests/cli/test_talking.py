"""`rtframework emit` and `rtframework listen`, against our server and Node's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Server, Socket
from rtframework.cli.values import parse_value
from tests.cli.servers import JSON, MSGPACK, node_server, our_server
from tests.conftest import Serve
from tests.support.cli import COMMAND, environment, rtframework, running
from tests.support.server import HOST, free_port


@dataclass(frozen=True)
class Peer:
    """A server to talk to."""

    url: str
    options: tuple[str, ...]
    """What says how it encodes."""


PARSERS = [
    pytest.param((whose, parser), id=f"{whose}-{parser}") for whose in ("ours", "node") for parser in (JSON, MSGPACK)
]
by = pytest.mark.parametrize("by", ["polling", "websocket"])


@pytest.fixture(params=PARSERS)
async def peer(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Peer]:
    """Our server and Node's, with either parser."""
    whose, parser = request.param
    async with contextlib.AsyncExitStack() as stack:
        if whose == "ours":
            url = (await serve(our_server(parser))).url
        else:
            url = await stack.enter_async_context(node_server(parser))
        yield Peer(url, ("--msgpack",) if parser == MSGPACK else ())


@pytest.fixture
async def url(serve: Serve) -> str:
    """Our server, with JSON."""
    return (await serve(our_server(JSON))).url


# --- emit -------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("target", "args", "namespace"),
    [
        ("{url}?color=blue", (), "/"),
        ("{url}/socket.io/", (), "/"),
        ("{place}/chat", (), "/chat"),
        ("ws://{place}/chat", ("-n", "/"), "/"),
        ("ws://{place}", ("--namespace", "chat"), "/chat"),
    ],
)
async def test_a_url_may_be_written_in_many_ways(url: str, target: str, args: tuple[str, ...], namespace: str) -> None:
    """What people copy from a page or a configuration would be an error."""
    written = target.format(url=url, place=url.removeprefix("http://"))
    done = await rtframework("emit", written, "who", "--ack", *args)
    assert json.loads(done.out)["nsp"] == namespace, done.err


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


async def test_another_path(serve: Serve) -> None:
    """Servers that are mounted elsewhere could not be reached."""
    app = web.Application()
    our_server(JSON).attach(app, "/live/io")
    server = await serve(app)
    done = await rtframework("emit", server.url, "echo", "1", "--ack", "--path", "/live/io/")
    assert done.lines == ["1"], done.err


@by
async def test_a_refusal_is_shown_with_its_data(peer: Peer, by: str) -> None:
    """One would have to guess why a server lets nobody in."""
    args = ("--auth", '{"token": "wrong"}', "--transport", by, *peer.options)
    done = await rtframework("emit", peer.url, "echo", *args)
    assert (done.code, done.out) == (1, "")
    assert done.complaint == 'rtframework emit: refused by namespace /: forbidden {"code": 403}'


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


async def test_an_unknown_namespace(peer: Peer) -> None:
    """A typo in the URL would look like a server that does not answer."""
    done = await rtframework("emit", f"{peer.url}/caht", "echo", *peer.options)
    assert (done.code, done.complaint) == (1, "rtframework emit: refused by namespace /caht: Invalid namespace")


@pytest.mark.parametrize("ack", [(), ("--ack",)], ids=["without ack", "with ack"])
async def test_an_event_that_is_too_large(peer: Peer, ack: tuple[str, ...]) -> None:
    """An event would be lost, and the command say that all is well, or wait for an answer."""
    args = ("echo", "--binary", "@-", "--transport", "polling", *ack, *peer.options)
    done = await rtframework("emit", peer.url, *args, stdin=bytes(1_500_000))
    assert (done.code, done.out) == (5, "")
    assert "what we sent is too large for the server (HTTP 413)" in done.complaint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e400", "1e400"),
        ("NaN", "NaN"),
        ("[1", "[1"),
        ("", ""),
        ("null", None),
        ("1.50", 1.5),
        ("[" * 100_000, "[" * 100_000),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_json_and_what_is_a_string(text: str, value: object) -> None:
    """Something that looks like JSON would be sent as something that no server can read."""
    assert parse_value(text) == value


async def test_no_answer(url: str) -> None:
    """A script would wait for ever."""
    done = await rtframework("emit", url, "silence", "--ack", "--timeout", "0.2")
    assert (done.code, done.complaint) == (4, 'rtframework emit: "silence" was not answered within 0.2 s')


async def test_a_connection_that_is_lost_before_the_answer(peer: Peer) -> None:
    """A script would wait for an answer that cannot come."""
    done = await rtframework("emit", peer.url, "leave", "--ack", *peer.options)
    assert (done.code, done.complaint) == (5, "rtframework emit: the connection was lost (io server disconnect)")


async def test_another_parser(peer: Peer) -> None:
    """Two parsers that do not fit look like a server that hangs up."""
    options = () if peer.options else ("--msgpack",)
    done = await rtframework("emit", peer.url, "echo", "--ack", *options)
    assert done.code == 3
    assert ("try with --msgpack" if peer.options else "try without --msgpack") in done.complaint


@by
async def test_nobody_there(by: str) -> None:
    """A traceback of three libraries says it less clearly."""
    port = free_port()
    done = await rtframework("emit", f"http://{HOST}:{port}", "x", "--transport", by)
    assert (done.code, done.out) == (3, "")
    assert done.complaint == f"rtframework emit: nobody answers at {HOST}:{port}: Connection refused"


async def page(request: web.Request) -> web.Response:
    """What is at a URL where no Socket.IO is."""
    status = {"nothing": 404, "door": 401, "page": 200, "broken": 500}[request.match_info["kind"]]
    return web.Response(text="<html>", content_type="text/html", status=status)


@by
@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/nothing", 3, "there is nothing at {url}/nothing/ (HTTP 404): see --path"),
        ("/door", 1, "refused by {url}/door/ (HTTP 401)"),
        ("/page", 3, "what answers at {url}/page/ is no Socket.IO server, or an old one"),
        ("/broken", 3, "{url}/broken/ does not let us in (HTTP 500)"),
    ],
)
async def test_no_socket_io_there(serve: Serve, by: str, path: str, code: int, says: str) -> None:
    """Who has mistaken the path would look for the mistake in the server."""
    app = web.Application()
    app.router.add_route("*", "/{kind}/", page)
    server = await serve(app)
    done = await rtframework("emit", server.url, "x", "--path", path, "--transport", by)
    assert (done.code, done.complaint) == (code, f"rtframework emit: {says.format(url=server.url)}")


async def test_what_a_server_says_when_it_refuses_a_request(serve: Serve) -> None:
    """The reason that the server gives would be swallowed."""
    server = await serve(Server(transports=["websocket"]))
    done = await rtframework("emit", server.url, "x", "--transport", "polling")
    assert done.code == 3
    assert done.complaint.endswith("does not let us in (HTTP 400): Transport unknown")


async def test_a_certificate_that_nobody_trusts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One would have to know how ssl's errors are to be read, and could not go on when one knows better."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    app = web.Application()
    our_server(JSON).attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0, ssl_context=context)
        await site.start()
        place = f"{HOST}:{runner.addresses[0][1]}"
        refused = await rtframework("emit", f"wss://{place}", "echo", "1", "--ack")
        assert refused.code == 3
        assert f"the certificate of {place} is not to be trusted: self-signed certificate" in refused.complaint
        for by in ("polling", "websocket"):
            args = ("echo", "1", "--ack", "--insecure", "--transport", by)
            accepted = await rtframework("emit", f"https://{place}", *args)
            assert accepted.lines == ["1"], accepted.err
        plain = await rtframework("emit", f"http://{place}", "echo")
        assert plain.code == 3
        assert "https" in plain.complaint
        assert not [each for each in caplog.records if each.levelname == "ERROR"], caplog.text
    finally:
        await runner.cleanup()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """One that is signed by itself, and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


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
        (("http://x", "e", "-x"), "rtframework emit: unrecognized arguments: -x"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], says: str) -> None:
    """A mistake in the command would be blamed on the server."""
    done = await rtframework("emit", *args)
    assert (done.code, done.out) == (2, "")
    assert says in done.err.splitlines()[0]


# --- listen -----------------------------------------------------------------------------------------------------------


@by
async def test_events_are_printed(peer: Peer, by: str) -> None:
    """What a server sends could not be watched from a terminal."""
    args = ("--emit", "dates", "--emit", "mirror", "1", "two", '{"a": []}', "--count", "2", "--transport", by)
    done = await rtframework("listen", peer.url, *args, *peer.options)
    assert done.code == 0, done.err
    date = '"1970-01-01T00:00:00+00:00"' if peer.options else done.lines[0].split(" ")[1]
    assert done.lines == [f"date {date} null", 'mirrored 1 "two" {"a": []}']
    assert f"by {by}, id " in done.complaint


async def test_events_as_json(url: str, tmp_path: Path) -> None:
    """Programs would have to take lines apart that are made for people."""
    args = ("--emit", "mirror", "two words", "--emit", "dates", "--json", "--count", "1")
    done = await rtframework("listen", url, "mirrored", *args)
    assert [json.loads(line) for line in done.lines] == [{"event": "mirrored", "args": ["two words"]}]


async def test_only_the_events_that_were_named(url: str) -> None:
    """What one waits for would drown in the rest."""
    done = await rtframework("listen", url, "bye", "--emit", "mirror", "1", "--emit", "leave")
    assert (done.code, done.lines) == (5, ["bye"])
    assert done.err.splitlines()[-1] == "rtframework listen: the connection was lost (io server disconnect)"


async def test_an_event_that_asks_is_answered_only_on_demand(peer: Peer) -> None:
    """Somebody who only watches would confirm what nobody has read."""
    silent = await rtframework("listen", peer.url, "--emit", "ask", "--timeout", "0.5", *peer.options)
    assert (silent.code, silent.lines) == (0, ['question "why?"'])
    answering = await rtframework("listen", peer.url, "--emit", "ask", "--ack", "42", "--count", "2", *peer.options)
    assert (answering.code, answering.lines) == (0, ['question "why?"', "answered 42"])


async def test_events_that_do_not_come(url: str) -> None:
    """A script that waits for events would wait for ever, or take none for some."""
    done = await rtframework("listen", url, "--emit", "mirror", "--count", "2", "--timeout", "0.5")
    assert (done.code, done.lines) == (4, ["mirrored"])
    assert done.err.splitlines()[-1] == "rtframework listen: 1 more did not come within 0.5 s"


@by
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_it_ends_quietly(url: str, by: str, how: signal.Signals) -> None:
    """Whoever has seen enough would see a traceback."""
    async with running("listen", url, "--transport", by, "--emit", "mirror") as listening:
        await listening.see("mirrored")  # before the process ends: each line is flushed
        code = await listening.end(how)
        assert code == (130 if how is signal.SIGINT else -signal.SIGTERM)
        assert len(listening.err) == 1, listening.printed


async def test_a_reader_that_has_gone(url: str) -> None:
    """`rtframework listen … | head -1` would end with a traceback, or not at all."""
    emits = ["--emit", "mirror", "1"] * 3
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "listen", url, *emits, env=environment(), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    os.close(read)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 141
    assert len(err.splitlines()) == 1, err.decode()


async def test_it_connects_again(serve: Serve) -> None:
    """A server that is deployed anew would end all who watch it."""
    server = await serve(lambda: attached(our_server(JSON)))
    async with running("listen", server.url, "--reconnect", "--emit", "mirror", "1", "--count", "2") as listening:
        await listening.see("mirrored 1")
        await server.kill()
        await listening.see("trying again", on="err")
        await server.start()
        assert await listening.wait() == 0, listening.printed
        assert listening.out == ["mirrored 1"] * 2


def attached(io: Server) -> web.Application:
    """An application that serves it."""
    app = web.Application()
    io.attach(app)
    return app
