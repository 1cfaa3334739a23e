"""Events without a handler, and the shape of payloads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtframework import Server, Socket
from rtframework.development.events import EventWatch, shape_of, shown
from rtframework.protocols import CallNext
from rtframework.testing import TestClient, TestServer


@pytest.fixture
def io() -> Server:
    """A server that is watched."""
    io = Server()
    io.observe(EventWatch())

    @io.on("message")
    async def message(socket: Socket, text: str) -> str:
        return text

    @io.of("/admin").on("ban")
    async def ban(socket: Socket, name: str) -> None: ...

    return io


@pytest.fixture
async def client(io: Server) -> AsyncIterator[TestClient]:
    """A client of it."""
    async with TestServer(io) as server:
        yield await server.connect()


async def test_a_typing_error(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends "mesage" would be ignored without a word."""
    await client.emit("mesage", "hello")
    await client.emit_with_ack("mesage", "hello")
    assert caplog.messages == [
        f"no handler takes 'mesage' in /: did you mean 'message'? (socket {client.id}, {how} ack)"
        for how in ("without", "with")
    ]


async def test_an_event_of_another_namespace(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """One would add the handler a second time, instead of connecting to the other namespace."""
    await client.emit_with_ack("ban", "bob")
    assert "in /: /admin has one; @io.on('ban') adds one (socket" in caplog.messages[0]


async def test_an_event_like_no_other(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """One would have to look up what the server listens to."""
    await client.emit_with_ack("x" * 300)
    assert "there are 'message'; @io.on(" in caplog.messages[0]
    assert len(caplog.messages[0]) < 600


async def test_what_is_handled(io: Server, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """The lines that matter would stand among those that do not."""

    @io.use_event
    async def rename(socket: Socket, event: Any, call_next: CallNext) -> Any:
        event.name = event.name.removeprefix("v1:")
        return await call_next()

    assert await client.emit_with_ack("v1:message", "hello") == "hello"

    @io.on_any
    async def bridge(socket: Socket, event: str, *args: Any) -> None: ...

    await client.emit("anything", 1)
    await client.emit_with_ack("message", "hello")
    assert caplog.messages == []


async def test_one_namespace_of_many(caplog: pytest.LogCaptureFixture) -> None:
    """A client could write lines of its own into the terminal, by the name of a namespace."""
    io = Server()
    io.observe(EventWatch())
    io.of("/room/{id}")
    async with TestServer(io) as server:
        await (await server.connect("/room/1")).emit_with_ack("say")
    assert "no handler takes 'say' in /room/1: there is none yet; @io.of(\"/room/{id}\").on('say')" in caplog.text
    assert shown("/a\nb") == "'/a\\nb'"
    assert len(shown("/" + "x" * 999)) < 250


def test_a_shape_has_no_value() -> None:
    """A password would be in the terminal, and in a screenshot of it."""
    payload = {"password": "hunter2", "hunter 2": [1, 2, 3], "deep": {"a": {"b": {"c": 1}}}, "none": None}
    assert shape_of([payload, b"hunter2", [], ["a", 1]]) == (
        "{password: str, …: [int × 3], deep: {a: {b: {…}}}, none: null}, bytes, [], [str | int × 2]"
    )
    assert shape_of(list(range(20))) == "int, " * 8 + "…"
    assert shape_of([dict.fromkeys("abcdefghijk", 1)]).endswith("h: int, …}")
    assert shape_of([[[[[1]]]]]) == "[[[[…]]]]"
