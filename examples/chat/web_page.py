"""The chat's page, the files of the JavaScript client for it, and the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from aiohttp import web

from rtframework.engine import tune_gc

HERE = Path(__file__).resolve().parent
CDN = "https://cdn.socket.io"
CDN_SCRIPT = (
    f'<script src="{CDN}/4.8.3/socket.io.min.js" crossorigin="anonymous" '
    'integrity="sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0"></script>'
)
HEADERS = {
    "Content-Security-Policy": f"default-src 'self'; script-src 'self' {CDN}; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def client_files() -> Path | None:
    """Where npm has installed socket.io-client, if it has."""
    for folder in (HERE, *HERE.parents):
        for modules in (folder / "node_modules", folder / "tests/js/node_modules"):
            if (modules / "socket.io-client/dist/socket.io.min.js").is_file():
                return modules / "socket.io-client/dist"
    return None


def add_page(app: web.Application) -> None:
    """Serve the page at ``/``."""
    files = client_files()
    script = '<script src="/client/socket.io.min.js"></script>' if files else CDN_SCRIPT
    html = (HERE / "page/index.html").read_text(encoding="utf-8").replace("<!-- socket.io-client -->", script)

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=HEADERS)

    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    if files:
        app.router.add_static("/client", files)


def run(app: web.Application) -> None:
    """Serve the application at the address that the command line or the environment says."""
    parser = argparse.ArgumentParser(description="A chat on rtframework.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="default: $HOST or 127.0.0.1")
    parser.add_argument("--port", default=int(os.environ.get("PORT", "8080")), type=int, help="default: $PORT or 8080")
    options = parser.parse_args()
    tune_gc(app)
    web.run_app(app, host=options.host, port=options.port, backlog=4096)
