"""Requests read: bounded, and checked."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtframework_http_api import reading
from rtframework_http_api.answers import answer_of, answer_of_problem
from rtframework_http_api.emitting import Emit
from rtframework_http_api.problems import Problem
from rtframework_http_api.reading import decode_body, decode_query, read_body
from rtframework_http_api.sockets import FindSockets
from tests.conftest import Serve

MOST = 1000


async def read(request: web.Request) -> web.Response:
    """Answer with the length of the body."""
    try:
        return answer_of(len(await read_body(request, MOST))).to_response(request)
    except Problem as problem:
        return answer_of_problem(problem).to_response(request)


def app() -> web.Application:
    """Make an application that reads."""
    made = web.Application()
    made.router.add_post("/", read)
    return made


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (b"x" * MOST, JSON, MOST),
        (b"x" * (MOST + 1), JSON, "body_too_large"),
        (gzip.compress(b"x" * MOST, mtime=0), {**JSON, "Content-Encoding": "gzip"}, MOST),
        (gzip.compress(b"x" * 100_000, mtime=0), {**JSON, "Content-Encoding": "gzip"}, "body_too_large"),
        (b"no gzip", {**JSON, "Content-Encoding": "gzip"}, "invalid_json"),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        (b"{}", {"Content-Type": "text/plain"}, "unsupported_media_type"),
        (b"{}", {"Content-Type": "application/json; charset=latin-1"}, "unsupported_media_type"),
        (b"{}", {"Content-Type": "Application/JSON; charset=UTF-8"}, 2),
        (b"{}", {"Content-Type": "application/vnd.api+json"}, 2),
        (b"", {}, 0),
        (None, {}, 0),
    ],
)
async def test_bodies(serve: Serve, data: bytes | None, headers: dict[str, str], expected: Any) -> None:
    """A caller could fill the memory, or a form on a page of somebody else's could call the API."""
    server = await serve(app())
    async with aiohttp.ClientSession() as session, session.post(server.url, data=data, headers=headers) as response:
        body = await response.json(content_type=None)
    assert (body if isinstance(body, int) else body["code"]) == expected


async def test_a_body_without_a_length_is_bounded_too(serve: Serve) -> None:
    """A caller that does not say how much comes could fill the memory."""

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 100

    server = await serve(app())
    async with aiohttp.ClientSession() as session, session.post(server.url, data=chunks(), headers=JSON) as response:
        assert response.status == 413


async def test_a_body_has_to_arrive(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections would be held by callers that never send what they have announced."""
    monkeypatch.setattr(reading, "BODY_TIMEOUT", 0.05)
    server = await serve(app())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_caller_that_hangs_up_is_no_fault_of_the_server(serve: Serve) -> None:
    """Each upload that is given up would be an error in the log."""
    made, refused = web.Application(), asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        with pytest.raises(Problem) as raised:
            await read_body(request, MOST)
        assert raised.value.code == "invalid_json"
        refused.set()
        raise web.HTTPBadRequest

    made.router.add_post("/", read)
    server = await serve(made)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await asyncio.wait_for(refused.wait(), 20)


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b'{"evnt":"a"}', "invalid_body", "there is no field 'evnt': did you mean 'event'?"),
        (b'{"event":"a","except_":[]}', "invalid_body", "did you mean 'except'?"),
        (b'{"event":"a","quite different":1}', "invalid_body", "there are event, args, namespace"),
        (b'{"event":"a","rooms":"lobby"}', "invalid_body", "$.rooms: Expected `array`, got `str`"),
        (b'{"event":"a","rooms":null}', "invalid_body", "$.rooms: Expected `array`, got `null`"),
        (b'{"event":"a","rooms":[1]}', "invalid_body", "Expected `str`, got `int`"),
        (b'{"event":"a","volatile":1}', "invalid_body", "$.volatile: Expected `bool`, got `int`"),
        (b'{"event":"a","timeout":1000}', "invalid_body", "$.timeout: Expected `float` <= 60"),
        (b"{}", "invalid_body", "Object missing required field `event`"),
        (b"", "invalid_body", "Object missing required field `event`"),
        (b"[]", "invalid_body", "Expected `object`, got `array`"),
        (b"{", "invalid_json", "the body is no JSON: Input data was truncated"),
        (b"\xff", "invalid_json", "the body is no JSON"),
        (b'{"event":"a","args":[NaN]}', "invalid_json", "the body is no JSON"),
        (b'{"event":"a","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", "nested too deeply"),
    ],
)
def test_what_does_not_fit_is_told(body: bytes, code: str, told: str) -> None:
    """Somebody who writes a call by hand would have to guess what is wrong; and a null would reach everybody."""
    with pytest.raises(Problem) as raised:
        decode_body(body, Emit)
    assert raised.value.code == code
    assert told in raised.value.detail


def test_what_is_told_back_is_bounded() -> None:
    """An answer would be as long as what was sent."""
    with pytest.raises(Problem) as raised:
        decode_body(b'{"' + b"x" * 100_000 + b'":1}', Emit)
    assert len(raised.value.detail) < 500


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?rom=a", "there is no parameter 'rom': did you mean 'room'?"),
        ("?limit=many", "$.limit: Expected `int`, got `str`"),
        ("?limit=0", "$.limit: Expected `int` >= 1"),
        ("?room=a&room=b", "the parameter 'room' is given twice"),
    ],
)
async def test_queries(serve: Serve, query: str, told: str) -> None:
    """A misspelt filter would be passed over, and everybody be listed."""

    async def find(request: web.Request) -> web.Response:
        try:
            return answer_of(decode_query(request, FindSockets)).to_response(request)
        except Problem as problem:
            return answer_of_problem(problem).to_response(request)

    made = web.Application()
    made.router.add_get("/", find)
    server = await serve(made)
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/{query}") as response:
        body = await response.json(content_type=None)
    assert (response.status, body["code"]) == (400, "invalid_query")
    assert told in body["detail"]
