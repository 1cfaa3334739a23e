"""The client of the protocol that the user has chosen."""

from __future__ import annotations

import argparse

from rtframework.cli.connecting import connect
from rtframework.cli.endpoint import Endpoint, add_endpoint
from tests.conftest import Serve
from tests.gateways import application
from tests.support.echo_servers import JSON, our_server


async def test_each_protocol_has_its_client(serve: Serve) -> None:
    """``--ws`` would speak Socket.IO to a plain websocket."""
    server = await serve(application(our_server(JSON)))
    parser = argparse.ArgumentParser()
    add_endpoint(parser)
    seen = []
    for args in ((server.url,), ("--ws", f"{server.url}/ws")):
        async with connect(Endpoint.of(parser.parse_args(args))) as connection:
            seen.append((connection.transport, await connection.ask("echo", ["x"], 5.0), bool(connection.id)))
    assert seen == [("websocket", ["x"], True), ("plain websocket", ["x"], True)]
