"""The options of the handshake: cookie, CORS, the client's files, proxies, paths, compression."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from rtframework import ConfigurationError, Cookie, Cors, Handshake, Server, Socket
from rtframework.protocols import HandleRequest
from tests.conftest import Serve
from tests.engine import join, raw_client
from tests.support.browser import Pages
from tests.support.js import JS_FOLDER, JSClients
from tests.support.raw import Answer
from tests.support.transports import Transport

PACKAGE = JS_FOLDER / "node_modules" / "socket.io-client"
VERSION = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))["version"]
FILES = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")


async def get(url: str, method: str = "GET", **headers: str) -> Answer:
    """One request, with its body as it was sent."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session,
        session.request(method, url, headers=headers, skip_auto_headers=["Accept-Encoding"]) as response,
    ):
        body = await response.read()
        return Answer(response.status, body.decode("latin-1"), response.headers)


# -- the cookie


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (True, "io={}; Path=/; HttpOnly; SameSite=Lax"),
        ("woot", "woot={}; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie("woot"), "woot={}; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie(path="/custom"), "io={}; Path=/custom; HttpOnly; SameSite=Lax"),
        (Cookie(path=None), "io={}; HttpOnly; SameSite=Lax"),
        (Cookie(http_only=False, same_site="strict"), "io={}; Path=/; SameSite=Strict"),
        (Cookie(same_site=None), "io={}; Path=/; HttpOnly"),
        (
            Cookie(max_age=3600, domain="example.org", secure=True, same_site="none", partitioned=True),
            "io={}; Max-Age=3600; Domain=example.org; Path=/; HttpOnly; Secure; Partitioned; SameSite=None",
        ),
        (False, None),
    ],
)
async def test_the_cookie_of_a_session(serve: Serve, cookie: Any, expected: str | None) -> None:
    """A proxy that sends clients to servers by cookie would send each request of a session to another one."""
    server = await serve(Server(cookie=cookie))
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET")
        sid = json.loads(answer.text[1:])["sid"]
        assert answer.headers.get("Set-Cookie") == (expected.format(sid) if expected else None)
        raw.sid = sid
        assert "Set-Cookie" not in (await raw.post("40")).headers
        assert "Set-Cookie" not in (await raw.request("GET")).headers
        upgrade = await raw.websocket()
        assert "Set-Cookie" not in upgrade.ws._response.headers


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": "a b"},
        {"name": ""},
        {"path": "/; Domain=evil.org"},
        {"path": "/\r\nX: y"},
        {"domain": ""},
        {"same_site": "Lax"},
        {"same_site": "none"},
        {"partitioned": True},
        {"max_age": "1"},
    ],
)
def test_cookies_that_browsers_would_not_take(attributes: dict[str, Any]) -> None:
    """The session would stick in no browser, and nobody would know why."""
    with pytest.raises(ConfigurationError, match="Cookie"):
        Cookie(**attributes)


async def test_the_cookie_comes_back(serve: Serve, js: JSClients) -> None:
    """It would be set in a form that clients do not send back."""
    io = Server(cookie="sticky")
    came: list[str | None] = []

    @io.engine.use
    async def look(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        came.append(request.cookies.get("sticky"))
        return await call_next()

    client = await js.connect((await serve(io)).url, transports=["polling"], withCredentials=True)
    sid = (await client.state()).engine_id
    assert came[0] is None
    assert came[1:]
    assert set(came[1:]) == {sid}


# -- CORS


async def test_cors_headers(serve: Serve) -> None:
    """A page of another host could not read a header, or would ask before every request whether it may."""
    cors = Cors(
        allowed_origins="https://a.org",
        credentials=False,
        methods=("GET", "POST", "PATCH"),
        allowed_headers=("X-Tenant", "Authorization"),
        exposed_headers=("X-Trace",),
        max_age=60,
    )
    server = await serve(Server(cors=cors))
    async with raw_client(server.url) as raw:
        page = {"Origin": "https://a.org"}
        opened = await raw.request("GET", headers=page)
        assert opened.headers["Access-Control-Allow-Origin"] == "https://a.org"
        assert opened.headers["Access-Control-Expose-Headers"] == "X-Trace"
        assert "Access-Control-Allow-Credentials" not in opened.headers
        wants = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-other"}
        preflight = await raw.request("OPTIONS", headers={**page, **wants})
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Methods"] == "GET, POST, PATCH"
        assert preflight.headers["Access-Control-Allow-Headers"] == "X-Tenant, Authorization"
        assert preflight.headers["Access-Control-Max-Age"] == "60"
        assert (await raw.request("GET", headers={"Origin": "https://b.org"})).status == 403


def test_short_forms_of_cors() -> None:
    """What a program says briefly would be lost beside what it says at length."""
    io = Server(cors=Cors("https://a.org", max_age=5), cors_allowed_origins="https://b.org", cors_credentials=False)
    assert io.options.cors == Cors("https://b.org", credentials=False, max_age=5)
    assert Server(cors=Cors("https://a.org", credentials=False)).options.cors.credentials is False
    assert Server().options.cors == Cors()


@pytest.mark.parametrize(
    "options", [{"methods": "GET"}, {"allowed_headers": ["a b"]}, {"exposed_headers": ["a\r\nb"]}, {"max_age": -1}]
)
def test_cors_that_makes_no_sense(options: dict[str, Any]) -> None:
    """``methods="GET"`` would allow the methods G, E and T."""
    with pytest.raises(ConfigurationError, match="Cors"):
        Cors(**options)


# -- the client's files


@pytest.mark.parametrize("name", FILES)
async def test_the_client_is_served(serve: Serve, name: str) -> None:
    """``<script src="/socket.io/socket.io.js">``, which every tutorial begins with, would be a 404."""
    server = await serve(Server(serve_client=PACKAGE / "dist"))
    for path, kind in ((name, "javascript"), (name + ".map", "json"), (name + "?buster=1", "javascript")):
        answer = await get(f"{server.url}/socket.io/{path}")
        assert answer.status == 200
        assert answer.text.encode("latin-1") == (PACKAGE / "dist" / path.partition("?")[0]).read_bytes()
        assert answer.headers["Content-Type"] == f"application/{kind}; charset=utf-8"
        assert answer.headers["ETag"] == f'"{VERSION}"'
        assert answer.headers["Cache-Control"] == "public, max-age=0"
        assert "Content-Encoding" not in answer.headers


async def test_the_client_is_sent_compressed_and_once(serve: Serve) -> None:
    """Every visit to a page would load the whole client again."""
    server = await serve(Server(serve_client=PACKAGE / "dist"))
    url = f"{server.url}/socket.io/socket.io.min.js"
    plain = (PACKAGE / "dist" / "socket.io.min.js").read_bytes()
    for accepts in ("gzip,br,deflate", "br;q=1, gzip;q=0.5", "*", "GZIP"):
        answer = await get(url, Accept_Encoding=accepts)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.text.encode("latin-1")) == plain
        assert "Accept-Encoding" in answer.headers["Vary"]
    for accepts in ("br", "gzip;q=0", "gzip; q=0.0, *", "identity"):
        assert "Content-Encoding" not in (await get(url, Accept_Encoding=accepts)).headers
    for tag in (f'"{VERSION}"', f'W/"{VERSION}"', f'"x", "{VERSION}"', "*"):
        answer = await get(url, If_None_Match=tag)
        assert (answer.status, answer.text, answer.headers["ETag"]) == (304, "", f'"{VERSION}"')
    assert (await get(url, If_None_Match='"4.0.0"')).status == 200
    head = await get(url, "HEAD")
    assert (head.status, head.text, head.headers["Content-Length"]) == (200, "", str(len(plain)))
    assert (await get(url, "POST")).status == 400


async def test_nothing_else_is_served(serve: Serve) -> None:
    """A folder beside the client's would be readable for everybody."""
    io = Server(serve_client=PACKAGE / "dist")
    app = web.Application()
    io.attach(app, path="/live")
    server = await serve(app)
    assert (await get(f"{server.url}/live/socket.io.js")).status == 200
    for path in (
        "../package.json",
        "..%2fpackage.json",
        "%2e%2e/package.json",
        "dist/socket.io.js",
        "package.json",
        "socket.io.js/",
        "socket.io.js%00",
        "./x/../../package.json",
        "socket.io.slim.js",
    ):
        answer = await get(f"{server.url}/live/{path}")
        assert answer.status in (400, 404), path  # below the path all else is the protocol's
        assert "socket.io-client" not in answer.text
    assert (await get(f"{server.url}/socket.io/socket.io.js")).status == 404


async def test_an_installed_package_is_found(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program would have to name a folder that npm has chosen."""
    deep = tmp_path / "site" / "server"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    nothing = await serve(Server(serve_client=True))
    answer = await get(f"{nothing.url}/socket.io/socket.io.js")
    assert answer.status == 404
    assert "not installed on this server" in answer.text
    assert "socket.io-client/dist" in caplog.text

    dist = tmp_path / "node_modules" / "socket.io" / "client-dist"
    dist.mkdir(parents=True)
    (dist.parent / "package.json").write_text('{"name": "socket.io", "version": "4.7.9"}')
    (dist / "socket.io.js").write_text("the server package's")
    found = await serve(Server(serve_client=True))
    answer = await get(f"{found.url}/socket.io/socket.io.js")
    assert (answer.text, answer.headers["ETag"]) == ("the server package's", '"4.7.9"')
    assert (await get(f"{found.url}/socket.io/socket.io.min.js")).status == 404

    nearer = tmp_path / "site" / "node_modules" / "socket.io-client" / "dist"
    nearer.mkdir(parents=True)
    (nearer / "socket.io.js").write_text("/*!\n * Socket.IO v4.8.0\n */")
    found = await serve(Server(serve_client=True))
    assert (await get(f"{found.url}/socket.io/socket.io.js")).headers["ETag"] == '"4.8.0"'
    (nearer / "socket.io.js").write_text("a build of one's own")
    found = await serve(Server(serve_client=str(nearer)))
    tag = (await get(f"{found.url}/socket.io/socket.io.js")).headers["ETag"]
    assert len(tag) == 22

    with pytest.raises(ConfigurationError, match="serve_client"):
        Server(serve_client=tmp_path)


async def test_pages_load_the_client_from_the_server(serve: Serve, browser: Pages) -> None:
    """A page, here or at another host, could load the client and not use it: by a script, or as a module."""
    script = """<!doctype html><title>page</title><link rel="icon" href="data:,">
      <script src="{url}/socket.io/{file}"></script>
      <script>io("{url}", {{ transports: ["{transport}"] }}).on("hello", (word) => document.title = word)</script>"""
    module = """<!doctype html><title>page</title><link rel="icon" href="data:,">
      <script type="module">
        import {{ io }} from "{url}/socket.io/socket.io.esm.min.js";
        io("{url}", {{ transports: ["{transport}"] }}).on("hello", (word) => document.title = word);
      </script>"""
    pages: dict[str, str] = {}

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.path], content_type="text/html")

    def site() -> web.Application:
        app = web.Application()
        app.router.add_get("/{name}.html", page)
        return app

    other = await serve(site())
    io = Server(serve_client=PACKAGE / "dist", cors_allowed_origins=other.url)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("hello", f"hello {'stranger' if socket.handshake.xdomain else 'friend'}")

    app = site()
    io.attach(app)
    server = await serve(app)
    pages["/script.html"] = script.format(url=server.url, file="socket.io.js", transport="polling")
    pages["/small.html"] = script.format(url=server.url, file="socket.io.min.js", transport="websocket")
    pages["/module.html"] = module.format(url=server.url, transport="polling")
    for name in pages:
        for at, word in ((server, "hello friend"), (other, "hello stranger")):
            opened = await browser.open(at.url + name)
            await opened.wait_for_function("(word) => document.title === word", arg=word)
            await opened.goto("about:blank")


async def test_a_browser_keeps_the_cookie_to_itself(serve: Serve, browser: Pages) -> None:
    """The session id would be in reach of any script, or not come back with requests of a page of another host."""
    seen: list[tuple[str, str | None]] = []
    code = """async ({ url }) => {
      const { io } = await import(url + "/socket.io/socket.io.esm.min.js");
      const socket = io(url, { transports: ["polling"], withCredentials: true, extraHeaders: { "X-Tenant": "t" } });
      await new Promise((resolve, reject) => { socket.on("connect", resolve); socket.on("connect_error", reject); });
      const answer = await socket.emitWithAck("echo", 1);
      socket.disconnect();
      return [answer, document.cookie];
    }"""

    async def page(request: web.Request) -> web.Response:
        return web.Response(
            text='<!doctype html><link rel="icon" href="data:,"><title>page</title>', content_type="text/html"
        )

    def site() -> web.Application:
        app = web.Application()
        app.router.add_get("/", page)
        return app

    other = await serve(site())
    io = Server(serve_client=PACKAGE / "dist", cors_allowed_origins=other.url, cookie="sticky")

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    @io.engine.use
    async def look(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        sid = request.query.get("sid", "")
        if sid and request.method == "POST":
            seen.append((sid, request.cookies.get("sticky")))
        return await call_next()

    app = site()
    io.attach(app)
    server = await serve(app)
    browser.expect_errors("status of 400 .*transport=polling.*&sid=")
    for at in (server, other):
        opened = await browser.open(at.url)
        assert await opened.evaluate(code, {"url": server.url}) == [1, ""]
        await opened.goto("about:blank")
    assert len({sid for sid, _ in seen}) == 2
    assert all(sid == cookie for sid, cookie in seen)


async def test_a_browser_refuses_for_pages_that_may_not(serve: Serve, browser: Pages) -> None:
    """A page that the program has not named could use the server in its users' names."""
    io = Server(serve_client=PACKAGE / "dist")
    bare = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(
            text='<!doctype html><link rel="icon" href="data:,"><title>page</title>', content_type="text/html"
        )

    bare.router.add_get("/", page)
    other = await serve(bare)
    server = await serve(io)
    browser.expect_errors("CORS policy|net::ERR_FAILED|WebSocket connection to .* failed|status of 403")
    opened = await browser.open(other.url)
    await opened.add_script_tag(url=f"{server.url}/socket.io/socket.io.js")
    for transport in ("polling", "websocket"):
        code = """([url, transport]) => new Promise((resolve) => {
          const socket = io(url, { transports: [transport], reconnection: false });
          socket.on("connect", () => resolve("connected"));
          socket.on("connect_error", (error) => resolve(error.message));
        })"""
        assert await opened.evaluate(code, [server.url, transport]) in ("xhr poll error", "websocket error")
    assert io.engine.clients_count == 0


# -- behind a proxy


async def test_the_client_s_address_behind_a_proxy(serve: Serve, js: JSClients, transport: Transport) -> None:
    """All clients would have the proxy's address, and a ban of one would ban all."""
    io = Server(trusted_proxies=1)
    seen: list[Handshake] = []
    requests: list[tuple[str | None, bool]] = []
    io.on("connection")(lambda socket: seen.append(socket.handshake))

    @io.engine.use
    async def look(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
        requests.append((request.remote, request.secure))
        return await call_next()

    server = await serve(io)
    proxied = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https"}
    await js.connect(server.url, via=transport, extraHeaders=proxied)
    assert (seen[0].address, seen[0].secure) == ("203.0.113.7", True)
    assert set(requests) == {("203.0.113.7", True)}


@pytest.mark.parametrize("trusted", [None, "203.0.113.0/24"])
async def test_others_are_not_believed(serve: Serve, js: JSClients, transport: Transport, trusted: Any) -> None:
    """Any client could take any address."""
    io = Server(trusted_proxies=trusted)
    seen: list[Handshake] = []
    io.on("connection")(lambda socket: seen.append(socket.handshake))
    server = await serve(io)
    lies = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.7;proto=https",
    }
    await js.connect(server.url, via=transport, extraHeaders=lies)
    assert (seen[0].address, seen[0].secure) == ("127.0.0.1", False)


async def test_the_origin_behind_a_proxy_that_asks_for_another_host(serve: Serve) -> None:
    """Pages of the own host would be foreign behind a proxy that names the inner host, or any page at home."""
    page = {"Origin": "https://chat.example.org"}
    for trusted, headers, status in (
        ("127.0.0.1", {"X-Forwarded-Host": "chat.example.org"}, 200),
        ("127.0.0.1", {"X-Forwarded-Host": "evil.org, chat.example.org"}, 200),
        ("127.0.0.1", {"X-Forwarded-Host": "chat.example.org, evil.org"}, 403),
        ("127.0.0.1", {}, 403),
        (None, {"X-Forwarded-Host": "chat.example.org"}, 403),
        ("203.0.113.7", {"X-Forwarded-Host": "chat.example.org"}, 403),
    ):
        server = await serve(Server(trusted_proxies=trusted))
        async with raw_client(server.url) as raw:
            answer = await raw.request("GET", headers={**page, **headers})
            assert answer.status == status, (trusted, headers)
            assert "Access-Control-Allow-Origin" not in answer.headers


# -- paths


@pytest.mark.parametrize(
    ("add_trailing_slash", "with_slash", "without"), [(None, 200, 200), (True, 200, 404), (False, 404, 200)]
)
async def test_a_slash_at_the_end(serve: Serve, add_trailing_slash: bool | None, with_slash: int, without: int) -> None:
    """A proxy that takes slashes away would break all clients, or a page could not have the path's name."""
    for path in ("/live", "live/", "/a/live"):
        io = Server(serve_client=PACKAGE / "dist")
        app = web.Application()
        io.attach(app, path=path, add_trailing_slash=add_trailing_slash)
        server = await serve(app)
        url = f"{server.url}/{path.strip('/')}"
        query = "?EIO=4&transport=polling"
        assert (await get(url + "/" + query)).status == with_slash
        assert (await get(url + query)).status == without
        assert (await get(url + "/socket.io.js")).status == 200


async def test_the_root_as_path(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A server that has a host for itself could not be at its root."""
    io = Server()
    app = web.Application()
    io.attach(app, path="/")
    client = await js.connect((await serve(app)).url, via=transport, path="/")
    assert await client.transport() == transport.final


# -- transports and compression


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_a_transport_that_is_not_served(serve: Serve, js: JSClients, transports: Sequence[str]) -> None:
    """A program that wants one transport only would get clients by both."""
    io = Server(transports=transports)
    server = await serve(io)
    client = await js.connect(server.url, transports=transports)
    assert await client.transport() == transports[0]
    other = "websocket" if transports == ["polling"] else "polling"
    stranger = await js.connect(server.url, transports=[other], wait=False)
    await stranger.refused()
    # tryAllTransports is how a client finds the one that is left
    finder = await js.connect(server.url, transports=[other, *transports], tryAllTransports=True)
    assert await finder.transport() == transports[0]


async def test_no_upgrade_where_none_is_allowed(serve: Serve, js: JSClients) -> None:
    """Clients would open websockets that the program does not want."""
    io = Server(allow_upgrades=False)
    server = await serve(io)
    client = await js.connect(server.url, transports=["polling", "websocket"])
    await client.barrier()
    assert await client.transport() == "polling"
    direct = await js.connect(server.url, transports=["websocket"])
    assert await direct.transport() == "websocket"


async def test_compression_of_polls(serve: Serve) -> None:
    """Large answers would go out as they are, or small ones be made larger."""
    for options, size, encoded in (
        ({}, 1_100, True),
        ({}, 500, False),
        ({"http_compression_threshold": 100}, 500, True),
        ({"http_compression": False}, 5_000, False),
    ):
        io = Server(**options)
        server = await serve(io)
        async with raw_client(server.url) as raw:
            await join(raw)
            await io.emit("much", "x" * size)
            url = f"{server.url}/socket.io/?EIO=4&transport=polling&sid={raw.sid}"
            answer = await get(url, Accept_Encoding="gzip, deflate")
            coding = answer.headers.get("Content-Encoding")
            assert (coding is not None) is encoded
            body = answer.text.encode("latin-1")
            if coding is not None:
                body = zlib.decompress(body, 31 if coding == "gzip" else 15)
            assert body.decode().endswith('"' + "x" * size + '"]')
    with pytest.raises(ConfigurationError, match="http_compression_threshold"):
        Server(http_compression_threshold=-1)
