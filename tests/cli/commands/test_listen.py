"""`rtframework listen`, against our server and Node's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.cli import COMMAND, environment, rtframework, running
from tests.support.echo_servers import JSON, Peer, our_server

by = pytest.mark.parametrize("by", ["polling", "websocket"])


@by
async def test_events_are_printed(peer: Peer, by: str) -> None:
    """What a server sends could not be watched from a terminal."""
    args = ("--emit", "dates", "--emit", "mirror", "1", "two", '{"a": []}', "--count", "2", "--transport", by)
    done = await rtframework("listen", peer.url, *args, *peer.options)
    assert done.code == 0, done.err
    date = '"1970-01-01T00:00:00+00:00"' if peer.options else done.lines[0].split(" ")[1]
    assert done.lines == [f"date {date} null", 'mirrored 1 "two" {"a": []}']
    assert f"by {by}, id " in done.complaint


async def test_events_as_json(url: str, tmp_path: Path) -> None:
    """Programs would have to take lines apart that are made for people."""
    args = ("--emit", "mirror", "two words", "--emit", "dates", "--json", "--count", "1")
    done = await rtframework("listen", url, "mirrored", *args)
    assert [json.loads(line) for line in done.lines] == [{"event": "mirrored", "args": ["two words"]}]


async def test_only_the_events_that_were_named(url: str) -> None:
    """What one waits for would drown in the rest."""
    done = await rtframework("listen", url, "bye", "--emit", "mirror", "1", "--emit", "leave")
    assert (done.code, done.lines) == (5, ["bye"])
    assert done.err.splitlines()[-1] == "rtframework listen: the connection was lost (io server disconnect)"


@by
async def test_events_that_are_named_by_integers(serve: Serve, by: str) -> None:
    """The number and the string could not be told apart, or the filter would leave both out."""
    io = Server()

    @io.on(7)
    async def send(socket: Socket) -> None:
        for name in (1, "1", 2, -3):
            await socket.emit(name, "x")

    url = (await serve(io)).url
    args = ("--emit", "7", "--transport", by)
    done = await rtframework("listen", url, *args, "--count", "4")
    assert done.lines == ['1 "x"', '"1" "x"', '2 "x"', '-3 "x"']
    done = await rtframework("listen", url, "1", *args, "--count", "2", "--json")
    assert [json.loads(line)["event"] for line in done.lines] == [1, "1"]


async def test_an_event_that_asks_is_answered_only_on_demand(peer: Peer) -> None:
    """Somebody who only watches would confirm what nobody has read."""
    silent = await rtframework("listen", peer.url, "--emit", "ask", "--timeout", "0.5", *peer.options)
    assert (silent.code, silent.lines) == (0, ['question "why?"'])
    answering = await rtframework("listen", peer.url, "--emit", "ask", "--ack", "42", "--count", "2", *peer.options)
    assert (answering.code, answering.lines) == (0, ['question "why?"', "answered 42"])


async def test_events_that_do_not_come(url: str) -> None:
    """A script that waits for events would wait for ever, or take none for some."""
    done = await rtframework("listen", url, "--emit", "mirror", "--count", "2", "--timeout", "0.5")
    assert (done.code, done.lines) == (4, ["mirrored"])
    assert done.err.splitlines()[-1] == "rtframework listen: 1 more did not come within 0.5 s"


@by
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_it_ends_quietly(url: str, by: str, how: signal.Signals) -> None:
    """Whoever has seen enough would see a traceback."""
    async with running("listen", url, "--transport", by, "--emit", "mirror") as listening:
        await listening.see("mirrored")  # before the process ends: each line is flushed
        code = await listening.end(how)
        assert code == (130 if how is signal.SIGINT else -signal.SIGTERM)
        assert len(listening.err) == 1, listening.printed


async def test_a_reader_that_has_gone(url: str) -> None:
    """`rtframework listen … | head -1` would end with a traceback, or not at all."""
    emits = ["--emit", "mirror", "1"] * 3
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "listen", url, *emits, env=environment(), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    os.close(read)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 141
    assert len(err.splitlines()) == 1, err.decode()


async def test_it_connects_again(serve: Serve) -> None:
    """A server that is deployed anew would end all who watch it."""
    server = await serve(lambda: attached(our_server(JSON)))
    async with running("listen", server.url, "--reconnect", "--emit", "mirror", "1", "--count", "2") as listening:
        await listening.see("mirrored 1")
        await server.kill()
        await listening.see("trying again", on="err")
        await server.start()
        assert await listening.wait() == 0, listening.printed
        assert listening.out == ["mirrored 1"] * 2


def attached(io: Server) -> web.Application:
    """An application that serves it."""
    app = web.Application()
    io.attach(app)
    return app
