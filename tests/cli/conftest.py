"""What commands are given: servers to talk to, and a program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.contract import PROGRAM
from tests.support.echo_servers import JSON, MSGPACK, PARSERS, Peer, node_server, our_server


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


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a program."""
    (tmp_path / "server.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path
