"""Drawing together: strokes, cursors, undo, and nothing lost in a tunnel. docs/tutorials/drawing.md builds it.

::

    python examples/drawing/server.py        # then open http://127.0.0.1:8085 in two windows
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from rtframework import ConnectionRefused, EventError, Handshake, Recovery, Server, Socket

MAX_BOARDS = 20
MAX_POINTS = 50_000  # kept on each board; beyond, the oldest strokes go

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
CLIENT = next((found for folder in NPM if (found := folder / "socket.io-client/dist").is_dir()), None)

# --- what goes over the wire ------------------------------------------------------------------------------------------

Key = Annotated[str, Meta(pattern=r"^[\w-]{8,64}$")]
Colour = Literal["ink", "red", "orange", "green", "blue", "violet"]
Point = tuple[float, float]  # on a board of 1600 by 1600, wherever it is shown


class Artist(Struct, frozen=True):
    board: Annotated[str, Meta(pattern=r"^[\w-]{1,32}$")]
    name: Annotated[str, Meta(min_length=1, max_length=24)]
    key: Key  # a secret of the page: whose strokes are whose, also after a new connection


class Stroke(Struct):
    id: Key
    colour: Colour
    width: Annotated[float, Meta(ge=1, le=60)]
    points: Annotated[list[Point], Meta(min_length=1, max_length=1000)]


class Board:
    """What is on a board, in the order in which it was drawn."""

    def __init__(self) -> None:
        self.strokes: dict[str, Stroke] = {}
        self.by: dict[str, str] = {}  # the id of a stroke: the key of the artist
        self.points = 0

    def add(self, stroke: Stroke, key: str) -> bool:
        """Whether it was not there before."""
        if stroke.id in self.strokes:
            return False
        self.strokes[stroke.id] = stroke
        self.by[stroke.id] = key
        self.points += len(stroke.points)
        while self.points > MAX_POINTS:
            self.remove(next(iter(self.strokes)))
        return True

    def remove(self, id: str) -> None:
        self.points -= len(self.strokes.pop(id).points)
        del self.by[id]

    def last_of(self, key: str) -> str | None:
        return next((id for id in reversed(self.strokes) if self.by[id] == key), None)


# --- who comes --------------------------------------------------------------------------------------------------------


class Artists:
    async def authenticate(self, handshake: Handshake) -> Artist:
        try:
            return msgspec.convert(handshake.auth, Artist)
        except msgspec.ValidationError as error:
            raise ConnectionRefused(str(error)) from None


io = Server(auth=Artists(), connection_state_recovery=Recovery(), serve_client=CLIENT or False)
boards: dict[str, Board] = {}


def room_of(socket: Socket) -> str:
    return f"board:{socket.user.board}"


@io.on("connection")
async def connection(socket: Socket) -> None:
    name = socket.user.board
    if name not in boards and len(boards) >= MAX_BOARDS:
        raise ConnectionRefused(f"There are {MAX_BOARDS} boards already")
    board = boards.setdefault(name, Board())
    await socket.join(room_of(socket))
    if not socket.recovered:
        await socket.emit("board", list(board.strokes.values()))
    await tell_who_is_here(socket)


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    await io.to(room_of(socket)).emit("gone", socket.id)
    await tell_who_is_here(socket)
    name = socket.user.board
    if name in boards and not boards[name].strokes and not people_at(name):
        del boards[name]


def people_at(board: str) -> list[str]:
    return sorted(socket.user.name for socket in io.sockets.values() if socket.user.board == board)


async def tell_who_is_here(socket: Socket) -> None:
    await io.to(room_of(socket)).emit("people", people_at(socket.user.board))


# --- drawing ----------------------------------------------------------------------------------------------------------


@io.on("stroke")
async def stroke(socket: Socket, stroke: Stroke) -> None:
    if boards[socket.user.board].add(stroke, socket.user.key):
        await socket.to(room_of(socket)).emit("stroke", stroke)


@io.on("sketch")
async def sketch(socket: Socket, stroke: Stroke) -> None:
    """A stroke that is not finished: to be shown at once, and not worth being kept."""
    await socket.to(room_of(socket)).volatile.emit("sketch", socket.id, socket.user.name, stroke)


@io.on("cursor")
async def cursor(socket: Socket, point: Point, colour: Colour) -> None:
    await socket.to(room_of(socket)).volatile.emit("cursor", socket.id, socket.user.name, point, colour)


@io.on("undo")
async def undo(socket: Socket) -> None:
    board = boards[socket.user.board]
    id = board.last_of(socket.user.key)
    if id is None:
        raise EventError("nothing", "You have drawn nothing that is still there")
    board.remove(id)
    await io.to(room_of(socket)).emit("removed", id)


@io.on("clear")
async def clear(socket: Socket) -> None:
    boards[socket.user.board] = Board()
    await io.to(room_of(socket)).emit("board", [])


# --- the page ---------------------------------------------------------------------------------------------------------


async def index(request: web.Request) -> web.Response:
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    if CLIENT:  # npm has put the client library on this machine: no need for the CDN
        html = html.replace("https://cdn.socket.io/4.8.3/", "/socket.io/")
    return web.Response(text=html, content_type="text/html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    io.attach(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8085")))
