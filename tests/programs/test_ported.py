"""What docs/coming-from-python-socketio.md says: a program that is ported by it does the same, and where it does not.

Each test runs on both libraries, with a Python and a JavaScript client, by polling and by websocket.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import socketio

from rtframework import ConnectionRefused, Server, Socket
from tests.conftest import Serve
from tests.programs.ported import BUILD, HERE, THERE
from tests.support.js import ConnectError, JSClients
from tests.support.libraries import Visitors, id_of, upstream
from tests.support.pyclient import PyClients
from tests.support.transports import POLLING, WEBSOCKET
from tests.support.until import until

TOKEN = "secret-a"


@pytest.fixture(params=[THERE, HERE])
def library(request: pytest.FixtureRequest) -> str:
    """What the program is written for."""
    return str(request.param)


@pytest.fixture(
    params=[("js", POLLING), ("js", WEBSOCKET), ("py", POLLING), ("py", WEBSOCKET)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def visitors(request: pytest.FixtureRequest, js: JSClients, py: PyClients) -> Visitors:
    """Clients of each kind on each transport."""
    kind, via = request.param
    return Visitors(kind, via, js, py)


async def test_handlers(library: str, visitors: Visitors, js: JSClients, serve: Serve) -> None:
    """Handlers that are ported as the page says would not be called, or with other arguments, or answer otherwise."""
    seen: list[Any] = []
    io, _ = BUILD[library](seen)
    url = (await serve(io, shutdown_timeout=0.1)).url
    ada = await visitors.connect(url, auth={"token": TOKEN, "name": "Ada"})
    ben = await visitors.connect(url, auth={"token": TOKEN, "name": "Ben"})
    assert await ada.ack_args("say", "hello") == ["ok"]
    assert await ben.wait_for("said") == ["Ada", "hello"]
    await ada.expect_nothing("said")
    assert await ada.ack_args("two", 1, b"2") == [2, b"2"]
    assert await ada.ack_args("by hand") == ["by hand"]
    with pytest.raises(ConnectError, match="Unknown token") as refused:
        # By JavaScript in any case: a Python client that polls python-socketio takes half a minute to give up.
        await js.connect(url, via=visitors.via)
    assert (refused.value.message, refused.value.data) == ("Unknown token", {"code": 401})
    other = await visitors.connect(url, "/other")
    assert await other.emit_with_ack("where") == "other"
    await ada.emit("go")
    await ada.disconnected()
    await until(lambda: seen)
    reason = {THERE: "server disconnect", HERE: "server namespace disconnect"}[library]
    assert seen == [("gone", "Ada", reason)]


async def test_rooms_and_sessions(library: str, visitors: Visitors, serve: Serve) -> None:
    """Somebody would be in another room after a program was ported, or what is known of them be gone."""
    io, _ = BUILD[library]([])
    url = (await serve(io, shutdown_timeout=0.1)).url
    ada = await visitors.connect(url, auth={"token": TOKEN, "name": "Ada"})
    await visitors.connect(url, auth={"token": TOKEN, "name": "Ben"})
    assert await ada.emit_with_ack("rooms") == ["b", "lobby"]
    assert await ada.emit_with_ack("look") == [True, 2, True, False, visitors.via.final, "en"]


async def test_emits(library: str, visitors: Visitors, serve: Serve) -> None:
    """What a ported program emits would reach others than before, or not all of them."""
    io, _ = BUILD[library]([])
    url = (await serve(io, shutdown_timeout=0.1)).url
    ada = await visitors.connect(url, auth={"token": TOKEN, "name": "Ada"})
    ben = await visitors.connect(url, auth={"token": TOKEN, "name": "Ben"})
    other = await visitors.connect(url, "/other")
    await ada.emit_with_ack("tell", await id_of(ben))
    for client in (ada, ben):
        assert await client.wait_for("message") == ["a message"]
    assert await other.wait_for("told") == ["elsewhere"]
    assert ada.received("told") == [["all"], ["the room"], ["here"]]
    assert ben.received("told") == [["all"], ["one"], ["the room"], ["others"], ["here"]]


async def test_questions_and_tasks(library: str, visitors: Visitors, serve: Serve) -> None:
    """A ported program would not get its clients' answers, or wait for ever, or never do what it does by itself."""
    seen: list[Any] = []
    io, _ = BUILD[library](seen)
    url = (await serve(io, shutdown_timeout=0.1)).url
    client = await visitors.connect(url, auth={"token": TOKEN, "name": "Ada"})
    await client.answer("question", b"because")
    assert await client.emit_with_ack("ask") == b"because"
    await client.emit("ask_back")
    await until(lambda: seen)
    assert seen == [("answered", b"because")]
    await client.emit("later")
    assert await client.wait_for("tick") == []
    if visitors.kind == "js":
        silent: Any = client
        await silent.silent("silence")
        assert await client.emit_with_ack("ask_in_vain") == "timeout"


async def test_classes(library: str, visitors: Visitors, serve: Serve) -> None:
    """A namespace that is kept in a class would not work as before once it is ported."""
    io, board = BUILD[library]([])
    url = (await serve(io, shutdown_timeout=0.1)).url
    ada, ben = await visitors.connect(url, "/board"), await visitors.connect(url, "/board")
    assert await ada.emit_with_ack("draw", 1, 2) == {"drawn": 1}
    assert await ben.wait_for("drawn") == [1, 2]
    assert await ada.emit_with_ack("rooms") == ["easel"]
    await ada.answer("question", "because")
    assert await ada.emit_with_ack("ask") == "because"
    assert await ada.wait_for("message") == ["listen"]
    await ada.expect_nothing("drawn")
    await ada.emit("go")
    await ada.disconnected()
    await until(lambda: board.gone)
    assert board.gone == [True]
    unknown = await ben.ack_args("unknown")
    assert unknown == [] if library == THERE else unknown[0]["error"]["code"] == "unknown_event"


# --- where they differ ------------------------------------------------------------------------------------------------


def server(library: str) -> Any:
    """A server without handlers. What both have is used in the same way below."""
    return upstream() if library == THERE else Server()


async def test_two_handlers_and_a_catch_all(library: str, js: JSClients, serve: Serve) -> None:
    """Who ports a program would look for a handler that runs, or one that does not."""
    io = server(library)
    seen: list[str] = []

    def handler(name: str) -> Any:
        def handle(who: Any, *args: Any) -> str:
            seen.append(name)
            return name

        return handle

    io.on("x")(handler("first"))
    io.on("x")(handler("second"))
    if library == THERE:
        io.on("*")(lambda event, sid, *args: seen.append(f"* {event}"))
    else:
        io.on_any(lambda socket, event, *args: seen.append(f"* {event}"))
    client = await js.connect((await serve(io, shutdown_timeout=0.1)).url, via=WEBSOCKET)
    assert await client.emit_with_ack("x") == {THERE: "second", HERE: "first"}[library]
    await client.emit("y")
    await until(lambda: seen[-1] == "* y")
    assert seen == {THERE: ["second", "* y"], HERE: ["* x", "first", "second", "* y"]}[library]


async def test_events_that_nobody_answers(library: str, js: JSClients, serve: Serve) -> None:
    """A client would be told of mistakes, or wait for ever, and its author not expect it."""
    io = server(library)

    async def fails(who: Any) -> None:
        raise RuntimeError("inside")

    async def works(who: Any) -> str:
        return "works"

    io.on("fails")(fails)
    io.on("works")(works)
    client = await js.connect((await serve(io, shutdown_timeout=0.1)).url, via=WEBSOCKET)
    for event, code in (("unknown", "unknown_event"), ("fails", "internal_error")):
        asking = asyncio.create_task(client.emit_with_ack(event))
        if library == HERE:
            assert (await asking)["error"]["code"] == code
        else:
            await asyncio.sleep(0)
            assert await client.emit_with_ack("works") == "works"
            assert not asking.done()
            asking.cancel()


async def test_what_connect_returns_and_raises(library: str, js: JSClients, serve: Serve) -> None:
    """A door that was shut by ``return False`` would stand open after it was ported, and nobody know."""
    io = server(library)

    def door(how: str) -> Any:
        if how == "false":
            return False
        if how == "refuse":
            raise (socketio.exceptions.ConnectionRefusedError if library == THERE else ConnectionRefused)("go away")
        return None

    if library == THERE:
        io.on("connect")(lambda sid, environ, auth: door(auth["how"]))
    else:

        async def connect(socket: Socket) -> Any:
            return door(socket.handshake.auth["how"])

        io.on("connect")(connect)

    url = (await serve(io, shutdown_timeout=0.1)).url
    for how, there, here in (
        ("false", "Connection rejected by server", None),
        ("refuse", "go away", "go away"),
        ("come in", None, None),
    ):
        client = await js.connect(url, via=WEBSOCKET, auth={"how": how}, wait=False)
        message = there if library == THERE else here
        if message is None:
            await client.connected()
        else:
            assert (await client.refused())["message"] == message


async def test_arguments_and_receivers(library: str, js: JSClients, serve: Serve) -> None:
    """A message for the members of an empty group would reach everybody, or ``None`` not arrive."""
    io = server(library)
    client = await js.connect((await serve(io, shutdown_timeout=0.1)).url, via=WEBSOCKET)
    if library == THERE:
        await io.emit("told", "nobody", to=[])
        await io.emit("told", None)
        await io.emit("told")
        await io.emit("told", (1, 2))
    else:
        await io.to([]).emit("told", "nobody")
        await io.emit("told", None)
        await io.emit("told")
        await io.emit("told", 1, 2)
    await io.emit("end")
    await client.wait_for("end")
    assert client.received("told") == {THERE: [["nobody"], [], [], [1, 2]], HERE: [[None], [], [1, 2]]}[library]


async def test_a_catch_all_of_namespaces(library: str, js: JSClients, serve: Serve) -> None:
    """Namespaces whose names a program does not know could not be served any more."""
    if library == THERE:
        io: Any = upstream(namespaces="*")
        io.on("where", namespace="*")(lambda namespace, sid, *args: [namespace, *args])
    else:
        io = Server()
        io.of("/{name:.*}").on("where")(lambda socket, *args: [socket.nsp, *args])
    url = (await serve(io, shutdown_timeout=0.1)).url
    for name in ("/a", "/b/c"):
        client = await js.connect(url + name, via=WEBSOCKET)
        assert await client.emit_with_ack("where", 1) == [name, 1]
