"""A program to be served by `rtframework run`, and where it answers."""

from __future__ import annotations

from typing import Final

import aiohttp

from tests.support.cli import Running

PROGRAM: Final = """
import asyncio, os, sys
from aiohttp import web
from rtframework import Server, Socket

io = Server()

@io.on("pid")
async def pid(socket: Socket) -> int:
    return os.getpid()

async def index(request):
    return web.Response(text="one")

async def cleaned_up(app):
    print("cleaned up", flush=True)

def make_app():
    app = web.Application()
    app.router.add_get("/", index)
    app.on_cleanup.append(cleaned_up)
    io.attach(app)
    return app

async def make_slowly():
    await asyncio.sleep(0)
    return make_app()
"""


async def get(url: str) -> str:
    """The text at a URL."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def url_of(command: Running, *, after: int = 0) -> str:
    """Where it says that it serves."""
    return (await command.see(r"on (http://\S+)", after=after))[1]


STUCK: Final = """
import time

async def index(request):
    print("stuck", flush=True)
    time.sleep(99)
"""
