"""The package for JavaScript clients: the connection in a Worker, and in one that all tabs share."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import IMPORTS, ClientPage, client_page, open_server
from tests.support.proxy import running_proxy
from tests.support.until import until

PLACES: Final = ("page", "worker", "shared-worker")
FAST: Final = {"min": 20, "max": 40, "jitter": 0.5}


@pytest.fixture
async def client(serve: Serve, browser: Pages) -> ClientPage:
    """A page."""
    return await tab(await serve_page(serve), browser)


async def serve_page(serve: Serve) -> str:
    """Serve the page, with two workers of its own; return its address."""
    stock = f'import {{ Manager }} from "{IMPORTS["socket.io-client"]}";\n'
    serving = f'import {{ serveWorker }} from "{IMPORTS["@rtframework/client/worker"]}";\nserveWorker({{ Manager }});\n'
    mortal = 'new BroadcastChannel("death").onmessage = () => self.close();\n'
    faster = "(run, ms) => after(run, [10_000, 20_000].includes(ms) ? ms / 100 : ms)"
    fast = f"const after = setTimeout;\nself.setTimeout = {faster};\n"
    workers = {
        "own-worker.js": stock + serving,
        "mortal.js": stock + serving + mortal,
        "fast.js": stock + fast + serving,
    }
    return (await serve(client_page(workers))).url


async def tab(url: str, browser: Pages, beside: ClientPage | None = None) -> ClientPage:
    """Open the page; ``beside``: in the same profile as this one, as a second tab."""
    client = ClientPage(await (beside.page.context.new_page() if beside else browser.open()))
    await client.load(url)
    return client


async def hide_farewell(client: ClientPage, url: str) -> None:
    """Load the page anew, in which nobody hears that it is left: as if its process were killed."""
    await client.page.add_init_script(
        "window.addEventListener = new Proxy(window.addEventListener, { apply: "
        "(add, self, [name, ...more]) => name !== 'pagehide' && add.call(self ?? window, name, ...more) })"
    )
    await client.load(url)


def server_of_everything() -> tuple[Server, list[Socket]]:
    """Make a server that has something of everything, and the list of its sockets."""
    io = open_server()
    here: list[Socket] = []

    for nsp in (io.of("/"), io.of("/den")):

        @nsp.on("connection")
        async def connection(socket: Socket) -> None:
            here.append(socket)

        @nsp.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            here.remove(socket)

        @nsp.on("echo")
        async def echo(socket: Socket, *args: object) -> list[object]:
            return list(args)

    @io.on("two")
    async def two(socket: Socket) -> tuple[str, bytes]:
        return "two", b"\x00\xff"

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        await socket.disconnect()

    @io.on("wait")
    async def wait(socket: Socket) -> None:
        await asyncio.Event().wait()

    @io.on("ask me")
    async def ask_me(socket: Socket, *args: object) -> list[object]:
        return [await socket.timeout(10).emit_with_ack("question", *args)]

    return io, here


@pytest.mark.parametrize("place", PLACES)
async def test_values_are_the_same_wherever_the_connection_is(serve: Serve, client: ClientPage, place: str) -> None:
    """Somebody would move the connection into a worker, and find out event by event what arrives differently."""
    io, _ = server_of_everything()
    server = await serve(io)
    await client.start({"hosts": server.url, "runIn": place})
    await client.run("socket.emit('echo', 'early', (...args) => heard.push(['echo', ...args])), undefined")
    await client.until("heard.some(([event]) => event === 'echo')")
    assert await client.run("heard") == [["connect"], ["echo", ["early"]]]
    assert await client.run("connection.status.get().runsIn") == place

    # Bytes, at any depth, and an acknowledgement of several values.
    answer = "new Promise((done) => socket.emit('two', (text, bytes) => done([text, ...new Uint8Array(bytes)])))"
    assert await client.run(answer) == ["two", 0, 255]
    deep = "{ deep: [new Uint8Array([1, 2, 3]).subarray(1)], buffer: new Uint8Array([4]).buffer }"
    read = "([{ deep, buffer }]) => [...new Uint8Array(deep[0]), ...new Uint8Array(buffer)]"
    assert await client.run(f"socket.emitWithAck('echo', {deep}).then({read})") == [2, 3, 4]

    # The server asks.
    await client.run("socket.on('question', (text, bytes, answer) => answer([text, bytes])), undefined")
    read = "([[text, bytes]]) => [text, ...new Uint8Array(bytes)]"
    assert await client.run(f"socket.emitWithAck('ask me', 'really?', new Uint8Array([7])).then({read})") == [
        "really?",
        7,
    ]

    # What JSON makes of values.
    assert await client.run(
        """(() => {
          class Money { constructor(cents) { this.cents = cents; } toJSON() { return `${this.cents} cents`; } }
          const reactive = new Proxy({ list: [1, undefined, () => 1], left: undefined, no: () => 1 }, {});
          const others = [new Date(0), NaN, null, undefined, new Map([[1, 2]])];
          return socket.emitWithAck("echo", new Money(5), reactive, ...others);
        })()"""
    ) == ["5 cents", {"list": [1, None, None]}, "1970-01-01T00:00:00.000Z", None, None, None, {}]


@pytest.mark.parametrize("place", PLACES)
async def test_a_socket_is_the_same_wherever_the_connection_is(serve: Serve, client: ClientPage, place: str) -> None:
    """A program that was written for the stock client would have to be written anew for the worker."""
    io, here = server_of_everything()
    server = await serve(io)
    await client.start({"hosts": server.url, "runIn": place})
    await client.until("socket.connected")
    told = await client.run("[socket.id, socket.active, socket.disconnected, socket.recovered ?? false, socket.nsp]")
    assert told == [here[0].id, True, False, False, "/"]

    # Listeners.
    await client.run("socket.once('said', (text) => heard.push(['once', text])), undefined")
    await client.run("socket.onAnyOutgoing((event, text) => heard.push(['out', event, text])), undefined")
    await here[0].emit("said", 1)
    await here[0].emit("said", 2)
    await client.until("heard.filter(([event]) => event === 'said').length === 2")
    assert await client.run("heard.filter(([event]) => event === 'once')") == [["once", 1]]
    assert (
        await client.run("(() => { try { socket.emit('connect') } catch (error) { return error.name } })()") == "Error"
    )

    # Another namespace on the same connection.
    await client.run("window.den = connection.of('/den'), undefined")
    assert await client.run("den.emitWithAck('echo', 'from the den')") == ["from the den"]
    assert [socket.nsp for socket in here] == ["/", "/den"]
    await client.run("den.disconnect(), undefined")
    await until(lambda: [socket.nsp for socket in here] == ["/"])

    # Answers that do not come.
    failed = ".then(() => null, (error) => error.message)"
    assert await client.run(f"socket.timeout(20).emitWithAck('wait'){failed}") == "operation has timed out"
    assert await client.run(f"socket.emitWithAck('leave'){failed}") == "socket has been disconnected"
    await client.until("state() === 'idle'")
    assert await client.run("heard.filter(([event]) => event === 'disconnect')") == [
        ["disconnect", "io server disconnect"]
    ]
    assert await client.run("heard.filter(([event]) => event === 'out').map(([, event]) => event)") == ["wait", "leave"]
    assert await client.run("socket.active") is False

    # And again.
    await client.run("connection.connect()")
    await client.until("socket.connected")
    assert await client.run("socket.emitWithAck('echo', 'again')") == ["again"]
    await client.run("connection.close()")
    await until(lambda: not here)
    assert await client.run("state()") == "closed"


@pytest.mark.parametrize("place", PLACES)
async def test_a_connection_in_a_worker_comes_back(
    serve: Serve, client: ClientPage, browser: Pages, place: str
) -> None:
    """The worker's connection would break for ever with the first server that is restarted."""
    browser.expect_errors("Failed to load resource|WebSocket connection to")
    io, _ = server_of_everything()
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        await client.start({"hosts": proxy.url, "runIn": place, "retry": FAST})
        await client.until("socket.connected")
        await proxy.stop()
        await client.until("!socket.connected && state() !== 'connected'")
        await proxy.start()
        await client.run("void dispatchEvent(new Event('online'))")
        await client.until("socket.connected")
        assert await client.run("socket.emitWithAck('echo', 'again')") == ["again"]
        assert await client.run("heard.filter(([event]) => event === 'disconnect').length") == 1


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("place", PLACES)
async def test_reconnecting_by_hand(
    serve: Serve, client: ClientPage, browser: Pages, place: str, transport: str
) -> None:
    """A "connect now" button would do nothing, or wait for a back-off."""
    browser.expect_errors("Failed to load resource")  # a poll that was cut off
    io, here = server_of_everything()
    server = await serve(io)
    never = {"min": 10_000_000, "max": 10_000_000}
    await client.start({"hosts": server.url, "runIn": place, "transports": [transport], "retry": never})
    await client.until("socket.connected")
    (before,) = here
    await client.run("socket.emit('wait', () => heard.push(['answered'])), connection.reconnect()")
    await client.until("heard.length === 3")
    assert await client.run("heard") == [["connect"], ["disconnect", "transport close"], ["connect"]]
    assert await client.run("socket.emitWithAck('echo', 'again')") == ["again"]
    await until(lambda: before not in here and len(here) == 1)


# --- tabs -------------------------------------------------------------------------------------------------------------


async def two_tabs(
    serve: Serve, browser: Pages, url: str, code: str = "", options: dict[str, object] | None = None
) -> tuple[ClientPage, ClientPage]:
    """Two tabs of one browser that share a connection to a server."""
    page = await serve_page(serve)
    first = await tab(page, browser)
    second = await tab(page, browser, first)
    for each in (first, second):
        await each.start({"hosts": url, "runIn": "shared-worker", "retry": FAST, **(options or {})}, code)
        await each.until("socket.connected")
    return first, second


async def test_tabs_share_a_connection(serve: Serve, browser: Pages) -> None:
    """Somebody with twenty tabs would hold twenty connections, and each event be sent twenty times."""
    io, here = server_of_everything()
    server = await serve(io)
    first, second = await two_tabs(serve, browser, server.url)
    assert len(here) == 1
    assert await first.run("socket.id") == await second.run("socket.id") == here[0].id
    await here[0].emit("said", "hello", b"\x01")
    for each in (first, second):
        await each.until("heard.some(([event]) => event === 'said')")
        assert await each.run("socket.emitWithAck('echo', location.pathname)") == ["/"]
    # One tab listens, and answers for both; the other is asked as well, and has nothing to say.
    await second.run("socket.offAny(), socket.on('question', (text, answer) => answer(text + '!')), undefined")
    await first.run("socket.offAny(), undefined")
    assert await first.run("socket.emitWithAck('ask me', 'who')") == ["who!"]
    # A tab that disconnects leaves the connection to the other.
    await first.run("socket.disconnect(), undefined")
    assert await second.run("socket.emitWithAck('echo', 1)") == [1]
    assert len(here) == 1
    assert await first.run("socket.connected") is False
    await first.run("socket.connect(), undefined")
    await first.until("socket.connected")
    assert await first.run("socket.id") == here[0].id


async def test_sessions_have_connections_of_their_own(serve: Serve, browser: Pages) -> None:
    """Two users in two tabs would be one for the server."""
    io, here = server_of_everything()
    server = await serve(io)
    page = await serve_page(serve)
    first = await tab(page, browser)
    second = await tab(page, browser, first)
    for each, session in ((first, "ada"), (second, "bob")):
        await each.start({"hosts": server.url, "runIn": "shared-worker", "session": session})
        await each.until("socket.connected")
    assert len(here) == 2


async def test_one_tab_signs_out_and_all_do(serve: Serve, browser: Pages) -> None:
    """Somebody signs out, and another tab goes on to show what comes for them."""
    io, here = server_of_everything()
    server = await serve(io)
    first, second = await two_tabs(serve, browser, server.url, "onSignedOut: () => heard.push(['signed out'])")
    await first.run("connection.signOut()")
    for each in (first, second):
        await each.until("heard.some(([event]) => event === 'signed out') && state() === 'signed-out'")
        assert await each.run("[socket.connected, socket.active]") == [False, False]
    await until(lambda: not here)
    await second.run("connection.connect()")
    await second.until("socket.connected")


async def test_a_tab_that_dies_is_noticed(serve: Serve, browser: Pages) -> None:
    """The connection, and a namespace that nobody uses any more, would stay for tabs that are long gone."""
    io, here = server_of_everything()
    server = await serve(io)
    first, second = await two_tabs(serve, browser, server.url)
    page = await second.run("location.href")
    await hide_farewell(second, page)
    await second.start({"hosts": server.url, "runIn": "shared-worker"})
    await second.run("window.den = connection.of('/den'), undefined")
    await second.until("den.connected")
    assert sorted(socket.nsp for socket in here) == ["/", "/den"]
    await second.page.close()
    await until(lambda: [socket.nsp for socket in here] == ["/"])
    assert await first.run("socket.emitWithAck('echo', 1)") == [1]
    assert await first.run("heard.filter(([event]) => event === 'disconnect')") == []


async def test_the_last_tab_takes_the_connection_with_it(serve: Serve, browser: Pages) -> None:
    """A user who has closed all tabs would be shown as present."""
    io, here = server_of_everything()
    server = await serve(io)
    first, second = await two_tabs(serve, browser, server.url)
    await first.page.close()
    assert await second.run("socket.emitWithAck('echo', 1)") == [1]
    assert len(here) == 1
    await second.page.close()
    await until(lambda: not here)


async def test_a_token_is_asked_of_a_tab_that_is_there(serve: Serve, browser: Pages) -> None:
    """The tab that connected first is closed, and nobody answers when the server wants a new token."""
    io, here = server_of_everything()
    server = await serve(io)
    first, second = await two_tabs(
        serve, browser, server.url, "getToken: () => { heard.push(['asked']); return 'token' }"
    )
    asked = "heard.filter(([event]) => event === 'asked').length"
    assert await first.run(asked) == 1
    assert await second.run(asked) == 0
    await first.page.close()
    assert await here[0].timeout(10).emit_with_ack("refresh_token", {"expires_in": 30}) == {"token": "token"}
    assert await second.run(asked) == 1


FAST_WORKER: Final = "timeout: 60_000, worker: () => new SharedWorker('/fast.js', { type: 'module' }), "
"""A worker whose questions to its tabs come a hundred times as fast."""


async def test_another_tab_is_asked_for_a_token(serve: Serve, browser: Pages) -> None:
    """The tab that is asked is frozen, and all others stay without a connection."""
    io, here = server_of_everything()
    server = await serve(io)
    token = "getToken: () => heard.push(['asked']) && (window.frozen ? new Promise(() => {}) : 'token')"
    first, second = await two_tabs(serve, browser, server.url, FAST_WORKER + token)
    await second.run("window.frozen = true")
    assert await here[0].timeout(10).emit_with_ack("refresh_token", {"expires_in": 30}) == {"token": "token"}
    asked = "heard.filter(([event]) => event === 'asked').length"
    assert [await first.run(asked), await second.run(asked)] == [2, 1]


async def test_without_locks_tabs_are_asked_whether_they_are_there(serve: Serve, browser: Pages) -> None:
    """A page over plain HTTP has no locks: tabs that are gone would stay for ever, or who was frozen not return."""
    io, here = server_of_everything()
    server = await serve(io)
    first = await tab(await serve_page(serve), browser)
    second = await tab(first.page.url, browser, first)
    for each in (first, second):
        await each.page.add_init_script(
            "delete Navigator.prototype.locks;"
            "const post = MessagePort.prototype.postMessage;"
            "MessagePort.prototype.postMessage = function (message) {"
            "  if (message.type !== 'pong' || !window.frozen) post.call(this, message); }"
        )
        await each.load(each.page.url)
        await each.start({"hosts": server.url, "runIn": "shared-worker"}, FAST_WORKER)
        await each.until("socket.connected")
    assert len(here) == 1
    await second.run("window.frozen = true")
    await second.until("heard.some(([event]) => event === 'disconnect')")  # the worker has let go of it
    await second.run("window.frozen = false")
    await second.until("socket.connected")
    assert await second.run("socket.emitWithAck('echo', 1)") == [1]
    assert await first.run("heard.filter(([event]) => event === 'disconnect')") == []
    assert len(here) == 1


async def test_a_shared_worker_that_dies_is_replaced(serve: Serve, browser: Pages) -> None:
    """The browser ends a worker that takes too much memory, and all tabs stay without a connection for ever."""
    io, here = server_of_everything()
    server = await serve(io)
    code = "worker: () => new SharedWorker('/mortal.js', { type: 'module' })"
    first, second = await two_tabs(serve, browser, server.url, code)
    before = here[0].id
    await first.run("new BroadcastChannel('death').postMessage(null)")
    for each in (first, second):
        await each.until(f"socket.connected && socket.id !== '{before}'")
        assert await each.run("socket.emitWithAck('echo', 1)") == [1]
    await until(lambda: len(here) == 1)


# --- where there is no worker -----------------------------------------------------------------------------------------

NO_SHARED: Final = "delete window.SharedWorker;"
NO_WORKERS: Final = NO_SHARED + "delete window.Worker;"
FORBIDDEN: Final = "window.Worker = window.SharedWorker = class { constructor() { throw new Error('no') } };"


@pytest.mark.parametrize(
    ("missing", "place", "where"),
    [
        (NO_SHARED, "shared-worker", "worker"),
        (NO_WORKERS, "shared-worker", "page"),
        (NO_WORKERS, "worker", "page"),
        (FORBIDDEN, "shared-worker", "page"),
    ],
)
async def test_without_workers_a_tab_has_its_own_connection(
    serve: Serve, browser: Pages, missing: str, place: str, where: str
) -> None:
    """In a browser without shared workers, as on many phones, nothing would work."""
    io, here = server_of_everything()
    server = await serve(io)
    client = ClientPage(await browser.open())
    said: list[str] = []
    client.page.on("console", lambda message: said.append(message.text))
    await client.page.add_init_script(missing)
    await client.load(await serve_page(serve))
    await client.start({"hosts": server.url, "runIn": place}, "getToken: () => 'token'")
    await client.until("socket.connected")
    assert await client.run("socket.emitWithAck('echo', 1)") == [1]
    assert await client.run("connection.status.get().runsIn") == where
    assert f"rtframework: no {place} here, the connection is in: {where}" in said
    assert [socket.handshake.auth for socket in here] == [{"token": "token"}]


@pytest.mark.parametrize("place", ["worker", "shared-worker"])
async def test_a_worker_that_cannot_be_loaded(serve: Serve, browser: Pages, place: str) -> None:
    """A wrong address in the program's build would be a page that waits for ever, and says nothing."""
    browser.expect_errors("Failed to load resource")
    io, _ = server_of_everything()
    server = await serve(io)
    client = await tab(await serve_page(serve), browser)
    await client.start({"hosts": server.url, "runIn": place, "clientUrl": "/nothing.js"})
    await client.until("socket.connected")
    assert await client.run("connection.status.get().runsIn") == "page"


async def test_a_worker_of_ones_own(serve: Serve, client: ClientPage) -> None:
    """A program with another parser, or without an import map, could not use workers."""
    io, _ = server_of_everything()
    server = await serve(io)
    await client.start(
        {"hosts": server.url, "runIn": "worker"}, "worker: () => new Worker('/own-worker.js', { type: 'module' })"
    )
    await client.until("socket.connected")
    assert await client.run("connection.status.get().runsIn") == "worker"
    told = "(() => { try { connect({ runIn: 'worker', parser: {} }) } catch (error) { return error.message } })()"
    assert "parser" in await client.run(told)


async def test_a_page_that_was_in_the_browsers_cache_comes_back(serve: Serve, client: ClientPage) -> None:
    """After the back button a page would hear nothing of a worker that has let go of it."""
    io, here = server_of_everything()
    server = await serve(io)
    await client.start({"hosts": server.url, "runIn": "shared-worker"})
    await client.until("socket.connected")
    await client.run("void dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await until(lambda: not here)
    await client.run("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await client.until("socket.connected")
    assert await client.run("socket.emitWithAck('echo', 1)") == [1]
    assert len(here) == 1
