"""One program twice: for python-socketio, and as docs/coming-from-python-socketio.md says it is written here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import socketio
from socketio.exceptions import ConnectionRefusedError as Refused

from rtframework import ConnectionRefused, Namespace, Server, Socket
from rtframework.engine import AsyncServer
from tests.support.libraries import upstream

THERE: Final = "python-socketio"
HERE: Final = "Server"


class BoardThere(socketio.AsyncNamespace):  # type: ignore[misc]  # socketio is not typed
    """A namespace as a class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.gone: list[bool] = []

    async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        """Into a room, with a session."""
        await self.save_session(sid, {"drawn": 0})
        await self.enter_room(sid, "board")

    async def on_draw(self, sid: str, x: int, y: int) -> dict[str, int]:
        """Several arguments, an answer, everybody else."""
        async with self.session(sid) as session:
            session["drawn"] += 1
        await self.emit("drawn", (x, y), room="board", skip_sid=sid)
        return {"drawn": session["drawn"]}

    async def on_rooms(self, sid: str) -> list[str]:
        """Its rooms, after it has left one and was in another that is closed."""
        await self.leave_room(sid, "board")
        await self.enter_room(sid, "closed")
        await self.close_room("closed")
        await self.enter_room(sid, "easel")
        return [room for room in self.rooms(sid) if room != sid]

    async def on_ask(self, sid: str) -> Any:
        """A question to the one who asked."""
        await self.send("listen", to=sid)
        return await self.call("question", "why?", to=sid, timeout=5)

    async def on_go(self, sid: str) -> None:
        """Send it away."""
        await self.disconnect(sid)

    async def on_disconnect(self, sid: str, reason: str) -> None:
        """It has gone."""
        self.gone.append((await self.get_session(sid))["drawn"] > 0)


class BoardHere(Namespace):
    """The same."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.gone: list[bool] = []

    async def on_connect(self, socket: Socket) -> None:
        """Into a room, with a session."""
        socket.data["drawn"] = 0
        await socket.join("board")

    async def on_draw(self, socket: Socket, x: int, y: int) -> dict[str, int]:
        """Several arguments, an answer, everybody else."""
        socket.data["drawn"] += 1
        await socket.to("board").emit("drawn", x, y)
        return {"drawn": socket.data["drawn"]}

    async def on_rooms(self, socket: Socket) -> list[str]:
        """Its rooms, after it has left one and was in another that is closed."""
        await socket.leave("board")
        await socket.join("closed")
        await self.to("closed").sockets_leave("closed")
        await socket.join("easel")
        return [room for room in socket.rooms if room != socket.id]

    async def on_ask(self, socket: Socket) -> Any:
        """A question to the one who asked."""
        await socket.emit("message", "listen")
        return await socket.timeout(5).emit_with_ack("question", "why?")

    async def on_go(self, socket: Socket) -> None:
        """Send it away."""
        await socket.disconnect()

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """It has gone."""
        self.gone.append(socket.data["drawn"] > 0)


def there(seen: list[Any]) -> tuple[Any, BoardThere]:
    """For python-socketio."""
    sio: AsyncServer = upstream()  # its type stands for both: they have the same API
    board = BoardThere("/board")
    sio.register_namespace(board)

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        if not auth or auth.get("token") != "secret-a":
            raise Refused("Unknown token", {"code": 401})
        await sio.save_session(sid, {"name": auth["name"]})
        await sio.enter_room(sid, "lobby")

    @sio.event
    async def say(sid: str, text: str) -> str:
        session = await sio.get_session(sid)
        await sio.emit("said", (session["name"], text), room="lobby", skip_sid=sid)
        return "ok"

    @sio.on("two")
    def two(sid: str, *data: Any) -> tuple[Any, ...]:
        return (len(data), data[-1])

    def by_hand(sid: str) -> str:
        return "by hand"

    sio.on("by hand", by_hand)

    @sio.on("where", namespace="/other")
    def where(sid: str) -> str:
        return "other"

    @sio.event
    async def rooms(sid: str) -> list[str]:
        await sio.enter_room(sid, "a")
        await sio.enter_room(sid, "b")
        await sio.leave_room(sid, "a")
        await sio.enter_room(sid, "c")
        await sio.close_room("c")
        return sorted(room for room in sio.rooms(sid) if room != sid)

    @sio.event
    def look(sid: str) -> list[Any]:
        members = [each for each, _ in sio.manager.get_participants("/", "lobby")]
        manager = sio.manager
        return [
            *(sid in members, len(members), manager.is_connected(sid, "/"), manager.is_connected("nobody", "/")),
            *(sio.transport(sid), sio.get_environ(sid)["HTTP_X_LANGUAGE"]),
        ]

    @sio.event
    async def tell(sid: str, other: str) -> None:
        await sio.emit("told", "all")
        await sio.emit("told", "one", to=other)
        await sio.emit("told", "the room", room="lobby")
        await sio.emit("told", "others", skip_sid=sid)
        await sio.emit("told", "elsewhere", namespace="/other")
        await sio.emit("told", "here", ignore_queue=True)
        await sio.send("a message")

    @sio.event
    async def ask(sid: str) -> Any:
        return await sio.call("question", "why?", to=sid, timeout=5)

    @sio.event
    async def ask_back(sid: str) -> None:
        await sio.emit("question", "why?", to=sid, callback=lambda *args: seen.append(("answered", *args)))

    @sio.event
    async def ask_in_vain(sid: str) -> str:
        try:
            await sio.call("silence", to=sid, timeout=0.05)
        except socketio.exceptions.TimeoutError:
            return "timeout"
        return "an answer"

    @sio.event
    async def later(sid: str) -> None:
        async def tick() -> None:
            await sio.sleep(0.001)
            await sio.emit("tick", to=sid)

        sio.start_background_task(tick)

    @sio.event
    async def go(sid: str) -> None:
        await sio.disconnect(sid)

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        seen.append(("gone", (await sio.get_session(sid))["name"], reason))

    return sio, board


def here(seen: list[Any]) -> tuple[Any, BoardHere]:
    """The same."""
    io = Server()
    board = io.register_namespace(BoardHere("/board"))
    tasks: set[asyncio.Task[None]] = set()

    @io.event
    async def connect(socket: Socket) -> None:
        auth = socket.handshake.auth
        if auth.get("token") != "secret-a":
            raise ConnectionRefused("Unknown token", {"code": 401})
        socket.data["name"] = auth["name"]
        await socket.join("lobby")

    @io.event
    async def say(socket: Socket, text: str) -> str:
        await socket.to("lobby").emit("said", socket.data["name"], text)
        return "ok"

    @io.on("two")
    def two(socket: Socket, *data: Any) -> tuple[Any, ...]:
        return (len(data), data[-1])

    def by_hand(socket: Socket) -> str:
        return "by hand"

    io.on("by hand")(by_hand)

    @io.of("/other").on("where")
    def where(socket: Socket) -> str:
        return "other"

    @io.event
    async def rooms(socket: Socket) -> list[str]:
        await socket.join("a", "b")
        await socket.leave("a")
        await socket.join("c")
        await io.to("c").sockets_leave("c")
        return sorted(socket.rooms - {socket.id})

    @io.event
    async def look(socket: Socket) -> list[Any]:
        members = [each.id for each in await io.to("lobby").fetch_sockets()]
        return [
            *(socket.id in members, len(members), socket.id in io.sockets, "nobody" in io.sockets),
            *(socket.transport, socket.handshake.headers["X-Language"]),
        ]

    @io.event
    async def tell(socket: Socket, other: str) -> None:
        await io.emit("told", "all")
        await io.to(other).emit("told", "one")
        await io.to("lobby").emit("told", "the room")
        await socket.broadcast.emit("told", "others")
        await io.of("/other").emit("told", "elsewhere")
        await io.local.emit("told", "here")
        await io.emit("message", "a message")

    @io.event
    async def ask(socket: Socket) -> Any:
        return await socket.timeout(5).emit_with_ack("question", "why?")

    @io.event
    async def ask_back(socket: Socket) -> None:
        async def asking() -> None:
            seen.append(("answered", await socket.emit_with_ack("question", "why?")))

        start(asking)

    @io.event
    async def ask_in_vain(socket: Socket) -> str:
        try:
            await socket.timeout(0.05).emit_with_ack("silence")
        except TimeoutError:
            return "timeout"
        return "an answer"

    @io.event
    async def later(socket: Socket) -> None:
        async def tick() -> None:
            await asyncio.sleep(0.001)
            await socket.emit("tick")

        start(tick)

    def start(work: Callable[[], Any]) -> None:
        task = asyncio.create_task(work())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    @io.event
    async def go(socket: Socket) -> None:
        await socket.disconnect()

    @io.event
    async def disconnect(socket: Socket, reason: str) -> None:
        seen.append(("gone", socket.data["name"], reason))

    return io, board


BUILD: Final[Mapping[str, Callable[[list[Any]], tuple[Any, Any]]]] = {THERE: there, HERE: here}
