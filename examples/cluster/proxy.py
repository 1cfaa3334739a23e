"""A small proxy in front of several Socket.IO servers, so that the example needs no other program.

Requests of a session go to the server that has opened it, which long-polling needs. Everything else goes to the servers
in turn; one that cannot be reached is passed over. For nginx, HAProxy and Caddy see docs/deployment.

::

    PORT=8086 python examples/cluster/proxy.py http://127.0.0.1:8087 http://127.0.0.1:8088
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from aiohttp import ClientConnectorError, ClientError, ClientTimeout, WSMsgType, web

MAX_SESSIONS = 10_000  # remembered; the oldest go first
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "te", "trailer"}
SID = re.compile(rb'"sid":"([^"]+)"')


class Proxy:
    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = list(servers)
        self.sessions: dict[str, str] = {}  # the session's id: the server that has opened it
        self.turn = 0

    def make_app(self) -> web.Application:
        app = web.Application(client_max_size=2 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.serve)
        app.cleanup_ctx.append(self.run)
        return app

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        timeout = ClientTimeout(total=None, sock_connect=2)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self.http:
            yield

    def candidates(self, sid: str) -> list[str]:
        if sid in self.sessions:
            return [self.sessions[sid]]
        self.turn += 1
        at = self.turn % len(self.servers)
        return self.servers[at:] + self.servers[:at]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        body = await request.read()
        for server in self.candidates(request.query.get("sid", "")):
            try:
                return await (self.join(request, server) if is_websocket else self.forward(request, server, body))
            except ClientConnectorError:
                continue
            except aiohttp.WSServerHandshakeError as error:
                return web.Response(status=error.status)
            except ClientError:
                break  # it has ended meanwhile: the client asks again, for a session of another one
        return web.Response(status=502, text="no server answers")

    def headers(self, request: web.Request) -> list[tuple[str, str]]:
        """Headers for the server: the client's, but for those of its connection to this proxy."""
        kept = [(name, value) for name, value in request.headers.items() if not of_one_connection(name)]
        return [*kept, ("X-Forwarded-For", request.remote or ""), ("X-Forwarded-Proto", request.scheme)]

    async def forward(self, request: web.Request, server: str, body: bytes) -> web.StreamResponse:
        async with self.http.request(
            request.method, server + request.raw_path, headers=self.headers(request), data=body, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(
                (name, value) for name, value in answer.headers.items() if not of_one_connection(name)
            )
            opens = request.path.startswith("/socket.io/") and "sid" not in request.query
            content = answer.content.iter_any()
            first = await anext(content, b"")
            if opens and (found := SID.search(first)):
                self.remember(found[1].decode(), server)
            await response.prepare(request)
            await response.write(first)
            async for chunk in content:
                await response.write(chunk)
            await response.write_eof()
            return response

    async def join(self, request: web.Request, server: str) -> web.StreamResponse:
        """Connect two websockets until one of them ends."""
        url = server.replace("http", "ws", 1) + request.raw_path
        async with self.http.ws_connect(url, headers=self.headers(request), max_msg_size=0) as there:
            here = web.WebSocketResponse(max_msg_size=0, compress=False, timeout=1)
            await here.prepare(request)
            ways = [asyncio.ensure_future(carry(here, there)), asyncio.ensure_future(carry(there, here))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            await here.close()
            return here

    def remember(self, sid: str, server: str) -> None:
        self.sessions[sid] = server
        if len(self.sessions) > MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]


def of_one_connection(name: str) -> bool:
    name = name.lower()
    return name in OF_ONE_CONNECTION or name.startswith(("sec-websocket-", "x-forwarded-"))


async def carry(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)


if __name__ == "__main__":
    web.run_app(
        Proxy(sys.argv[1:]).make_app(),
        host="127.0.0.1",
        port=int(os.environ.get("PORT", "8086")),
        print=lambda *_: None,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=0.1,
    )
