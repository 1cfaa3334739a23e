"""A chat for clients that do not speak Socket.IO: the page uses the browser's own WebSocket, and a wire of its own.

::

    python examples/plain_websocket/server.py        # then open http://127.0.0.1:8090 in two windows

Every message is an object with a number for its type: ``{"type": 2, "usr": "Ada", "data": "Hello"}``. The token is in
the URL: ``ws://127.0.0.1:8090/ws?token=ada-1815``.
"""

import json
import os
from pathlib import Path
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct
from msgspec import json as fast_json

from rtframework import Packet, PacketType, Server, Socket, StaticTokenAuth, WebSocketCodec

INVALID_TOKEN, WELCOME, TO_ALL, TO_OTHERS, PRIVATE, PEOPLE, OFFLINE = range(7)

HERE = Path(__file__).resolve().parent
TOKENS = {"ada-1815": "Ada", "grace-1906": "Grace", "linus-1969": "Linus"}


class Message(Struct):
    type: int
    usr: str = ""  # who it is from; of a private message to the server: who it is for
    data: Annotated[str, Meta(max_length=2000)] = ""


# --- the wire: it was there before, and clients that nobody can change speak it ---------------------------------------


class Wire(WebSocketCodec):
    def decode(self, message: str | bytes) -> Packet:
        content = fast_json.decode(message, type=Message)
        return Packet(PacketType.EVENT, data=[content.type, {"usr": content.usr, "data": content.data}])

    def encode(self, packet: Packet) -> str | None:
        if packet.type == PacketType.EVENT:
            kind, content = packet.data
            return json.dumps({"type": kind, **content})
        if packet.type == PacketType.CONNECT_ERROR:
            return json.dumps({"type": INVALID_TOKEN, "usr": "", "data": packet.data["message"]})
        return None


# --- the chat: as for any other client --------------------------------------------------------------------------------

io = Server(auth=StaticTokenAuth(TOKENS))


class Said(Struct):
    usr: str
    data: str


def people() -> list[str]:
    return sorted({socket.user for socket in io.sockets.values()})


@io.on("connection")
async def connection(socket: Socket) -> None:
    await socket.emit(WELCOME, {"usr": socket.user, "data": f"Welcome, {socket.user}"})
    await io.emit(PEOPLE, {"usr": "", "data": people()})


@io.on(TO_ALL)
async def to_all(socket: Socket, said: Said) -> None:
    await io.emit(TO_ALL, {"usr": socket.user, "data": said.data})


@io.on(TO_OTHERS)
async def to_others(socket: Socket, said: Said) -> None:
    await socket.broadcast.emit(TO_OTHERS, {"usr": socket.user, "data": said.data})


@io.on(PRIVATE)
async def private(socket: Socket, said: Said) -> None:
    await io.user(said.usr).emit(PRIVATE, {"usr": socket.user, "data": said.data})


@io.on("disconnect")
async def disconnect(socket: Socket) -> None:
    if socket.user not in people():  # it was the last of the user's windows
        await io.emit(OFFLINE, {"usr": socket.user, "data": f"{socket.user} is offline"})
        await io.emit(PEOPLE, {"usr": "", "data": people()})


# --- the page ---------------------------------------------------------------------------------------------------------


async def index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "page/index.html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    io.attach_websocket(app, "/ws", codec=Wire())
    io.attach(app)  # clients of Socket.IO are in the same chat
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8090")))
