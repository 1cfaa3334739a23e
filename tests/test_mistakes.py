"""Mistakes that programs make: each is an error where it is made, and the message says what to write instead.

A ``type: ignore`` in a row shows that mypy reports the mistake, too: mypy complains about an ignore without use.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    Cookie,
    Cors,
    EncodeError,
    JSONSerializer,
    Limits,
    Namespace,
    Recovery,
    RemoteSocket,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.concurrency import maybe_await
from rtframework.engine import AsyncServer
from rtframework.options import Deflate
from rtframework.testing import TestClient, TestServer
from rtframework_jwt import JWTAuth
from rtframework_msgpack import MsgpackSerializer

SECRET: Final = "do-not-print-me"


@dataclass
class Stage:
    """The objects that a program makes mistakes with."""

    io: Server
    ns: Namespace
    socket: Socket
    app: web.Application
    client: TestClient


def a_function(*args: Any) -> None:
    """Do nothing: a handler of anything."""


class BothWays:
    """An authenticator whose class can be given itself."""

    @staticmethod
    async def authenticate(handshake: object) -> str:
        """Let everybody in."""
        return "somebody"


class NoAuthenticator:
    """An object that cannot authenticate."""


def twice(io: Server, app: web.Application) -> None:
    """Attach two servers at one path."""
    io.attach(app)
    Server().attach(app, "/socket.io/")


def frozen(io: Server, app: web.Application) -> None:
    """Attach to an application that runs."""
    app.freeze()
    io.attach(app)


Mistake = Callable[[Stage], Any]
ORIGIN: Final = "cors_allowed_origins"

# id: the mistake, the exception, words of the message
MISTAKES: Final[dict[str, tuple[Mistake, type[Exception], list[str]]]] = {
    # --- decorators
    "@io.on": (lambda a: a.io.on(a_function), ConfigurationError, ['@io.on("a_function")']),  # type: ignore[arg-type]
    "@io.once": (lambda a: a.io.once(a_function), ConfigurationError, ['@io.once("a_function")']),  # type: ignore[arg-type]
    "@ns.on": (lambda a: a.ns.on(a_function), ConfigurationError, ['@namespace.on("a_function")']),  # type: ignore[arg-type]
    "@ns.once": (lambda a: a.ns.once(a_function), ConfigurationError, ['@namespace.once("']),  # type: ignore[arg-type]
    "@socket.on": (lambda a: a.socket.on(a_function), ConfigurationError, ['@socket.on("a_function")']),  # type: ignore[arg-type]
    "@socket.once": (lambda a: a.socket.once(a_function), ConfigurationError, ['@socket.once("']),  # type: ignore[arg-type]
    "@io.on_server_side": (
        lambda a: a.io.on_server_side(a_function),  # type: ignore[arg-type]
        ConfigurationError,
        ['@io.on_server_side("a_function")'],
    ),
    "@ns.on_server_side": (
        lambda a: a.ns.on_server_side(a_function),  # type: ignore[arg-type]
        ConfigurationError,
        ['@namespace.on_server_side("a_function")'],
    ),
    "@io.emits": (lambda a: a.io.emits(a_function), ConfigurationError, ['emits("message", str)']),  # type: ignore[arg-type]
    "@ns.emits": (lambda a: a.ns.emits(a_function), ConfigurationError, ['emits("message", str)']),  # type: ignore[arg-type]
    "@io.exception_handler": (
        lambda a: a.io.exception_handler(a_function),  # type: ignore[arg-type]
        ConfigurationError,
        ["@io.exception_handler(PermissionError)"],
    ),
    "@ns.exception_handler": (
        lambda a: a.ns.exception_handler(a_function),  # type: ignore[arg-type]
        ConfigurationError,
        ["@namespace.exception_handler(PermissionError)"],
    ),
    "@io.on()": (lambda a: a.io.on(), TypeError, ['@io.on("message")']),  # type: ignore[call-arg]
    '@io.event("x")': (lambda a: a.io.event("x"), ConfigurationError, ["@io.on('x')", "@io.event", "parentheses"]),  # type: ignore[type-var]
    "@io.event()": (lambda a: a.io.event(), ConfigurationError, ["@io.event", "without parentheses"]),  # type: ignore[call-arg]
    "@ns.event()": (lambda a: a.ns.event(), ConfigurationError, ["@namespace.event", "parentheses"]),  # type: ignore[call-arg]
    "@socket.event()": (lambda a: a.socket.event(), ConfigurationError, ["@socket.event", "parentheses"]),  # type: ignore[call-arg]
    "@io.event(namespace=)": (
        lambda a: a.io.event(namespace="/chat"),  # type: ignore[call-arg]
        ConfigurationError,
        ["@io.of('/chat').event"],
    ),
    "@io.on_any()": (lambda a: a.io.on_any(), ConfigurationError, ["@io.on_any", "without parentheses"]),  # type: ignore[call-arg]
    '@io.on_any("x")': (lambda a: a.io.on_any("x"), ConfigurationError, ["@io.on_any", "a function, not 'x'"]),  # type: ignore[type-var]
    "@io.on_any_outgoing()": (
        lambda a: a.io.on_any_outgoing(),  # type: ignore[call-arg]
        ConfigurationError,
        ["@io.on_any_outgoing", "without parentheses"],
    ),
    "@io.use()": (lambda a: a.io.use(), ConfigurationError, ["@io.use", "without parentheses"]),  # type: ignore[call-arg]
    "@ns.use_event()": (lambda a: a.ns.use_event(), ConfigurationError, ["@namespace.use_event"]),  # type: ignore[call-arg]
    "on(namespace=)": (
        lambda a: a.io.on("x", namespace="/chat"),  # type: ignore[call-arg]
        TypeError,
        ["namespace=", "@io.of('/chat').on('x')"],
    ),
    "on(event, handler)": (
        lambda a: a.io.on("x", a_function),  # type: ignore[call-arg, arg-type]
        TypeError,
        ["@io.on('x')", "io.on('x')(function)"],
    ),
    "on(handler=)": (
        lambda a: a.socket.on("x", handler=a_function),  # type: ignore[call-arg]
        TypeError,
        ["@socket.on('x')", "socket.on('x')(function)"],
    ),
    "on(unknown=)": (lambda a: a.io.on("x", order=True), TypeError, ["order=", "ordered"]),  # type: ignore[call-arg]
    "@io.on(True)": (lambda a: a.io.on(True)(a_function), ConfigurationError, ["string", "integer, not True"]),
    "@io.on(1.5)": (lambda a: a.io.on(1.5)(a_function), ConfigurationError, ["string", "integer, not 1.5"]),  # type: ignore[arg-type]
    "@io.on(None)": (lambda a: a.io.on(None), TypeError, ['@io.on("message")']),  # type: ignore[arg-type]
    "@io.on(2**53)": (lambda a: a.io.on(2**53)(a_function), ConfigurationError, ["2**53 - 1"]),
    "@io.on(10**5000)": (lambda a: a.io.on(10**5000)(a_function), ConfigurationError, ["2**53 - 1"]),
    "@io.event(1)": (lambda a: a.io.event(1), ConfigurationError, ["@io.on(1)", "@io.event"]),  # type: ignore[type-var]
    "@io.emits(True)": (lambda a: a.io.emits(True, str), ConfigurationError, ["integer, not True"]),
    "@io.on_server_side(None)": (lambda a: a.io.on_server_side(None), TypeError, ["name of the event"]),  # type: ignore[arg-type]
    "io.emit(True)": (lambda a: a.io.emit(True), ConfigurationError, ["integer, not True"]),
    "socket.emit(1.5)": (lambda a: a.socket.emit(1.5), ConfigurationError, ["integer, not 1.5"]),  # type: ignore[arg-type]
    # --- parameters
    "(sid, data)": (
        lambda a: a.io.on("message")(lambda sid, data: None),
        ConfigurationError,
        ["given the socket", "(socket, data)", "socket.id"],
    ),
    "(sid)": (lambda a: a.ns.on("message")(lambda sid: None), ConfigurationError, ["(socket)", "socket.id"]),
    "(sid, environ)": (
        lambda a: a.io.on("connection")(lambda sid, environ: None),
        ConfigurationError,
        ["(socket)`", "socket.id", "'environ' is socket.handshake"],
    ),
    "disconnect(sid)": (
        lambda a: a.io.on("disconnect")(lambda sid: None),
        ConfigurationError,
        ["(socket, reason)", "socket.id"],
    ),
    "disconnect(sid, reason)": (
        lambda a: a.io.on("disconnect")(lambda sid, reason: None),
        ConfigurationError,
        ["(socket, reason)", "socket.id"],
    ),
    "connection(socket, environ)": (
        lambda a: a.io.on("connection")(lambda socket, environ: None),
        ConfigurationError,
        ["must take (socket)", "'environ' is socket.handshake, with headers, query, cookies and address"],
    ),
    "connection(socket, environ, auth)": (
        lambda a: a.io.on("connection")(lambda socket, environ, auth: None),
        ConfigurationError,
        ["'environ' is socket.handshake", "'auth' is socket.handshake.auth"],
    ),
    "connection(socket, data)": (
        lambda a: a.ns.on("connection")(lambda socket, data: None),
        ConfigurationError,
        ["'data' is socket.handshake.auth"],
    ),
    # --- origins
    "origin without scheme": (
        lambda a: Server(cors_allowed_origins="app.example.org"),
        ConfigurationError,
        [ORIGIN, "'app.example.org'", '"https://app.example.org"'],
    ),
    "origin of a machine without scheme": (
        lambda a: Server(cors_allowed_origins="localhost:5173"),
        ConfigurationError,
        [ORIGIN, '"http://localhost:5173"'],
    ),
    "origin with a star": (
        lambda a: Server(cors_allowed_origins="http://*.example.org"),
        ConfigurationError,
        [ORIGIN, r're.compile(r"http://[^/:]+\.example\.org")'],
    ),
    "origin True": (lambda a: Server(cors_allowed_origins=True), ConfigurationError, [ORIGIN, "True", '"*"']),  # type: ignore[arg-type]
    "origin False": (lambda a: Server(cors_allowed_origins=False), ConfigurationError, [ORIGIN, "leave it out"]),  # type: ignore[arg-type]
    "origin bytes": (
        lambda a: Server(cors_allowed_origins=b"https://a.org"),  # type: ignore[arg-type]
        ConfigurationError,
        [ORIGIN, "write 'https://a.org'"],
    ),
    "origin dict": (lambda a: Server(cors_allowed_origins={}), ConfigurationError, [ORIGIN, "{}", "https://"]),  # type: ignore[arg-type]
    "origin empty": (lambda a: Server(cors_allowed_origins=""), ConfigurationError, [ORIGIN, "None"]),
    "origins in one string": (
        lambda a: Server(cors_allowed_origins="https://a.org, https://b.org"),
        ConfigurationError,
        [ORIGIN, "['https://a.org', 'https://b.org']"],
    ),
    "origin with a path": (
        lambda a: Server(cors_allowed_origins="https://a.org/chat"),
        ConfigurationError,
        [ORIGIN, 'Write "https://a.org"'],
    ),
    "origin in capitals": (
        lambda a: Server(cors_allowed_origins="https://A.org"),
        ConfigurationError,
        ["lower case", 'Write "https://a.org"'],
    ),
    "origin with the default port": (
        lambda a: Server(cors_allowed_origins="https://a.org:443"),
        ConfigurationError,
        ["default port", 'Write "https://a.org"'],
    ),
    "origin in other letters": (
        lambda a: Server(cors_allowed_origins="https://bücher.example"),
        ConfigurationError,
        ["https://xn--bcher-kva.example"],
    ),
    "origin without a host": (lambda a: Server(cors_allowed_origins="https://"), ConfigurationError, [ORIGIN, "host"]),
    "origin with a wrong port": (
        lambda a: Server(cors_allowed_origins="http://localhost:x"),
        ConfigurationError,
        [ORIGIN, "localhost:x", "ort"],
    ),
    "origin in a list": (
        lambda a: Server(cors_allowed_origins=["https://a.org", "localhost"]),
        ConfigurationError,
        [ORIGIN, '"http://localhost"'],
    ),
    "origin in a list, of another type": (
        lambda a: Server(cors_allowed_origins=[True]),  # type: ignore[list-item]
        ConfigurationError,
        [ORIGIN, "True", "neither a string nor a pattern"],
    ),
    "origin in a pattern of bytes": (
        lambda a: Server(cors_allowed_origins=re.compile(b".*")),  # type: ignore[arg-type]
        ConfigurationError,
        [ORIGIN, "bytes"],
    ),
    "origin of Cors": (lambda a: Cors("a.org"), ConfigurationError, [ORIGIN, '"https://a.org"']),
    # --- extensions
    "auth is a string": (lambda a: Server(auth=SECRET), ConfigurationError, ["auth is a str", "StaticTokenAuth({"]),  # type: ignore[arg-type]
    "auth is a class": (lambda a: Server(auth=JWTAuth), ConfigurationError, ["auth=JWTAuth(...)", "not auth=JWTAuth"]),  # type: ignore[arg-type]
    "auth is something else": (
        lambda a: Server(auth=NoAuthenticator()),  # type: ignore[arg-type]
        ConfigurationError,
        ["NoAuthenticator", "authenticate()", "async def authenticate(handshake)"],
    ),
    "auth is a function": (
        lambda a: Server(auth=a_function),  # type: ignore[arg-type]
        ConfigurationError,
        ["auth is a function", "async def authenticate(handshake)"],
    ),
    "serializer is a class": (
        lambda a: Server(serializer=MsgpackSerializer),  # type: ignore[arg-type]
        ConfigurationError,
        ["serializer=MsgpackSerializer(...)"],
    ),
    "serializer is a name": (
        lambda a: Server(serializer="msgpack"),  # type: ignore[arg-type]
        ConfigurationError,
        ["serializer=load('serializers', 'msgpack')()", "rtframework.plugins"],
    ),
    "serializer is a module": (
        lambda a: Server(serializer=inspect),  # type: ignore[arg-type]
        ConfigurationError,
        ["encode()", "serializer=JSONSerializer()"],
    ),
    "adapter is an object": (
        lambda a: Server(adapter=a.ns.adapter),  # type: ignore[arg-type]
        ConfigurationError,
        ["for each namespace", "adapter=MemoryAdapter, not adapter=MemoryAdapter()"],
    ),
    "adapter is a name": (
        lambda a: Server(adapter="redis"),  # type: ignore[arg-type]
        ConfigurationError,
        ["adapter=MemoryAdapter", 'load("adapters", name)'],
    ),
    "recovery is True": (
        lambda a: Server(connection_state_recovery=True),  # type: ignore[arg-type]
        ConfigurationError,
        ["connection_state_recovery=Recovery()"],
    ),
    "recovery is False": (
        lambda a: Server(connection_state_recovery=False),  # type: ignore[arg-type]
        ConfigurationError,
        ["leave it out"],
    ),
    "compression is True": (
        lambda a: Server(per_message_deflate=True),  # type: ignore[arg-type]
        ConfigurationError,
        ["per_message_deflate=Deflate()"],
    ),
    "limits are a dict": (
        lambda a: Server(limits={"max_outbox": 1}),  # type: ignore[arg-type]
        ConfigurationError,
        ["limits=Limits("],
    ),
    "cors is a string": (lambda a: Server(cors="*"), ConfigurationError, ["cors=Cors("]),  # type: ignore[arg-type]
    "cookie is a dict": (
        lambda a: Server(cookie={"name": "io"}),  # type: ignore[arg-type]
        ConfigurationError,
        ['cookie=Cookie(name="io")'],
    ),
    # --- options by another name
    "pingInterval": (lambda a: Server(pingInterval=25), TypeError, ["pingInterval=", "write ping_interval=..."]),  # type: ignore[call-arg]
    "allowEIO3": (lambda a: Server(allowEIO3=True), TypeError, ["allowEIO3=", "write allow_eio3=..."]),  # type: ignore[call-arg]
    "cors_origins": (lambda a: Server(cors_alowed_origins="*"), TypeError, ["write cors_allowed_origins=..."]),  # type: ignore[call-arg]
    "async_mode": (lambda a: Server(async_mode="aiohttp"), TypeError, ["async_mode=", "aiohttp"]),  # type: ignore[call-arg]
    "client_manager": (lambda a: Server(client_manager=None), TypeError, ["adapter=..."]),  # type: ignore[call-arg]
    "logger": (lambda a: Server(logger=True), TypeError, ['logging.getLogger("rtframework")']),  # type: ignore[call-arg]
    "path": (lambda a: Server(path="/chat"), TypeError, ["io.attach(app, path)"]),  # type: ignore[call-arg]
    "socketio_path": (
        lambda a: a.io.attach(a.app, socketio_path="chat"),  # type: ignore[call-arg]
        TypeError,
        ["attach() has no socketio_path=", "io.attach(app, path)"],
    ),
    # --- times
    "ping_interval in ms": (
        lambda a: Server(ping_interval=25000),
        ConfigurationError,
        ["ping_interval", "seconds", "25 "],
    ),
    "ping_timeout in ms": (
        lambda a: Server(ping_timeout=20000),
        ConfigurationError,
        ["ping_timeout", "seconds", "20 "],
    ),
    "connect_timeout in ms": (
        lambda a: Server(connect_timeout=45_000),
        ConfigurationError,
        ["connect_timeout", "seconds", "45 "],
    ),
    "upgrade_timeout in ms": (
        lambda a: Server(upgrade_timeout=10_000),
        ConfigurationError,
        ["upgrade_timeout", "seconds", "10 "],
    ),
    "body_timeout in ms": (lambda a: Limits(body_timeout=30_000), ConfigurationError, ["body_timeout", "seconds"]),
    "recovery in ms": (
        lambda a: Recovery(max_disconnection_duration=120_000),
        ConfigurationError,
        ["max_disconnection_duration", "seconds", "120 "],
    ),
    "io.timeout in ms": (lambda a: a.io.timeout(5000), ConfigurationError, ["timeout()", "seconds", "write 5 "]),
    "ns.timeout in ms": (lambda a: a.ns.timeout(5000), ConfigurationError, ["timeout()", "write 5 "]),
    "io.to().timeout in ms": (lambda a: a.io.to("a").timeout(5000), ConfigurationError, ["write 5 "]),
    "socket.timeout in ms": (lambda a: a.socket.timeout(5000), ConfigurationError, ["timeout()", "write 5 "]),
    "socket.volatile.timeout in ms": (lambda a: a.socket.volatile.timeout(5000), ConfigurationError, ["write 5 "]),
    "timeout is text": (lambda a: a.io.timeout("5"), ConfigurationError, ["number of seconds, not '5'"]),  # type: ignore[arg-type]
    "server_side_emit_with_ack in ms": (
        lambda a: a.io.server_side_emit_with_ack("x", timeout=5000),
        ConfigurationError,
        ["timeout", "write 5 "],
    ),
    "within in ms": (
        lambda a: a.client.receive("x", within=5000),
        ConfigurationError,
        ["within", "seconds", "write 5 "],
    ),
    "emit_with_ack(within=) in ms": (
        lambda a: a.client.emit_with_ack("x", within=5000),
        ConfigurationError,
        ["within", "write 5 "],
    ),
    # --- attaching
    "attach to a string": (lambda a: a.io.attach("x"), ConfigurationError, ["aiohttp application, not 'x'"]),  # type: ignore[arg-type]
    "attach at a number": (lambda a: a.io.attach(a.app, 1), ConfigurationError, ["'/socket.io', not 1"]),  # type: ignore[arg-type]
    "two servers at one path": (
        lambda a: twice(Server(), a.app),
        ConfigurationError,
        ["/socket.io of this application is taken", "io.attach(app, '/chat.io')"],
    ),
    "attach when it runs": (
        lambda a: frozen(Server(), a.app),
        ConfigurationError,
        ["io.attach(app) before web.run_app(app)", "sub-application"],
    ),
    # --- rooms
    "to({})": (lambda a: a.io.to({}), ConfigurationError, ["a room's name", "{}", "to('a', 'b')"]),
    "to(dict)": (lambda a: a.socket.to({"a": 1}), ConfigurationError, ["a room's name", "to('a', 'b')"]),
    "to(None)": (lambda a: a.io.to(None), ConfigurationError, ["None", "io.emit(event, ...)"]),  # type: ignore[arg-type]
    "to(socket)": (lambda a: a.io.to(a.socket), ConfigurationError, ["to(socket.id)"]),  # type: ignore[arg-type]
    "to(42)": (lambda a: a.io.in_(42), ConfigurationError, ["not 42", "str(...)"]),  # type: ignore[arg-type]
    "to([42])": (lambda a: a.io.except_([42]), ConfigurationError, ["not 42", "str(...)"]),  # type: ignore[list-item]
    "to(bytes)": (lambda a: a.ns.to(b"ab"), ConfigurationError, ["not b'ab'"]),  # type: ignore[arg-type]
    "join({})": (lambda a: a.socket.join({}), ConfigurationError, ["a room's name", "{}"]),
    # --- emitting
    "emit(room=)": (lambda a: a.io.emit("x", 1, room="a"), TypeError, ["room=", "io.to('a').emit(event, ...)"]),  # type: ignore[arg-type]
    "emit(room=None)": (lambda a: a.io.emit("x", 1, room=None), TypeError, ["room=", "leave it out"]),  # type: ignore[arg-type]
    "emit(to=)": (lambda a: a.io.emit("x", 1, to="a"), TypeError, ["to=", "io.to('a').emit(event, ...)"]),  # type: ignore[arg-type]
    "emit(skip_sid=)": (lambda a: a.io.emit("x", skip_sid="s"), TypeError, ["io.except_('s').emit", "broadcast"]),  # type: ignore[arg-type]
    "emit(namespace=)": (
        lambda a: a.io.emit("x", namespace="/chat"),  # type: ignore[arg-type]
        TypeError,
        ["io.of('/chat').emit(event, ...)"],
    ),
    "emit(ack=)": (
        lambda a: a.socket.emit("x", ack=True),  # type: ignore[arg-type]
        TypeError,
        ["ack=", "await socket.emit_with_ack(event, ...)"],
    ),
    "emit(callback=)": (
        lambda a: a.socket.emit("x", callback=a_function),  # type: ignore[arg-type]
        TypeError,
        ["callback=", "await socket.emit_with_ack(event, ...)"],
    ),
    "emit(broadcast=)": (lambda a: a.socket.emit("x", broadcast=True), TypeError, ["socket.broadcast.emit"]),  # type: ignore[arg-type]
    "emit(volatile=)": (lambda a: a.ns.emit("x", volatile=True), TypeError, ["socket.volatile.emit"]),  # type: ignore[arg-type]
    "emit(name=)": (lambda a: a.io.emit("x", name="Ada"), TypeError, ["name=", 'emit(event, {"name": ...})']),  # type: ignore[arg-type]
    "remote.emit(room=)": (
        lambda a: with_remote(a, lambda remote: remote.emit("x", room="b")),  # type: ignore[arg-type]
        TypeError,
        ["io.to('b').emit"],
    ),
    "remote.emit_with_ack(timeout=)": (
        lambda a: with_remote(a, lambda remote: remote.emit_with_ack("x", timeout=5)),  # type: ignore[arg-type]
        TypeError,
        ["timeout(5).emit_with_ack"],
    ),
    "io.to().emit(room=)": (lambda a: a.io.to("a").emit("x", room="b"), TypeError, ["io.to('b').emit"]),  # type: ignore[arg-type]
    "socket.volatile.emit(room=)": (lambda a: a.socket.volatile.emit("x", room="b"), TypeError, ["io.to('b').emit"]),  # type: ignore[arg-type]
    "server_side_emit(room=)": (lambda a: a.io.server_side_emit("x", room="b"), TypeError, ["io.to('b')"]),  # type: ignore[arg-type]
    "emit_with_ack(timeout=)": (
        lambda a: a.socket.emit_with_ack("x", timeout=5),  # type: ignore[arg-type]
        TypeError,
        ["timeout=", "timeout(5).emit_with_ack(event, ...)"],
    ),
    "io.emit_with_ack(timeout=)": (
        lambda a: a.io.emit_with_ack("x", timeout=5),  # type: ignore[arg-type]
        TypeError,
        ["timeout(5).emit_with_ack"],
    ),
    "io.to().emit_with_ack(timeout=)": (
        lambda a: a.io.to("a").emit_with_ack("x", timeout=5),  # type: ignore[arg-type]
        TypeError,
        ["timeout(5).emit_with_ack"],
    ),
    "socket.volatile.emit_with_ack(timeout=)": (
        lambda a: a.socket.volatile.emit_with_ack("x", timeout=5),  # type: ignore[arg-type]
        TypeError,
        ["timeout(5).emit_with_ack"],
    ),
    "emit of a coroutine": (
        lambda a: sending(a, a.socket.emit_with_ack("question")),
        EncodeError,
        ["'x': $[0].answer", "Socket.emit_with_ack was not awaited", "await"],
    ),
    "emit of a task": (
        lambda a: sending(a, asyncio.get_running_loop().create_future()),
        EncodeError,
        ["$[0].answer", "Future was not awaited"],
    ),
    "emit of a callback": (
        lambda a: a.socket.emit("x", 1, a_function),
        EncodeError,
        ["$[1]", "a_function", "answer = await socket.emit_with_ack(event, ...)"],
    ),
    # --- attributes of python-socketio and Node
    "io.call": (lambda a: a.io.call("x"), AttributeError, ["'call'", "await socket.emit_with_ack(event, ...)"]),  # type: ignore[attr-defined]
    "io.send": (lambda a: a.io.send("x"), AttributeError, ['await io.emit("message", ...)']),  # type: ignore[attr-defined]
    "ns.send": (lambda a: a.ns.send("x"), AttributeError, ['await namespace.emit("message", ...)']),  # type: ignore[attr-defined]
    "io.enter_room": (lambda a: a.io.enter_room("s", "r"), AttributeError, ["await socket.join(room)"]),  # type: ignore[attr-defined]
    "ns.leave_room": (lambda a: a.ns.leave_room("s", "r"), AttributeError, ["await socket.leave(room)"]),  # type: ignore[attr-defined]
    "io.close_room": (lambda a: a.io.close_room("r"), AttributeError, ["sockets_leave(room)"]),  # type: ignore[attr-defined]
    "io.rooms": (lambda a: a.io.rooms("s"), AttributeError, ["socket.rooms"]),  # type: ignore[attr-defined]
    "io.save_session": (lambda a: a.io.save_session("s", {}), AttributeError, ["socket.data"]),  # type: ignore[attr-defined]
    "io.get_session": (lambda a: a.io.get_session("s"), AttributeError, ["socket.data"]),  # type: ignore[attr-defined]
    "ns.session": (lambda a: a.ns.session("s"), AttributeError, ["socket.data"]),  # type: ignore[attr-defined]
    "io.disconnect": (lambda a: a.io.disconnect("s"), AttributeError, ["disconnect_sockets()"]),  # type: ignore[attr-defined]
    "socket.sid": (lambda a: a.socket.sid, AttributeError, ["socket.id"]),  # type: ignore[attr-defined]
    "socket.request": (lambda a: a.socket.request, AttributeError, ["socket.handshake"]),  # type: ignore[attr-defined]
    "socket.emitWithAck": (lambda a: a.socket.emitWithAck, AttributeError, ["socket.emit_with_ack"]),  # type: ignore[attr-defined]
    "io.fetchSockets": (lambda a: a.io.to("a").fetchSockets(), AttributeError, ["io.fetch_sockets"]),  # type: ignore[attr-defined]
    "io.onAny": (lambda a: a.io.onAny(a_function), AttributeError, ["io.on_any"]),  # type: ignore[attr-defined]
    # --- the drop-in
    "drop-in ping_interval in ms": (lambda a: AsyncServer(ping_interval=25000), ConfigurationError, ["seconds", "25 "]),
}


async def with_remote(stage: Stage, mistake: Callable[[RemoteSocket], Awaitable[Any]]) -> None:
    """Make a mistake with the socket as ``fetch_sockets`` describes it."""
    (remote,) = await stage.io.fetch_sockets()
    await mistake(remote)


async def sending(stage: Stage, value: Awaitable[Any]) -> None:
    """Emit something that was to be awaited."""
    try:
        await stage.socket.emit("x", {"answer": value})
    finally:
        if inspect.iscoroutine(value):
            value.close()


@pytest.mark.parametrize("name", MISTAKES)
async def test_the_message_says_what_to_write(name: str) -> None:
    """A program would do nothing, or something else, and its author would search for hours."""
    mistake, kind, words = MISTAKES[name]
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        (socket,) = io.sockets.values()
        with pytest.raises(kind) as found:
            await maybe_await(mistake(Stage(io, io.of("/chat"), socket, web.Application(), client)))
    for each in words:
        assert each in str(found.value)
    assert SECRET not in str(found.value)


def test_what_is_right_is_taken() -> None:
    """Programs without a mistake would be refused."""
    Server(
        auth=BothWays,
        serializer=JSONSerializer(),
        connection_state_recovery=Recovery(max_disconnection_duration=86_400),
        per_message_deflate=Deflate(),
        cookie=Cookie(),
        ping_interval=3600,
        transports="websocket",
    )
    Server(auth=StaticTokenAuth({}))
    for origin in (
        "*",
        "null",
        "file://",
        "http://localhost:5173",
        "http://[::1]:8080",
        "https://app.example.org/",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnop",
        re.compile(r"https://.*\.example\.org"),
    ):
        Server(cors_allowed_origins=origin, cors_credentials=False)
        Server(cors_allowed_origins=[origin], cors_credentials=False)
    Server(cors_allowed_origins=[])
    Server(cors_allowed_origins=lambda origin: True)


def test_parameters_may_be_called_sid() -> None:
    """Honest handlers would be refused: a socket that is called so, and an argument of an event."""
    io = Server()

    @io.on("kick")
    async def kick(socket: Socket, sid: str) -> None:
        await io.to(sid).disconnect_sockets()

    @io.on("odd")
    async def odd(sid: Socket, text: str) -> None:
        await sid.emit("said", text)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("ask")
        async def ask(sid, question):  # type: ignore[no-untyped-def]
            return question


def test_an_adapter_may_be_any_callable() -> None:
    """A factory that is a function or a ``partial`` would be refused."""
    made = []

    def make(namespace: str, emitter: Any) -> Any:
        made.append(namespace)
        return Server().of("/").adapter

    Server(adapter=make)
    assert made == ["/"]


async def test_several_servers_have_several_paths() -> None:
    """An application could serve one server alone."""
    app = web.Application()
    Server().attach(app)
    Server().attach(app, "/chat.io")

    async def index(request: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/", index)
    Server().attach(app, "/")


async def test_a_server_can_be_attached_after_a_mistake() -> None:
    """A mistake that was caught would leave a server that can be attached nowhere."""
    app = web.Application()
    io = Server()
    with pytest.raises(ConfigurationError):
        io.attach("x")  # type: ignore[arg-type]
    io.attach(app)


async def test_an_answer_that_was_not_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """The client would get ``internal_error``, and the log would speak of an unsupported type."""
    io = Server(serializer=JSONSerializer(enc_hook=str))
    asked = []

    @io.on("ask")
    async def ask(socket: Socket) -> Any:
        asked.append(socket.emit_with_ack("question"))
        return asked[0]

    async with TestServer(io) as server:
        client = await server.connect()
        with caplog.at_level(logging.ERROR):
            answer = await client.emit_with_ack("ask")
    asked[0].close()
    assert answer["error"]["code"] == "internal_error"
    assert "Socket.emit_with_ack was not awaited: write await" in caplog.text


def test_an_attribute_that_fails_is_not_explained_away() -> None:
    """The message of a broken property would be replaced by one about python-socketio."""

    class Broken(Namespace):
        @property
        def session(self) -> str:
            raise AttributeError("no database")

        @property
        def other(self) -> str:
            return self.nothing  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(AttributeError, match="no database"):
        Broken().session  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        Broken().other  # noqa: B018
    with pytest.raises(AttributeError, match="'Namespace' object has no attribute '_call'"):
        Namespace()._call  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(Server(), "enter_room")


def test_decorators_keep_their_signatures() -> None:
    """An editor would show ``(*args, **kwargs)`` for the most frequent call."""
    assert list(inspect.signature(Server.on).parameters) == ["self", "event", "ordered", "rate", "idempotent"]
    assert list(inspect.signature(Namespace.use).parameters) == ["self", "middleware"]
