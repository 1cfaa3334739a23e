"""An echo server for Autobahn's fuzzing client (``wstest``), on our handshake and our websockets.

``python -m tests.support.autobahn --port 9001`` serves requests directly, with ``--by-aiohttp`` by aiohttp's tasks. The
client runs on Python 2.7 alone::

    python2.7 -m virtualenv autobahn && autobahn/bin/pip install autobahntestsuite
    autobahn/bin/wstest --mode fuzzingclient --spec spec.json

or, where there is Docker, with ``spec.json`` in this folder::

    docker run --rm --network host -v "$PWD:/spec" crossbario/autobahn-testsuite \\
        wstest --mode fuzzingclient --spec /spec/spec.json

``spec.json`` has ``"cases": ["*"]`` and, in ``"servers"``, a ``"url"``: ``ws://127.0.0.1:9001/ws`` for plain
websockets, ``ws://127.0.0.1:9001/engine.io/?EIO=4&transport=websocket`` for those of Engine.IO.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp import web

from rtframework import Limits, Packet, PacketType, Server, Socket
from rtframework.engine import handshake
from rtframework.engine.connection import Connection
from rtframework.engine.engine_server import EngineServer
from rtframework.engine.frames import EncodedFrames
from rtframework.engine.versions import Version4
from rtframework.gateways.codec import WebSocketCodec
from rtframework.options import Deflate, EngineOptions
from tests.support.server import see

LARGEST = 2**25
"""Bytes of a message: Autobahn sends 16 MiB."""


class EchoConnection(Connection):
    """Sends messages back as they came, which are no packets of Engine.IO."""

    def take(self, packet: Any) -> Coroutine[Any, Any, None] | None:
        """Send a message back."""
        if not isinstance(packet, str | bytes):
            return super().take(packet)
        self.send(EncodedFrames([packet]))
        return None


class EchoVersion(Version4):
    """Engine.IO without its packets."""

    connection = EchoConnection


class Silent:
    """Hears of nothing."""

    def receive(self, message: str | bytes) -> None:
        """Is not called."""

    def ended(self, reason: str) -> None:
        """Do nothing."""


class EchoCodec(WebSocketCodec):
    """Plain websockets whose messages are events with one argument."""

    def decode(self, message: str | bytes) -> Packet:
        """Make an event of a message."""
        return Packet(PacketType.EVENT, data=["message", message])

    def encode(self, packet: Packet) -> str | bytes | None:
        """Make a message of an event."""
        return packet.data[1] if packet.type == PacketType.EVENT else None


def attach_plain(app: web.Application, limits: Limits) -> None:
    """Serve plain websockets under ``/ws``."""
    io = Server(ping_interval=3_600.0, per_message_deflate=Deflate(), limits=limits)

    @io.on("message")
    async def message(socket: Socket, message: Any) -> None:
        await socket.emit("message", message)

    io.attach_websocket(app, "/ws", codec=EchoCodec())


def make_app(*, by_aiohttp: bool) -> web.Application:
    """Make the application."""
    setattr(handshake, "frame_of", lambda packet: b"")  # noqa: B010 - the open packet, which no websocket expects
    limits = Limits(
        max_http_buffer_size=LARGEST,
        max_connect_size=LARGEST,
        max_outbox=4 * LARGEST,
        max_inbox=8 * LARGEST,
        max_inbound=32 * LARGEST,
    )
    engine = EngineServer(
        options=EngineOptions(
            ping_interval=3_600.0, connect_timeout=3_600.0, per_message_deflate=Deflate(), limits=limits
        ),
        make_handler=lambda connection, handshake: Silent(),
        logger=logging.getLogger("autobahn"),
        version=EchoVersion(),
    )
    app = web.Application(middlewares=[see] if by_aiohttp else [])
    engine.attach(app, "engine.io")
    attach_plain(app, limits)
    return app


def main(argv: Sequence[str]) -> int:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.autobahn")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--by-aiohttp", action="store_true", help="have aiohttp's tasks serve all requests")
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    given = parser.parse_args(argv)
    loop = None
    if given.uvloop:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(
        make_app(by_aiohttp=given.by_aiohttp),
        host="127.0.0.1",
        port=given.port,
        access_log=None,
        print=None,
        loop=loop,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
