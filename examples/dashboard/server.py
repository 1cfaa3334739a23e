"""A live dashboard: numbers and pictures that the server pushes. docs/tutorials/dashboard.md builds it step by step.

::

    python examples/dashboard/server.py        # then open http://127.0.0.1:8084 in two windows
"""

import asyncio
import itertools
import math
import os
import random
import struct
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from rtframework import ClusterDown, ClusterGap, ClusterUnavailable, ClusterUp, MemoryAdapter, Server, Socket

PERIOD = 0.5  # seconds from one sample to the next
KEPT = 120  # samples
WIDTH, HEIGHT = 64, 40  # of a picture, in pixels

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
CLIENT = next((found for folder in NPM if (found := folder / "socket.io-client/dist").is_dir()), None)

REDIS = os.environ.get("REDIS")  # where it is, e.g. redis://localhost: then several servers are one


def adapter() -> Any:
    if not REDIS:
        return MemoryAdapter
    from rtframework_redis import RedisStreams

    return RedisStreams(REDIS, publish_timeout=2)


io = Server(serve_client=CLIENT or False, adapter=adapter())


# --- what is measured -------------------------------------------------------------------------------------------------


class Sample(Struct):
    time: float  # seconds since 1970
    temperature: float  # °C
    humidity: float  # percent


class Picture(Struct):
    time: float
    type: str
    data: bytes


class Settings(Struct):
    heater: Literal["off", "on"] = "off"
    target: Annotated[int, Meta(ge=10, le=35)] = 24  # °C


class Greenhouse:
    """A small greenhouse, simulated: put your own sensors here."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.temperature = 18.0
        self.humidity = 62.0
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.picture = self.take_picture()

    @property
    def heats(self) -> bool:
        return self.settings.heater == "on" and self.temperature < self.settings.target

    def measure(self) -> Sample:
        outside = 16 + 2 * math.sin(time.time() / 40)
        self.temperature += 0.03 * (outside - self.temperature) + (0.6 if self.heats else 0) + random.gauss(0, 0.05)
        self.humidity += 0.05 * (95 - 1.8 * self.temperature - self.humidity) + random.gauss(0, 0.2)
        sample = Sample(time.time(), round(self.temperature, 2), round(self.humidity, 2))
        self.samples.append(sample)
        return sample

    def take_picture(self) -> Picture:
        """What a thermal camera sees: warm air drifts through the house, the heater glows in a corner."""
        now = time.time()
        x0, y0 = WIDTH * (0.5 + 0.3 * math.sin(now / 5)), HEIGHT * (0.5 + 0.3 * math.cos(now / 7))
        rows = []
        for y in range(HEIGHT):
            row = bytearray()
            for x in range(WIDTH):
                warmth = (self.temperature - 10) / 25 + 0.35 * math.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 150)
                if self.heats:
                    warmth += 0.8 * math.exp(-((x - 8) ** 2 + (y - HEIGHT + 6) ** 2) / 40)
                row += colour(warmth)
            rows.append(bytes(row))
        self.picture = Picture(now, "image/png", png(rows))
        return self.picture


def colour(warmth: float) -> bytes:
    """From deep blue, 0, by violet and orange to pale yellow, 1."""
    warmth = min(max(warmth, 0.0), 1.0)
    red, green = min(1.0, 1.6 * warmth), max(0.0, 1.5 * warmth - 0.5)
    blue = 0.25 + 0.6 * math.sin(3.0 * warmth) * (1 - warmth)
    return bytes(int(255 * part) for part in (red, green, blue))


def png(rows: list[bytes]) -> bytes:
    """A picture file of rows of pixels, three bytes each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


house = Greenhouse()


# --- pushing it -------------------------------------------------------------------------------------------------------


async def watch(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, measure and tell everybody."""

    async def measure() -> None:
        for count in itertools.count():
            await io.local.volatile.emit("sample", house.measure())
            await asyncio.sleep(PERIOD / 2)  # what is volatile is dropped while something else is on its way
            if count % 4 == 0:
                await io.local.volatile.emit("picture", house.take_picture())
            await asyncio.sleep(PERIOD / 2)

    async def count() -> None:
        while True:
            await look()
            await asyncio.sleep(2)

    tasks = [asyncio.create_task(measure()), asyncio.create_task(count())]
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- who comes --------------------------------------------------------------------------------------------------------


class State(Struct):
    settings: Settings
    samples: list[Sample]
    picture: Picture


@io.on("connection")
async def connection(socket: Socket) -> None:
    await socket.emit("state", State(house.settings, list(house.samples), house.picture))
    await socket.emit("servers", servers)
    await io.local.emit("watching", len(io.sockets))


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    await io.local.emit("watching", len(io.sockets))


# --- who turns the knobs ----------------------------------------------------------------------------------------------


@io.on("set")
async def set_(socket: Socket, settings: Settings) -> Settings:
    house.settings = settings
    await socket.local.emit("settings", settings)
    if REDIS:
        with suppress(ClusterUnavailable):  # the other servers keep what they have
            await io.server_side_emit("set", settings)
    return settings


# --- which servers there are ------------------------------------------------------------------------------------------


class Node(Struct):
    name: str
    sockets: int | None  # of a server of Node, nobody knows
    here: bool


class Servers(Struct):
    up: bool
    gaps: int
    nodes: list[Node]


servers = Servers(up=True, gaps=0, nodes=[])


async def look() -> None:
    """Look who is there, and show it to those who watch."""
    global servers
    nodes = servers.nodes
    if io.cluster.health.up:
        with suppress(ClusterUnavailable):
            nodes = [Node(each.name, each.sockets, each.is_self) for each in await io.cluster.nodes()]
    stats = io.stats().cluster
    servers = Servers(io.cluster.health.up, stats.gaps if stats else 0, nodes)
    await io.local.emit("servers", servers)


@io.cluster.on("up")
@io.cluster.on("down")
@io.cluster.on("gap")
async def changed(event: ClusterUp | ClusterDown | ClusterGap) -> None:
    await look()


@io.on_server_side("set")
async def set_here(settings: Settings) -> None:
    house.settings = settings
    await io.local.emit("settings", settings)


# --- the page ---------------------------------------------------------------------------------------------------------


async def index(request: web.Request) -> web.Response:
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    if CLIENT:  # npm has put the client library on this machine: no need for the CDN
        html = html.replace("https://cdn.socket.io/4.8.3/", "/socket.io/")
    return web.Response(text=html, content_type="text/html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    app.cleanup_ctx.append(watch)
    io.attach(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8084")))
