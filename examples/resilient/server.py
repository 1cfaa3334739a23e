"""A connection that lasts: a backup host, a sleeping laptop, all tabs on one connection, tokens that run out, kicks.

::

    python examples/resilient/server.py        # then open http://127.0.0.1:8088

The server is reached at two hosts. The main one is a relay, which stands here for a data centre and may fail: with
``kill -USR1`` it is away for 30 seconds. The page has the client package of ``clients/js``, and tells what it does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from rtframework import (
    AckTimeout,
    ConnectionRefused,
    Disconnected,
    DisconnectReason,
    Handshake,
    Identity,
    Presence,
    Server,
    Socket,
)

LIFETIME = 60.0
"""Seconds that a token is good."""
AHEAD = 15.0
"""Seconds before its end that a client is asked for another."""
OUTAGE = 30.0
"""Seconds that the main host is away."""


class Tokens:
    """The tokens that were given, in memory, and who was thrown out: stands here for a session store or a JWT."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, float]] = {}
        self._revoked: dict[str, str] = {}

    def issue(self, name: str) -> str:
        """Make a token for somebody."""
        token = secrets.token_urlsafe(16)
        self._owners[token] = (name, time.monotonic() + LIFETIME)
        return token

    def revoke(self, token: str, code: str) -> None:
        """Refuse a token from now on, and say why."""
        self._revoked[token] = code

    def left(self, token: object, name: str | None = None) -> float:
        """Return the seconds that a token is still good, of this user if one is named; negative if it is not."""
        owner, end = self._owners.get(token, ("", 0.0)) if isinstance(token, str) else ("", 0.0)
        is_good = owner and token not in self._revoked and name in (None, owner)
        return end - time.monotonic() if is_good else -1.0

    async def authenticate(self, handshake: Handshake) -> Identity:
        """Let in whoever has a token that is good."""
        token = handshake.auth.get("token")
        if self.left(token) > 0 and isinstance(token, str):
            name = self._owners[token][0]
            return Identity(name, name=name)
        code = self._revoked.get(token, "token_expired") if isinstance(token, str) else "token_expired"
        raise ConnectionRefused("This token is not good any more", data={"code": code})


HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "clients" / "js"
CDN = "https://cdn.socket.io/4.8.3/socket.io.esm.min.js"


def client_files() -> Path | None:
    """Return where npm has installed socket.io-client, if it has."""
    for folder in (HERE, *HERE.parents):
        for modules in (folder / "node_modules", folder / "tests/js/node_modules"):
            if (modules / "socket.io-client/dist/socket.io.esm.min.js").is_file():
                return modules / "socket.io-client/dist"
    return None


tokens = Tokens()
ROOM = "everybody"
# Pages of any host may connect: no cookie lets anybody in, only the token.
io = Server(
    auth=tokens,
    cors_allowed_origins="*",
    cors_credentials=False,
    serve_client=client_files() or False,
    ping_interval=5.0,
    presence=Presence(ROOM),
)
watches: dict[str, asyncio.Task[None]] = {}


@io.on("connection")
async def connection(socket: Socket) -> None:
    socket.data["token"] = socket.handshake.auth["token"]
    watches[socket.id] = asyncio.create_task(keep_token(socket))


@io.on("join")
async def join(socket: Socket) -> None:
    await socket.join(ROOM)  # the page is told who is there, and the others of somebody who was not there before


@io.on("wave")
async def wave(socket: Socket) -> None:
    await io.to(ROOM).emit("waved", socket.user.id)


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    watches.pop(socket.id).cancel()


async def keep_token(socket: Socket) -> None:
    """Ask for a new token before the old one ends, again and again; close the connection if there is none."""
    while (left := tokens.left(socket.data["token"], socket.user.id)) > 0:
        await asyncio.sleep(max(left - AHEAD, 0.0))
        with contextlib.suppress(AckTimeout, Disconnected):
            answer = await socket.timeout(AHEAD).emit_with_ack("refresh_token", {"expires_in": AHEAD})
            socket.data["token"] = answer.get("token") if isinstance(answer, dict) else None
    socket.conn.close(DisconnectReason.FORCED_CLOSE)  # it comes back by itself, with a new token or not at all


# --- what the buttons of the page do, to its own connection -----------------------------------------------------------


@io.on("revoke me")
async def revoke_me(socket: Socket) -> None:
    tokens.revoke(socket.data["token"], "token_revoked")
    socket.conn.close(DisconnectReason.FORCED_CLOSE)


@io.on("kick me")
async def kick_me(socket: Socket, reconnect: bool) -> None:
    tokens.revoke(socket.data["token"], "kicked")
    reason = "You need new credentials" if reconnect else "You wanted it"
    await socket.emit("kicked", {"reason": reason, "reconnect": reconnect})
    if reconnect:
        socket.conn.close(DisconnectReason.FORCED_CLOSE)
    else:
        await socket.disconnect()


# --- the main host, which may fail ------------------------------------------------------------------------------------


class Relay:
    """Passes connections to a port on to another."""

    def __init__(self, host: str, port: int, upstream: int) -> None:
        self._host, self.port, self._upstream = host, port, upstream
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._pass_on, self._host, self.port)

    async def stop(self) -> None:
        """Listen no more, and cut all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def fail(self, seconds: float) -> None:
        """Be away for some time."""
        print(f"the main host is away for {seconds:g} s", flush=True)
        await self.stop()
        await asyncio.sleep(seconds)
        await self.start()
        print("the main host is back", flush=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            up_reader, up_writer = await asyncio.open_connection(self._host, self._upstream)
            ends.append(up_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, up_writer))
                group.create_task(copy(up_reader, writer))
        except* ConnectionError:
            pass
        except* asyncio.CancelledError:
            pass  # by stop(): the stream protocol would report a task that was cancelled
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.transport.abort()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write all that is read."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


# --- the page ---------------------------------------------------------------------------------------------------------


async def token(request: web.Request) -> web.Response:
    """Give a token to anybody who says a name: a real program asks for a password, or looks at a cookie."""
    name = (await request.text()).strip()[:24]
    return web.Response(text=tokens.issue(name)) if name else web.Response(status=400, text="A name is needed")


async def relay_beside(relay: Relay, app: web.Application) -> AsyncIterator[None]:
    """Run the main host beside the application."""
    outages: set[asyncio.Task[None]] = set()

    def fail() -> None:
        if not outages:
            outage = asyncio.create_task(relay.fail(OUTAGE))
            outages.add(outage)
            outage.add_done_callback(outages.discard)

    await relay.start()
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, fail)
    yield
    for outage in outages:
        outage.cancel()
    await relay.stop()


def make_app(host: str, port: int, main_port: int) -> web.Application:
    """Make the application, which is the backup, with the main host beside it."""
    imports = {
        "@rtframework/client": "/client/src/index.js",
        "socket.io-client": "/socket.io/socket.io.esm.min.js" if client_files() else CDN,
    }
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    html = html.replace("<!-- imports -->", json.dumps({"imports": imports}))
    html = html.replace("<!-- hosts -->", json.dumps([f"http://{host}:{main_port}", f"http://{host}:{port}"]))
    html = html.replace("<!-- pid -->", str(os.getpid()))

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-cache"})

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_post("/token", token)
    app.router.add_static("/page", HERE / "page")
    app.router.add_static("/client", PACKAGE)
    app.cleanup_ctx.append(functools.partial(relay_beside, Relay(host, main_port, port)))
    io.attach(app)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A connection that lasts.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1")
    parser.add_argument("--port", default=int(os.environ.get("PORT", "8088")), type=int, help="default: $PORT or 8088")
    parser.add_argument("--main-port", type=int, help="of the main host; default: the next one")
    options = parser.parse_args()
    main_port = options.main_port or options.port + 1
    web.run_app(make_app(options.host, options.port, main_port), host=options.host, port=options.port)
