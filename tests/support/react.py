"""Pages with React as npm has it, in its development mode, without a bundler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

MODULES: Final = Path(__file__).parent.parent / "js" / "node_modules"
_CLIENT: Final = "socket.io-client/dist/socket.io.esm.min.js"

_REACT: Final = {
    "scheduler": "scheduler/cjs/scheduler.development.js",
    "react": "react/cjs/react.development.js",
    "react-dom": "react-dom/cjs/react-dom.development.js",
    "react-dom/client": "react-dom/cjs/react-dom-client.development.js",
}
"""CommonJS modules by the names that they know each other by, each after those that it needs."""

_PAGE: Final = """<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,">
<script type="importmap">{{"imports": {imports}}}</script>
<script>
const process = {{ env: {{ NODE_ENV: "development" }} }};
const loaded = {{}};
const load = (name, define) => {{
  const module = {{ exports: {{}} }};
  define(module, module.exports, (other) => loaded[other]);
  loaded[name] = module.exports;
}};
</script>
{scripts}
<div id="root"></div>
<script type="module" src="/main.js"></script>
"""


def has_react() -> bool:
    """Tell whether npm has installed React; ``make test`` does."""
    return all((MODULES / path).is_file() for path in _REACT.values())


def add_page(app: web.Application, files: Mapping[str, str], more: Mapping[str, str] | None = None) -> None:
    """Serve a page at ``/`` that runs ``main.js``; ``files``: it and the modules of the program that it imports.

    They may import ``react``, ``react-dom/client``, ``socket.io-client``, and the names of ``more``, which has paths.
    """
    scripts = {
        f"/cjs/{number}.js": f"load({json.dumps(name)}, (module, exports, require) => {{\n{_read(path)}\n}});"
        for number, (name, path) in enumerate(_REACT.items())
    }
    hooks = "useCallback, useEffect, useState, useSyncExternalStore"
    names = {"react": f"{hooks}, createElement, StrictMode", "react-dom/client": "createRoot"}
    esm = {
        f"/esm/{number}.js": f"export const {{ {exports} }} = loaded[{json.dumps(name)}];"
        for number, (name, exports) in enumerate(names.items())
    }
    imports = {**dict(zip(names, esm, strict=True)), "socket.io-client": "/client.js", **(more or {})}
    page = _PAGE.format(
        imports=json.dumps(imports), scripts="\n".join(f'<script src="{at}"></script>' for at in scripts)
    )
    served = {**scripts, **esm, "/client.js": _read(_CLIENT), **{f"/{name}": text for name, text in files.items()}}

    async def script(request: web.Request) -> web.Response:
        return web.Response(text=served[request.path], content_type="text/javascript")

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    app.router.add_get("/", index)
    for path in served:
        app.router.add_get(path, script)


def _read(path: str) -> str:
    return (MODULES / path).read_text(encoding="utf-8")
