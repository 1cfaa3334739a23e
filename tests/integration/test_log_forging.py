"""What clients name wherever they can, and what of it stands in the log: no line that is not the server's."""

from __future__ import annotations

import asyncio
import io as text_io
import json
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from rtframework import ConnectionRefused, EventError, Handshake, Recovery, Server, Socket
from rtframework.engine import AsyncServer
from tests.conftest import Serve
from tests.support.raw import Closed, RawClient, raw_client
from tests.support.until import until

EVIL: Final = (
    "\n2026-01-01 00:00:00 CRITICAL root forged",
    "\r\n2026-01-01 00:00:00 CRITICAL root forged",
    "\x1b[2J\x1b[31mforged\x1b]0;title\x07",
    "\u2028forged\u2029\x85\x0b\x0c\x1c\x1d",
    "\u202egnp.exe\u200b",
    "\ud800\udfff\udc00",
    "\x00\x7f\x9b31m",
    "%s%n%(name)s{0}",
    "x" * 3_000 + "\n2026 CRITICAL root forged",
)
LOGGERS: Final = ("rtframework", "socketio", "engineio", "asyncio")


class EverythingRaw(logging.Formatter):
    """A plain formatter that shows all extra fields as they are, as ``%(event)s`` in a format does."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a line that is marked as one."""
        extra = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        record.shown = " ".join(f"{name}={value}" for name, value in extra.items())
        return super().format(record)


_PLAIN: Final = frozenset(vars(logging.makeLogRecord({})))


class Log:
    """The lines that an operator would read."""

    def __init__(self) -> None:
        self.stream = text_io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(EverythingRaw("LINE %(levelname)s %(name)s %(message)s %(shown)s"))

    def check(self) -> list[str]:
        """Return the lines, all of which begin as a line, or are a part of a traceback, and can be printed."""
        lines = self.stream.getvalue().removesuffix("\n").split("\n")
        for before, line in zip(["", *lines], lines, strict=False):
            assert line.startswith(("LINE ", "  ")), f"{line!r} was forged after {before!r}"
            assert line.isprintable(), f"{line!r} has control characters"
            assert len(line) < 7_000  # a name of 3,000 characters is in the line and in one of its fields
        return lines


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """All that is logged, at every level."""
    log = Log()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for each in loggers:
        each.addHandler(log.handler)
        caplog.set_level(logging.DEBUG, each.name)
    yield log
    for each in loggers:
        each.removeHandler(log.handler)


class Suspicious:
    """Refuses some with their own words, and fails for others."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Let everybody in but those who ask to be refused."""
        token, how = handshake.auth.get("token"), handshake.auth.get("how")
        if how == "refuse":
            raise ConnectionRefused(f"no {token}", {"code": token})
        if how == "fail":
            raise ValueError(f"what is {token}?")
        return {"id": token}


def make_server() -> Server:
    """A server whose every part fails with the words of the client."""
    io = Server(
        auth=Suspicious(), connection_state_recovery=Recovery(skip_middlewares=False), trusted_proxies="127.0.0.1"
    )
    io.of("/dyn/{tenant}")

    @io.of(lambda name, auth: _raise(name) if name.startswith("/fn") else False).on("x")
    async def never(socket: Socket) -> None: ...

    @io.use
    async def middleware(socket: Socket, call_next: Any) -> None:
        how = socket.handshake.auth.get("how")
        if how == "middleware":
            _raise(socket.handshake.auth["token"])
        if how == "neither":
            return
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("how") == "handler":
            _raise(socket.handshake.auth["token"])

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        _raise(socket.user["id"])

    @io.on_any
    async def watch(socket: Socket, event: str, *args: Any) -> None:
        if event.startswith("ev"):
            _raise(event)

    @io.on_any_outgoing
    async def watch_outgoing(socket: Socket, event: str, *args: Any) -> None:
        _raise(event)

    @io.on("fail")
    async def fail(socket: Socket, text: str) -> None:
        try:
            _raise(text)
        except ValueError as error:
            error.add_note(text)
            raise RuntimeError(text) from error

    @io.on("refuse")
    async def refuse(socket: Socket, text: str) -> None:
        raise EventError(text, text)

    @io.on("room")
    async def room(socket: Socket, text: str) -> None:
        await socket.join(text)
        await io.to(text).emit(text, text)

    @io.on("number")
    async def number(socket: Socket, value: dict[str, int]) -> int:
        return len(value)

    @io.on("pong")
    async def pong(socket: Socket) -> None: ...

    @io.on("unsendable")
    async def unsendable(socket: Socket, text: str) -> Any:
        return {text: object()}

    return io


def _raise(text: Any) -> Any:
    raise ValueError(f"bad: {text}")


async def one(client: RawClient, *packets: str) -> None:
    """Open a connection, send packets, and read until it is closed, a namespace has answered, or all is served."""
    client.sid = None
    websocket, _ = await client.open_websocket()
    try:
        for packet in (*packets, '4299["pong"]'):
            await websocket.send(packet)
        while not str(await websocket.receive()).startswith(("44", "40/", "4399")):
            pass
    except (Closed, ConnectionError):
        pass
    finally:
        await websocket.close()


async def torment(url: str, path: str = "/socket.io/") -> None:
    """Send what is evil in every place that a client has."""
    async with raw_client(url, path=path) as client:
        for evil in EVIL:
            word = json.dumps(evil)
            raw = evil.encode("utf-8", "replace").decode()
            for how in ("refuse", "fail", "middleware", "neither", "handler", "in"):
                auth = json.dumps({"token": evil, "how": how, "pid": evil, "offset": evil, evil: evil})
                await one(client, f"40{auth}")
            for name in (f"/dyn/{raw}", f"/fn{raw}", f"/{raw}"):
                await one(client, f"40{name},")
            events = [
                f"42[{word}]",
                f"421[{json.dumps('ev' + evil)}]",
                *(f'42{number}["{event}",{word}]' for number, event in enumerate(("fail", "refuse", "room"), start=2)),
                f'42["number",{{{word}:{word}}}]',
                f'427["number",{{{word}:1}}]',
                f'428["unsendable",{word}]',
                f"43{9:d}[{word}]",
            ]
            await one(client, f'40{{"token":{word}}}', *events)
            await one(client, f"4{raw}")
            await one(client, f"42/{raw},[1]")


async def over_http(port: int) -> None:
    """Send what is evil in the query and the headers of requests, byte by byte as no client library does."""
    for evil in EVIL:
        raw = evil.encode("utf-8", "surrogatepass")
        quoted = b"".join(b"%%%02x" % byte for byte in raw)
        header = raw.replace(b"\r", b"").replace(b"\n", b" ").strip()
        for query in (
            b"EIO=4&transport=polling",
            b"EIO=%s&transport=polling" % quoted,
            b"EIO=4&transport=%s" % quoted,
            b"EIO=4&transport=polling&sid=%s" % quoted,
            b"EIO=4&transport=polling&j=%s" % quoted,
            b"%s=%s" % (quoted, quoted),
        ):
            for name in (b"Origin", b"User-Agent", b"X-Forwarded-For", b"X-Forwarded-Host", b"Cookie", b"Host", header):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /socket.io/?%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % query)
                scheme = b"fe80::1%" if name == b"X-Forwarded-For" else b"https://"
                writer.write(b"%s: %s%s\r\n\r\n" % (name, scheme, header))
                await asyncio.wait_for(reader.read(), 5)
                writer.close()


async def test_no_client_forges_a_line(serve: Serve, log: Log) -> None:
    """Whoever reads the log after an attack would read what the attacker wrote."""
    io = make_server()

    def evil_id(request: Any) -> str:
        return _raise(request.query_string + str(request.headers)) if "sid" in request.query else "x"

    server = await serve(io)
    await torment(server.url)
    await over_http(server.port)
    await until(lambda: not io.sockets)
    await server.stop()
    lines = log.check()
    text = "\n".join(lines)
    for part in (
        "the authenticator refused",
        "while a client connects",
        "neither called call_next",
        "refused a client that asks for the namespace",
        "in a handler of",
        "in a catch-all, for",
        "in a catch-all for what goes out",
        "in a 'disconnect' handler",
        "does not fit its handler",
        "failed to decide about a namespace",
        "refused a page of",
        "The above exception was the direct cause",
    ):
        assert part in text, f"nothing was tried that leads to {part!r}"


async def test_no_client_forges_a_line_of_the_drop_in(serve: Serve, log: Log) -> None:
    """python-socketio's own log shows names as clients send them, so programs that have moved would, too."""
    loggers: Any = {
        "logger": logging.getLogger("socketio.server"),
        "engineio_logger": logging.getLogger("engineio.server"),
    }
    sio = AsyncServer(namespaces="*", **loggers)

    @sio.on("*", namespace="*")
    async def everything(event: str, nsp: str, sid: str, *args: Any) -> Any:
        if event == "fail":
            _raise(args[0])
        if event == "unsendable":
            return {args[0]: object()}
        await sio.emit(event, args, room=event)
        return None

    @sio.on("connect", namespace="*")
    async def connect(nsp: str, sid: str, environ: Any, auth: Any) -> None:
        how = (auth or {}).get("how")
        if how == "refuse":
            raise ConnectionRefused(auth["token"])
        if how == "fail":
            _raise(auth["token"])

    @sio.on("disconnect", namespace="*")
    async def disconnect(nsp: str, sid: str, reason: str) -> None:
        _raise(sid + EVIL[0])

    server = await serve(sio)
    await torment(server.url)
    await over_http(server.port)
    await server.stop()
    text = "\n".join(log.check())
    for part in (
        "received event",
        "emitting event",
        "in the handler of",
        "in the connect handler",
        "in the disconnect handler",
        "cannot be sent",
    ):
        assert part in text, f"nothing was tried that leads to {part!r}"


def test_the_check_finds_what_is_forged() -> None:
    """A check that lets everything through would find nothing, and look the same."""
    for evil in EVIL[:-2]:
        log = Log()
        record = logging.makeLogRecord({"msg": "asked for %s", "args": (evil,), "levelname": "INFO"})
        log.handler.handle(record)
        with pytest.raises(AssertionError):
            log.check()
    log = Log()
    with pytest.raises(ValueError, match="2026") as caught:
        _raise(EVIL[0])
    log.handler.handle(logging.makeLogRecord({"msg": "failed", "exc_info": (caught.type, caught.value, None)}))
    with pytest.raises(AssertionError):
        log.check()


async def test_no_command_of_the_admin_ui_forges_a_line(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may use the Admin UI, or takes over its page, would write what others are said to have done."""
    monkeypatch.setattr("rtframework.admin.authenticator.DELAY", 0.0)
    io = Server()
    io.instrument(auth=False)
    other = Server()
    other.instrument(username="ada", password="a password", namespace="/admin")
    commands = 0
    url = (await serve(io)).url
    for evil in EVIL:
        word = json.dumps(evil)
        async with raw_client(url) as client:
            websocket, _ = await client.open_websocket()
            await websocket.send("40/admin,")
            await websocket.receive()
            for args in (
                f'"emit","/",{word},{word},{word}',
                f'"emit",{word},null,"x"',
                f'"join","/",{word},{word}',
                f'"join","/",[{word},{word}]',
                f'"leave","/",{word},{word}',
                f'"_disconnect","/",true,{word}',
                f'"_disconnect",{word}',
                f"{json.dumps(evil[-900:])},{word}",
            ):
                commands += 1
                await websocket.send(f"42/admin,{commands}[{args}]")
            while not str(await websocket.receive()).startswith(f"43/admin,{commands}["):
                pass
    url = (await serve(other)).url
    for evil in EVIL:
        word = json.dumps(evil)
        async with raw_client(url) as client:
            websocket, _ = await client.open_websocket()
            await websocket.send(f'40/admin,{{"username":{word},"password":{word},"sessionId":{word}}}')
            assert str(await websocket.receive()).startswith("44/admin,")
    text = "\n".join(log.check())
    assert "a wrong name or password" in text
    assert text.count("Admin UI: ") >= 5 * len(EVIL)
