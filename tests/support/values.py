"""Values that are not JSON's own, and what servers of a cluster have to make of them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from typing import Any, Final

import msgspec
import pydantic

from rtframework import JSONSerializer, Server


class Model(pydantic.BaseModel):
    """A model of pydantic, with an alias."""

    a: int = pydantic.Field(serialization_alias="A")


class Record(msgspec.Struct):
    """A Struct."""

    a: int


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int


class Money:
    """A type that only the program's ``enc_hook`` knows."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


def hook(value: Any) -> Any:
    """Turn money into a string."""
    if isinstance(value, Money):
        return f"{value.cents} ct"
    raise TypeError(f"objects of type {type(value).__name__}")


SERIALIZER: Final = JSONSerializer(enc_hook=hook)

VALUES: Final[list[Any]] = [
    Model(a=1),
    Record(2),
    Point(3),
    Money(4),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    (5, 6),
]

PLAIN: Final[list[Any]] = [{"A": 1}, {"a": 2}, {"x": 3}, "4 ct", "2026-01-01T00:00:00Z", [5, 6]]
"""What everybody gets for ``VALUES``."""


def as_received(plain: Any) -> Any:
    """Return plain values as another server reads them."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


async def check_between_servers(one: Server, two: Server) -> None:
    """Have a server emit all values to another one, and the other one answer with them."""
    heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    @two.on_server_side("told")
    async def told(*args: Any) -> None:
        heard.put_nowait(args)

    @two.on_server_side("asked")
    async def asked(*args: Any) -> Any:
        heard.put_nowait(args)
        return VALUES

    async with asyncio.timeout(10):
        await one.server_side_emit("told", *VALUES)
        assert list(await heard.get()) == PLAIN
        answers = await one.server_side_emit_with_ack("asked", *VALUES, timeout=5)
    assert [each[1] if isinstance(each, tuple) else each for each in dict(answers).values()] == [PLAIN]
    assert list(await heard.get()) == PLAIN
