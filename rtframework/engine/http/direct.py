"""Requests that are served where they are read, without the two tasks that aiohttp has for each.

That is so while no code of the program would see the request or its answer: middleware, signals, a router or an
``Application`` of another kind. Then aiohttp serves it, as any other request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from aiohttp import web, web_app
from aiohttp.web_urldispatcher import MatchedSubAppResource, UrlMappingMatchInfo

if TYPE_CHECKING:
    from ..transports.polling import Waiting
    from .answers import Answer, Send
    from .canonical import Body
    from .detach import Answered

log: Final = logging.getLogger("rtframework.engine")

T = TypeVar("T")

Served: TypeAlias = "Answered | Poll | Post | Send | None"
"""What has become of a request: answered, a GET that waits, a POST whose body is on its way, or begun, for aiohttp to
go on with. ``None``: nothing has happened, and aiohttp is to serve it."""

ServeDirectly: TypeAlias = Callable[[web.Request], Served]
"""Serves a request, which may be a ``CanonicalRequest``, without waiting for anything."""

_PATIENCE: Final = 1.0
"""Seconds for which a body that is on its way is awaited without a task, at most."""
_ROUTES: Final = web.AppKey("rtframework_direct_routes", dict[str, "DirectRoute"])


class Polling(Protocol):
    """The transport of the client whose GET waits, or whose POST is on its way."""

    received: int
    """Bytes of bodies that have come in pieces: they show that the client is there."""

    @property
    def is_open(self) -> bool:
        """True while packets of the client are served."""

    def give_up(self, waiting: Waiting, /) -> None:
        """End the session: its client has hung up."""

    def lose_post(self) -> None:
        """End the session: its client has hung up while it sent something."""


class Poll:
    """A GET that waits for something to be sent, without a task; ``make`` makes the answer of a payload."""

    __slots__ = ("_make", "_polling", "_request", "answer")

    def __init__(self, request: web.Request, polling: Polling, make: Callable[[bytes], Answer]) -> None:
        self._request = request
        self._polling = polling
        self._make = make
        self.answer: Answer | None = None
        """The answer, if there is one."""

    def done(self) -> bool:
        """Return whether it has its answer."""
        return self.answer is not None

    def set_result(self, payload: bytes) -> None:
        """Answer it. If its connection has not been told yet that it waits, its caller does."""
        request = self._request
        self.answer = answer = self._make(payload)
        protocol: Any = request.protocol
        if protocol.poll is self:
            protocol.end_poll(answer.write_or_send(request))

    def lose(self) -> None:
        """Give it up, and the session with it: the client has hung up."""
        self._polling.give_up(self)


class Post:
    """A POST whose body is on its way, without a task: browsers send it behind the head.

    ``serve`` serves it when it is whole. ``send`` is for aiohttp's task, which begins the body anew.
    """

    __slots__ = ("_body", "_polling", "_serve", "is_begun", "patience", "send")

    def __init__(
        self,
        body: Body,
        polling: Polling,
        serve: Callable[[], Served],
        send: Send,
        *,
        is_begun: bool,
        timeout: float,
    ) -> None:
        self._body = body
        self._polling = polling
        self._serve = serve
        self.send = send
        self.is_begun = is_begun
        """True if it need not be left to aiohttp at once."""
        self.patience = min(_PATIENCE, timeout / 2)
        """Seconds after which it is left to aiohttp, in whose task it has the rest of its time, and more."""

    def feed(self, data: bytes) -> Served:
        """Take what has come: ``None`` if more is to come. What is more than the body, or too late, is aiohttp's."""
        body = self._body
        body.feed(data)
        self._polling.received += len(data)
        if body.missing > 0 and self._polling.is_open:
            return None
        return self.send if body.missing else self._serve()

    def lose(self) -> None:
        """Give it up, and the session with it: the client has hung up."""
        self._polling.lose_post()


class Begun(Generic[T]):
    """A coroutine that has been begun without a task, and waits for ``first``: a task can await the rest."""

    __slots__ = ("_first", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], first: Any) -> None:
        self._work = work
        self._first = first

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._first
        while True:
            try:
                try:
                    value = yield waits_for
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(value)
            except StopIteration as done:
                result: T = done.value
                return result


class DirectRoute:
    """The route of a server at one path, which takes requests straight from the connection."""

    __slots__ = ("_app", "_match_info", "_route", "serve")

    def __init__(self, app: web.Application, route: web.AbstractRoute, serve: ServeDirectly) -> None:
        self._app = app
        self._route = route
        self.serve = serve
        self._match_info: UrlMappingMatchInfo | None = None

    def match(self, request: web.Request) -> None:
        """Give a request what aiohttp's router would give it."""
        if self._match_info is None:
            self._match_info = UrlMappingMatchInfo({}, self._route)
            self._match_info.add_app(self._app)
            self._match_info.freeze()
        request._match_info = self._match_info

    @property
    def obstacle(self) -> str | None:
        """What but the route's handler would see a request of its path; of an application that is frozen."""
        app, resource = self._app, self._route.resource
        if app.middlewares:
            return "the application has middleware"
        if app.on_response_prepare:
            return "the application has a signal for responses"
        replaced = getattr(type(app)._handle, "__globals__", None) is not vars(web_app)  # as some tools of tracing do
        if replaced or "_handle" in vars(app):
            return "the application's method is replaced"
        if type(app.router) is not web.UrlDispatcher or resource is None:
            return "the application's router is its own"
        if any(isinstance(each, MatchedSubAppResource) for each in app.router.resources()):
            return "the application has domains"
        key = _key_of(resource)
        first = next(each for each in app.router.resources() if _key_of(each) == key)
        if first is not resource or next(iter(resource)) is not self._route:
            return "another route of the application comes first"
        return None


def add_direct_route(app: web.Application, path: str, route: web.AbstractRoute, serve: ServeDirectly) -> None:
    """Have requests at a path served directly, if the application is run as itself and they may be."""
    routes = app.get(_ROUTES)
    if routes is None:
        routes = app[_ROUTES] = {}
    routes.setdefault(path, DirectRoute(app, route, serve))


def open_routes(app: web.Application) -> dict[str, DirectRoute]:
    """Return the direct routes of an application that is about to be served, by their path."""
    found: dict[str, DirectRoute] = {}
    for path, route in app.get(_ROUTES, {}).items():
        obstacle = route.obstacle
        if obstacle is None:
            found[path] = route
        else:
            log.debug("requests at %s are served by tasks of aiohttp: %s", path, obstacle, extra={"kind": obstacle})
    return found


def _key_of(resource: web.AbstractResource) -> str:
    """Return the part of a path by which aiohttp's router looks a resource up."""
    path = resource.canonical
    return (path.partition("{")[0].rpartition("/")[0] if "{" in path else path).rstrip("/")
