"""Sockets in an application that is there already: a café's orders, by its own routes, sessions and middleware.

::

    python examples/existing_app/server.py        # then open http://127.0.0.1:8081 in two windows

The web application comes first and knows nothing of sockets; ``# live`` marks the lines that make it live.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from rtframework import ConnectionRefused, Handshake, Identity, Server, Socket
from rtframework.engine import limit_heads

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE = "cafe_session"
LIVE = "/live"  # below /api, where the sub-application is mounted


class SignIn(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=30)]


class NewOrder(Struct):
    item: Annotated[str, Meta(pattern=r"\S", max_length=60)]


class Change(Struct):
    state: Literal["making", "ready"]


class Order(Struct):
    id: int
    item: str
    by: str
    state: Literal["new", "making", "ready"] = "new"


class Cafe:
    """What the application keeps: in a real one, a database and a session store."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.sessions: dict[str, Identity] = {}
        self.numbers = itertools.count(1)


CAFE = web.AppKey("cafe", Cafe)
IO = web.AppKey("io", Server)


# --- middleware of the application ------------------------------------------------------------------------------------


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Wraps every request, those of the sockets too: that is fine, since a good answer passes through as it is."""
    try:
        return await handler(request)
    except msgspec.DecodeError as error:
        return web.json_response({"message": str(error)}, status=400)
    except web.HTTPException as error:
        if not request.path.startswith("/api") or error.status < 400:
            raise
        return web.json_response({"message": error.reason}, status=error.status)


@web.middleware
async def time_limit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Five seconds are enough for an answer. A websocket and a long poll last longer, so they are let through."""
    if request.path.startswith("/api" + LIVE):  # live
        return await handler(request)
    try:
        async with asyncio.timeout(5):
            return await handler(request)
    except TimeoutError:
        raise web.HTTPServiceUnavailable from None


async def security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """A signal, not a middleware: by the time a middleware sees a websocket's response, its headers have been sent."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"


# --- routes of the application ----------------------------------------------------------------------------------------


def json(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")


async def body(request: web.Request, type: Any) -> Any:
    # A form of another site can post text, but not this content type.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    return msgspec.json.decode(await request.read(), type=type)


def user_of(request: web.Request) -> Identity:
    user = request.config_dict[CAFE].sessions.get(request.cookies.get(COOKIE, ""))
    if user is None:
        raise web.HTTPUnauthorized(reason="Please sign in")
    return user


async def sign_in(request: web.Request) -> web.Response:
    data = await body(request, SignIn)
    session = secrets.token_urlsafe(24)
    request.config_dict[CAFE].sessions[session] = Identity(session[:8], name=data.name)
    response = json({"name": data.name})
    response.set_cookie(COOKIE, session, httponly=True, samesite="Lax", secure=request.secure, max_age=86400)
    return response


async def sign_out(request: web.Request) -> web.Response:
    session = request.cookies.get(COOKIE, "")
    user = request.config_dict[CAFE].sessions.pop(session, None)
    if user is not None:
        await disconnect_sockets(request.config_dict[IO], user)  # live
    response = json({})
    response.del_cookie(COOKIE)
    return response


async def list_orders(request: web.Request) -> web.Response:
    user_of(request)
    return json(list(request.config_dict[CAFE].orders.values()))


async def add_order(request: web.Request) -> web.Response:
    user, data, cafe = user_of(request), await body(request, NewOrder), request.config_dict[CAFE]
    order = Order(next(cafe.numbers), data.item.strip(), user.name)
    cafe.orders[order.id] = order
    if len(cafe.orders) > 100:
        del cafe.orders[next(iter(cafe.orders))]
    await request.config_dict[IO].to("orders").emit("order", order)  # live
    return json(order, status=201)


async def change_order(request: web.Request) -> web.Response:
    user_of(request)
    data, cafe = await body(request, Change), request.config_dict[CAFE]
    order = cafe.orders.get(int(request.match_info["id"]))
    if order is None:
        raise web.HTTPNotFound(reason="There is no such order")
    order.state = data.state
    await request.config_dict[IO].to("orders").emit("order", order)  # live
    return json(order)


# --- what makes it live -----------------------------------------------------------------------------------------------


class SessionCookie:
    """Lets in whoever the application has signed in, by the same cookie: any object with this method will do."""

    def __init__(self, sessions: dict[str, Identity]) -> None:
        self.sessions = sessions

    async def authenticate(self, handshake: Handshake) -> Identity:
        # Browsers send cookies along from pages of other sites, too.
        user = None if handshake.xdomain else self.sessions.get(handshake.cookies.get(COOKIE, ""))
        if user is None:
            raise ConnectionRefused("Please sign in", {"code": "no_session"})
        return user


async def disconnect_sockets(io: Server, user: Identity) -> None:
    for socket in list(io.sockets.values()):
        if socket.user.id == user.id:
            await socket.disconnect(close=True)


def make_sockets(cafe: Cafe) -> Server:
    io = Server(auth=SessionCookie(cafe.sessions))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("orders")

    @io.on("call_out")
    async def call_out(socket: Socket, id: int) -> str:
        """Somebody at the counter calls an order out: nothing to keep, so no route for it."""
        order = cafe.orders.get(id)
        if order is None:
            return "no such order"
        await io.to("orders").emit("called_out", order, socket.user.name)
        return "ok"

    return io


# --- all together -----------------------------------------------------------------------------------------------------

HERE = Path(__file__).resolve().parent
CDN_SCRIPT = (
    '<script src="https://cdn.socket.io/4.8.3/socket.io.min.js" crossorigin="anonymous" '
    'integrity="sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0"></script>'
)


def client_files() -> Path | None:
    """Where npm has installed socket.io-client, if it has."""
    for folder in (HERE, *HERE.parents):
        for modules in (folder / "node_modules", folder / "tests/js/node_modules"):
            if (modules / "socket.io-client/dist/socket.io.min.js").is_file():
                return modules / "socket.io-client/dist"
    return None


def make_app() -> web.Application:
    cafe = Cafe()

    api = web.Application()
    api.router.add_post("/sign-in", sign_in)
    api.router.add_post("/sign-out", sign_out)
    api.router.add_get("/orders", list_orders)
    api.router.add_post("/orders", add_order)
    api.router.add_patch(r"/orders/{id:\d{1,9}}", change_order)

    files = client_files()
    script = '<script src="/client/socket.io.min.js"></script>' if files else CDN_SCRIPT
    html = (HERE / "page/index.html").read_text(encoding="utf-8").replace("<!-- socket.io-client -->", script)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application(middlewares=[errors_as_json, time_limit])
    app[CAFE] = cafe
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    if files:
        app.router.add_static("/client", files)
    app.on_response_prepare.append(security_headers)

    app[IO] = make_sockets(cafe)  # live
    app[IO].attach(api, path=LIVE)  # live: in the sub-application, so at /api/live
    app.add_subapp("/api", api)
    limit_heads(app)  # live: what is attached to the application itself does not need this
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sockets in an existing aiohttp application.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1")
    parser.add_argument("--port", default=int(os.environ.get("PORT", "8081")), type=int, help="default: $PORT or 8081")
    options = parser.parse_args()
    web.run_app(make_app(), host=options.host, port=options.port)
