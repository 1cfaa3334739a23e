"""Events that clients send again until they are acknowledged, served once: the stock client's option ``retries``."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from rtframework import (
    ClusterUnavailable,
    EventError,
    Handshake,
    Idempotency,
    Identity,
    MemoryStore,
    Namespace,
    Recovery,
    Server,
    Socket,
    idempotent,
)
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.proxy import running_proxy
from tests.support.transports import Transport
from tests.support.until import until

RETRYING: Any = {
    "reconnection": True,
    "retries": 20,
    "ackTimeout": 500,
    "reconnectionDelay": 20,
    "reconnectionDelayMax": 50,
}
"""The stock client's options; ``ackTimeout`` is in milliseconds."""


class Users:
    """An authenticator that believes everybody."""

    async def authenticate(self, handshake: Handshake) -> Identity:
        return Identity(handshake.auth["user"])


class Shop:
    """What handlers have done. ``gate``: they end when it is open."""

    def __init__(self) -> None:
        self.sold: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def sell(self, io: Server) -> None:
        """Register the handler."""

        @io.on("buy", idempotent=True)
        async def buy(socket: Socket, what: str, client_offset: str | None = None) -> dict[str, Any]:
            self.sold.append(what)
            number = len(self.sold)
            await self.gate.wait()
            return {"order": number, "data": b"\x00\xff"}

    @property
    def answer(self) -> dict[str, Any]:
        """The answer to the first event."""
        return {"order": 1, "data": b"\x00\xff"}


async def buy(client: JSClient, what: str, id: str) -> asyncio.Task[Any]:
    """Let a client emit an event with its id, as Socket.IO's tutorial does."""
    return asyncio.create_task(client.emit_with_ack("buy", what, id, timeout=20))


@pytest.mark.parametrize("scope", ["user", "recovered"])
async def test_a_connection_that_is_cut_before_the_answer_arrives(
    serve: Serve, js: JSClients, transport: Transport, scope: str
) -> None:
    """Somebody would pay twice because of a tunnel."""
    shop = Shop()
    options: Any = {"auth": Users()} if scope == "user" else {"connection_state_recovery": Recovery()}
    io = Server(**options)
    shop.sell(io)
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, auth={"user": "ada"}, **RETRYING)
        shop.gate.clear()
        answer = await buy(client, "tea", "1")
        await until(lambda: shop.sold)
        await proxy.cut()
        shop.gate.set()
        assert await answer == shop.answer
        assert shop.sold == ["tea"]
        assert await client.emit_with_ack("buy", "cups", "2") == {"order": 2, "data": b"\x00\xff"}
        assert io.stats().repeats["answered"] >= 1


async def test_an_answer_that_is_lost(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The handler has run and its answer is on its way: the moment at which a network likes to fail."""
    shop = Shop()
    io = Server(auth=Users())
    shop.sell(io)
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, auth={"user": "ada"}, **RETRYING)

        @io.use_event
        async def lose(socket: Socket, event: Any, call_next: Any) -> Any:
            try:
                return await call_next()
            finally:
                if not io.stats().repeats["answered"] and proxy.open:
                    proxy.strand()
                    asyncio.get_running_loop().call_soon(socket.conn.close, "transport close")

        answer = await buy(client, "tea", "1")
        await until(lambda: shop.sold)
        await proxy.cut()
        assert await answer == shop.answer
        assert shop.sold == ["tea"]


async def test_a_repeat_waits_for_the_first(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A handler that takes longer than the client's patience would run once more for each try, all at once."""
    shop = Shop()
    io = Server(auth=Users())
    shop.sell(io)
    server = await serve(io)
    options = {**RETRYING, "ackTimeout": 50}
    client = await js.connect(server.url, via=transport, auth={"user": "ada"}, **options)
    shop.gate.clear()
    answer = await buy(client, "tea", "1")
    await until(lambda: io.stats().repeats["waited"] >= 3)
    shop.gate.set()
    assert await answer == shop.answer
    assert shop.sold == ["tea"]


@pytest.mark.parametrize("kind", KINDS)
async def test_another_server_knows_it(js: JSClients, kind: Kind) -> None:
    """A client that comes back to another server, as behind a load balancer, would have its order placed twice."""
    shop = Shop()
    async with running_pair(kind, shop.sell, auth=Users()) as (one, two), running_proxy(one[1]) as proxy:
        client = await js.connect(proxy.url, auth={"user": "ada"}, **{**RETRYING, "ackTimeout": 5000})
        assert await client.emit_with_ack("buy", "tea", "1") == shop.answer
        proxy.lead_to(two[1])
        await proxy.cut()
        await until(lambda: two[0].sockets)
        assert await client.emit_with_ack("buy", "tea", "1") == shop.answer
        # While the first still runs on the other server.
        shop.gate.clear()
        answer = await buy(client, "cups", "2")
        await until(lambda: len(shop.sold) == 2)
        proxy.lead_to(one[1])
        await proxy.cut()
        await until(lambda: one[0].stats().repeats["waited"])
        shop.gate.set()
        assert await answer == {"order": 2, "data": b"\x00\xff"}
        assert shop.sold == ["tea", "cups"]


async def test_ids_are_those_of_a_client(serve: Serve, js: JSClients) -> None:
    """A client could read what another has bought, or keep it from buying, by guessing the id."""
    shop = Shop()
    io = Server(auth=Users())
    chat = io.of("/chat")
    shop.sell(io)

    @chat.on("buy", idempotent="client_offset")
    async def elsewhere(socket: Socket, what: str, client_offset: str) -> str:
        return "elsewhere"

    @io.on("sell", idempotent="client_offset")
    async def sell(socket: Socket, what: str, client_offset: str) -> str:
        return "sold"

    server = await serve(io)
    ada = await js.connect(server.url, auth={"user": "ada"})
    tab = await js.connect(server.url, auth={"user": "ada"})
    bob = await js.connect(server.url, auth={"user": "bob"})
    assert (await ada.emit_with_ack("buy", "tea", "1"))["order"] == 1
    assert (await tab.emit_with_ack("buy", "tea", "1"))["order"] == 1
    assert (await bob.emit_with_ack("buy", "tea", "1"))["order"] == 2
    assert await ada.emit_with_ack("sell", "tea", "1") == "sold"
    nsp = await ada.of("/chat", auth={"user": "ada"})
    assert await nsp.emit_with_ack("buy", "tea", "1") == "elsewhere"
    # An event without an id is served each time.
    assert (await ada.emit_with_ack("buy", "tea"))["order"] == 3
    assert (await ada.emit_with_ack("buy", "tea", None))["order"] == 4


@pytest.mark.usefixtures("throttled")
async def test_anonymous_clients(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """Without users, one client would get the answers of another; and nobody be told that a reconnect forgets them."""
    shop = Shop()
    io = Server()
    shop.sell(io)
    server = await serve(io)
    one, two = await js.connect(server.url), await js.connect(server.url)
    assert [(await each.emit_with_ack("buy", "tea", "1"))["order"] for each in (one, two, one)] == [1, 2, 1]
    assert "ids of events are known for one connection only" in caplog.text


class Order(msgspec.Struct, rename="camel"):
    """What a client sends."""

    order_id: int
    what: str


async def test_where_the_id_is(serve: Serve, js: JSClients) -> None:
    """A program's own protocol would have to change for it."""
    calls: list[Any] = []

    class Chat(Namespace):
        @idempotent("order.orderId")
        async def on_buy(self, socket: Socket, order: Order) -> int:
            calls.append(order.what)
            return len(calls)

    io = Server(auth=Users())
    io.register_namespace(Chat("/"))

    @io.on("say", idempotent="message.id")
    async def say(socket: Socket, message: dict[str, Any]) -> int:
        calls.append(message)
        return len(calls)

    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    answers = [await client.emit_with_ack("buy", {"orderId": id, "what": "tea"}) for id in (1, 2, 1, 2)]
    assert answers == [1, 2, 1, 2]
    assert [await client.emit_with_ack("say", {"id": "1"}) for _ in range(2)] == [3, 3]
    assert [await client.emit_with_ack("say", {}) for _ in range(2)] == [4, 5]
    for wrong in ("", "x" * 257, 1.5, [1], {"a": 1}, True):
        answer = await client.emit_with_ack("say", {"id": wrong})
        assert answer["error"]["code"] == "invalid_payload"
        assert answer["error"]["details"][0]["path"] == "$[0].id"


async def test_errors(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """What the program refuses is refused again; what has failed by a mistake, or for its rate, may be tried again."""
    calls: list[str] = []
    io = Server(auth=Users())

    @io.on("refuse", idempotent=True)
    async def refuse(socket: Socket, event_id: str) -> None:
        calls.append("refuse")
        raise EventError("sold_out", "Too late", {"left": len(calls)})

    @io.on("fail", idempotent=True)
    async def fail(socket: Socket, event_id: str) -> str:
        calls.append("fail")
        if calls.count("fail") == 1:
            raise ValueError("a mistake")
        return "done"

    @io.on("unsendable", idempotent=True)
    async def unsendable(socket: Socket, event_id: str) -> object:
        calls.append("unsendable")
        return object()

    @io.on("large", idempotent=True)
    async def large(socket: Socket, event_id: str) -> str:
        calls.append("large")
        return "x" * 20_000

    @io.on("several", idempotent=True)
    async def several(socket: Socket, event_id: str) -> tuple[int, None, list[int]]:
        return 1, None, [2]

    @io.on("seldom", idempotent=True, rate="1/h")
    async def seldom(socket: Socket, event_id: str) -> str:
        return f"done {event_id}"

    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    expected = {"error": {"code": "sold_out", "message": "Too late", "details": {"left": 1}}}
    assert [await client.emit_with_ack("refuse", "1") for _ in range(2)] == [expected, expected]
    assert (await client.emit_with_ack("fail", "1"))["error"]["code"] == "internal_error"
    assert [await client.emit_with_ack("fail", "1") for _ in range(2)] == ["done", "done"]
    assert (await client.emit_with_ack("refuse", "2", "too much"))["error"]["code"] == "invalid_payload"
    assert (await client.emit_with_ack("refuse", "2"))["error"]["details"] == {"left": 4}
    codes = [(await client.emit_with_ack("unsendable", "1"))["error"]["code"] for _ in range(2)]
    assert codes == ["internal_error", "answer_not_kept"]
    assert await client.emit_with_ack("large", "1") == "x" * 20_000
    assert (await client.emit_with_ack("large", "1"))["error"]["code"] == "answer_not_kept"
    assert [await client.ack_args("several", "1") for _ in range(2)] == [[1, None, [2]], [1, None, [2]]]
    assert await client.emit_with_ack("seldom", "1") == "done 1"
    assert (await client.emit_with_ack("seldom", "2"))["error"]["code"] == "rate_limited"
    assert await client.emit_with_ack("seldom", "1") == "done 1"
    assert (await client.emit_with_ack("seldom", "2"))["error"]["code"] == "rate_limited"
    assert calls == ["refuse", "fail", "fail", "refuse", "unsendable", "large"]
    assert "the answer of 'large' is too large" in caplog.text


async def test_several_handlers_of_an_event(serve: Serve, js: JSClients) -> None:
    """Of two handlers of one event, the second would be taken for a repeat of the first, and never run."""
    calls: list[str] = []
    io = Server(auth=Users())

    @io.on("buy", idempotent=True)
    async def one(socket: Socket, event_id: str) -> str:
        calls.append("one")
        return "one"

    @io.on("buy", idempotent=True)
    async def two(socket: Socket, event_id: str) -> None:
        calls.append("two")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("buy", idempotent=True)
        async def three(event_id: str) -> None:
            calls.append("three")

    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    assert [await client.emit_with_ack("buy", "1") for _ in range(3)] == ["one"] * 3
    assert calls == ["one", "two", "three"]


class Away(MemoryStore):
    """A store that can be away."""

    away = False

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        if self.away:
            raise ClusterUnavailable("away")
        return await super().add(key, value, seconds)

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        if self.away:
            raise ClusterUnavailable("away")
        return await super().replace(key, old, value, seconds)


@pytest.mark.usefixtures("throttled")
async def test_a_store_that_is_away(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """The stock client takes any answer for success, so an error would lose what it was to deliver."""
    shop, store = Shop(), Away()
    io = Server(auth=Users(), store=store)
    shop.sell(io)
    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"}, **{**RETRYING, "ackTimeout": 50, "retries": 1000})
    store.away = True
    answer = await buy(client, "tea", "1")
    await until(lambda: io.stats().repeats["unavailable"] >= 3)
    assert not shop.sold
    store.away = False
    assert await answer == shop.answer
    lines = [record for record in caplog.records if "left unanswered" in record.message]
    assert len(lines) == 1
    assert lines[0].levelno == logging.ERROR
    # It goes away while the handler runs: the client has its answer, and so has the repeat.
    shop.gate.clear()
    answer = await buy(client, "cups", "2")
    await until(lambda: len(shop.sold) == 2)
    store.away = True
    shop.gate.set()
    assert (await answer)["order"] == 2
    assert io.stats().repeats["not_saved"] == 1
    assert (await client.emit_with_ack("buy", "cups", "2"))["order"] == 2


@needs("redis-server")
async def test_redis_away(serve: Serve, js: JSClients) -> None:
    """What is bought while Redis is started anew would be lost, or bought once for each try."""
    shop = Shop()
    async with running_redis(persistence="aof") as redis:
        io = Server(auth=Users(), adapter=RedisStreams(redis.url, publish_timeout=0.2))
        shop.sell(io)
        server = await serve(io)
        options = {**RETRYING, "ackTimeout": 400, "retries": 1000}
        client = await js.connect(server.url, auth={"user": "ada"}, **options)
        assert await client.emit_with_ack("buy", "tea", "1") == shop.answer
        redis.kill()
        answer = await buy(client, "cups", "2")
        await until(lambda: io.stats().repeats["unavailable"] >= 2)
        assert shop.sold == ["tea"]
        await redis.start()
        assert (await answer)["order"] == 2
        assert await client.emit_with_ack("buy", "tea", "1") == shop.answer
        assert shop.sold == ["tea", "cups"]
        await server.stop()


@pytest.mark.usefixtures("throttled")
async def test_a_client_that_sends_ever_new_ids(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """One client would fill the memory, and what others have sent be forgotten for it."""
    shop = Shop()
    store = MemoryStore()
    io = Server(auth=Users(), idempotency=Idempotency(max_ids=3), store=store, last_seen=None)
    shop.sell(io)
    server = await serve(io)
    other = await js.connect(server.url, auth={"user": "other"})
    await other.emit_with_ack("buy", "tea", "0")
    client = await js.connect(server.url, auth={"user": "ada"})
    for number in range(10):
        await client.emit_with_ack("buy", "tea", str(number))
    await until(lambda: len(store.table) == 4)
    assert io.stats().repeats["forgotten"] == 7
    assert (await other.emit_with_ack("buy", "tea", "0"))["order"] == 1
    assert (await client.emit_with_ack("buy", "tea", "9"))["order"] == 11
    assert "more ids than are remembered" in caplog.text


@pytest.mark.usefixtures("throttled")
async def test_a_store_that_is_full(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """Events would be served twice though a client was quick, and nobody know that the store is too small."""
    shop = Shop()
    io = Server(auth=Users(), store=MemoryStore(max_values=3), last_seen=None)
    shop.sell(io)
    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    for number in range(5):
        await client.emit_with_ack("buy", "tea", str(number))
    assert io.stats().repeats["discarded"] == 2
    assert "the store is full" in caplog.text
    assert (await client.emit_with_ack("buy", "tea", "4"))["order"] == 5
    assert (await client.emit_with_ack("buy", "tea", "0"))["order"] == 6
