"""SockJS over the wire, by raw requests: the cases of sockjs-protocol 0.3.3, and what is beyond it."""

from __future__ import annotations

import asyncio
import contextlib
import io as streams
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Limits,
    Packet,
    PacketType,
    RateLimit,
    Server,
    Socket,
    WebSocketCodec,
)
from tests.conftest import Serve
from tests.engine import eventually

PLAIN: Final = "text/plain; charset=UTF-8"
SCRIPT: Final = "application/javascript; charset=UTF-8"
NOT_CACHED: Final = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
FOREIGN: Final = {"Origin": "https://app.example"}


class Echo(WebSocketCodec):
    """Texts as they are."""

    def decode(self, message: str | bytes) -> Packet:
        return Packet(PacketType.EVENT, data=["message", message])

    def encode(self, packet: Packet) -> str | None:
        return packet.data[1] if packet.type == PacketType.EVENT else None


def echoing(**options: Any) -> Server:
    """Make a server that sends back what it gets."""
    options.setdefault("cors_allowed_origins", ["https://app.example"])
    io = Server(**options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("not for you")

    @io.on("message")
    async def message(socket: Socket, text: str) -> None:
        if text == "go":
            await socket.disconnect()
        else:
            await socket.emit("message", text)

    return io


@contextlib.asynccontextmanager
async def sockjs(serve: Serve, io: Server | None = None, **options: Any) -> AsyncIterator[Client]:
    """Serve SockJS that echoes."""
    app = web.Application()
    options.setdefault("codec", Echo())
    (io or echoing()).attach_sockjs(app, "/echo", **options)
    server = await serve(app)
    async with aiohttp.ClientSession() as http:
        yield Client(http, f"{server.url}/echo")


class Answer:
    """A response that has been read."""

    def __init__(self, response: aiohttp.ClientResponse, text: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = text


class Client:
    """Requests under a path."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def ask(self, method: str, path: str, **request: Any) -> Answer:
        """Send a request, and read the response."""
        async with self.http.request(method, self.url + path, **request) as response:
            return Answer(response, await response.text())

    async def post(self, path: str, **request: Any) -> str:
        """Send a POST. Return the body of the response."""
        answer = await self.ask("POST", path, **request)
        assert answer.status in (200, 204), answer.status
        return answer.text

    async def stream(self, method: str, path: str, *expected: str, **request: Any) -> aiohttp.ClientResponse:
        """Begin a stream, which begins so."""
        response = await self.http.request(method, self.url + path, **request)
        assert response.status == 200
        await see(response, *expected)
        return response


async def see(response: aiohttp.ClientResponse, *expected: str) -> None:
    """Read exactly this."""
    for each in expected:
        async with asyncio.timeout(20):
            assert (await response.content.readexactly(len(each.encode()))).decode() == each


# --- what is no session -----------------------------------------------------------------------------------------------


async def test_a_visitor_is_greeted(serve: Serve) -> None:
    """Load balancers ask for it to see if the server is there."""
    async with sockjs(serve) as client:
        for path in ("", "/"):
            greeting = await client.ask("GET", path)
            assert (greeting.status, greeting.text) == (200, "Welcome to SockJS!\n")
            assert greeting.headers["Content-Type"] == PLAIN
        for path in ("/a", "/a.html", "//", "/a/a", "/a/a/", "/a./a/xhr", "/a/a./xhr", "//xhr"):
            assert (await client.ask("POST", path)).status == 404
        assert (await client.ask("POST", "")).status == 405


async def test_clients_are_told_what_the_server_can_do(serve: Serve) -> None:
    """They could not choose a transport."""
    async with sockjs(serve) as client:
        found = [await client.ask("GET", "/info", headers=FOREIGN) for _ in range(2)]
        info = json.loads(found[0].text)
        assert info["websocket"] is True
        assert info["cookie_needed"] is False
        assert info["origins"] == ["*:*"]
        assert 0 <= info["entropy"] < 2**32
        assert found[0].headers["Cache-Control"] == NOT_CACHED
        assert found[0].headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert found[0].headers["Access-Control-Allow-Credentials"] == "true"
        assert (await client.ask("GET", "/info", headers={"Origin": "https://evil.example"})).status == 403
    async with sockjs(serve, websocket=False, cookie_needed=True) as client:
        info = json.loads((await client.ask("GET", "/info")).text)
        assert (info["websocket"], info["cookie_needed"]) == (False, True)
        assert (await client.ask("GET", "/0/session1/websocket")).status == 404
        assert (await client.ask("GET", "/websocket")).status == 404


@pytest.mark.parametrize("path", ["/info", "/a/b/xhr", "/a/b/xhr_send", "/a/b/xhr_streaming", "/a/b/eventsource"])
async def test_a_page_may_ask_once_whether_it_may_send(serve: Serve, path: str) -> None:
    """Each poll of a page of another origin would be two requests."""
    async with sockjs(serve) as client:
        headers = {**FOREIGN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "a, b, c"}
        answer = await client.ask("OPTIONS", path, headers=headers)
        assert (answer.status, answer.text) == (204, "")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000"
        assert answer.headers["Access-Control-Max-Age"] == "31536000"
        assert answer.headers["Access-Control-Allow-Headers"] == "a, b, c"
        method = "GET" if path.endswith(("info", "source")) else "POST"
        assert answer.headers["Access-Control-Allow-Methods"] == f"OPTIONS, {method}"
        assert "Expires" in answer.headers
        wrong = await client.ask("DELETE", path)
        assert (wrong.status, wrong.headers["Allow"]) == (405, f"OPTIONS, {method}")


async def test_the_page_for_iframes_is_cached_and_embedded_by_allowed_origins_only(serve: Serve) -> None:
    """Any page could use it to speak with the cookies of its visitor."""
    async with sockjs(serve, client_url="/sockjs.js?a&b") as client:
        for path in ("/iframe.html", "/iframe-1.6.1.html?t=1", "/iframe-.html"):
            page = await client.ask("GET", path)
            assert page.status == 200
            assert '<script src="/sockjs.js?a&amp;b"></script>' in page.text
            assert page.headers["Content-Security-Policy"] == "frame-ancestors 'self' https://app.example"
            assert re.fullmatch(r"public, max-age=\d{7}", page.headers["Cache-Control"])
        again = await client.ask("GET", "/iframe.html", headers={"If-None-Match": page.headers["ETag"]})
        assert (again.status, again.text, "Content-Type" in again.headers) == (304, "", False)
        for path in ("/iframe.htm", "/IFRAME.HTML", "/iframe-/.html"):
            assert (await client.ask("GET", path)).status == 404
    async with sockjs(serve) as client:
        assert (await client.ask("GET", "/iframe.html")).status == 404


@pytest.mark.parametrize(
    ("options", "referer", "policy"),
    [
        ({"cors_allowed_origins": None}, "https://app.example/", "frame-ancestors 'self'"),
        ({"cors_allowed_origins": re.compile("https://.*")}, "https://b.example/x", "'self' https://b.example"),
        ({"cors_allowed_origins": lambda origin: False}, "https://b.example/x", None),
        ({"cors_allowed_origins": lambda origin: True}, "", "frame-ancestors 'self'"),
        ({"cors_allowed_origins": lambda origin: True}, "https://a;b/", "frame-ancestors 'self'"),
        ({"cors_allowed_origins": "*", "cors_credentials": False}, "https://b.example/x", "frame-ancestors 'self'"),
        ({"cors_allowed_origins": "https://c.example"}, "", "frame-ancestors 'self' https://c.example"),
    ],
)
async def test_origins_of_any_kind_say_who_embeds(
    serve: Serve, options: dict[str, Any], referer: str, policy: str | None
) -> None:
    """A rule that is a function would let all pages embed it, or none."""
    async with sockjs(serve, echoing(**options), client_url="https://cdn.example/s.js") as client:
        page = await client.ask("GET", "/iframe.html", headers={"Referer": referer} if referer else {})
        if policy is None:
            assert page.status == 403
        else:
            assert page.headers["Content-Security-Policy"].endswith(policy)


async def test_jsonp_is_refused(serve: Serve) -> None:
    """Any site could read what is sent to its visitors, with their cookies."""
    async with sockjs(serve) as client:
        for method, path in (("GET", "/a/b/jsonp?c=x"), ("POST", "/a/b/jsonp_send")):
            answer = await client.ask(method, path)
            assert answer.status == 404
            assert "JSONP is not served" in answer.text


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_session_by_polling(serve: Serve) -> None:
    """Clients that can nothing else would not connect."""
    async with sockjs(serve) as client:
        opened = await client.ask("POST", "/000/session1/xhr", headers=FOREIGN)
        assert (opened.status, opened.text) == (200, "o\n")
        assert opened.headers["Content-Type"] == SCRIPT
        assert opened.headers["Cache-Control"] == NOT_CACHED
        assert opened.headers["X-Content-Type-Options"] == "nosniff"
        assert opened.headers["Access-Control-Allow-Origin"] == "https://app.example"
        sent = await client.ask("POST", "/000/session1/xhr_send", data='["x","y"]', headers=FOREIGN)
        assert (sent.status, sent.text) == (204, "")
        assert sent.headers["Content-Type"] == PLAIN
        assert await client.post("/999/session1/xhr") == 'a["x","y"]\n'  # any server
        waiting = asyncio.create_task(client.post("/000/session1/xhr"))
        await asyncio.sleep(0)
        while not (await client.ask("POST", "/0/session1/xhr")).text.startswith("c[2010,"):
            pass
        await client.post("/000/session1/xhr_send", data='["z"]')
        assert await waiting == 'a["z"]\n'


async def test_wrong_bodies_are_answered_as_the_protocol_has_it(serve: Serve) -> None:
    """Stock clients could not tell what is wrong."""
    async with sockjs(serve) as client:
        assert (await client.ask("POST", "/0/unknown1/xhr_send", data='["x"]')).status == 404
        assert await client.post("/0/session1/xhr") == "o\n"
        for body, text in (
            ("", "Payload expected."),
            ('["x', "Broken JSON encoding."),
            ("[1]", "Broken JSON encoding."),
        ):
            answer = await client.ask("POST", "/0/session1/xhr_send", data=body)
            assert (answer.status, answer.text) == (500, text)
        coded = await client.ask("POST", "/0/session1/xhr_send", data=b"x", headers={"Content-Encoding": "gzip"})
        assert coded.status == 415
        for kind in ("text/plain", "T", "application/json", "application/xml", "text/xml; charset=utf-8"):
            await client.post("/0/session1/xhr_send", data='["a"]', headers={"Content-Type": kind})
        await client.post("/0/session1/xhr_send", data="[]")
        assert await client.post("/0/session1/xhr") == 'a["a","a","a","a","a"]\n'
        long = await client.ask("POST", "/0/session1/xhr_send", data=streams.BytesIO(b"x" * 2_000_000))
        assert long.status == 413
        assert (await client.post("/0/session1/xhr")).startswith("c[1002,")


async def test_many_messages_of_one_body_are_served_in_order(serve: Serve) -> None:
    """A page that has waited with them would lose some."""
    async with sockjs(serve) as client:
        await client.post("/0/session1/xhr")
        texts = [str(number) for number in range(2_000)]
        await client.post("/0/session1/xhr_send", data=json.dumps(texts))
        got: list[str] = []
        while len(got) < len(texts):
            got += json.loads((await client.post("/0/session1/xhr"))[1:])
        assert got == texts


@pytest.mark.parametrize(
    ("method", "path", "kind", "prelude", "frame"),
    [
        ("POST", "xhr_streaming", SCRIPT, "h" * 2048 + "\n", "%s\n"),
        ("GET", "eventsource", "text/event-stream", "\r\n", "data: %s\r\n\r\n"),
    ],
)
async def test_a_session_by_a_stream(serve: Serve, method: str, path: str, kind: str, prelude: str, frame: str) -> None:
    """Each message would be a request of its own."""
    async with sockjs(serve, response_limit=4096) as client:
        stream = await client.stream(method, f"/0/session1/{path}", prelude, frame % "o", headers=FOREIGN)
        assert stream.headers["Content-Type"] == kind
        assert stream.headers["Cache-Control"] == NOT_CACHED
        await client.post("/0/session1/xhr_send", data='["x"]')
        await see(stream, frame % 'a["x"]')
        second = await client.stream(method, f"/0/session1/{path}", prelude)
        assert (await second.text()) == frame % 'c[2010,"Another connection still open"]'
        long = "y" * 4096
        await client.post("/0/session1/xhr_send", data=json.dumps([long]))
        assert (await stream.text()) == frame % f'a["{long}"]'
        await client.post("/0/session1/xhr_send", data='["z"]')
        third = await client.stream(method, f"/0/session1/{path}", prelude, frame % 'a["z"]')
        await client.post("/0/session1/xhr_send", data='["go"]')
        assert (await third.text()) == frame % 'c[4410,"server namespace disconnect"]'
        again = await client.stream(method, f"/0/session1/{path}", prelude)
        assert (await again.text()) == frame % 'c[4410,"server namespace disconnect"]'
        assert await client.post("/0/session1/xhr") == 'c[4410,"server namespace disconnect"]\n'
        assert (await client.ask("POST", "/0/session1/xhr_send", data='["x"]')).status == 404


async def test_a_session_by_a_forever_iframe(serve: Serve) -> None:
    """Pages of old browsers would have to poll."""
    async with sockjs(serve) as client:
        for query, text in (("", '"callback" parameter required'), ("?c=a(", 'invalid "callback" parameter')):
            answer = await client.ask("GET", f"/0/session1/htmlfile{query}")
            assert (answer.status, answer.text) == (500, text)
        stream = await client.stream("GET", "/0/session1/htmlfile?c=_jp.a1")
        head = (await stream.content.readuntil(b"\r\n\r\n")).decode()
        assert "var c = parent._jp.a1;" in head
        assert len(head) > 1024
        assert "default-src 'none'" in stream.headers["Content-Security-Policy"]
        await see(stream, '<script>\np("o");\n</script>\r\n')
        await client.post("/0/session1/xhr_send", data='["</script>"]')
        await see(stream, '<script>\np("a[\\"\\u003c/script\\u003e\\"]");\n</script>\r\n')
        stream.close()


async def test_what_another_site_embeds_opens_no_session(serve: Serve) -> None:
    """A picture on any page would have its visitors enter and leave, with their cookies."""
    io = echoing()
    async with sockjs(serve, io) as client:
        for path in ("htmlfile?c=x", "eventsource"):
            for site in ("cross-site", "same-site"):
                answer = await client.ask("GET", f"/0/session1/{path}", headers={"Sec-Fetch-Site": site})
                assert answer.status == 403
        assert not io._server.eio.connections
        allowed = {**FOREIGN, "Sec-Fetch-Site": "cross-site"}
        (await client.stream("GET", "/0/session1/eventsource", "\r\n", headers=allowed)).close()
        own = {"Sec-Fetch-Site": "same-origin"}
        (await client.stream("GET", "/0/session2/htmlfile?c=x", headers=own)).close()


async def test_a_client_that_connects_too_often_comes_later(serve: Serve) -> None:
    """It would ask its user for another password, or never come back."""
    io = Server(rate_limit=RateLimit(connects={"address": "1/h"}))
    async with sockjs(serve, io) as client:
        (await client.stream("POST", "/0/session1/xhr_streaming", "h" * 2048 + "\n", "o\n")).close()
        assert await client.post("/0/session2/xhr") == "o\n"
        said = await client.post("/0/session2/xhr")
        if said.startswith("a"):  # the message that says why
            said = await client.post("/0/session2/xhr")
        assert said.startswith('c[4429,"too many, try again in 3')


async def test_a_refused_client_is_told_why(serve: Serve) -> None:
    """It would come again for ever."""
    async with sockjs(serve) as client:
        stream = await client.stream("POST", "/0/session1/xhr_streaming?token=wrong", "h" * 2048 + "\n", "o\n")
        assert await stream.text() == 'c[4401,"not for you"]\n'
        assert await client.post("/0/session2/xhr?token=wrong") == "o\n"
        assert await client.post("/0/session2/xhr?token=wrong") == 'c[4401,"not for you"]\n'


async def test_a_session_is_of_those_who_come_as_it_was_opened(serve: Serve) -> None:
    """Whoever guesses the id that a client has chosen would read what is sent to it."""

    def bind(request: web.Request) -> object:
        return request.cookies.get("session")

    async with sockjs(serve, bind=bind) as client:
        right = {"Cookie": "session=a; other=1", "Authorization": "Bearer a"}
        assert await client.post("/0/session1/xhr?token=t&t=1", headers=right) == "o\n"
        await client.post("/0/session1/xhr_send?t=2&token=t", data='["x"]', headers={**right, "Cookie": "session=a"})
        for query, more in (("", {}), ("token=t", {"Cookie": "session=b"}), ("token=t", {"Authorization": "Bearer b"})):
            for path, body in (("xhr", None), ("xhr_send", '["y"]')):
                answer = await client.ask("POST", f"/0/session1/{path}?{query}", data=body, headers={**right, **more})
                assert answer.status == 404
        assert await client.post("/0/session1/xhr?token=t", headers=right) == 'a["x"]\n'


async def test_the_cookie_of_load_balancers_is_set(serve: Serve) -> None:
    """They would send the requests of a session to any server."""
    async with sockjs(serve, cookie_needed=True) as client:
        first = await client.ask("POST", "/0/session1/xhr")
        assert first.headers["Set-Cookie"] == "JSESSIONID=dummy; Path=/"
        for given, expected in (("abcdef", "abcdef"), ('"a;b"', "dummy")):
            headers = {"Cookie": f"JSESSIONID={given}"}
            answer = await client.ask("POST", f"/0/session-{len(given)}/xhr", headers=headers)
            assert answer.headers["Set-Cookie"] == f"JSESSIONID={expected}; Path=/"


async def test_sessions_are_bounded_as_all_connections_are(serve: Serve) -> None:
    """One client could open sessions until there is no memory left."""
    io = echoing(limits=Limits(max_connections_per_address=2))
    async with sockjs(serve, io) as client:
        for number in range(2):
            assert await client.post(f"/0/session{number}/xhr") == "o\n"
        assert (await client.ask("POST", "/0/session2/xhr")).status == 429
        assert (await client.ask("POST", f"/0/{'x' * 129}/xhr")).status == 404
        streams = [await client.ask("POST", f"/0/more{number}/xhr_streaming") for number in range(3)]
        assert [each.status for each in streams] == [429, 429, 429]
        await eventually(lambda: len(io.sockets) == 2)


async def test_only_one_request_of_a_session_sends(serve: Serve) -> None:
    """Messages would come out of order, and a client could have any number of bodies read at once."""
    async with sockjs(serve) as client:
        await client.post("/0/session1/xhr")
        more = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'["a"'
            await more.wait()
            yield b"]"

        first = asyncio.create_task(client.post("/0/session1/xhr_send", data=body()))
        try:
            async with asyncio.timeout(20):
                while (await client.ask("POST", "/0/session1/xhr_send", data='["b"]')).status != 409:
                    pass
        finally:
            more.set()
        await first
        got = (await client.post("/0/session1/xhr"))[1:]
        assert json.loads(got)[-1] == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heartbeat": 0}, "heartbeat"),
        ({"session_timeout": -1}, "session_timeout"),
        ({"response_limit": 0}, "response_limit"),
        ({"client_url": "sockjs.js"}, "client_url"),
        ({"namespace": "chat"}, "namespace"),
        ({"codec": object()}, "codec"),
        ({"carries": "mqtt"}, 'carries is "websocket" or "stomp"'),
        ({"carries": "stomp", "codec": Echo()}, "leave out codec"),
        ({"carries": "stomp", "topics": 1}, "topics is a template"),
        ({"topics": "news"}, 'carries="stomp", topics='),
    ],
)
async def test_wrong_options_are_told_at_once(options: dict[str, Any], message: str) -> None:
    """A slip would show when the first client comes."""
    with pytest.raises(ConfigurationError, match=message):
        Server().attach_sockjs(web.Application(), **options)
