"""Pictures for everybody in the room: binary data by msgpack.

::

    python examples/pictures/server.py        # then open http://127.0.0.1:8082 in two windows

With the msgpack serializer bytes travel as they are, in one frame with the rest of the event. A handler gets them as
``bytes``; what it emits or returns may hold ``bytes`` at any depth.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from rtframework import EventError, Limits, Server, Socket
from rtframework_msgpack import MsgpackSerializer

MAX_PICTURE = 2 * 1024 * 1024  # bytes
MAX_ROOM = 8 * 1024 * 1024  # bytes kept for those who come later; the oldest picture goes first
MAX_ROOMS = 20

io = Server(
    serializer=MsgpackSerializer(),
    # A client that sends more than the first is disconnected, so leave room for a handler to refuse with a reason.
    # The second is what may wait for a client that reads slowly: some pictures, instead of the one MiB of the default.
    limits=Limits(max_http_buffer_size=4 * MAX_PICTURE, max_outbox=8 * MAX_PICTURE),
)

Name = Annotated[str, Meta(pattern=r"^[\w-]{1,32}$")]


class Enter(Struct):
    room: Name


class Upload(Struct):
    name: Annotated[str, Meta(max_length=100)]
    by: Annotated[str, Meta(max_length=24)]
    data: bytes


class About(Struct, frozen=True):
    id: int
    name: str
    by: str
    type: str
    size: int


class Picture(Struct, frozen=True):
    about: About
    data: bytes


class Entered(Struct):
    max_size: int
    pictures: list[About]


numbers = itertools.count(1)
rooms: dict[str, dict[int, Picture]] = {}


def image_type(data: bytes) -> str | None:
    """The type by what the file begins with: its name and the client's word prove nothing."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return None  # SVG is not among them: it can hold scripts


def room_of(socket: Socket) -> str:
    room = socket.data.get("room")
    if not isinstance(room, str):
        raise EventError("no_room", "Enter a room first")
    return room


@io.on("enter")
async def enter(socket: Socket, data: Enter) -> Entered:
    if data.room not in rooms and len(rooms) >= MAX_ROOMS:
        raise EventError("too_many_rooms", f"There are {MAX_ROOMS} rooms already")
    await leave(socket)
    pictures = rooms.setdefault(data.room, {})
    socket.data["room"] = data.room
    await socket.join(f"room:{data.room}")
    await io.to(f"room:{data.room}").emit("people", people_in(data.room))
    return Entered(MAX_PICTURE, [picture.about for picture in pictures.values()])


@io.on("picture")
async def picture(socket: Socket, data: Upload) -> About:
    room = room_of(socket)
    if len(data.data) > MAX_PICTURE:
        raise EventError("too_big", f"A picture can have {MAX_PICTURE // 1024**2} MiB", {"max_size": MAX_PICTURE})
    type = image_type(data.data)
    if type is None:
        raise EventError("not_a_picture", "This is no PNG, JPEG, GIF, WebP or AVIF")
    about = About(next(numbers), data.name, data.by.strip() or "Somebody", type, len(data.data))
    pictures = rooms[room]
    pictures[about.id] = Picture(about, data.data)
    while sum(each.about.size for each in pictures.values()) > MAX_ROOM:
        del pictures[next(iter(pictures))]
    await socket.to(f"room:{room}").emit("picture", pictures[about.id])
    return about


@io.on("fetch")
async def fetch(socket: Socket, id: int) -> Picture:
    """Who comes later asks for one picture after the other, as fast as their line is."""
    picture = rooms[room_of(socket)].get(id)
    if picture is None:
        raise EventError("gone", "This picture has gone")
    return picture


@io.on("disconnecting")
async def disconnecting(socket: Socket, reason: str) -> None:
    await leave(socket)


async def leave(socket: Socket) -> None:
    room = socket.data.pop("room", None)
    if room is None:
        return
    if not people_in(room):
        rooms.pop(room, None)  # two who leave at once both find it empty
    await socket.leave(f"room:{room}")
    await io.to(f"room:{room}").emit("people", people_in(room))


def people_in(room: str) -> int:
    return sum(socket.data.get("room") == room for socket in io.sockets.values())


# --- the page ---------------------------------------------------------------------------------------------------------

HERE = Path(__file__).resolve().parent
CDN = "https://cdn.socket.io"
CDN_SCRIPT = (
    f'<script src="{CDN}/4.8.3/socket.io.msgpack.min.js" crossorigin="anonymous" '
    'integrity="sha384-EYFmDPSdCJ1WX+f4Pt09i90sE+XLpzPOVm2AFuJbLS7PXPQTkwqTDm7mlXHSVli4"></script>'
)
HEADERS = {
    "Content-Security-Policy": f"default-src 'self'; script-src 'self' {CDN}; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def client_files() -> Path | None:
    """Where npm has installed socket.io-client, if it has."""
    for folder in (HERE, *HERE.parents):
        for modules in (folder / "node_modules", folder / "tests/js/node_modules"):
            if (modules / "socket.io-client/dist/socket.io.msgpack.min.js").is_file():
                return modules / "socket.io-client/dist"
    return None


def make_app() -> web.Application:
    files = client_files()
    script = '<script src="/client/socket.io.msgpack.min.js"></script>' if files else CDN_SCRIPT
    html = (HERE / "page/index.html").read_text(encoding="utf-8").replace("<!-- socket.io-client -->", script)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=HEADERS)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    if files:
        app.router.add_static("/client", files)
    io.attach(app)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pictures for everybody in the room.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1")
    parser.add_argument("--port", default=int(os.environ.get("PORT", "8082")), type=int, help="default: $PORT or 8082")
    options = parser.parse_args()
    web.run_app(make_app(), host=options.host, port=options.port)
