"""A first chat: names, rooms, who is there, and what was said. docs/tutorials/chat.md builds it step by step.

::

    python examples/first_chat/server.py        # then open http://127.0.0.1:8083 in two windows
"""

import os
import secrets
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import jwt
import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from rtframework import EventError, Server, Socket
from rtframework_jwt import JWTAuth

KEY = os.environ.get("CHAT_KEY") or secrets.token_urlsafe(32)
SESSION = 12 * 3600  # seconds
MAX_ROOMS = 50
HISTORY = 100  # messages kept in each room

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
CLIENT = next((found for folder in NPM if (found := folder / "socket.io-client/dist").is_dir()), None)

io = Server(auth=JWTAuth(key=KEY, algorithms=["HS256"]), serve_client=CLIENT or False)


# --- who is talking ---------------------------------------------------------------------------------------------------


class SignIn(Struct):
    name: Annotated[str, Meta(pattern=r"^\w[\w .'-]{0,23}$")]


def token_for(name: str) -> str:
    claims = {"sub": secrets.token_urlsafe(9), "name": name, "exp": time.time() + SESSION}
    return jwt.encode(claims, KEY, algorithm="HS256")


async def sign_in(request: web.Request) -> web.Response:
    try:
        asked = msgspec.json.decode(await request.read(), type=SignIn)
    except msgspec.DecodeError:
        return web.json_response({"message": "A name has 1 to 24 letters"}, status=400)
    return web.json_response({"token": token_for(asked.name), "name": asked.name})


# --- rooms ------------------------------------------------------------------------------------------------------------

RoomName = Annotated[str, Meta(pattern=r"^[\w-]{1,32}$")]
Text = Annotated[str, Meta(pattern=r"\S", max_length=2000)]


class Message(Struct):
    author: str
    text: str
    time: float  # seconds since 1970


class Entered(Struct):
    people: list[str]
    messages: list[Message]


history: dict[str, deque[Message]] = {}


def channel(room: str) -> str:
    return f"room:{room}"  # never the id of a socket, which is the name of a room, too


def people_in(room: str) -> list[str]:
    return sorted({socket.user.name for socket in io.sockets.values() if socket.data.get("room") == room})


@io.on("enter")
async def enter(socket: Socket, room: RoomName) -> Entered:
    if room not in history and len(history) >= MAX_ROOMS:
        raise EventError("too_many_rooms", f"There are {MAX_ROOMS} rooms already")
    if socket.data.get("room") != room:
        await leave(socket)
    history.setdefault(room, deque(maxlen=HISTORY))
    socket.data["room"] = room
    await socket.join(channel(room))
    await socket.to(channel(room)).emit("people", people_in(room))
    return Entered(people_in(room), list(history[room]))


async def leave(socket: Socket) -> None:
    room = socket.data.pop("room", None)
    if room is None:
        return
    await socket.leave(channel(room))
    if people_in(room):
        await io.to(channel(room)).emit("people", people_in(room))
    else:
        history.pop(room, None)


@io.on("disconnecting")
async def disconnecting(socket: Socket, reason: str) -> None:
    await leave(socket)


# --- talking ----------------------------------------------------------------------------------------------------------


@io.on("say")
async def say(socket: Socket, text: Text) -> Message:
    room = socket.data.get("room")
    if room is None:
        raise EventError("no_room", "Enter a room first")
    message = Message(socket.user.name, text, time.time())
    history[room].append(message)
    await socket.to(channel(room)).emit("said", message)
    return message


@io.on("typing")
async def typing(socket: Socket) -> None:
    if room := socket.data.get("room"):
        await socket.to(channel(room)).volatile.emit("typing", socket.user.name)


# --- the page ---------------------------------------------------------------------------------------------------------


async def index(request: web.Request) -> web.Response:
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    if CLIENT:  # npm has put the client library on this machine: no need for the CDN
        html = html.replace("https://cdn.socket.io/4.8.3/", "/socket.io/")
    return web.Response(text=html, content_type="text/html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_post("/sign-in", sign_in)
    app.router.add_static("/page", HERE / "page")
    io.attach(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8083")))
