"""Clients of other languages, byte by byte: what each of them sends that is not quite the protocol's text."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.raw import RawClient, RawWebSocket, raw_client


def echoing(**options: Any) -> Server:
    """Make a server that answers with the arguments of an event."""
    io = Server(**options)

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("picture")
    async def picture(socket: Socket, data: bytes) -> None:
        await io.emit("picture", data)

    return io


async def test_an_upgrade_without_a_probe(serve: Serve) -> None:
    """C# never connected, and what PHP emitted was lost."""
    async with raw_client((await serve(echoing())).url) as client:
        await client.handshake()
        await client.post("40")
        websocket = await client.websocket()
        await websocket.send("5")
        assert str(await websocket.receive()).startswith('40{"sid"')
        await websocket.send('421["echo","hi"]')
        assert await websocket.receive() == '431["hi"]'


async def test_an_old_upgrade_without_a_probe(serve: Serve) -> None:
    """Old Arduinos would stay with polling, which they do not do."""
    async with raw_client((await serve(echoing(allow_eio3=True))).url) as client:
        answer = await client.request("GET", query={"EIO": "3", "transport": "polling"})
        client.sid = json.loads(answer.text[answer.text.index("{") : answer.text.index("}") + 1])["sid"]
        websocket = await client.websocket(query={"EIO": "3"})
        await websocket.send("5")
        assert await websocket.receive() == "40"
        await websocket.send('421["echo","hi"]')
        assert await websocket.receive() == '431["hi"]'


@pytest.mark.parametrize("data", ["AQID", "AQID\n", "AQ\r\nID", "AQID" * 30 + "\n" + "AQID"])
async def test_base64_with_line_breaks(serve: Serve, data: str) -> None:
    """Every picture from the Java and Android clients ended the session."""
    async with raw_client((await serve(echoing())).url) as client:
        await client.handshake()
        await client.post("40")
        await client.receive()
        answer = await client.post('451-1["echo",{"_placeholder":true,"num":0}]', f"b{data}")
        assert answer.status == 200
        assert await client.receive() == '461-1[{"_placeholder":true,"num":0}]'
        assert isinstance(await client.receive(), bytes)


@pytest.mark.parametrize("b64", [True, False])
async def test_binary_as_text_on_a_websocket(serve: Serve, js: JSClients, b64: bool) -> None:
    """Clients with forceBase64, for React Native and Dart, were closed at their first picture."""
    url = (await serve(echoing())).url
    other = await js.connect(url, transports=["websocket"])
    async with raw_client(url) as client:
        websocket, _ = await client.open_websocket(query={"b64": "1"} if b64 else None)
        await websocket.send("40")
        await websocket.receive()
        await websocket.send('451-["picture",{"_placeholder":true,"num":0}]')
        await websocket.send("bAQID")
        assert await other.wait_for("picture") == [b"\x01\x02\x03"]
        assert await websocket.receive() == '451-["picture",{"_placeholder":true,"num":0}]'
        assert await websocket.receive() == ("bAQID" if b64 else b"\x01\x02\x03")


async def test_the_javascript_client_with_force_base64(serve: Serve, js: JSClients) -> None:
    """An option of the stock client would not work by websocket."""
    url = (await serve(echoing())).url
    for transport in ("polling", "websocket"):
        client = await js.connect(url, transports=[transport], forceBase64=True)
        assert await client.ack_args("echo", b"\x00\xff", "x") == [b"\x00\xff", "x"]


async def test_an_empty_session_id_is_none(serve: Serve) -> None:
    """The Go client could not connect."""
    async with raw_client((await serve(echoing())).url) as client:
        client.sid = ""
        assert (await client.handshake())["sid"]
        client.sid = ""
        _, opened = await client.open_websocket()
        assert opened["sid"]


@pytest.mark.parametrize(
    ("ours", "offered", "chosen"),
    [
        (None, "v1, v2", "v1"),
        (None, "chat", "chat"),
        (["v2", "v1"], "v1, v2", "v2"),
        (["v3"], "v1, v2", None),
        ([], "v1", None),
        (["v1"], None, None),
    ],
)
async def test_a_subprotocol_is_agreed_to(
    serve: Serve, ours: list[str] | None, offered: str | None, chosen: str | None
) -> None:
    """A browser fails a websocket that answers none of its protocols, and stays with polling for ever."""
    async with raw_client((await serve(echoing(websocket_protocols=ours))).url) as client:
        headers = {} if offered is None else {"Sec-WebSocket-Protocol": offered}
        await client.open_websocket(headers=headers)
        assert client.websockets[-1]._response.headers.get("Sec-WebSocket-Protocol") == chosen


@pytest.mark.parametrize("offered", ["v1, v1", "v 1", "v1,,v2", "v1;x"])
async def test_malformed_subprotocols_are_refused(serve: Serve, offered: str) -> None:
    """A header of the client would be sent back as it is."""
    async with raw_client((await serve(echoing())).url) as client:
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.open_websocket(headers={"Sec-WebSocket-Protocol": offered})
        assert caught.value.status == 400


async def test_the_javascript_client_with_protocols(serve: Serve, js: JSClients) -> None:
    """An option of the stock client would not work."""
    client = await js.connect((await serve(echoing())).url, transports=["websocket"], protocols=["v1", "v2"])
    assert await client.emit_with_ack("echo", 1) == 1


@pytest.mark.parametrize(
    ("host", "origin", "allowed", "status"),
    [
        ("example.com:443", "wss://example.com", None, 200),
        ("127.0.0.1:6100", "ws://127.0.0.1:6100", None, 200),
        ("example.com", "ws://example.com", None, 200),
        ("example.com", "wss://example.com:444", None, 403),
        ("example.com", "file://", "file://", 200),
        ("example.com", "file://", ["https://a.org", "file://"], 200),
        ("example.com", "file://", None, 403),
        ("example.com", "https://a.org", "https://a.org/", 200),
        ("example.com", "http://example.com/socket.io/?eio=4", None, 200),
        ("example.com", "http://example.com:81/socket.io/?eio=4", None, 403),
        ("example.com", "http://a.org/example.com", None, 403),
        ("example.com", "https://a.org", "file://", 403),
        ("example.com", "null", "null", 200),
    ],
)
async def test_origins_of_native_clients(serve: Serve, host: str, origin: str, allowed: Any, status: int) -> None:
    """Swift's client, and pages in Electron, Cordova or on an Arduino, could not be let in."""
    async with raw_client((await serve(echoing(cors_allowed_origins=allowed))).url) as client:
        answer = await client.request("GET", headers={"Host": host, "Origin": origin})
        assert answer.status == status


async def test_a_namespace_without_a_comma(serve: Serve) -> None:
    """Namespaces would be closed to C++ and PHP, which write the comma only in front of something."""
    io = echoing()

    @io.of("/admin").on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    async with raw_client((await serve(io)).url) as client:
        websocket, _ = await client.open_websocket()
        await websocket.send("40/admin")
        assert str(await websocket.receive()).startswith('40/admin,{"sid"')
        await websocket.send('42/admin,1["echo","hi"]')
        assert await websocket.receive() == '43/admin,1["hi"]'
        await websocket.send("41/admin")
        await websocket.send("40/admin")
        assert str(await websocket.receive()).startswith('40/admin,{"sid"')


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io//", "/socket.io/x/y"])
async def test_all_below_the_path_is_served(serve: Serve, path: str) -> None:
    """Clients that join paths with two slashes get 404."""
    async with raw_client((await serve(echoing())).url, path=path) as client:
        await client.handshake()
        await client.post("40")
        assert str(await client.receive()).startswith("40")


async def test_the_last_of_two_parameters_counts(serve: Serve) -> None:
    """A client behind a proxy that adds parameters would speak another version than it thinks."""
    url = (await serve(echoing())).url
    async with raw_client(url, path="/socket.io/?EIO=3&EIO=4&transport=polling") as client:
        answer = await client.request("GET", query={})
        assert answer.status == 200
        assert json.loads(answer.text[1:])["maxPayload"]


@pytest.mark.parametrize("accepts", ["gzip;q=0, identity", "deflate;q=0"])
async def test_a_coding_that_is_refused_is_not_used(serve: Serve, accepts: str) -> None:
    """A client would get bytes that it cannot read (RFC 9110, 12.5.3)."""
    io = echoing(http_compression_threshold=1)
    async with raw_client((await serve(io)).url) as client:
        answer = await client.request("GET", headers={"Accept-Encoding": accepts})
        assert "Content-Encoding" not in answer.headers


# --- clients of Socket.IO 2, which speak Engine.IO 3 ----------------------------------------------------------------


def payload3(*packets: str) -> str:
    """Make a payload of text (Engine.IO v3, "Payload")."""
    return "".join(f"{len(packet)}:{packet}" for packet in packets)


def old(transport: str, **more: str) -> dict[str, str]:
    """Make the query of a client of Socket.IO 2."""
    return {"EIO": "3", "transport": transport, **more}


async def old_session(client: RawClient, **more: str) -> None:
    """Open a session by polling."""
    answer = await client.request("GET", query=old("polling", **more))
    client.sid = json.loads(answer.text[answer.text.index("{") : answer.text.index("}") + 1])["sid"]
    if "2:40" not in answer.text:
        answer = await client.request("GET", query=old("polling", sid=client.sid, **more))
        assert answer.text == "2:40"


async def old_websocket(client: RawClient, **more: str) -> RawWebSocket:
    """Open a session by websocket."""
    websocket, _ = await client.open_websocket(query={"EIO": "3", **more})
    assert await websocket.receive() == "40"
    return websocket


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("AQID", "AQID"),
        ("AQID\n", "AQID"),
        ("AQ\r\nID", "AQID"),
        ("AQID" * 19 + "\n" + "AQID", "AQID" * 20),
        ("AQ", "AQ=="),
        ("AQI", "AQI="),
        ("-_8", "+/8="),
        ("-_8=", "+/8="),
        ("A!ID", None),
        ("A", None),
    ],
)
async def test_base64_of_old_clients(serve: Serve, data: str, value: str | None) -> None:
    """Every picture from the Java and Android clients of those days ended the session."""
    io = echoing(allow_eio3=True)
    async with raw_client((await serve(io)).url) as client:
        await old_session(client, b64="1")
        query = old("polling", b64="1", sid=str(client.sid))
        body = payload3('451-1["echo",{"_placeholder":true,"num":0}]', "b4" + data)
        answer = await client.request("POST", query=query, body=body, headers={"Content-Type": "text/plain"})
        assert answer.status == (200 if value else 400)
        if value:
            answer = await client.request("GET", query=query)
            assert answer.text == payload3('461-1[{"_placeholder":true,"num":0}]', "b4" + value)
        client.sid = None
        websocket = await old_websocket(client)
        await websocket.send('451-1["echo",{"_placeholder":true,"num":0}]')
        await websocket.send("b4" + data)
        if value:
            assert await websocket.receive() == '461-1[{"_placeholder":true,"num":0}]'
            assert await websocket.receive() == b"\x04" + b64decode(value)
        else:
            await websocket.closed()


@pytest.mark.parametrize("b64", [True, False])
@pytest.mark.parametrize("upgrade", [True, False])
async def test_binary_as_text_on_an_old_websocket(serve: Serve, js: JSClients, b64: bool, upgrade: bool) -> None:
    """Old clients with forceBase64 would be closed at their first picture, or get pictures that they cannot read."""
    url = (await serve(echoing(allow_eio3=True))).url
    others = [await js.connect(url, transports=["websocket"], v2=v2) for v2 in (True, False)]
    more = {"b64": "1"} if b64 else {}
    async with raw_client(url) as client:
        if upgrade:
            await old_session(client, **more)
            websocket = await client.websocket(query={"EIO": "3", **more})
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            await websocket.send("5")
        else:
            websocket = await old_websocket(client, **more)
        await websocket.send('451-["picture",{"_placeholder":true,"num":0}]')
        await websocket.send("b4AQID")
        for other in others:
            assert await other.wait_for("picture") == [b"\x01\x02\x03"]
        assert await websocket.receive() == '451-["picture",{"_placeholder":true,"num":0}]'
        assert await websocket.receive() == ("b4AQID" if b64 else b"\x04\x01\x02\x03")


async def test_the_old_javascript_client_with_force_base64(serve: Serve, js: JSClients) -> None:
    """An option of the stock client would not work by websocket."""
    url = (await serve(echoing(allow_eio3=True))).url
    for transport in ("polling", "websocket"):
        client = await js.connect(url, transports=[transport], forceBase64=True, v2=True)
        assert await client.ack_args("echo", b"\x00\xff", "x") == [b"\x00\xff", "x"]


async def test_old_clients_with_subprotocols(serve: Serve) -> None:
    """A browser fails a websocket that answers none of its protocols, and stays with polling for ever."""
    async with raw_client((await serve(echoing(allow_eio3=True))).url) as client:
        await client.open_websocket(query={"EIO": "3"}, headers={"Sec-WebSocket-Protocol": "v1, v2"})
        assert client.websockets[-1]._response.headers["Sec-WebSocket-Protocol"] == "v1"


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [("gzip;q=0, identity", None), ("deflate;q=0", None), ("gzip, deflate;q=0", "gzip"), ("deflate", "deflate")],
)
async def test_codings_for_old_clients(serve: Serve, accepts: str, coding: str | None) -> None:
    """A client would get bytes that it cannot read (RFC 9110, 12.5.3)."""
    io = echoing(allow_eio3=True, http_compression_threshold=1)
    async with raw_client((await serve(io)).url) as client:
        await old_session(client)
        query = old("polling", sid=str(client.sid))
        await client.request("POST", query=query, body=payload3('421["echo","x"]'))
        answer = await client.request("GET", query=query, headers={"Accept-Encoding": accepts})
        assert answer.headers.get("Content-Encoding") == coding
        assert answer.text == payload3('431["x"]')


async def test_odd_packets_of_old_clients(serve: Serve) -> None:
    """A number beyond floats, or an acknowledgement without a payload, closed the connection."""
    io = echoing(allow_eio3=True)
    answers: list[Any] = []

    @io.on("ask")
    async def ask(socket: Socket) -> str:
        answers.append(await socket.timeout(5).emit_with_ack("question"))
        return "asked"

    @io.on("number")
    async def number(socket: Socket, value: float) -> str:
        return repr(value)

    async with raw_client((await serve(io)).url) as client:
        websocket = await old_websocket(client)
        for text, value in (("1e400", "inf"), ("-1e400", "-inf")):
            await websocket.send(f'421["number",{text}]')
            assert await websocket.receive() == f'431["{value}"]'
        await websocket.send('427["ask"]')
        question = str(await websocket.receive())
        await websocket.send(question.replace('["question"]', "").replace("42", "43", 1))
        assert await websocket.receive() == '437["asked"]'
    assert answers == [None]


@pytest.mark.parametrize(
    ("url", "version"),
    [
        ("/socket.io//?EIO=3&transport=polling", 3),
        ("/socket.io/?EIO=4&EIO=3&transport=polling", 3),
        ("/socket.io/?EIO=3&EIO=4&transport=polling", 4),
        ("/socket.io/?transport=polling", 3),
        ("/socket.io/?EIO=3&transport=polling&sid=", 3),
    ],
)
async def test_urls_of_old_clients(serve: Serve, url: str, version: int) -> None:
    """A client would get 404, or be served the version that it does not speak."""
    async with raw_client((await serve(echoing(allow_eio3=True))).url, path=url) as client:
        answer = await client.request("GET", query={})
        assert answer.status == 200
        assert answer.text[0] == ("0" if version == 4 else "1")
