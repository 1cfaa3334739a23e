"""The application: keys, refusals, the audit log, repeated calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from rtframework import AuditEntry, ConfigurationError, Namespace, Server
from rtframework.engine import AsyncServer
from rtframework.engine.http.direct import open_routes
from rtframework_http_api import HTTPAPI, APIKey, api
from tests.conftest import Serve
from tests.support.http_api import KEY, KEYS, READER, Caller, Reply, app_with_api, calling, running_api
from tests.support.js import JSClients
from tests.support.until import until


async def test_without_a_good_key_nothing_is_told() -> None:
    """Somebody without a key could find out what there is."""
    async with running_api(Server()) as (_, caller):
        for header in ("", "Bearer", "Bearer ", f"Basic {KEY}", KEY):
            reply = await caller.ask("GET", "/nope", headers={"Authorization": header})
            assert (reply.status, reply.code) == (401, "missing_key")
            assert reply.headers["WWW-Authenticate"] == 'Bearer realm="rtframework"'
        for method, path in (("GET", "/health"), ("POST", "/emit"), ("DELETE", "/nope"), ("GET", "/openapi.json")):
            reply = await caller.with_key("wrong").ask(method, path)
            assert (reply.status, reply.code) == (401, "invalid_key")
            assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
        assert (await caller.get("/health")).status == 200
        assert (await caller.ask("GET", "/health", headers={"Authorization": f"bearer  {KEY}"})).status == 200


async def test_wrong_keys_are_throttled_and_good_ones_are_not() -> None:
    """Somebody who tries keys would fill the log; or shut out who has a key, from behind the same address."""
    async with running_api(Server()) as (_, caller):
        wrong = caller.with_key("wrong")
        codes = [(await wrong.get("/health")).code for _ in range(11)]
        assert codes == ["invalid_key"] * 10 + ["too_many_attempts"]
        reply = await wrong.get("/health")
        assert reply.status == 429
        assert 1 <= int(reply.headers["Retry-After"]) <= 6
        assert (await caller.get("/health")).status == 200


SCOPES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/health", "read"),
    ("GET", "/rooms", "read"),
    ("POST", "/emit", "emit"),
    ("POST", "/kick", "kick"),
    ("POST", "/history/clear", "history"),
    ("POST", "/join", "admin"),
    ("POST", "/drain", "admin"),
)


@pytest.mark.parametrize("scope", ["read", "emit", "kick", "history", "admin"])
async def test_a_key_may_do_what_its_scopes_say(scope: Any) -> None:
    """A key of a shop that is stolen could throw everybody out."""
    async with running_api(Server(), keys={"one": APIKey(KEY, scopes=(scope,))}) as (_, caller):
        for method, path, needed in SCOPES:
            reply = await caller.ask(method, path, json={"nonsense": 1} if method == "POST" else None)
            if scope in (needed, "admin"):
                assert reply.status in (200, 422), (path, reply)
            else:
                assert (reply.status, reply.code, reply.json["scope"]) == (403, "missing_scope", needed)


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "headers", "told"),
    [
        ("GET", "/emit", 405, "method_not_allowed", {"Allow": "POST"}, "POST"),
        ("OPTIONS", "/emit", 405, "method_not_allowed", {"Allow": "POST"}, "POST"),
        ("PUT", "/health", 405, "method_not_allowed", {"Allow": "GET, HEAD"}, "GET"),
        ("DELETE", "/sockets/abc", 405, "method_not_allowed", {"Allow": "GET, HEAD"}, "GET"),
        ("GET", "/emits", 404, "not_found", {}, "did you mean /emit?"),
        ("GET", "/sockets/", 404, "not_found", {}, "did you mean /sockets?"),
        ("GET", "/quite/different", 404, "not_found", {}, "/openapi.json"),
        ("GET", "/", 404, "not_found", {}, "/openapi.json"),
    ],
)
@pytest.mark.parametrize("mounted", [True, False])
async def test_what_is_not_there(
    serve: Serve,
    mounted: bool,
    method: str,
    path: str,
    status: int,
    code: str,
    headers: Mapping[str, str],
    told: str,
) -> None:
    """A page of the application's errors would come back, in HTML, which no program can read."""
    app = HTTPAPI(Server(), keys=KEYS).app
    if mounted:
        outer = web.Application()
        outer.add_subapp("/api/v1", app)
        app = outer
    server = await serve(app)
    async with calling(server.url + ("/api/v1" if mounted else "")) as caller:
        reply = await caller.ask(method, path)
    assert (reply.status, reply.code) == (status, code)
    assert {name: reply.headers[name] for name in headers} == headers
    assert told in reply.json["detail"]


async def test_pages_of_other_sites_cannot_call_it() -> None:
    """A page that an admin visits could call the API with what the browser knows."""
    async with running_api(Server()) as (_, caller):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for method in ("OPTIONS", "GET"):
            reply = await caller.ask(method, "/health", headers=asked)
            assert not [name for name in reply.headers if name.lower().startswith("access-control")]
        form = await caller.ask("POST", "/emit", data={"event": "x"})
        assert (form.status, form.code, form.headers["Accept-Post"]) == (
            415,
            "unsupported_media_type",
            "application/json",
        )


async def test_the_document_names_where_it_is_mounted(serve: Serve) -> None:
    """A client that is made of the document would call another path."""
    async with running_api(Server()) as (_, caller):
        assert (await caller.with_key(READER).get("/openapi.json")).json["servers"] == [{"url": "/api"}]
    own = await serve(HTTPAPI(Server(), keys=KEYS).app)
    async with calling(own.url) as caller:
        assert (await caller.get("/openapi.json")).json["servers"] == [{"url": "/"}]


async def test_a_head_is_a_get_without_a_body() -> None:
    """A monitor that asks by HEAD would take the server for dead."""
    async with running_api(Server()) as (_, caller):
        reply = await caller.ask("HEAD", "/health")
        assert (reply.status, reply.text) == (200, "")


async def test_every_call_is_in_the_audit_log(js: JSClients) -> None:
    """Nobody could tell who has thrown somebody out; or the key would be in the log."""
    io = Server()
    entries: list[AuditEntry] = []
    io.on_audit(entries.append)
    async with running_api(io) as (url, caller):
        client = await js.connect(url)
        sid = await client.id()
        await caller.post("/emit", event="a\nb", namespace="/")
        await caller.with_key(READER).get("/rooms")
        await caller.with_key(READER).post("/emit", event="x")
        await caller.post("/revoke", user=42)
        await caller.get("/nope")
        await caller.with_key("wrong" * 10).get("/health")
        await caller.post("/kick", socket=sid, reason="spam")
        await client.disconnected()
        await until(lambda: len(entries) == 8)
    told = {(entry.kind, entry.user, entry.nsp, entry.sid, entry.code) for entry in entries}
    assert told == {
        ("api", "ci", "/", None, "emit 'a\\nb'"),
        ("api", "reader", "/", None, "list_rooms"),
        ("api", "reader", None, None, "emit: missing_scope"),
        ("api", "ci", None, None, "revoke of user 42"),
        ("api", "ci", None, None, "'GET /api/nope': not_found"),
        ("refusal", None, None, None, "invalid_key"),
        ("api", "ci", "/", sid, "kick socket"),
        ("kick", None, "/", sid, "spam"),
    }
    assert {entry.address for entry in entries} == {"127.0.0.1"}
    assert KEY not in repr(entries)
    assert "wrongwrong" not in repr(entries)


async def test_the_address_is_the_one_that_proxies_tell() -> None:
    """All callers would share one limit of wrong keys, and the audit log name the proxy."""
    io = Server(trusted_proxies="127.0.0.1")
    entries: list[AuditEntry] = []
    io.on_audit(entries.append)
    async with running_api(io) as (_, caller):
        await caller.ask("GET", "/health", headers={"X-Forwarded-For": "192.0.2.7"})
    assert [entry.address for entry in entries] == ["192.0.2.7"]


async def test_a_retry_does_not_emit_twice(js: JSClients) -> None:
    """A caller that has lost the answer could only choose between an event too few and one too many."""
    async with running_api(Server()) as (url, caller):
        client = await js.connect(url)

        async def emit(number: int, key: str, as_: Caller = caller) -> Reply:
            body = {"event": "n", "args": [number]}
            return await as_.ask("POST", "/emit", json=body, headers={"Idempotency-Key": key})

        first, again = await emit(1, "a"), await emit(1, "a")
        assert (first.json, again.json) == ({"ok": True}, {"ok": True})
        assert ("Idempotency-Replayed" in first.headers, again.headers.get("Idempotency-Replayed")) == (False, "true")
        assert (await emit(2, "a")).code == "idempotency_key_reused"
        assert (await emit(3, "")).code == "invalid_idempotency_key"
        await emit(4, "b")
        assert [await client.wait_for("n") for _ in range(2)] == [[1], [4]]
        await client.expect_nothing("n")


async def test_each_key_has_idempotency_keys_of_its_own(js: JSClients) -> None:
    """Two programs that count from 1 would lose each other's events."""
    other = "z1" * 8 + "abcdefgh" * 2
    async with running_api(Server(), keys={"one": KEY, "two": other}) as (url, caller):
        client = await js.connect(url)
        for each in (caller, caller.with_key(other)):
            await each.ask("POST", "/emit", json={"event": "n"}, headers={"Idempotency-Key": "1"})
        for _ in range(2):
            await client.wait_for("n")


async def test_a_fault_of_the_server_is_logged_and_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller would see the inside of a program, and its programmer nothing."""
    io = Server()

    def fail() -> None:
        raise RuntimeError("a secret")

    async with running_api(io) as (_, caller):
        monkeypatch.setattr(io, "stats", fail)
        reply = await caller.get("/stats")
    assert (reply.status, reply.code) == (500, "internal_error")
    assert "a secret" not in reply.text
    assert "a secret" in caplog.text


async def test_a_body_too_large_does_not_hold_the_connection(serve: Serve) -> None:
    """Callers could make the server read and inflate for ten seconds what it has refused."""
    server = await serve(HTTPAPI(Server(), key=KEY, max_body=100).app)
    for key, status in ((KEY, b"413"), ("wrong", b"401")):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /emit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000000\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n[".encode())
        answer = await reader.read()  # to the end of the connection
        assert answer.split()[1] == status
        writer.close()


async def test_nothing_is_left_running(serve: Serve) -> None:
    """A drain that takes an hour would keep the process, or be torn down with a traceback."""
    io = Server()
    own = HTTPAPI(io, key=KEY)
    gate = asyncio.Event()

    async def drain(seconds: float) -> None:
        await gate.wait()

    io.drain = drain  # type: ignore[method-assign, assignment]
    app = web.Application()
    app.add_subapp("/api", own.app)
    io.attach(app)
    server = await serve(app)
    async with calling(f"{server.url}/api") as caller:
        assert (await caller.post("/drain")).status == 202
        assert own._tasks
    await server.stop()
    assert not own._tasks


@pytest.mark.parametrize(
    ("options", "advice"),
    [({}, "needs a key"), ({"key": "short"}, "32 characters"), ({"key": KEY, "max_body": 0}, "max_body")],
)
def test_options_that_are_none(options: dict[str, Any], advice: str) -> None:
    """A server would start with an API that is open, or that takes nothing."""
    with pytest.raises(ConfigurationError, match=advice):
        HTTPAPI(Server(), **options)


def test_the_servers_own_requests_stay_as_fast() -> None:
    """Polls and handshakes would take a task of aiohttp each, because an API is beside them."""
    app = app_with_api(Server())
    app.pre_freeze()
    assert set(open_routes(app)) >= {"/socket.io/"}


def test_the_main_namespace_can_still_be_a_class() -> None:
    """A program that makes the API first could not write its main namespace as a class."""
    io = Server()
    HTTPAPI(io, key=KEY)
    io.register_namespace(Namespace("/"))
    assert not io.of("/")._server_side_events()


def test_the_drop_in_has_none() -> None:
    """A program of python-socketio would get an AttributeError at the first call."""
    server: Any = AsyncServer(async_mode="aiohttp")
    with pytest.raises(ConfigurationError, match=r"of an rtframework\.Server"):
        HTTPAPI(server, key=KEY)


def test_repr_has_no_secret() -> None:
    """A key would be in a log that shows the object."""
    assert KEY not in repr(HTTPAPI(Server(), key=KEY))
    assert api.WRONG_KEYS.count == 10
