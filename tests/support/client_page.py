"""Pages that use ``clients/js`` as a checkout has it: no bundler, an import map, and the stock client beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from playwright.async_api import Page

from rtframework import Server
from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.preload import ROOT
from tests.support.react import MODULES

PACKAGE: Final = ROOT / "clients" / "js"
STOCK: Final = "socket.io-client/dist/socket.io.esm.min.js"
VUE: Final = "vue/dist/vue.esm-browser.js"
IMPORTS: Final = {
    "@rtframework/client": "/package/src/index.js",
    "@rtframework/client/react": "/package/src/react.js",
    "@rtframework/client/vue": "/package/src/vue.js",
    "@rtframework/client/worker": "/package/src/worker.js",
    "socket.io-client": f"/modules/{STOCK}",
    "vue": f"/modules/{VUE}",
}
"""The import map of a page, as the package's README has it."""

_PAGE: Final = """<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,"><title>client</title>
<script type="importmap">{imports}</script>
<div id="root"></div>
{script}
"""

_SCRIPT: Final = """<script type="module">
import * as client from "@rtframework/client";
Object.assign(window, client);
window.statuses = [];
window.heard = [];
// Connect, and note down what happens.
window.start = (options = {}) => {
  window.connection = connect(options);
  window.socket = connection.socket;
  connection.status.subscribe((status) => statuses.push(status));
  socket.on("connect", () => heard.push(["connect"]));
  socket.on("disconnect", (reason) => heard.push(["disconnect", reason]));
  socket.on("connect_error", (error) => heard.push(["connect_error", error.message, error.data]));
  socket.onAny((...args) => heard.push(args.filter((each) => typeof each !== "function")));
};
window.state = () => connection.status.get().state;
window.ready = true;
</script>
"""


def client_page(files: Mapping[str, str] | None = None, *, main: bool = False) -> web.Application:
    """Make an application with the page at ``/``, the package, the npm packages of the tests, and JavaScript of a test.

    ``main``: the page runs ``main.js`` of these files, and nothing else.
    """
    app = web.Application()
    served = {f"/{name}": text for name, text in (files or {}).items()}

    async def index(request: web.Request) -> web.Response:
        script = '<script type="module" src="/main.js"></script>' if main else _SCRIPT
        page = _PAGE.format(imports=json.dumps({"imports": IMPORTS}), script=script)
        return web.Response(text=page, content_type="text/html")

    async def script(request: web.Request) -> web.Response:
        return web.Response(text=served[request.path], content_type="text/javascript")

    app.router.add_get("/", index)
    app.router.add_static("/package", PACKAGE)
    app.router.add_static("/modules", MODULES, follow_symlinks=True)
    for path in served:
        app.router.add_get(path, script)
    return app


def has_vue() -> bool:
    """Tell whether npm has installed Vue; ``make test`` does."""
    return (MODULES / VUE).is_file()


def open_server(**options: Any) -> Server:
    """Make a server that lets pages of other origins in."""
    return Server(cors_allowed_origins="*", cors_credentials=False, **options)


class ClientPage:
    """A page, and what its connection did."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def load(self, url: str) -> None:
        """Open the page."""
        await self.page.goto(url)
        await self.until("window.ready")

    async def start(self, options: Mapping[str, object], code: str = "") -> None:
        """Connect. ``code`` has options that are no JSON, e.g. ``getToken: () => "…"``."""
        await self.run(f"start({{...{json.dumps(options)}, {code}}})")

    async def run(self, code: str) -> Any:
        """Return what a piece of JavaScript returns, or its promise brings."""
        return await self.page.evaluate(code)

    async def until(self, condition: str, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until an expression of JavaScript is true."""
        await self.page.wait_for_function(condition, timeout=timeout * 1000)

    async def connected(self) -> None:
        """Wait until a namespace has let it in."""
        await self.until("state() === 'connected'")
