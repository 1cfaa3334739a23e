"""Where a server is, as it is written on a command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from aiohttp import web

from rtframework.cli.endpoint import Endpoint, add_endpoint
from rtframework.cli.errors import Exit, Failure
from tests.conftest import Serve
from tests.support.cli import rtframework
from tests.support.echo_servers import JSON, our_server


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


async def test_another_path(serve: Serve) -> None:
    """Servers that are mounted elsewhere could not be reached."""
    app = web.Application()
    our_server(JSON).attach(app, "/live/io")
    server = await serve(app)
    done = await rtframework("emit", server.url, "echo", "1", "--ack", "--path", "/live/io/")
    assert done.lines == ["1"], done.err


def endpoint(*args: str) -> Endpoint:
    """What the arguments of a command name."""
    parser = argparse.ArgumentParser()
    add_endpoint(parser)
    return Endpoint.of(parser.parse_args(args))


@pytest.mark.parametrize(
    ("written", "url", "namespace"),
    [
        ("localhost:8080", "http://localhost:8080", "/"),
        ("http://localhost", "http://localhost", "/"),
        ("https://example.org/", "https://example.org", "/"),
        ("wss://example.org/chat", "https://example.org", "/chat"),
        ("ws://example.org/a/b/", "http://example.org", "/a/b"),
        ("http://x/socket.io/", "http://x", "/"),
        ("http://x/chat?color=red&empty=", "http://x?color=red&empty=", "/chat"),
        ("http://[::1]:8080/chat", "http://[::1]:8080", "/chat"),
        ("http://ada:secret@x:1/chat", "http://ada:secret@x:1", "/chat"),
    ],
)
def test_a_url_is_taken_apart(written: str, url: str, namespace: str) -> None:
    """The path of a URL is the namespace, as with ``io(url)`` in JavaScript; people would be sent to another one."""
    found = endpoint(written)
    assert (found.url, found.namespace) == (url, namespace)


@pytest.mark.parametrize(
    ("args", "namespace"),
    [
        (("x/chat", "-n", "/"), "/"),
        (("x/chat", "-n", "admin"), "/admin"),
        (("x", "--namespace", "/a/b"), "/a/b"),
        (("x/live/io", "--path", "live/io/"), "/"),
        (("x/socket.io", "--path", "/live/io"), "/socket.io"),
    ],
)
def test_a_namespace_that_is_said_counts(args: tuple[str, ...], namespace: str) -> None:
    """A namespace whose name is not the path of the URL could not be reached."""
    assert endpoint(*args).namespace == namespace


def test_what_is_shown_to_people_has_no_password() -> None:
    """A password in the URL would stand in every message, and so in logs of jobs."""
    found = endpoint("https://ada:secret@x:1/chat", "--path", "/live/")
    assert (found.place, found.resource, found.is_secure) == ("x:1", "https://x:1/live/", True)
    assert "secret" not in found.resource


def test_everything_that_is_given_is_there(tmp_path: Path) -> None:
    """An option would be accepted and do nothing."""
    file = tmp_path / "auth.json"
    file.write_text('{"a": 1}')
    found = endpoint(
        *("x?a=1", "--query", "b=2=3", "--query", "a=", "-H", "X-One: 1", "-H", "X-Two:a: b "),
        *("--auth", f"@{file}", "--transport", "polling", "--msgpack", "--insecure", "--connect-timeout", "2", "-v"),
    )
    assert found.url == "http://x?a=1&b=2%3D3&a="
    assert found.headers == {"X-One": "1", "X-Two": "a: b"}
    assert (found.auth, found.transports) == ({"a": 1}, ("polling",))
    assert (found.msgpack, found.insecure, found.timeout, found.verbose) == (True, True, 2.0, True)


def test_what_is_not_given() -> None:
    """A server would be asked in another way than a browser asks it."""
    found = endpoint("x")
    assert (found.path, found.headers, found.auth) == ("/socket.io", {}, None)
    assert found.transports == ("polling", "websocket")
    assert (found.msgpack, found.insecure, found.timeout, found.verbose) == (False, False, 10.0, False)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("ftp://x",), "ftp://x is no URL of a server"),
        (("http://",), "http:// is no URL of a server"),
        (("http://x:0",), "is no URL of a server"),
        (("http://x:99999",), "is no URL of a server"),
        (("http://x:port",), "is no URL of a server"),
        (("http://[::1",), "is no URL of a server"),
        (("x", "-H", "no header"), "'no header' is no header: write 'Name: value'"),
        (("x", "-H", ": value"), "is no header"),
        (("x", "-H", "a: b\r\nc: d"), "is no header"),
        (("x", "--query", "nothing"), "'nothing' is no parameter of a query"),
        (("x", "--query", "=1"), "is no parameter of a query"),
        (("x", "--auth", "[]"), "--auth has to be a JSON object"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(args: tuple[str, ...], says: str) -> None:
    """A mistake in the command would be blamed on the server, or let somebody add headers."""
    with pytest.raises(Failure) as caught:
        endpoint(*args)
    assert says in str(caught.value)
    assert caught.value.code == Exit.USAGE
