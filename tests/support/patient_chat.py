"""The chat example as a program that waits for people to come back for as long as a test wants.

``POST /lose-patience``: those who have gone are said to have left.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rtframework.protocols import PresenceTab

FOLDER: Final = Path(__file__).parents[2] / "examples" / "chat"


def main() -> None:
    """Serve it."""
    sys.path.insert(0, str(FOLDER))
    os.environ["CHAT_GRACE"] = "3600"
    chat: Any = importlib.import_module("server")
    store = chat.io._host.presence.store

    async def lose_patience(request: web.Request) -> web.Response:
        away = [
            PresenceTab(nsp, name, sid, user)
            for (nsp, name), room in store._rooms.items()
            for user, person in room.people.items()
            for sid, timer in person.tabs.items()
            if timer is not None
        ]
        for tab in away:
            store.leave(tab)
        return web.Response()

    app = chat.make_app()
    app.router.add_post("/lose-patience", lose_patience)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
