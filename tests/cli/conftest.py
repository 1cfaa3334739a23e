"""What commands are given: servers to talk to, and a program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.contract import PROGRAM
from tests.support.echo_servers import JSON, MSGPACK, PARSERS, NodeServers, Peer, our_server


@pytest.fixture(scope="session")
def _node_servers() -> Iterator[NodeServers]:
    servers = NodeServers()
    yield servers
    servers.close()


@pytest.fixture(params=PARSERS)
async def peer(request: pytest.FixtureRequest, serve: Serve) -> Peer:
    """Our server and Node's, with either parser."""
    whose, parser = request.param
    if whose == "ours":
        url = (await serve(our_server(parser))).url
    else:
        servers: NodeServers = request.getfixturevalue("_node_servers")
        url = servers.urls[parser]
    return Peer(url, ("--msgpack",) if parser == MSGPACK else ())


@pytest.fixture
async def url(serve: Serve) -> str:
    """Our server, with JSON."""
    return (await serve(our_server(JSON))).url


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a program."""
    (tmp_path / "server.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path
