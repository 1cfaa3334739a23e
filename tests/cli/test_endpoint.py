"""Where a server is, as it is written on a command line."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

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
