"""A live score by server-sent events: the page uses the browser's own EventSource, a terminal uses curl.

::

    python examples/live_score/server.py        # then open http://127.0.0.1:8091 in two windows
    curl -N 'http://127.0.0.1:8091/events?room=match:1&history=5'

The room keeps what was said in it, so a page that comes later, or comes back, has all goals.
"""

import os
from pathlib import Path
from typing import Literal

from aiohttp import web

from rtframework import History, Server, Socket

HERE = Path(__file__).resolve().parent

io = Server(history=History("match:{number}", size=200))
scores: dict[str, dict[str, int]] = {}


async def rooms(socket: Socket, asked: list[str]) -> list[str]:
    return [room for room in asked if room.startswith("match:")]  # whatever else is said here stays private


@io.on("goal")
async def goal(socket: Socket, room: Literal["match:1"], team: Literal["home", "away"]) -> dict[str, int]:
    score = scores.setdefault(room, {"home": 0, "away": 0})
    score[team] += 1
    await io.to(room).emit("goal", {"team": team, **score})
    return score


async def index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "page/index.html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    io.attach_sse(app, "/events", rooms=rooms, retry=1.0)
    io.attach(app)  # clients of Socket.IO are in the same rooms
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8091")))
