"""Wires of a program's own."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from aiohttp import WSMsgType

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Handshake,
    Packet,
    PacketType,
    Server,
    Socket,
    WebSocketCodec,
)
from tests.gateways import Numbered, application, in_memory
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


class Late(Numbered):
    """Clients say who they are in their first message."""

    def auth(self, handshake: Handshake) -> None:
        return None


def serving() -> Server:
    """Make a server that lets in whoever has a token, and sends to all what each says."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "right":
            raise ConnectionRefused("who are you?")
        await socket.emit("message", {"type": 1})

    @io.on("message")
    async def message(socket: Socket, content: Any) -> None:
        await io.emit("message", content)

    return io


async def test_an_old_wire_is_served() -> None:
    """Clients that nobody can change would have to be changed."""
    async with in_memory(serving(), Numbered()) as server:
        node = await server.connect(auth={"token": "right"})
        async with server.http.ws_connect("/ws?token=right", protocols=["other", "numbered"]) as old:
            assert old.protocol == "numbered"
            assert await old.receive_json() == {"type": 1}
            await old.send_str("ping")
            assert await old.receive_str() == "pong"
            await old.send_str("")
            await old.send_json({"type": 2, "usr": "ada", "data": "hi"})
            assert await old.receive_json() == {"type": 2, "usr": "ada", "data": "hi"}
            assert await node.receive("message") == {"type": 1}
            assert await node.receive("message") == {"type": 2, "usr": "ada", "data": "hi"}
            await node.emit("message", b"\x00\xff")
            assert await old.receive_bytes() == b"\x00\xff"


async def test_who_is_refused_hears_it_in_the_old_words() -> None:
    """An old client would not know why it is closed."""
    async with in_memory(serving(), Numbered()) as server, server.http.ws_connect("/ws?token=wrong") as old:
        assert await old.receive_json() == {"type": 9, "data": "who are you?"}
        end = await old.receive()
        assert (end.data, end.extra) == (4401, "who are you?")


async def test_the_first_message_may_say_who_asks() -> None:
    """A token in the URL is written into logs."""
    async with in_memory(serving(), Late()) as server, server.http.ws_connect("/ws") as old:
        await old.send_json({"type": 0, "data": "right"})
        await old.send_json({"type": 2, "data": "at once"})
        assert await old.receive_json() == {"type": 1}
        assert await old.receive_json() == {"type": 2, "data": "at once"}


@pytest.mark.parametrize("message", ["{", '{"type":2,'])
async def test_a_wrong_message_is_told_in_the_old_words(message: str) -> None:
    """A client with a bug would be closed without a word."""
    async with in_memory(serving(), Numbered()) as server, server.http.ws_connect("/ws?token=right") as old:
        await old.receive()
        await old.send_str(message)
        assert (await old.receive_json())["data"].startswith("invalid message: ")
        assert (await old.receive()).data == 4400


async def test_a_bug_of_the_codec_is_logged_and_harms_one_message(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in twenty lines would close the connections of all, or be silent."""
    io = serving()
    async with in_memory(io, Numbered()) as server, server.http.ws_connect("/ws?token=right") as old:
        await old.receive()
        await io.emit("message", "unforeseen")
        await io.emit("message", "next")
        assert await old.receive_json() == "next"
        assert io.stats().dropped["not_encoded"] == 1
        await old.send_str('{"other":1}')  # a KeyError
        assert await old.receive_json() == {"type": 8, "data": "invalid message"}
        assert (await old.receive()).data == 4400
    failed = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.name for each in failed] == ["rtframework.gateways"] * 2
    assert all(each.exc_info for each in failed)


async def test_what_a_codec_makes_is_checked() -> None:
    """A client could send events that only servers may."""

    class Loose(WebSocketCodec):
        def decode(self, message: str | bytes) -> Packet:
            return Packet(PacketType.EVENT, data=json.loads(message))

        def encode(self, packet: Packet) -> str | None:
            return None

    io = Server()
    for data in ('["disconnect"]', "[]", '{"a":1}', "[null]"):
        async with in_memory(io, Loose()) as server, server.http.ws_connect("/ws") as websocket:
            await websocket.send_str(data)
            end = await websocket.receive()
            assert (end.type, end.data) == (WSMsgType.CLOSE, 4400)


def test_a_codec_derives_from_the_base_class() -> None:
    """A mistake would show with the first client."""
    for wrong in (Numbered, object(), "json"):
        with pytest.raises(ConfigurationError, match="WebSocketCodec"):
            application(Server(), wrong)  # type: ignore[arg-type]


def test_the_base_class_says_what_is_missing() -> None:
    """A codec without ``encode`` would send nothing."""
    codec = WebSocketCodec()
    with pytest.raises(NotImplementedError):
        codec.decode("")
    with pytest.raises(NotImplementedError):
        codec.encode(Packet(PacketType.EVENT, "/", ["a"]))
    assert codec.error("no") is None
