"""A request that was read without aiohttp's parser, as aiohttp would have made it: some programs look at all of it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from yarl import URL

from .canonical import CanonicalRequest, raw_headers
from .protocol import HttpServer

_NO_WRITER_AND_TASK: Final[Any] = (None, None)


def full_request(request: Any) -> web.Request:
    """Return the request that is being served as an ``aiohttp.web.Request``, without its body, which was read."""
    if not isinstance(request, CanonicalRequest):
        found: web.Request = request
        return found
    protocol: Any = request.protocol
    server = protocol._manager
    assert isinstance(server, HttpServer)  # while it is being served
    path, _, query = request.raw_path.partition("?")
    message = RawRequestMessage(
        request.method,
        request.raw_path,
        HttpVersion11,
        request.headers,
        raw_headers(protocol._unparsed),
        False,
        None,
        "Upgrade" in request.headers,
        False,
        URL.build(path=path, query_string=query, encoded=True),
    )
    full: Any = server.request_factory(message, EMPTY_PAYLOAD, protocol, *_NO_WRITER_AND_TASK)
    server.routes[request.path].match(full)
    if (full.remote, full.scheme, full.host) != (request.remote, request.scheme, request.host):
        full = full.clone(remote=request.remote or "", scheme=request.scheme, host=request.host)
    made: web.Request = full
    return made
