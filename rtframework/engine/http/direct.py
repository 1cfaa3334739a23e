"""Websocket handshakes that are served where they are read, without the two tasks that aiohttp has for each request.

That is so while no code of the program would see the request before its connection is open: middleware, signals,
a router or an ``Application`` of another kind. Then aiohttp serves it, as any other request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web, web_app
from aiohttp.web_urldispatcher import MatchedSubAppResource, UrlMappingMatchInfo

ServeDirectly: TypeAlias = Callable[[web.Request], web.StreamResponse | None]
"""Serves a request without waiting for anything. ``None``: nothing has happened, and aiohttp is to serve it."""

_ROUTES: Final = web.AppKey("rtframework_direct_routes", dict[str, "DirectRoute"])


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
    def is_open(self) -> bool:
        """True if nothing but the route's handler would see a request of its path; of an application that is frozen."""
        app, resource = self._app, self._route.resource
        if app.middlewares or app.on_response_prepare or resource is None:
            return False
        if getattr(type(app)._handle, "__globals__", None) is not vars(web_app):  # as some tools of tracing replace it
            return False
        if "_handle" in vars(app) or type(app.router) is not web.UrlDispatcher:
            return False
        for each in app.router.resources():
            if isinstance(each, MatchedSubAppResource):
                return False
        key = _key_of(resource)
        first = next(each for each in app.router.resources() if _key_of(each) == key)
        return first is resource and next(iter(resource)) is self._route


def add_direct_route(app: web.Application, path: str, route: web.AbstractRoute, serve: ServeDirectly) -> None:
    """Have websocket handshakes at a path served directly, if the application is run as itself and they may be."""
    routes = app.get(_ROUTES)
    if routes is None:
        routes = app[_ROUTES] = {}
    routes.setdefault(path, DirectRoute(app, route, serve))


def open_routes(app: web.Application) -> dict[str, DirectRoute]:
    """Return the direct routes of an application that is about to be served, by their path."""
    return {path: route for path, route in app.get(_ROUTES, {}).items() if route.is_open}


def _key_of(resource: web.AbstractResource) -> str:
    """Return the part of a path by which aiohttp's router looks a resource up."""
    path = resource.canonical
    return (path.partition("{")[0].rpartition("/")[0] if "{" in path else path).rstrip("/")
