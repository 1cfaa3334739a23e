"""A chat: a lobby and rooms, private messages, who is here, who is typing.

::

    python examples/chat/server.py        # then open http://127.0.0.1:8080
    rtframework run 'examples/chat/server.py:make_app()' --workers 2

A client that enters a room gets ``history`` and ``presence`` of it, and then everything that happens there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import jwt
import msgspec
from aiohttp import web
from web_page import add_page, run
from wire import Key, Message, Name, Person, Text

from rtframework import ClusterUnavailable, ConnectionRefused, EventError, History, Presence, RateLimit, Server, Socket
from rtframework_http_api import HTTPAPI
from rtframework_jwt import JWTAuth

# A random key signs everybody out when all servers restart; set CHAT_KEY to keep them signed in.
key = os.environ.get("CHAT_KEY") or secrets.token_urlsafe(32)
LOBBY = "lobby"  # everyone who is online is in it
GRACE = float(os.environ.get("CHAT_GRACE", "5"))  # seconds: who is back by then has not left

io = Server(
    auth=JWTAuth(key=lambda kid, header: key, algorithms=["HS256"], require=["exp", "sub", "name"], identity=Person.of),
    presence=Presence("room:{name}", meta=lambda socket: {"name": socket.user.name}, grace=GRACE),
    history=[History("room:{name}", events=["message"]), History("talks:{person}", size=500, page=500)],
    rate_limit=RateLimit(events="60/3s"),  # plenty for a person, too few for a flood
)
counts = {LOBBY: 0}  # how many are in each room, as this server's clients know it


def tidy(name: str, longest: int) -> str:
    """A name as we keep it; empty when it is too long, or nothing that can be read."""
    name = " ".join(unicodedata.normalize("NFKC", name).split())
    return name if len(name) <= longest and name.isprintable() and any(map(str.isalnum, name)) else ""


# --- coming and going -------------------------------------------------------------------------------------------------


@io.emits(
    "welcome", Person, dict[str, int], names=("you", "rooms"), description="Who you are, and how many are in each room."
)
@io.on("connection")
async def connection(socket: Socket) -> None:
    """Runs for a person whose token was found good; what it emits is the first thing that the client gets."""
    if await name_taken(socket.user):
        raise ConnectionRefused("name taken", {"code": "name_taken"})
    await socket.join(f"talks:{socket.user.id}", history=500)
    await enter(socket, LOBBY)
    await socket.emit("welcome", socket.user, counts)


@io.on("join")
async def join(socket: Socket, room: Name) -> str:
    """Enter a room, which is made if need be."""
    name = tidy(room, 32).casefold().replace(" ", "-")
    if not name:
        raise EventError("bad_name", "A room's name has 1 to 32 letters")
    if name not in counts and len(counts) >= 50:
        raise EventError("too_many_rooms", "There are 50 rooms already: join one of them")
    await enter(socket, name)
    return name


async def enter(socket: Socket, room: str) -> None:
    await socket.join(f"room:{room}", history=100)
    await count(room)
    if len(await io.cluster.nodes()) > 1:
        await io.server_side_emit("count", room)


@io.on("leave")
async def leave(socket: Socket, room: Name) -> None:
    """Leave a room."""
    if room == LOBBY:
        raise EventError("lobby", "Everyone is in the lobby")
    await socket.leave(entered(socket, room))
    await count(room)


@io.emits("room", str, int, names=("room", "people"), description="How many are in a room now; with nobody it is gone.")
@io.on_server_side("count")
async def count(*rooms: str) -> None:
    for room in rooms:
        people = len(await io.presence(f"room:{room}"))
        if people != counts.get(room):
            counts[room] = people
            await io.local.emit("room", room, people)  # each server tells its own clients
        if not people and room != LOBBY:
            counts.pop(room, None)


async def learn(app: web.Application) -> None:
    """Take over the key and the rooms of the other workers, before this one serves anybody."""
    global key
    if "CHAT_KEY" not in os.environ:
        key = (await io.store.add("$key", key.encode(), 1e7) or key.encode()).decode()
    for tab in await io.fetch_sockets():
        counts.update({room[5:]: 0 for room in tab.rooms if room.startswith("room:")})


async def counting(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, notice who has not come back."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            with suppress(ClusterUnavailable):
                await count(*counts)

    task = asyncio.create_task(watch())
    yield
    task.cancel()


# --- talking ----------------------------------------------------------------------------------------------------------


def entered(socket: Socket, room: str) -> str:
    if f"room:{room}" not in socket.rooms:
        raise EventError("not_in_room", "You are not in this room")
    return f"room:{room}"


@io.emits("message", Message, description="Somebody has said something in a room.")
@io.on("message", idempotent="key")
async def message(socket: Socket, room: Name, text: Text, key: Key) -> Message:
    """Say something in a room."""
    posted = Message(f"{time.time_ns():x}", key, socket.user, text, datetime.now(UTC), room=room)
    await socket.to(entered(socket, room)).emit("message", posted)  # not to the sender: the ack confirms it there
    return posted


@io.emits("private", Message, description="Two people talk, and this is one of them.")
@io.on("private", idempotent="key")
async def private(socket: Socket, person: str, text: Text, key: Key) -> Message:
    """Say something to a person."""
    me: Person = socket.user
    if person == me.id:
        raise EventError("yourself", "This is you")
    for other in await io.presence(f"room:{LOBBY}"):
        if other.user == person:
            to = Person(person, other.meta["name"])
            posted = Message(f"{time.time_ns():x}", key, me, text, datetime.now(UTC), to=to)
            await socket.to(f"talks:{me.id}", f"talks:{person}").emit("private", posted)
            return posted
    raise EventError("not_here", "This person has left")


@io.emits("typing", str | None, Person, names=("room", "person"), description="Somebody writes; no room: to you.")
@io.on("typing")
async def typing(socket: Socket, room: Name | None, person: Name | None = None) -> None:
    """Say that a message is being written, in a room or to a person."""
    them = io.user(person) if person else socket.to(entered(socket, room or ""))
    await them.volatile.emit("typing", room, socket.user)


# --- signing in -------------------------------------------------------------------------------------------------------


async def name_taken(person: Person) -> bool:
    """Whether somebody else is online by this name."""
    there = await io.presence(f"room:{LOBBY}")
    return any(each.user != person.id and each.meta["name"].casefold() == person.name.casefold() for each in there)


async def sign_in(request: web.Request) -> web.Response:
    """Give a token to a new person, or a new one to a person whose token is still good."""
    try:
        if old := request.headers.get("Authorization", "").removeprefix("Bearer "):
            person = Person.of(jwt.decode(old, key, algorithms=["HS256"]))
        else:
            name = tidy(msgspec.json.decode(await request.read(), type=dict[str, Name]).get("name", ""), 24)
            person = Person(secrets.token_urlsafe(9), name)
    except (msgspec.DecodeError, jwt.PyJWTError) as error:
        return web.json_response({"message": str(error)}, status=400)
    if not person.name:
        return web.json_response({"message": "A name has 1 to 24 letters"}, status=400)
    if await name_taken(person):
        return web.json_response({"message": f"Somebody is here as {person.name} already"}, status=409)
    now = datetime.now(UTC)
    claims = {"sub": person.id, "name": person.name, "iat": now, "exp": now + timedelta(hours=12)}
    answer = {"token": jwt.encode(claims, key, algorithm="HS256"), "person": person}
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def make_app() -> web.Application:
    app = web.Application()
    add_page(app)
    app.router.add_post("/sign-in", sign_in)
    if secret := os.environ.get("CHAT_API_KEY"):  # to throw somebody out: POST /api/users/{id}/kick
        app.add_subapp("/api", HTTPAPI(io, key=secret).app)
    io.attach(app)
    app.cleanup_ctx.append(counting)
    app.on_startup.append(learn)  # after the server, which has joined the other workers then
    return app


if __name__ == "__main__":
    run(make_app())
