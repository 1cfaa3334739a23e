"""The HTTP API of a server: an aiohttp application, to be mounted in another one or served at a port of its own."""

from __future__ import annotations

import difflib
import hashlib
import logging
from asyncio import Task
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from rtframework import AuditEntry, Rate, RateLimiter, Server
from rtframework.concurrency import TaskSet
from rtframework.engine.http.proxies import Proxies
from rtframework.exceptions import ConfigurationError
from rtframework.limits.addresses import network_of
from rtframework.logs import ThrottledLog, quote
from rtframework.options import whole_number

from .answers import Answer, answer_of, answer_of_problem
from .idempotency import Idempotency, check_key
from .keys import APIKey, Keyring, keys_of
from .openapi import describe
from .others import Others
from .problems import Problem, problem_of, retry_after
from .reading import decode_body, decode_query, read_body
from .route import Call, Route
from .routes import ROUTES
from .serving import plain_stats

if TYPE_CHECKING:
    from .route import Takes

log: Final = logging.getLogger("rtframework.http_api")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a call of the HTTP API")
_refused: Final = ThrottledLog(log, logging.WARNING, "refused a request to the HTTP API from %s: %s")

WRONG_KEYS: Final = Rate(10, per=60)
"""Requests of one address without a good key: 10 at once, then one every 6 s. Beyond, they get 429."""

_DOCUMENT: Final = "/openapi.json"


class HTTPAPI:
    """An HTTP API of a server for programs in other languages, cron jobs and admins.

    ``key``: the secret that callers send as ``Authorization: Bearer …``, at least 32 characters. ``keys``: several,
    each with a name for the audit log: a secret, which may do everything, or an :class:`APIKey` with scopes.
    ``max_body``: bytes that a body may have.

    ``app`` is an aiohttp application, for ``add_subapp`` or for an ``AppRunner`` of its own. Whatever server of a
    cluster is asked, calls concern the clients of all; each of the servers needs the API.

    Raises :class:`~rtframework.ConfigurationError` without a key, and for one that could be guessed.

    Example::

        api = HTTPAPI(io, key=os.environ["API_KEY"])
        app.add_subapp("/api", api.app)
    """

    def __init__(
        self,
        io: Server,
        *,
        key: str | None = None,
        keys: Mapping[str, str | APIKey] | None = None,
        max_body: int = 1_000_000,
    ) -> None:
        if not isinstance(io, Server):
            raise ConfigurationError(f"the HTTP API is of an rtframework.Server, not of {io!r}")
        self._io = io
        self._keys = Keyring(keys_of(key, keys))
        self._max_body = whole_number("max_body", max_body, least=1)
        options = io.options
        trusted = options.trusted_proxies
        self._proxies = None if trusted is None else Proxies(trusted, options.proxy_headers)
        self._wrong_keys = RateLimiter(WRONG_KEYS)
        self._idempotency = Idempotency()
        self._tasks = TaskSet()
        self._others = Others(io, lambda: plain_stats(io.stats()), self._drain)
        self.app = self._make_app()
        """The application. It can be mounted or served once."""

    def __repr__(self) -> str:
        return f"<HTTPAPI of {self._io!r}>"

    def _make_app(self) -> web.Application:
        app = web.Application()
        for route in ROUTES:
            add = app.router.add_get if route.method == "GET" else app.router.add_post
            add(route.path, partial(self._serve, route))
        app.router.add_get(_DOCUMENT, partial(self._serve, None))
        # Not middleware: the server's own requests would pass it, if the API is a sub-application.
        app.router.add_route("*", "/{path:.*}", self._serve_unknown)
        app.on_startup.append(self._start)
        app.on_cleanup.append(self._clean_up)
        return app

    async def _start(self, app: web.Application) -> None:
        self._others.start()

    async def _clean_up(self, app: web.Application) -> None:
        await self._tasks.cancel()

    def _drain(self, seconds: float) -> None:
        self._tasks.spawn(self._io.drain(seconds))

    # --- a request ------------------------------------------------------------------------------------------------

    async def _serve(self, route: Route | None, request: web.Request) -> web.StreamResponse:
        """Serve a route; ``None``: the OpenAPI document."""
        address = self._address_of(request)
        try:
            key = self._authenticate(request, address)
        except Problem as problem:
            return self._refuse(request, problem, address)
        if route is None:
            self._audit(key, address, "openapi")
            return answer_of(describe(ROUTES, _prefix_of(request))).to_response(request)
        parts = dict(request.match_info)
        call = Call(self._io, self._others, key, self._keys.allows(key, "admin"), parts)
        repeated = False
        try:
            if not self._keys.allows(key, route.scope):
                raise _missing_scope(route, self._keys.scopes(key))
            if route.method == "GET":
                answer = await self._answer(route, call, decode_query(request, route.takes))
            else:
                answer, repeated = await self._post(route, call, request)
        except Exception as error:  # noqa: BLE001 - logged, and told the caller
            answer = _failure(error, route)
        self._audit(key, address, _told(route.name, call.subject, answer.code, repeated), nsp=call.nsp, sid=call.sid)
        return answer.to_response(request, repeated=repeated)

    async def _post(self, route: Route, call: Call, request: web.Request) -> tuple[Answer, bool]:
        """Make a call with a body. Return ``True`` beside its answer if it was made before."""
        once = check_key(request.headers.get("Idempotency-Key"))
        body = await read_body(request, self._max_body)
        taken = decode_body(body, route.takes)
        if once is None:
            return await self._answer(route, call, taken), False
        fingerprint = hashlib.sha256(route.path.encode() + b"\0" + body).digest()

        def make() -> Task[Answer]:
            return self._tasks.spawn(self._answer(route, call, taken))

        return await self._idempotency.once((call.key, once), fingerprint, make)

    async def _answer(self, route: Route, call: Call, taken: Takes) -> Answer:
        try:
            return answer_of(await route.serve(call, taken), route.status)
        except Exception as error:  # noqa: BLE001 - logged, and told the caller
            return _failure(error, route)

    async def _serve_unknown(self, request: web.Request) -> web.StreamResponse:
        """Refuse a path that is none, or a method that it does not have."""
        address = self._address_of(request)
        try:
            key = self._authenticate(request, address)
        except Problem as problem:
            return self._refuse(request, problem, address)
        found = await self._explain_unknown(request)
        self._audit(key, address, _told(quote(f"{request.method} {request.path}"), "", found.code))
        return answer_of_problem(found).to_response(request)

    async def _explain_unknown(self, request: web.Request) -> Problem:
        methods: set[str] = set()
        for resource in self.app.router.resources():
            methods |= (await resource.resolve(request))[1]
        methods.discard("*")
        if methods:
            allowed = ", ".join(sorted(methods))
            detail = f"this path has {allowed}, not {request.method[:20]}"
            return Problem("method_not_allowed", detail, headers={"Allow": allowed})
        path = request.path.removeprefix(_prefix_of(request))
        known = [*(route.path for route in ROUTES), _DOCUMENT]
        close = difflib.get_close_matches(path[:100], known, 1)
        hint = f"did you mean {close[0]}?" if close else f"{_DOCUMENT} describes those that there are"
        return Problem("not_found", f"there is no path {quote(path)}: {hint}")

    # --- keys -----------------------------------------------------------------------------------------------------

    def _authenticate(self, request: web.Request, address: str | None) -> str:
        """Return the name of the request's key. Raises :class:`Problem`.

        A good key is never kept waiting: others behind the same address could shut its owner out. So keys are long.
        """
        header = request.headers.get("Authorization", "")
        scheme, _, secret = header.partition(" ")
        is_bearer = scheme.lower() == "bearer"
        name = self._keys.find(secret.strip()) if is_bearer and secret else None
        if name is not None:
            return name
        wait = self._wrong_keys.take(network_of(address))
        if wait:
            raise Problem("too_many_attempts", "too many requests without a good key", headers=retry_after(wait))
        if is_bearer and secret.strip():
            challenge = 'Bearer realm="rtframework", error="invalid_token"'
            raise Problem("invalid_key", "nobody has this key", headers={"WWW-Authenticate": challenge})
        raise Problem(
            "missing_key",
            "send a key of the API in the header Authorization: Bearer <key>",
            headers={"WWW-Authenticate": 'Bearer realm="rtframework"'},
        )

    def _refuse(self, request: web.Request, problem: Problem, address: str | None) -> web.Response:
        self._io.audit(AuditEntry("refusal", address, code=problem.code))
        _refused(address, problem.code, extra={"address": address, "code": problem.code})
        return answer_of_problem(problem).to_response(request)

    def _audit(
        self, key: str, address: str | None, told: str, *, nsp: str | None = None, sid: str | None = None
    ) -> None:
        self._io.audit(AuditEntry("api", address, key, nsp, sid, told))

    def _address_of(self, request: web.Request) -> str | None:
        """Return the caller's address, which the server's proxies may tell."""
        return (request if self._proxies is None else self._proxies.seen_through(request)).remote


def _failure(error: Exception, route: Route) -> Answer:
    """Return the answer to a call that has failed; log what is a fault of the server."""
    problem = problem_of(error)
    if problem is None:
        _failed(error=error, extra={"event": route.name})
        problem = Problem("internal_error", "the call has failed, and the log of the server says why", made=True)
    return answer_of_problem(problem)


def _told(name: str, subject: str, code: str | None, repeated: bool = False) -> str:
    """Say in the audit log what was called, and how it ended."""
    words = [name, *([subject] if subject else []), *(["(repeated)"] if repeated else [])]
    return " ".join(words) + (f": {code}" if code else "")


def _missing_scope(route: Route, scopes: tuple[str, ...]) -> Problem:
    has = ", ".join(map(repr, scopes))
    return Problem("missing_scope", f"this call needs the scope {route.scope!r}; the key has {has}", scope=route.scope)


def _prefix_of(request: web.Request) -> str:
    """Return the path that the API is mounted at; empty if it is served as itself."""
    resource: Any = request.match_info.route.resource
    canonical: str = resource.canonical
    return canonical.removesuffix(_DOCUMENT).removesuffix("/{path}").removesuffix("/{path:.*}")
