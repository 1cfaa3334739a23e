"""The chat example as a program that waits for people to come back for as long as a test wants.

``POST /patience``: the seconds after which somebody who has gone is said to have left; an hour to begin with.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import web

FOLDER: Final = Path(__file__).parents[2] / "examples" / "chat"


def main() -> None:
    """Serve it."""
    sys.path.insert(0, str(FOLDER))
    chat: Any = importlib.import_module("server")
    chat.GRACE = 3600.0

    async def set_patience(request: web.Request) -> web.Response:
        chat.GRACE = float(await request.text())
        return web.Response()

    app = chat.make_app()
    app.router.add_post("/patience", set_patience)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
