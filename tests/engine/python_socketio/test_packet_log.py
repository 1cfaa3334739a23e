"""The log of packets and events: the same lines as with python-socketio, on both libraries."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import socketio

from rtframework import ConfigurationError
from rtframework.engine import AsyncServer
from rtframework.engine.connection import Connection
from rtframework.engine.python_socketio.application import Member
from tests.conftest import Serve
from tests.support.libraries import LIBRARIES
from tests.support.raw import Closed, raw_client
from tests.support.until import until

OWN: Final = logging.getLogger("tests.packets")
_SID: Final = re.compile(r"[\w-]{20}")


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Lines of the test's own logger."""
    caplog.set_level(logging.INFO, OWN.name)
    return caplog


@pytest.fixture
def clean_loggers() -> Iterator[None]:
    """The libraries' own loggers are set up by nobody, before the test and after it."""
    loggers = [logging.getLogger(name) for name in ("engineio.server", "socketio.server")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def lines(logs: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, without ids and without the keys of the open packet, which have no order."""
    found = []
    for message in logs.messages:
        line = _SID.sub("SID", message)
        head, opens, content = line.partition("Sending packet OPEN data ")
        found.append(head + opens + str(sorted(ast.literal_eval(content))) if opens else line)
    return [line for line in found if line != "Server initialized for aiohttp."]


def make(library: str) -> AsyncServer:
    """A server that tells both loggers everything."""
    maker: Any = socketio.AsyncServer if library == "python-socketio" else AsyncServer
    sio: AsyncServer = maker(async_mode="aiohttp", logger=OWN, engineio_logger=OWN)

    @sio.event
    async def echo(sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    @sio.event
    async def rooms(sid: str) -> None:
        await sio.enter_room(sid, "r")
        await sio.emit("news", (1, b"bytes"), room="r")
        await sio.emit("question", callback=lambda *args: None, to=sid)
        await sio.emit("nobody", to=["a", "b"])
        await sio.leave_room(sid, "r")
        await sio.close_room("r")

    return sio


OPENED: Final = [
    "SID: Sending packet OPEN data ['maxPayload', 'pingInterval', 'pingTimeout', 'sid', 'upgrades']",
]
CONNECTED: Final = [
    "SID: Received packet MESSAGE data 0",
    'SID: Sending packet MESSAGE data 0{"sid":"SID"}',
]
WEBSOCKET: Final = [
    "SID: Received request to upgrade to websocket",
    "SID: Upgrade to websocket successful",
]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_websocket(serve: Serve, logs: pytest.LogCaptureFixture, library: str) -> None:
    """People look for these lines when a client does not do what it should."""
    sio = make(library)
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await websocket.receive()
        await websocket.send('451-2["echo",{"_placeholder":true,"num":0}]')
        await websocket.send(b"abc")
        assert [await websocket.receive() for _ in range(2)] == ['461-2[{"_placeholder":true,"num":0}]', b"abc"]
        await websocket.send('42["rooms"]')
        assert [await websocket.receive() for _ in range(3)][2] == '421["question"]'
        await websocket.send("431[]")
        await until(lambda: "received ack" in logs.text)
        ((sid, _),) = sio.manager.get_participants("/", None)
        await sio.disconnect(sid)
        assert await websocket.receive() == "41"
        assert lines(logs) == [
            *OPENED,
            *WEBSOCKET,
            *CONNECTED,
            'SID: Received packet MESSAGE data 51-2["echo",{"_placeholder":true,"num":0}]',
            "SID: Received packet MESSAGE data <binary>",
            'received event "echo" from SID [/]',
            'SID: Sending packet MESSAGE data 61-2[{"_placeholder":true,"num":0}]',
            "SID: Sending packet MESSAGE data <binary>",
            'SID: Received packet MESSAGE data 2["rooms"]',
            'received event "rooms" from SID [/]',
            "SID is entering room r [/]",
            'emitting event "news" to r [/]',
            'SID: Sending packet MESSAGE data 51-["news",1,{"_placeholder":true,"num":0}]',
            "SID: Sending packet MESSAGE data <binary>",
            'emitting event "question" to SID [/]',
            'SID: Sending packet MESSAGE data 21["question"]',
            "emitting event \"nobody\" to ['a', 'b'] [/]",
            "SID is leaving room r [/]",
            "room r is closing [/]",
            "SID: Received packet MESSAGE data 31[]",
            "received ack from SID [/]",
            "Disconnecting SID [/]",
            "SID: Sending packet MESSAGE data 1",
        ]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_upgrade(serve: Serve, logs: pytest.LogCaptureFixture, library: str) -> None:
    """That a proxy lets no websockets through is seen here first."""
    async with raw_client((await serve(make(library))).url) as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.receive()
        websocket = await raw.upgrade()
        await websocket.send('421["echo"]')
        while await websocket.receive() == "6":  # python-engineio sends it once
            pass
    assert lines(logs) == [
        *OPENED,
        *CONNECTED,
        *WEBSOCKET,
        'SID: Received packet MESSAGE data 21["echo"]',
        'received event "echo" from SID [/]',
        "SID: Sending packet MESSAGE data 31[]",
    ]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("packets", "line"),
    [
        (["4hey"], "SID: Failed websocket upgrade, no PING packet"),
        (["2probe", "4hey"], "SID: Failed websocket upgrade, expected UPGRADE packet, received 4hey instead."),
    ],
)
async def test_an_upgrade_that_fails(
    serve: Serve, logs: pytest.LogCaptureFixture, library: str, packets: list[str], line: str
) -> None:
    """A client would stay with polling, and nobody would know why."""
    async with raw_client((await serve(make(library))).url) as raw:
        await raw.handshake()
        websocket = await raw.websocket()
        for packet in packets:
            await websocket.send(packet)
        await websocket.closed()
        await raw.post("1")
        await until(lambda: "CLOSE" in logs.text)
    assert lines(logs) == [*OPENED, WEBSOCKET[0], line, "SID: Received packet CLOSE data "]


async def test_a_heartbeat(serve: Serve, logs: pytest.LogCaptureFixture) -> None:
    """A client that is thrown out for its silence would look like one that has left."""
    sio = AsyncServer(engineio_logger=OWN, ping_interval=0.1, ping_timeout=0.2)
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await websocket.receive()
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.15)
        websocket.answer_pings = False
        with pytest.raises(Closed):
            await websocket.receive()
    found = lines(logs)[len(OPENED + WEBSOCKET + CONNECTED) :]
    assert found[:2] == ["SID: Sending packet PING data None", "SID: Received packet PONG data "]
    assert found[-2:] == ["SID: Sending packet PING data None", "SID: Client is gone, closing socket"]


async def test_polling_that_the_server_closes(serve: Serve, logs: pytest.LogCaptureFixture) -> None:
    """The last packet of a session would be missing."""
    sio = AsyncServer(engineio_logger=OWN)
    async with raw_client((await serve(sio)).url) as raw:
        await raw.handshake()
        await sio.eio.disconnect(raw.sid)
        assert await raw.receive() == "1"
    assert lines(logs) == [*OPENED, "SID: Sending packet CLOSE data None"]


async def test_what_clients_send_is_cut_and_forges_no_lines(serve: Serve, logs: pytest.LogCaptureFixture) -> None:
    """A client could fill the disk, or write lines of its own into the log."""
    sio = AsyncServer(logger=OWN, engineio_logger=OWN)
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await websocket.receive()
        await websocket.send('42["a\\nforged",\n"é\x7f",  "' + "x" * 10_000 + '"]')
        await until(lambda: "received event" in logs.text)
    assert all(len(message) < 300 for message in logs.messages)
    assert all(message.isprintable() for message in logs.messages)
    assert 'data 2["a\\nforged",\\n"é\\x7f",  "xxx' in logs.text
    assert 'received event "a\\nforged" from' in logs.text


@pytest.mark.usefixtures("clean_loggers")
@pytest.mark.parametrize(
    ("options", "level", "logged"),
    [
        ({}, logging.NOTSET, False),
        ({"engineio_logger": False}, logging.NOTSET, False),
        ({"engineio_logger": None}, logging.NOTSET, False),
        ({"engineio_logger": True}, logging.NOTSET, True),
        ({"engineio_logger": OWN}, logging.NOTSET, True),
        ({}, logging.INFO, True),
        ({}, logging.WARNING, False),
    ],
)
async def test_who_does_not_ask_pays_nothing(serve: Serve, options: dict[str, Any], level: int, logged: bool) -> None:
    """Every packet of every program would be slower for lines that nobody wants, or be logged unasked."""
    logging.getLogger("engineio.server").setLevel(level)
    sio = AsyncServer(**options)
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await websocket.receive()
        (connection,) = sio.eio.connections.values()
        (member,) = sio._programs._members.values()
        assert (type(connection) is Connection) is not logged
        assert type(member) is Member


@pytest.mark.usefixtures("clean_loggers")
def test_true_shows_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """``engineio_logger=True`` is all that python-socketio's pages say."""
    AsyncServer(logger=True, engineio_logger=True)
    for name in ("engineio.server", "socketio.server"):
        logger = logging.getLogger(name)
        assert logger.level == logging.INFO
        assert [type(handler) for handler in logger.handlers] == [logging.StreamHandler]


@pytest.mark.parametrize("option", ["logger", "engineio_logger"])
@pytest.mark.parametrize("level", ["INFO", logging.DEBUG])
def test_a_level_is_no_logger(option: str, level: Any) -> None:
    """python-socketio fails at the first line that it logs, with an AttributeError."""
    with pytest.raises(ConfigurationError, match=rf"^{option} is True, False or a logger, not {level!r}"):
        AsyncServer(**{option: level})
