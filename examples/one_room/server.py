"""One room, and clients of five protocols in it: what one says, all others hear.

::

    python examples/one_room/server.py        # then open http://127.0.0.1:8093
    curl -N 'http://127.0.0.1:8093/events?room=lobby'

There is one handler. It does not know by which protocol a client speaks, and neither does the emit.
"""

import os
from pathlib import Path
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from rtframework import Server, Socket

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
LIBRARIES = {
    "https://cdn.jsdelivr.net/npm/socket.io-client@4.8.3/dist/": "socket.io-client/dist",
    "https://cdn.jsdelivr.net/npm/@stomp/stompjs@7.5.0/bundles/": "@stomp/stompjs/bundles",
    "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/": "sockjs-client/dist",
}
"""Where the page has the clients' libraries from, and where npm puts them."""

io = Server()


@io.on("connection")
async def enter(socket: Socket) -> None:
    await socket.join("lobby")


@io.on("say")
async def say(socket: Socket, text: Annotated[str, Meta(pattern=r"\S", max_length=200)]) -> None:
    await io.to("lobby").emit("said", {"by": socket.conn.transport, "text": text})


# --- the page ---------------------------------------------------------------------------------------------------------


def find_libraries() -> dict[str, Path]:
    """Find what npm has put on this machine: no need for the CDN."""
    found = {url: next((npm / name for npm in NPM if (npm / name).is_dir()), None) for url, name in LIBRARIES.items()}
    return {url: folder for url, folder in found.items() if folder is not None}


async def index(request: web.Request) -> web.Response:
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    for number, url in enumerate(find_libraries()):
        html = html.replace(url, f"/library/{number}/")
    return web.Response(text=html, content_type="text/html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    for number, folder in enumerate(find_libraries().values()):
        app.router.add_static(f"/library/{number}", folder)
    io.attach(app)
    io.attach_sse(app, "/events", rooms=["lobby"], retry=1.0)
    io.attach_websocket(app, "/ws")
    io.attach_stomp(app, "/stomp", topics=["lobby"])
    io.attach_sockjs(app, "/sockjs")
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8093")))
