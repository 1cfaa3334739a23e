"""`rtframework listen --sse` and `rtframework emit --sse`: server-sent events from a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Server, Socket
from tests.conftest import Serve
from tests.support.cli import rtframework, running
from tests.support.server import RunningServer


@pytest.fixture
async def server(serve: Serve) -> RunningServer:
    """A server of streams, and a page that is none."""
    io = Server()
    chat = io.of("/chat")
    for namespace in (io, chat):

        @namespace.on("connection")
        async def connection(socket: Socket) -> None:
            if "wrong" in socket.handshake.query:
                raise ConnectionRefused("forbidden", {"code": 403})
            await socket.emit("hello", socket.nsp, dict(socket.handshake.headers).get("X-Key"))

        @namespace.on("mirror")
        async def mirror(socket: Socket, *args: Any) -> tuple[Any, ...]:
            await socket.emit("mirrored", *args)
            return args

        @namespace.on("leave")
        async def leave(socket: Socket) -> None:
            await socket.disconnect()

    async def other(request: web.Request) -> web.Response:
        return web.Response(text="hello, I am something else")

    async def foreign(request: web.Request) -> web.Response:
        text = 'event: connect\ndata: "x"\n\nevent: a\ndata: no JSON\n\n'
        return web.Response(text=text, content_type="text/event-stream")

    app = web.Application()
    app.router.add_get("/other", other)
    app.router.add_get("/foreign", foreign)
    io.attach_sse(app, rooms=["scores"])
    return await serve(app)


async def test_events_are_printed(server: RunningServer) -> None:
    """A stream could be looked at with curl only, comments and all."""
    done = await rtframework("listen", "--sse", f"{server.url}/events?room=scores", "--count", "1", "-H", "X-Key: 1")
    assert done.out.splitlines() == ['hello ["/", "1"]'], done
    assert "by server-sent events, id " in done.err
    done = await rtframework("listen", "--sse", server.url, "-n", "/chat", "--count", "1", "--json")
    assert done.out.splitlines() == ['{"event": "hello", "args": [["/chat", null]]}'], done


async def test_an_event_is_sent_by_post(server: RunningServer) -> None:
    """Nobody could try out what a POST is answered with."""
    done = await rtframework("listen", "--sse", server.url, "mirrored", "--count", "1", "--emit", "mirror", "1")
    assert done.out == "mirrored 1\n", done
    done = await rtframework("emit", "--sse", server.url, "mirror", '{"a": 1}', "--ack")
    assert (done.code, done.out) == (0, '{"a": 1}\n'), done


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/events?room=secret", 1, "These rooms may not be read"),
        ("/events?wrong", 1, "forbidden"),
        ("/other", 3, "opens no stream of events"),
        ("/nowhere", 3, "see the path of the URL"),
    ],
)
async def test_failures_are_explained(server: RunningServer, path: str, code: int, says: str) -> None:
    """A user would look for the mistake in the wrong place."""
    done = await rtframework("listen", "--sse", f"{server.url}{path}", "--count", "1")
    assert says in done.err, done
    assert done.code == code, done


async def test_the_end_of_a_stream_and_data_that_is_no_json(server: RunningServer) -> None:
    """Streams of other servers could not be looked at."""
    done = await rtframework("listen", "--sse", f"{server.url}/foreign")
    assert done.out == 'a "no JSON"\n', done
    assert "the stream has ended" in done.err
    done = await rtframework("listen", "--sse", server.url, "x", "--emit", "leave")
    assert "the stream has ended" in done.err, done


async def test_options_that_do_not_fit(server: RunningServer) -> None:
    """They would be ignored without a word."""
    for option in (("--ws",), ("--msgpack",), ("--auth", "{}"), ("--transport", "polling")):
        done = await rtframework("listen", "--sse", server.url, *option)
        assert f"{option[0]} cannot be used with --sse" in done.err, done


async def test_a_stream_goes_on_where_it_was(serve: Serve) -> None:
    """Whoever leaves it running over a restart would miss what was said meanwhile, without a word."""
    said = [
        'retry: 100\nevent: connect\ndata: {"sid": "1"}\nid: a\n\nevent: n\ndata: 1\nid: b\n\n',
        "retry: 100\n: 429 Too Many Requests\n\n",
        'retry: 100\nevent: connect\ndata: {"sid": "1"}\n\nevent: gap\ndata: {"rooms": ["x"]}\n\nevent: n\ndata: 2\n\n',
    ]
    asked: list[str | None] = []

    async def events(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Last-Event-ID"))
        if len(asked) > len(said):
            return web.Response(status=204)
        return web.Response(text=said[len(asked) - 1], content_type="text/event-stream")

    app = web.Application()
    app.router.add_get("/events", events)
    server = await serve(app)
    done = await rtframework("listen", "--sse", server.url, "n", "--reconnect")
    assert done.out.splitlines() == ["n 1", "n 2"], done
    assert asked == [None, "b", "b", "b"]
    assert 'events are missing: gap {"rooms": ["x"]}' in done.err
    assert "trying again in 0.1 s" in done.err
    assert "nothing to come back for" in done.err
    assert done.code == 1


async def test_a_server_that_is_restarted(serve: Serve) -> None:
    """Whoever watches would not know that the server has forgotten what was said meanwhile."""

    def application() -> web.Application:
        app = web.Application()
        Server().attach_sse(app, rooms=["scores"], retry=0.1)
        return app

    server = await serve(application)
    async with running("listen", "--sse", f"{server.url}/events?room=scores", "--reconnect") as listening:
        await listening.see("connected to", on="err")
        await server.kill()
        await listening.see("trying again in 0.1 s", on="err")
        await server.start()
        await listening.see(r'gap \{"rooms": \["scores"\]\}')
