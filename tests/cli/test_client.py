"""The connection of `rtframework emit` and `rtframework listen`: what is said when there is none."""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rtframework import Server
from rtframework.cli.client import connect_socketio as connect
from rtframework.cli.endpoint import Endpoint, add_endpoint
from rtframework.cli.errors import Exit, Failure
from rtframework.cli.received import Received
from tests.conftest import Serve
from tests.support.cli import rtframework
from tests.support.echo_servers import JSON, MSGPACK, Peer, our_server
from tests.support.server import HOST, free_port

by = pytest.mark.parametrize("by", ["polling", "websocket"])


@by
async def test_a_refusal_is_shown_with_its_data(peer: Peer, by: str) -> None:
    """One would have to guess why a server lets nobody in."""
    args = ("--auth", '{"token": "wrong"}', "--transport", by, *peer.options)
    done = await rtframework("emit", peer.url, "echo", *args)
    assert (done.code, done.out) == (1, "")
    assert done.complaint == 'rtframework emit: refused by namespace /: forbidden {"code": 403}'


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


# --- the connection by itself -----------------------------------------------------------------------------------------


def endpoint(url: str, *args: str) -> Endpoint:
    """What a command would connect to."""
    parser = argparse.ArgumentParser()
    add_endpoint(parser)
    return Endpoint.of(parser.parse_args([url, *args]))


async def test_events_that_have_come_are_handed_out_before_the_end(url: str) -> None:
    """What a server says when it hangs up, which is why, would be lost."""
    async with connect(endpoint(url)) as connection:
        assert connection.id
        assert connection.transport in ("polling", "websocket")
        await connection.emit("mirror", [1, b"\x00"])
        await connection.emit("leave", [])
        await connection.lost
        assert await connection.next() == Received("mirrored", [1, b"\x00"], None)
        assert (await connection.next()).event == "bye"
        with pytest.raises(Failure, match="the connection was lost") as caught:
            await connection.next()
        assert caught.value.code == Exit.LOST


async def test_answers_go_both_ways(url: str) -> None:
    """A question of the server's could not be answered; or an answer be taken for that to another question."""
    async with connect(endpoint(url)) as connection:
        first, second = await asyncio.gather(
            connection.ask("echo", [1, "a"], 5),
            connection.ask("echo", [], 5),
        )
        assert (first, second) == ([1, "a"], [])
        await connection.emit("ask", [])
        question = await connection.next()
        assert (question.event, question.args) == ("question", ["why?"])
        await connection.answer(question, [42])
        assert (await connection.next()).args == [42]


async def test_an_answer_that_is_late(url: str) -> None:
    """A script would wait for ever, or the connection be of no use any more."""
    async with connect(endpoint(url)) as connection:
        with pytest.raises(Failure, match=r'"silence" was not answered within 0\.05 s') as caught:
            await connection.ask("silence", [], 0.05)
        assert caught.value.code == Exit.TIMED_OUT
        assert await connection.ask("echo", [2], 5) == [2]


@pytest.mark.parametrize("args", [(), ("--msgpack",)], ids=["json", "msgpack"])
async def test_what_cannot_be_sent_is_the_users_mistake(serve: Serve, args: tuple[str, ...]) -> None:
    """It would be blamed on the server."""
    server = await serve(our_server(MSGPACK if args else JSON))
    async with connect(endpoint(server.url, *args)) as connection:
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(Failure, match='"echo" cannot be sent: ') as caught:
            await connection.emit("echo", endless)
        assert caught.value.code == Exit.USAGE


async def test_a_server_that_does_not_answer() -> None:
    """A command would hang in front of a server that accepts connections and is stuck."""
    with socket.create_server((HOST, 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(Failure, match=r"it did not answer within 0\.2 s") as caught:
            async with connect(endpoint(f"{HOST}:{port}", "--connect-timeout", "0.2")):
                pass
    assert caught.value.code == Exit.UNREACHABLE
