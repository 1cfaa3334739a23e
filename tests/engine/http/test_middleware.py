"""A request's way through engine middleware, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework.engine.http.answers import Accepted, UnsentResponse
from rtframework.engine.http.middleware import Exchange
from rtframework.protocols import HandleRequest

REQUEST = make_mocked_request("GET", "/socket.io/?x=1")


class Lossy(Accepted):
    """An answer that remembers whether it was lost."""

    __slots__ = ("lost",)

    def __init__(self) -> None:
        super().__init__({})
        self.lost = False

    def lose(self) -> None:
        self.lost = True


class Edge:
    """The protocol behind the middleware."""

    def __init__(self) -> None:
        self.answer = Lossy()
        self.seen: list[str] = []

    async def serve(self, request: web.Request) -> UnsentResponse:
        """Answer a request."""
        self.seen.append(request.path_qs)
        return self.answer.response()

    def exchange(self, *middlewares: Any) -> Exchange:
        """One request through middleware to here."""
        return Exchange(middlewares, self.serve)


async def test_middleware_surrounds_the_protocol() -> None:
    """What one adds, another could not see."""
    steps: list[str] = []

    def step(name: str) -> Any:
        async def middleware(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
            steps.append(f"{name} before")
            response = await call_next()
            steps.append(f"{name} after")
            response.headers[name] = "seen"
            return response

        return middleware

    edge = Edge()
    response = await edge.exchange(step("one"), step("two")).answer(REQUEST)
    assert steps == ["one before", "two before", "two after", "one after"]
    assert (response.headers["one"], response.headers["two"]) == ("seen", "seen")
    assert not edge.answer.lost


async def test_what_is_not_sent_is_lost() -> None:
    """Packets would be missing, and the session would go on as if they had arrived."""

    async def another(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        await call_next()
        return web.Response(text="mine")

    async def fails(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        await call_next()
        raise web.HTTPForbidden

    edge = Edge()
    assert await edge.exchange(another).answer(REQUEST) is not None
    assert edge.answer.lost
    edge = Edge()
    with pytest.raises(web.HTTPForbidden):
        await edge.exchange(fails).answer(REQUEST)
    assert edge.answer.lost


async def test_middleware_that_answers_itself_asks_nobody() -> None:
    """A banned address would still open a session."""

    async def closed(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        return web.Response(status=410)

    edge = Edge()
    assert (await edge.exchange(closed).answer(REQUEST)).status == 410
    assert edge.seen == []


async def test_another_request_may_go_on() -> None:
    """A proxy's word on the client could not be taken."""

    async def rewrite(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        return await call_next(make_mocked_request("GET", "/other"))

    async def forgetful(request: web.Request, call_next: HandleRequest) -> None:
        await call_next()

    edge = Edge()
    await edge.exchange(rewrite, forgetful).answer(REQUEST)
    assert edge.seen == ["/other"]


async def test_mistakes_are_explained() -> None:
    """A request would be served twice, or be answered with an exception of aiohttp's."""

    async def twice(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        await call_next()
        return await call_next()

    async def nothing(request: web.Request, call_next: HandleRequest) -> None:
        pass

    with pytest.raises(RuntimeError, match="called once"):
        await Edge().exchange(twice).answer(REQUEST)
    with pytest.raises(TypeError, match=r"nothing.* has neither called"):
        await Edge().exchange(nothing).answer(REQUEST)
