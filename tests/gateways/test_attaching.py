"""A server attached to an application, for one protocol or several."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, web

from rtframework import ConfigurationError, Server, Workers
from rtframework.testing import TestServer
from tests.conftest import Serve
from tests.gateways import Numbered, application
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


def echoing() -> Server:
    """Make a server that says what its clients say."""
    io = Server()
    io.on("echo")(lambda socket, *args: list(args))
    return io


async def said(http: ClientSession, url: str) -> object:
    """Open a plain websocket; what it hears first."""
    async with http.ws_connect(url) as websocket:
        return (await websocket.receive_json())["type"]


async def test_plain_websockets_need_nothing_else() -> None:
    """A program without Socket.IO would have to serve it all the same."""
    io = echoing()
    async with TestServer(application(io, alone=True)) as server:
        assert io.is_serving
        assert await said(server.http, "/ws") == "connected"
        async with server.http.get("/socket.io/?EIO=4&transport=polling") as response:
            assert response.status == 404
    assert not io.is_serving


@pytest.mark.parametrize("first", ["websocket", "socket.io"])
async def test_the_order_does_not_matter(first: str) -> None:
    """A program would start its server twice, or not at all."""
    io = echoing()
    app = web.Application()
    if first == "websocket":
        io.attach_websocket(app)
        io.attach(app)
    else:
        io.attach(app)
        io.attach_websocket(app)
    assert len([each for each in app.on_startup if each == io._start]) == 1
    async with TestServer(app) as server:
        await server.connect()
        assert await said(server.http, "/ws") == "connected"
        assert len(io.sockets) == 1


async def test_a_server_has_several_wires_at_several_paths() -> None:
    """Old and new clients could not meet."""
    io = echoing()
    admin = io.of("/admin")
    app = web.Application()
    io.attach_websocket(app, "/ws")
    io.attach_websocket(app, "/old/", codec=Numbered())
    io.attach_websocket(app, "/admin", namespace="/admin")
    async with TestServer(app) as server:
        assert await said(server.http, "/ws") == "connected"
        async with server.http.ws_connect("/old") as old, server.http.ws_connect("/admin") as one:
            assert await one.receive_json() == {"type": "connected", "sid": next(iter(admin.sockets)), "nsp": "/admin"}
            await old.send_str("ping")
            assert await old.receive_str() == "pong"


async def test_it_starts_again_after_it_has_stopped() -> None:
    """Tests, and programs that reload, would need a new server each time."""
    io = echoing()
    for _ in range(2):
        async with TestServer(application(io, alone=True)) as server:
            assert await said(server.http, "/ws") == "connected"


async def test_it_works_within_a_sub_application(serve: Serve) -> None:
    """A site that is made of parts could not have it in one of them."""
    io = echoing()
    site, part = web.Application(), web.Application()
    io.attach_websocket(part, "/ws")
    site.add_subapp("/part", part)
    server = await serve(site)
    async with ClientSession() as http:
        assert await said(http, f"{server.url}/part/ws") == "connected"


def test_mistakes_are_said_at_once() -> None:
    """A server would start, and serve nothing."""
    io = echoing()
    app = web.Application()
    io.attach_websocket(app, "/ws")
    with pytest.raises(ConfigurationError, match="taken"):
        io.attach_websocket(app, "/ws")
    with pytest.raises(ConfigurationError, match="another application"):
        io.attach_websocket(web.Application(), "/ws")
    with pytest.raises(ConfigurationError, match="another application"):
        io.attach(web.Application())
    with pytest.raises(ConfigurationError, match="aiohttp application"):
        echoing().attach_websocket("app")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="path is a string"):
        echoing().attach_websocket(web.Application(), 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="begins with a slash"):
        echoing().attach_websocket(web.Application(), namespace="chat")
    frozen = web.Application()
    frozen.freeze()
    with pytest.raises(ConfigurationError, match="runs already"):
        echoing().attach_websocket(frozen)


def test_a_class_that_attaches_has_its_parts() -> None:
    """A server without them would fail with the first client."""
    from rtframework.gateways.attaching import Attaching

    with pytest.raises(NotImplementedError):
        Attaching()._parts()
    assert isinstance(Server(), Attaching)


async def test_servers_of_streams_alone_have_names_in_a_group_of_workers() -> None:
    """Rooms of two servers of one application would be the same ones at other workers."""
    names = []
    app = web.Application()
    for path in ("/one", "/two"):
        backbone = Workers()
        io = Server(adapter=backbone)
        io.attach_sse(app, path)
        names.append(backbone.key_of("/"))
    assert len(set(names)) == 2
