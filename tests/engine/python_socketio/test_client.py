"""Namespaces with a query, on both libraries: python-socketio drops the query."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtframework.engine import AsyncServer
from rtframework.engine.python_socketio.client import WithoutQuery
from rtframework.serializers import JSONDecoder
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.libraries import LIBRARIES, MAKERS
from tests.support.raw import raw_client


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("connect", ['40/chat?token=a,{"name":"Ada"}', '40/chat?token=a&b=/c,{"name":"Ada"}'])
async def test_the_query_of_a_namespace_is_dropped(serve: Serve, library: str, connect: str) -> None:
    """Clients that were written for Socket.IO 2 would be refused: there is no namespace of that name."""
    sio: AsyncServer = MAKERS[library]()
    seen: list[Any] = []

    @sio.on("connect", namespace="/chat")
    async def connected(sid: str, environ: dict[str, Any], auth: Any) -> None:
        seen.append(auth)

    @sio.on("echo", namespace="/chat")
    async def echo(sid: str, *args: Any) -> Any:
        return args

    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send(connect)
        answer = str(await websocket.receive())
        assert answer.startswith('40/chat,{"sid":')
        sid = json.loads(answer[len("40/chat,") :])["sid"]
        await websocket.send('42/chat,1["echo",1]')
        assert await websocket.receive() == "43/chat,1[1]"
        await websocket.send('452-/chat?token=a,2["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await websocket.send(b"a")
        await websocket.send(b"b")
        text = '462-/chat,2[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert [await websocket.receive() for _ in range(3)] == [text, b"a", b"b"]
        assert sio.rooms(sid, namespace="/chat") == [sid]
        await websocket.send("41/chat?token=a,")
        await websocket.send("40/chat?token=b,")
        assert str(await websocket.receive()).startswith('40/chat,{"sid":')
    assert seen == [{"name": "Ada"}, None]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_main_namespace_and_one_that_is_not_there(serve: Serve, library: str) -> None:
    """The refusal would name a namespace that no client knows."""
    sio = MAKERS[library](namespaces=["/"])
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40/nochat?token=a,")
        assert str(await websocket.receive()).startswith("44/nochat,")
        await websocket.send("40/?token=a,")
        assert str(await websocket.receive()).startswith('40{"sid":')


async def test_a_query_comes_again_and_again(serve: Serve, js: JSClients) -> None:
    """A client could have its packets pass a thousand decoders."""
    sio = MAKERS[LIBRARIES[1]](namespaces=["/chat"])
    async with raw_client((await serve(sio)).url) as raw:
        websocket, _ = await raw.open_websocket()
        for _ in range(2_000):
            await websocket.send("40/chat?x=1,")
            await websocket.send("41/chat?x=1,")
        await websocket.send("40/chat?x=1,")
        assert str(await websocket.receive()).startswith("40/chat,")


def test_what_is_not_complete_has_no_namespace() -> None:
    """A packet with attachments would fail before they are there."""
    decoder = WithoutQuery(JSONDecoder())
    assert decoder.decode('51-/a?b,["x",{"_placeholder":true,"num":0}]') is None
    packet = decoder.decode(b"1")
    assert packet is not None
    assert packet.nsp == "/a"
