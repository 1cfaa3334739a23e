"""A request's way through the middleware of ``io.engine``, and its answer's way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .answers import UnsentResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ...protocols import EngineMiddleware


class Exchange:
    """One request and its answer; the first middleware is the outermost."""

    def __init__(
        self, middlewares: Sequence[EngineMiddleware], serve: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> None:
        self._middlewares = middlewares
        self._serve = serve
        self.made: web.StreamResponse | None = None
        """The protocol's answer, if the request has come so far."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Make the answer, after all middleware. When it is not the protocol's, the packets of that one are lost."""
        response: web.StreamResponse | None = None
        try:
            response = await self.run(request)
        finally:
            if response is not self.made and isinstance(self.made, UnsentResponse):
                self.made.answer.lose()
        return response

    async def run(self, request: web.Request, index: int = 0) -> web.StreamResponse:
        """Run the middleware from an index on. Raises what that raises, and ``TypeError`` when it answers nothing."""
        if index == len(self._middlewares):
            self.made = await self._serve(request)
            return self.made
        middleware = self._middlewares[index]
        rest = _Rest(self, request, index + 1)
        response: Any = await middleware(request, rest)
        if response is None:
            response = rest.response
        if not isinstance(response, web.StreamResponse):
            name = getattr(middleware, "__qualname__", repr(middleware))
            raise TypeError(f"the engine middleware {name} has neither called call_next() nor returned a response")
        return response


class _Rest:
    """The ``call_next`` of one middleware."""

    __slots__ = ("_called", "_exchange", "_index", "_request", "response")

    def __init__(self, exchange: Exchange, request: web.Request, index: int) -> None:
        self._exchange = exchange
        self._request = request
        self._index = index
        self._called = False
        self.response: web.StreamResponse | None = None

    async def __call__(self, request: web.Request | None = None, /) -> web.StreamResponse:
        if self._called:
            raise RuntimeError("call_next() is called once")
        self._called = True
        self.response = await self._exchange.run(self._request if request is None else request, self._index)
        return self.response
