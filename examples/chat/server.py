"""A chat: a lobby and rooms, private messages, who is here, who is typing.

::

    python examples/chat/server.py        # then open http://127.0.0.1:8080
    rtframework run 'examples/chat/server.py:make_app()' --workers 2

=========  ================================  ===================================================================
event      payload                           what happens
=========  ================================  ===================================================================
join       ``{room}``                        ack: the room's people and last messages; the others get ``joined``
leave      ``{room}``                        the others get ``left``
message    ``{room, text, key}``             ack: the message as posted; everyone else in the room gets it
private    ``{person, text, key}``           ack: likewise; every other tab of the two people gets it
typing     ``{room}`` or ``{person}``        the others get ``typing``, if their connection is ready for it
renew      nothing                           ack: a fresh session for the same person
=========  ================================  ===================================================================

On connecting a client gets ``welcome``; whenever a room's number of people changes everyone gets ``room``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import time
import unicodedata
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from rtframework import (
    AckTimeout,
    ClusterUnavailable,
    ConnectionRefused,
    Event,
    EventError,
    FetchTimeout,
    Server,
    Socket,
)
from rtframework.engine import tune_gc
from rtframework.protocols import CallNext
from rtframework_jwt import JWTAuth

# A random key signs everybody out when the server restarts; set CHAT_KEY to keep them signed in.
key = os.environ.get("CHAT_KEY") or secrets.token_urlsafe(32)
SESSION = timedelta(hours=12)
GRACE = 5.0  # seconds: who is back by then has not left
HISTORY = 100  # messages kept for each conversation
MAX_ROOMS = 50
MAX_PRIVATE = 1000  # private conversations kept; the one unused for longest goes first

# --- what goes over the wire ------------------------------------------------------------------------------------------

Text = Annotated[str, Meta(pattern=r"\S", max_length=2000)]
Key = Annotated[str, Meta(min_length=8, max_length=64)]


class Person(Struct, frozen=True):
    id: str
    name: str


class Message(Struct, frozen=True):
    id: str  # grows with time, also over a restart: clients sort by it
    key: str  # the sender's own id for it: what is sent twice is posted once
    author: Person
    text: str
    time: datetime
    room: str | None = None  # said in a room …
    to: Person | None = None  # … or to a person


class RoomName(Struct):
    room: Annotated[str, Meta(max_length=100)]


class ToRoom(Struct):
    room: str
    text: Text
    key: Key


class ToPerson(Struct):
    person: str
    text: Text
    key: Key


class Typing(Struct):
    room: str | None = None
    person: str | None = None


class Joined(Struct):
    room: str
    people: list[Person]
    messages: list[Message]


class Private(Struct):
    person: Person
    messages: list[Message]


class RoomInfo(Struct):
    name: str
    count: int


class Welcome(Struct):
    you: Person
    rooms: list[RoomInfo]
    lobby: Joined
    private: list[Private]


class Session(Struct):
    token: str
    person: Person
    expires_in: float  # seconds


class RoomMemory(Struct):
    name: str
    people: list[tuple[Person, list[str]]]  # with their tabs
    messages: list[Message]


class Memory(Struct):
    key: str
    rooms: list[RoomMemory]
    private: list[list[Message]]


class SignIn(Struct):
    name: Annotated[str, Meta(max_length=100)]


def person_of(claims: Mapping[str, Any]) -> Person:
    return Person(claims["sub"], claims["name"])


auth = JWTAuth(key=lambda kid, header: key, algorithms=["HS256"], require=["exp", "sub", "name"], identity=person_of)
io = Server(auth=auth)  # what person_of returns is socket.user


# --- what the server remembers ----------------------------------------------------------------------------------------


class Conversation:
    """The last messages of a room, or of two people."""

    number = 0

    def __init__(self) -> None:
        self.messages: deque[Message] = deque(maxlen=HISTORY)
        self.posted: dict[tuple[str, str], Message] = {}

    def post(self, author: Person, data: ToRoom | ToPerson, to: Person | None = None) -> tuple[Message, bool]:
        """Add a message; when this one was posted before (its ack was lost), return that one and False."""
        if (author.id, data.key) in self.posted:
            return self.posted[author.id, data.key], False
        room = data.room if isinstance(data, ToRoom) else None
        Conversation.number = max(Conversation.number + 1, time.time_ns())
        message = Message(f"{self.number:x}", data.key, author, data.text, datetime.now(UTC), room, to)
        self.add(message)
        return message, True

    def add(self, message: Message) -> None:
        if (message.author.id, message.key) in self.posted:
            return
        self.messages.append(message)
        self.posted[message.author.id, message.key] = message
        if len(self.posted) > 10 * HISTORY:
            del self.posted[next(iter(self.posted))]


class Room(Conversation):
    """A conversation that people enter and leave. A person is here once, by any number of tabs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.channel = f"room:{name}"
        self.tabs: dict[Person, set[str]] = {}
        self.away: dict[Person, float] = {}  # no tab since then; maybe only reconnecting

    def enter(self, person: Person, tab: str) -> bool:
        """Whether the person was not here before."""
        new = person not in self.tabs
        self.tabs.setdefault(person, set()).add(tab)
        self.away.pop(person, None)
        return new

    def close(self, person: Person, tab: str) -> bool:
        """Whether that was the person's last tab here."""
        tabs = self.tabs.get(person, set())
        if tab not in tabs:
            return False
        tabs.remove(tab)
        if not tabs:
            self.away[person] = time.monotonic()
        return not tabs

    def forget(self, person: Person) -> None:
        """The room goes with the last person."""
        self.tabs.pop(person, None)
        self.away.pop(person, None)
        if not self.tabs and self is not lobby:
            rooms.pop(self.name, None)

    def info(self) -> RoomInfo:
        return RoomInfo(self.name, len(self.tabs))


lobby = Room("lobby")  # everyone who is online is in it
rooms = {lobby.name: lobby}
private: dict[frozenset[Person], Conversation] = {}


def tidy(name: str, longest: int) -> str:
    """A name as we keep it; empty when it is too long, or nothing that can be read."""
    name = " ".join(unicodedata.normalize("NFKC", name).split())
    fit = len(name) <= longest and name.isprintable() and any(map(str.isalnum, name))
    return name if fit else ""


def tabs_of(person: Person) -> str:
    """The Socket.IO room of all tabs of a person."""
    return f"person:{person.id}"


def room_of(socket: Socket, name: str | None) -> Room:
    room = rooms.get(name or "")
    if room is None or room.channel not in socket.rooms:
        raise EventError("not_in_room", "You are not in this room")
    return room


def room_called(name: str) -> Room:
    """A room, which is made if need be."""
    return rooms.get(name) or rooms.setdefault(name, Room(name))


def talk_of(one: Person, other: Person) -> Conversation:
    """The conversation of two people."""
    pair = frozenset({one, other})
    talk = private.pop(pair) if pair in private else Conversation()
    private[pair] = talk  # last in the dict: used last
    if len(private) > MAX_PRIVATE:
        del private[next(iter(private))]
    return talk


def person_online(id: str | None) -> Person:
    for person in lobby.tabs:
        if person.id == id:
            return person
    raise EventError("not_here", "This person has left")


# --- coming and going -------------------------------------------------------------------------------------------------


@io.emits("welcome", Welcome, description="The first event of all: where the person is.")
@io.on("connection")
async def connection(socket: Socket) -> None:
    """Runs for a person whose token was found good; what it emits is the first thing that the client gets."""
    me: Person = socket.user
    if name_taken(me):
        raise ConnectionRefused("name taken", {"code": "name_taken"})
    await socket.join(tabs_of(me))
    joined = await enter(socket, lobby)
    mine = [
        Private(other, list(talk.messages)) for pair, talk in private.items() if me in pair for other in pair - {me}
    ]
    await socket.emit("welcome", Welcome(me, [room.info() for room in rooms.values()], joined, mine))


@io.on("join")
async def join(socket: Socket, data: RoomName) -> Joined:
    """Enter a room, which is made if need be."""
    name = tidy(data.room, 32).casefold().replace(" ", "-")
    if not name:
        raise EventError("bad_name", "A room's name has 1 to 32 letters")
    if name not in rooms and len(rooms) >= MAX_ROOMS:
        raise EventError("too_many_rooms", f"There are {MAX_ROOMS} rooms already: join one of them")
    return await enter(socket, room_called(name))


@io.on("leave")
async def leave(socket: Socket, data: RoomName) -> None:
    """Leave a room."""
    room = room_of(socket, data.room)
    if room is lobby:
        raise EventError("lobby", "Everyone is in the lobby")
    await socket.leave(room.channel)
    if room.close(socket.user, socket.id):
        room.forget(socket.user)
        await say_goodbye(room, socket.user, io)
    await tell("closed", room.name, socket.user, socket.id, True)


@io.on("disconnecting")
async def disconnecting(socket: Socket, reason: str) -> None:
    me: Person = socket.user
    here = [room for room in rooms.values() if socket.id in room.tabs.get(me, ())]
    for room in here:
        room.close(me, socket.id)
    for room in here:
        await tell("closed", room.name, me, socket.id, False)


@io.emits("joined", str, Person, names=("room", "person"), description="Somebody has entered a room.")
@io.emits("room", RoomInfo, description="How many are in a room now; it is gone when nobody is.")
async def enter(socket: Socket, room: Room) -> Joined:
    await socket.join(room.channel)
    new = room.enter(socket.user, socket.id)
    await tell("entered", room.name, socket.user, socket.id)
    if new:
        await socket.to(room.channel).emit("joined", room.name, socket.user)
        await io.emit("room", room.info())
    return Joined(room.name, list(room.tabs), list(room.messages))


@io.emits("left", str, Person, names=("room", "person"), description="Somebody has left a room.")
async def say_goodbye(room: Room, person: Person, clients: Any) -> None:
    await clients.to(room.channel).emit("left", room.name, person)
    await clients.emit("room", room.info())


async def goodbyes(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, let the people go who did not come back in time."""

    async def watch() -> None:
        lost: set[str] = set()
        while True:
            for _ in range(5):
                await asyncio.sleep(1)
                now = time.monotonic()
                for room in list(rooms.values()):
                    for person in [person for person, since in room.away.items() if now - since > GRACE]:
                        room.forget(person)
                        await say_goodbye(room, person, io.local)  # each worker tells its own clients
            lost = await close_lost_tabs(lost)

    task = asyncio.create_task(watch())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- several workers: each knows all, and tells the others what it changes --------------------------------------------


async def tell(event: str, *args: Any) -> None:
    with suppress(ClusterUnavailable):  # this worker ends
        if len(await io.cluster.nodes()) > 1:
            await io.server_side_emit(event, *args)


@io.on_server_side("entered")
async def entered(name: str, person: Person, tab: str) -> None:
    room_called(name).enter(person, tab)


@io.on_server_side("closed")
async def closed(name: str, person: Person, tab: str, at_once: bool) -> None:
    room = rooms.get(name)
    if room is not None and room.close(person, tab) and at_once:
        room.forget(person)


@io.on_server_side("posted")
async def posted(message: Message) -> None:
    if message.to is None:
        room_called(message.room or "").add(message)
    else:
        talk_of(message.author, message.to).add(message)


@io.on_server_side("copy")
async def copy() -> Memory:
    copies = [
        RoomMemory(room.name, [(person, list(tabs)) for person, tabs in room.tabs.items()], list(room.messages))
        for room in rooms.values()
    ]
    return Memory(key, copies, [list(talk.messages) for talk in private.values()])


async def learn(app: web.Application) -> None:
    """Ask the other workers, before this one serves anybody."""
    global key
    if len(await io.cluster.nodes()) < 2:
        return
    answers: Mapping[str, Any]
    try:
        answers = await io.server_side_emit_with_ack("copy", timeout=5)
    except AckTimeout as error:
        answers = error.responses
    for answer in list(answers.values())[:1]:
        memory = msgspec.convert(answer, Memory)
        key = memory.key
        for kept in memory.rooms:
            room = room_called(kept.name)
            for message in kept.messages:
                room.add(message)
            for person, tabs in kept.people:
                for tab in tabs:
                    room.enter(person, tab)
        for messages in memory.private:
            for message in messages:
                if message.to is not None:
                    talk_of(message.author, message.to).add(message)


async def close_lost_tabs(before: set[str]) -> set[str]:
    """Close the tabs that nobody has any more: their worker was killed. ``before``: those not found the last time."""
    known = [(room, person, tab) for room in rooms.values() for person in room.tabs for tab in room.tabs[person]]
    try:
        here = {each.id for each in await io.fetch_sockets()}
    except (FetchTimeout, ClusterUnavailable):
        return set()
    for room, person, tab in known:
        if tab in before and tab not in here:
            room.close(person, tab)
    return {tab for _, _, tab in known} - here


# --- talking ----------------------------------------------------------------------------------------------------------


@io.emits("message", Message, description="Somebody has said something in a room.")
@io.on("message")
async def message(socket: Socket, data: ToRoom) -> Message:
    """Say something in a room."""
    room = room_of(socket, data.room)
    posted, new = room.post(socket.user, data)
    if new:
        await tell("posted", posted)
        await socket.to(room.channel).emit("message", posted)  # not to the sender: the ack confirms it there
    return posted


@io.emits("private", Message, description="Two people talk, and this is one of them.")
@io.on("private")
async def private_message(socket: Socket, data: ToPerson) -> Message:
    """Say something to a person."""
    me, other = socket.user, person_online(data.person)
    if me == other:
        raise EventError("yourself", "This is you")
    posted, new = talk_of(me, other).post(me, data, to=other)
    if new:
        await tell("posted", posted)
        await socket.to(tabs_of(me), tabs_of(other)).emit("private", posted)
    return posted


@io.emits("typing", str | None, Person, names=("room", "person"), description="Somebody writes; no room: to you.")
@io.on("typing")
async def typing(socket: Socket, data: Typing) -> None:
    """Say that a message is being written, in a room or to a person."""
    channel = tabs_of(person_online(data.person)) if data.person else room_of(socket, data.room).channel
    await socket.to(channel).volatile.emit("typing", data.room, socket.user)


@io.use_event
async def not_too_fast(socket: Socket, event: Event, call_next: CallNext) -> Any:
    """Sixty events at once and twenty a second after that: plenty for a person, too few for a flood."""
    now = time.monotonic()
    left, since = socket.data.get("allowance", (60.0, now))
    left = min(60.0, left + 20 * (now - since))
    if left < 1:
        raise EventError("too_fast", "That was too fast")
    socket.data["allowance"] = (left - 1, now)
    return await call_next()


# --- signing in -------------------------------------------------------------------------------------------------------


def name_taken(person: Person) -> bool:
    """Whether somebody else is online by this name."""
    name = person.name.casefold()
    return any(tabs and other != person and other.name.casefold() == name for other, tabs in lobby.tabs.items())


def session_for(person: Person) -> Session:
    claims = {"sub": person.id, "name": person.name, "exp": datetime.now(UTC) + SESSION}
    return Session(jwt.encode(claims, key, algorithm="HS256"), person, SESSION.total_seconds())


async def sign_in(request: web.Request) -> web.Response:
    try:
        name = tidy(msgspec.json.decode(await request.read(), type=SignIn).name, 24)
    except msgspec.DecodeError as error:
        return web.json_response({"message": str(error)}, status=400)
    if not name:
        return web.json_response({"message": "A name has 1 to 24 letters"}, status=400)
    person = Person(secrets.token_urlsafe(9), name)
    if name_taken(person):
        return web.json_response({"message": f"Somebody is here as {person.name} already"}, status=409)
    return web.Response(body=msgspec.json.encode(session_for(person)), content_type="application/json")


@io.on("renew")
async def renew(socket: Socket) -> Session:
    """A page that stays open asks for this at half time, so that only who was away for long must sign in again."""
    return session_for(socket.user)


# --- the page ---------------------------------------------------------------------------------------------------------

HERE = Path(__file__).resolve().parent
CDN = "https://cdn.socket.io"
CDN_SCRIPT = (
    f'<script src="{CDN}/4.8.3/socket.io.min.js" crossorigin="anonymous" '
    'integrity="sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0"></script>'
)
HEADERS = {
    "Content-Security-Policy": f"default-src 'self'; script-src 'self' {CDN}; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def client_files() -> Path | None:
    """Where npm has installed socket.io-client, if it has."""
    for folder in (HERE, *HERE.parents):
        for modules in (folder / "node_modules", folder / "tests/js/node_modules"):
            if (modules / "socket.io-client/dist/socket.io.min.js").is_file():
                return modules / "socket.io-client/dist"
    return None


def make_app() -> web.Application:
    files = client_files()
    script = '<script src="/client/socket.io.min.js"></script>' if files else CDN_SCRIPT
    html = (HERE / "page/index.html").read_text(encoding="utf-8").replace("<!-- socket.io-client -->", script)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=HEADERS)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    if files:
        app.router.add_static("/client", files)
    app.router.add_post("/sign-in", sign_in)
    app.cleanup_ctx.append(goodbyes)
    io.attach(app)
    app.on_startup.append(learn)  # after the server, which has joined the other workers then
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat on rtframework.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1")
    parser.add_argument("--port", default=int(os.environ.get("PORT", "8080")), type=int, help="default: $PORT or 8080")
    options = parser.parse_args()
    app = make_app()
    tune_gc(app)
    web.run_app(app, host=options.host, port=options.port, backlog=4096)
