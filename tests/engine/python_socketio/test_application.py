"""How handlers of a python-socketio program are found and called."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import socketio

from rtframework.engine import AsyncServer


async def trigger(sio: AsyncServer, event: str | int, *args: Any, nsp: str = "/") -> Any:
    """Have the handler of an event called."""
    return await sio._programs.trigger(event, nsp, args)


async def test_the_more_particular_handler_is_called() -> None:
    """A catch-all would hide the handlers of a program."""
    sio = AsyncServer(namespaces="*")
    sio.on("a", lambda sid: "a")
    sio.on("*", lambda event, sid: f"any {event}")
    sio.on("a", lambda nsp, sid: f"a of {nsp}", namespace="*")
    sio.on("*", lambda event, nsp, sid: f"any {event} of {nsp}", namespace="*")
    assert await trigger(sio, "a", "s") == "a"
    assert await trigger(sio, "b", "s") == "any b"
    assert await trigger(sio, "a", "s", nsp="/x") == "a of /x"
    assert await trigger(sio, "b", "s", nsp="/x") == "any b of /x"


async def test_an_event_that_is_called_star_is_no_catch_all() -> None:
    """A client could call a handler with arguments that it does not take."""
    sio = AsyncServer()
    assert await trigger(sio, "*", "s", 1) is sio.not_handled
    sio.on("*", lambda event, sid, value: (event, sid, value))
    assert await trigger(sio, "*", "s", 1) == ("*", "s", 1)


@pytest.mark.parametrize("event", ["connect", "disconnect"])
async def test_handlers_take_as_much_as_they_like(event: str) -> None:
    """A handler without ``auth``, or ``reason``, which python-socketio allows, would fail for each client."""
    sio = AsyncServer()
    sio.on(event, lambda sid, last: (sid, last))
    assert await trigger(sio, event, "s", "last") == ("s", "last")
    sio.on(event, lambda sid: sid)
    assert await trigger(sio, event, "s", "last") == "s"


async def test_methods_of_a_namespace_are_handlers() -> None:
    """Programs in classes would hear nothing."""

    class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_connect(self, sid: str) -> str:
            return f"{sid} comes"

        def on_say(self, sid: str, text: str) -> str:
            return f"{sid}: {text}"

    sio = AsyncServer()
    sio.register_namespace(Chat("/chat"))
    assert await trigger(sio, "connect", "s", None, nsp="/chat") == "s comes"
    assert await trigger(sio, "say", "s", "hi", nsp="/chat") == "s: hi"
    assert await trigger(sio, "shout", "s", "hi", nsp="/chat") is None
    assert await trigger(sio, "say", "s", "hi") is sio.not_handled


async def test_integers_are_events_of_their_own() -> None:
    """In python-socketio ``1`` and ``"1"`` are two events, and a method is found by the number's name."""

    class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
        def on_1(self, sid: str) -> str:
            return "method"

    sio = AsyncServer()
    sio.on(1, lambda sid: "number")
    sio.on("1", lambda sid: "string")
    sio.register_namespace(Chat("/chat"))
    assert [await trigger(sio, name, "s") for name in (1, "1")] == ["number", "string"]
    assert [await trigger(sio, name, "s", nsp="/chat") for name in (1, "1")] == ["method", "method"]


@pytest.mark.parametrize(("event", "raises"), [("say", False), ("connect", True)])
async def test_what_is_cancelled_within_a_handler(event: str, raises: bool) -> None:
    """A client whose connect handler was cut short would be let in; or an event's would end the server's task."""
    sio = AsyncServer()

    async def handler(sid: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    sio.on(event, handler)
    if raises:
        with pytest.raises(asyncio.CancelledError):
            await trigger(sio, event, "s")
    else:
        assert await trigger(sio, event, "s") is None
