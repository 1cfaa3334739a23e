"""A support desk: who is here, history, short tokens, staff. docs/tutorials/support-desk.md builds it step by step.

::

    DESK_CODE=tea python examples/support_desk/server.py    # then open http://127.0.0.1:8092 in two windows
"""

import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from rtframework import ConnectionRefused, EventError, History, MemoryAdapter, Presence, Server, Socket
from rtframework_jwt import JWTAuth

KEY = os.environ.get("DESK_KEY") or secrets.token_urlsafe(32)
CODE = os.environ.get("DESK_CODE", "")  # who knows it is staff
LIFE = int(os.environ.get("DESK_LIFE", "300"))  # seconds that a token lives
SESSION = 12 * 3600  # seconds that one stays signed in
PAGE = 30  # messages that a page gets at once

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
CLIENT = next((found for folder in NPM if (found := folder / "socket.io-client/dist").is_dir()), None)


# --- servers ----------------------------------------------------------------------------------------------------------

REDIS = os.environ.get("REDIS")  # where it is, e.g. redis://localhost: then several servers are one


def adapter() -> Any:
    if not REDIS:
        return MemoryAdapter
    from rtframework_redis import RedisStreams

    return RedisStreams(REDIS)


io = Server(
    auth=JWTAuth(key=KEY, algorithms=["HS256"]),
    presence=Presence("room:{room}", meta=lambda socket: {"name": socket.user.name}),
    history=History("room:{room}", size=500, events=["said"]),
    adapter=adapter(),
    serve_client=CLIENT or False,
)


# --- who is talking ---------------------------------------------------------------------------------------------------


class SignIn(Struct):
    name: Annotated[str, Meta(pattern=r"^\w[\w .'-]{0,23}$")]
    code: str = ""


def token_for(name: str, *, staff: bool = False, since: int | None = None, **claims: Any) -> str:
    now = int(time.time())
    claims = {"sub": name.lower(), "name": name, "iat": since or now, "exp": now + LIFE, **claims}
    return jwt.encode({**claims, "roles": ["staff"] if staff else []}, KEY, algorithm="HS256")


async def sign_in(request: web.Request) -> web.Response:
    try:
        asked = msgspec.json.decode(await request.read(), type=SignIn)
    except msgspec.DecodeError:
        return web.json_response({"message": "A name has 1 to 24 letters"}, status=400)
    staff = bool(CODE) and hmac.compare_digest(asked.code.encode(), CODE.encode())
    if asked.code and not staff:
        return web.json_response({"message": "This is not the code"}, status=400)
    session = token_for(asked.name, staff=staff, exp=int(time.time()) + SESSION, aud="session")
    response = web.json_response({"name": asked.name})
    response.set_cookie("desk", session, max_age=SESSION, httponly=True, samesite="Strict", secure=request.secure)
    return response


async def token(request: web.Request) -> web.Response:
    try:
        session = jwt.decode(request.cookies.get("desk", ""), KEY, algorithms=["HS256"], audience="session")
    except jwt.InvalidTokenError:
        return web.json_response({"token": ""}, status=401)
    staff = "staff" in session["roles"]
    fresh = token_for(session["name"], staff=staff, since=session["iat"])
    return web.json_response({"token": fresh, "name": session["name"], "staff": staff})


# --- rooms ------------------------------------------------------------------------------------------------------------


class Place(Struct):
    room: Annotated[str, Meta(pattern=r"^[\w-]{1,32}$")] = "desk"
    last_id: str | None = None


@io.on("connection")
async def connection(socket: Socket) -> None:
    try:
        place = msgspec.convert(dict(socket.handshake.auth), Place)
    except msgspec.ValidationError:
        raise ConnectionRefused("There is no such room", {"code": "no_room"}) from None
    await socket.join(f"room:{place.room}", history=PAGE, since=place.last_id)


def room_of(socket: Socket) -> str:
    return next(room for room in socket.rooms if room.startswith("room:"))


# --- talking ----------------------------------------------------------------------------------------------------------

Text = Annotated[str, Meta(pattern=r"\S", max_length=2000)]


class Message(Struct):
    author: str
    text: str
    time: float  # seconds since 1970
    key: str


@io.on("say", idempotent="key")
async def say(socket: Socket, text: Text, key: Annotated[str, Meta(min_length=8, max_length=64)]) -> Message:
    message = Message(socket.user.name, text, time.time(), key)
    await io.to(room_of(socket)).emit("said", message)
    return message


@io.on("older")
async def older(socket: Socket, before: str) -> dict[str, Any]:
    page = await socket.history(room_of(socket), before=before, limit=PAGE)
    return {"entries": [{"id": each.id, "args": each.args} for each in page.entries], "more": page.more}


# --- staff ------------------------------------------------------------------------------------------------------------


@io.on("throw out")
async def throw_out(socket: Socket, user: str, reason: Text) -> None:
    if "staff" not in socket.user.roles:
        raise EventError("forbidden", "Only staff may do this")
    await io.user(user).disconnect(reason=reason, reconnect=True)


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
    app.router.add_post("/token", token)
    app.router.add_static("/page", HERE / "page")
    io.attach(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8092")))
