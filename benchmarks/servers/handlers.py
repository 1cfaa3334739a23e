"""Handlers that take the same payload in different ways: see benchmarks/handlers.py."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pydantic
import uvloop
from aiohttp import web

from rtframework import Ack, Depends, Server, Socket

io = Server()


class Struct(msgspec.Struct):
    """msgspec's."""

    room: str
    text: str
    number: int
    size: float
    tags: list[str]


@dataclass
class DataClass:
    """The standard library's."""

    room: str
    text: str
    number: int
    size: float
    tags: list[str]


class Typed(TypedDict):
    """A dict with known keys."""

    room: str
    text: str
    number: int
    size: float
    tags: list[str]


class Model(pydantic.BaseModel):
    """pydantic's."""

    room: str
    text: str
    number: int
    size: float
    tags: list[str]


@io.on("untyped")
async def untyped(socket: Socket, data: Any) -> int:
    return len(data["text"])


@io.on("struct")
async def struct(socket: Socket, data: Struct) -> int:
    return len(data.text)


@io.on("dataclass")
async def data_class(socket: Socket, data: DataClass) -> int:
    return len(data.text)


@io.on("typed_dict")
async def typed_dict(socket: Socket, data: Typed) -> int:
    return len(data["text"])


@io.on("model")
async def model(socket: Socket, data: Model) -> int:
    return len(data.text)


@io.on("ack")
async def ack(socket: Socket, data: Any, ack: Ack) -> None:
    ack(len(data["text"]))


def plain() -> int:
    """A provider."""
    return 1


async def generator() -> AsyncIterator[int]:
    """A provider that cleans up."""
    yield 1


@io.on("provider")
async def provider(socket: Socket, data: Any, one: int = Depends(plain)) -> int:
    return len(data["text"]) + one


@io.on("generator")
async def with_generator(socket: Socket, data: Any, one: int = Depends(generator)) -> int:
    return len(data["text"]) + one


if __name__ == "__main__":
    app = web.Application()
    io.attach(app)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
