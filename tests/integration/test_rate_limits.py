"""Rate limits, caps on connections, bans and the audit log, met by real clients and by attackers."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from rtframework import (
    AuditEntry,
    Handshake,
    Limits,
    Namespace,
    RateLimit,
    RateLimiter,
    Server,
    Socket,
    StaticTokenAuth,
    limited,
)
from tests.conftest import Serve, ServeProgram
from tests.support.js import JSClients
from tests.support.raw import Closed, RawClient, raw_client
from tests.support.transports import Transport
from tests.support.until import until
from tests.support.websocket import TEXT, frame, tcp

EIO = {"EIO": "4", "transport": "polling"}
BEHIND: Any = {"trusted_proxies": "127.0.0.1"}


@pytest.fixture(autouse=True)
def room_for_barriers() -> None:
    """Leave refusals as limited as they are by default."""


def of(address: str) -> dict[str, str]:
    """The header of a client behind a proxy."""
    return {"X-Forwarded-For": address}


def echoing(**options: Any) -> Server:
    """A server that answers ``echo``, and adds up with a rate."""
    io = Server(**options)

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    @io.on("add", rate="2/h")
    async def add(socket: Socket, one: int, other: int) -> int:
        return one + other

    return io


def code_of(answer: Any) -> str:
    """The code of an answer that is an error."""
    return str(answer["error"]["code"])


# --- events -----------------------------------------------------------------------------------------------------------


async def test_an_event_beyond_its_rate_is_answered(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client could have something costly done as often as it likes, or would wait for an answer for ever."""
    io = echoing()
    server = await serve(io)
    ada, bob = await js.connect(server.url, via=transport), await js.connect(server.url, via=transport)
    assert [await ada.emit_with_ack("add", 1, number) for number in (1, 2)] == [2, 3]
    answer = await ada.emit_with_ack("add", 1, 3)
    assert code_of(answer) == "rate_limited"
    assert 0 < answer["error"]["details"]["retry_after"] <= 1800
    assert await ada.emit_with_ack("echo", "still here") == "still here"
    assert await bob.emit_with_ack("add", 2, 2) == 4
    assert io.stats().limited["handler"] == io.stats().events_refused["rate_limited"] == 1


async def test_all_events_have_a_rate(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client could send anything a thousand times a second."""
    io = echoing(rate_limit=RateLimit(events="5/h"))
    client = await js.connect((await serve(io)).url, via=transport)
    answers = [await client.emit_with_ack("echo", number) for number in range(6)]
    assert answers[:5] == list(range(5))
    assert code_of(answers[5]) == code_of(await client.emit_with_ack("nobody hears this")) == "rate_limited"
    await client.emit("echo", "without an answer")
    await until(lambda: io.stats().limited["events"] == 3)


async def test_bytes_have_a_rate(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client could send as much as its line takes, in attachments, too."""
    io = echoing(rate_limit=RateLimit(bytes="10000/h"))
    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("echo", b"x" * 6_000) == b"x" * 6_000
    assert code_of(await client.emit_with_ack("echo", b"x" * 6_000)) == "rate_limited"
    assert await client.emit_with_ack("echo", "x" * 3_000) == "x" * 3_000
    assert io.stats().limited["bytes"] == 1


async def test_a_client_beyond_the_rate_may_be_closed(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A program that wants no such clients would have to keep them."""
    io = echoing(rate_limit=RateLimit(events="5/h", on_exceed="close"))
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    client = await js.connect((await serve(io)).url, via=transport)
    for number in range(6):
        await client.emit("echo", number)
    await client.disconnected()
    assert await asyncio.wait_for(reasons.get(), 5) == "rate limited"
    assert io.stats().closed["rate limited"] == 1


async def test_the_connections_of_a_user_share_a_rate(serve: Serve, js: JSClients) -> None:
    """A user would get round a rate with one more tab."""
    io = echoing(auth=StaticTokenAuth({"a": "ada", "b": "bob"}), rate_limit=RateLimit(events={"user": "2/h"}))
    url = (await serve(io)).url
    one, two, bob = [await js.connect(url, auth={"token": token}) for token in "aab"]
    assert [await one.emit_with_ack("echo", 1), await two.emit_with_ack("echo", 2)] == [1, 2]
    assert code_of(await one.emit_with_ack("echo", 3)) == code_of(await two.emit_with_ack("echo", 3)) == "rate_limited"
    assert await bob.emit_with_ack("echo", 1) == 1


async def test_addresses_are_those_that_proxies_tell(serve: Serve, js: JSClients) -> None:
    """All clients behind a proxy would share one limit; or a client have one for each address of its /64."""
    io = echoing(rate_limit=RateLimit(events={"address": "2/h"}), **BEHIND)
    url = (await serve(io)).url
    one, two, other = [
        await js.connect(url, transports=["polling"], extraHeaders=of(address))
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    ]
    assert [await one.emit_with_ack("echo", 1), await two.emit_with_ack("echo", 2)] == [1, 2]
    assert code_of(await two.emit_with_ack("echo", 3)) == "rate_limited"
    assert await other.emit_with_ack("echo", 1) == 1


async def test_rates_stand_wherever_handlers_do(serve: Serve, js: JSClients) -> None:
    """A rate would be written, and hold nothing."""
    io = Server()

    class Chat(Namespace):
        @limited("1/h")
        async def on_say(self, socket: Socket) -> str:
            return "said"

    @io.event
    @limited("1/h")
    async def roll(socket: Socket) -> int:
        return 4

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("mine", rate="1/h")
        async def mine() -> str:
            return "mine"

    io.register_namespace(Chat("/chat"))
    server = await serve(io)
    main, chat = await js.connect(server.url), await js.connect(server.url + "/chat")
    for client, event, result in ((main, "roll", 4), (main, "mine", "mine"), (chat, "say", "said")):
        assert await client.emit_with_ack(event) == result
        assert code_of(await client.emit_with_ack(event)) == "rate_limited", event


# --- refusals ---------------------------------------------------------------------------------------------------------


async def refusals_of(raw: RawClient, count: int) -> int:
    """Ask for the main namespace with a wrong token, again and again, by websocket; the number of answers."""
    websocket, _ = await raw.open_websocket()
    answers = 0
    try:
        for _ in range(count):
            await websocket.send('40{"token":"wrong"}')
            answers += str(await websocket.receive()).startswith("44")
    except (Closed, ConnectionError):
        pass
    return answers


async def test_tokens_cannot_be_tried_one_after_another(serve: Serve, js: JSClients) -> None:
    """One connection could try nine thousand tokens a second."""
    asked = 0

    class Counting(StaticTokenAuth):
        async def authenticate(self, handshake: Handshake) -> Any:
            nonlocal asked
            asked += 1
            return await super().authenticate(handshake)

    io = Server(auth=Counting({"right": "ada"}))
    server = await serve(io)
    async with tcp(server.url) as attacker:
        await attacker.open()
        attacker.send(frame(TEXT, b'40{"token":"wrong"}') * 5_000)
        end = await attacker.end()
    refusals = [message for message in end.messages if str(message).startswith("44")]
    assert 11 <= len(refusals) <= 20, "ten, and the one after which it is closed, and one for each second"
    assert asked == len(refusals)
    assert end.clean
    assert io.stats().closed["rate limited"] == io.stats().limited["refusals"] == 1
    await js.connect(server.url, auth={"token": "right"})


async def test_tokens_cannot_be_tried_by_polling(serve: Serve) -> None:
    """The way round would be the other transport."""
    io = Server(auth=StaticTokenAuth({"right": "ada"}))
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
        await raw.post(*['40{"token":"wrong"}'] * 11)
        packets: list[str | bytes] = []
        while "1" not in packets:
            packets += await raw.poll()
            if "1" not in packets:
                await raw.post('40{"token":"wrong"}')
        assert (await raw.request("POST", body="40")).status == 400
    assert 10 <= io.stats().connects["authentication"] <= 20


async def test_an_address_cannot_try_tokens_on_many_connections(serve: Serve, js: JSClients) -> None:
    """An attacker would connect anew after ten tokens; or a colleague behind the same address be kept out."""
    rates = RateLimit(refusals={"connection": "100/h", "address": "5/h"})
    io = Server(auth=StaticTokenAuth({"right": "ada"}), rate_limit=rates, **BEHIND)
    server = await serve(io)

    async def attack(address: str) -> int:
        async with raw_client(server.url) as raw:
            raw.query = lambda transport, more=None: {"EIO": "4", "transport": transport}  # type: ignore[method-assign]
            session, original = raw._session, raw._session.ws_connect
            session.ws_connect = lambda url, **more: original(url, **{**more, "headers": of(address)})  # type: ignore[method-assign]
            return await refusals_of(raw, 4)

    assert [await attack("203.0.113.7") for _ in range(3)] == [4, 2, 1]
    assert await attack("203.0.113.8") == 4
    await js.connect(
        server.url, auth={"token": "right"}, transports=["polling"], extraHeaders=of("203.0.113.7")
    )  # the right token gets in


async def test_a_client_is_told_when_it_may_ask_again(serve: Serve, js: JSClients) -> None:
    """A client that joins and leaves in a loop would keep the server busy; or not know what is wrong."""
    io = Server(rate_limit=RateLimit(connects="1/h"))  # beside the first one
    for name in ("/a", "/b", "/c"):
        io.of(name)
    server = await serve(io)
    main = await js.connect(server.url)
    await main.of("/a")
    refused = await (await main.of("/b", wait=False)).refused()
    assert refused["message"].startswith("too many, try again in")
    assert refused["data"]["code"] == "rate_limited"
    assert 0 < refused["data"]["retry_after"] <= 3600
    assert io.stats().connects["limited"] == io.stats().limited["connects"] == 1


async def test_coming_and_going_in_a_loop_ends(serve: Serve) -> None:
    """A client that joins and leaves as fast as it can would have the handlers for that run all the time."""
    io = Server()
    joined = 0

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        nonlocal joined
        joined += 1

    server = await serve(io)
    async with tcp(server.url) as client:
        await client.open()
        for _ in range(2_000):
            client.send(frame(TEXT, b"40"), frame(TEXT, b"41"))
        await client.end()
    assert 200 < joined < 400
    closed = io.stats().closed  # a client that is refused must not send DISCONNECT
    assert closed["rate limited"] + closed["forced server close"] == 1


async def test_a_connection_may_join_all_its_namespaces_at_once(serve: Serve) -> None:
    """The limits that are on by default would hit a page with many widgets."""
    io = Server()
    for number in range(99):
        io.of(f"/{number}")
    server = await serve(io)
    async with tcp(server.url) as client:
        await client.open()
        client.send(b"".join(frame(TEXT, f"40/{number},".encode()) for number in range(99)))
        answers = [str(await client.receive()) for _ in range(100)][1:]
    assert all(answer.startswith("40/") for answer in answers)


# --- connections ------------------------------------------------------------------------------------------------------


async def test_a_new_client_gets_in_during_an_attack(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Somebody who opens sessions by polling and joins nothing would keep everybody out."""
    io = Server(limits=Limits(max_unconnected=50), **BEHIND)
    server = await serve(io)
    opened = 0

    async def attack() -> None:
        nonlocal opened
        async with raw_client(server.url) as raw:
            while True:
                assert (await raw.request("GET", query=EIO, headers=of("203.0.113.7"))).status == 200
                opened += 1

    attacks = [asyncio.create_task(attack()) for _ in range(3)]
    await until(lambda: opened > 200)
    for _ in range(5):
        await js.connect(server.url, via=transport)
    assert not any(task.done() for task in attacks)
    for task in attacks:
        task.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)
    assert io.engine.clients_count <= 55
    assert io.stats().limited["max_unconnected"] >= opened - 56
    assert io.stats().requests_refused["forbidden"] == 0


async def test_whoever_finds_no_room_is_told_when_to_come_back(serve: Serve) -> None:
    """Clients would ask a full server again at once, all of them."""
    io = Server(
        limits=Limits(max_connections=3, max_connections_per_address=2),
        rate_limit=RateLimit(handshakes="4/h"),
        **BEHIND,
    )
    server = await serve(io)
    async with raw_client(server.url) as raw:

        async def ask(address: str, **more: str) -> tuple[int, str | None]:
            answer = await raw.request("GET", query={**EIO, **more}, headers=of(address))
            return answer.status, answer.headers.get("Retry-After")

        assert [await ask("2001:db8::1") for _ in range(3)] == [(200, None), (200, None), (429, "5")]
        assert await ask("2001:db8::2") == (429, "5")
        assert await ask("2001:db8::3") == (429, "900")
        assert [await ask("203.0.113.7") for _ in range(2)] == [(200, None), (503, "5")]
    counted = io.stats().limited
    assert (counted["max_connections_per_address"], counted["handshakes"], counted["max_connections"]) == (2, 1, 1)
    assert io.stats().requests_refused["too_many_connections_of_address"] == 2


async def test_a_user_has_so_many_connections(serve: Serve, js: JSClients, transport: Transport) -> None:
    """One account could be used by everybody; or a user be kept out who has left."""
    io = Server(auth=StaticTokenAuth({"a": "ada", "b": "bob"}), limits=Limits(max_connections_per_user=1))
    url = (await serve(io)).url
    ada = await js.connect(url, via=transport, auth={"token": "a"})
    refused = await (await js.connect(url, via=transport, auth={"token": "a"}, wait=False)).refused()
    assert (refused["message"], refused["data"]) == ("Too many connections", {"code": "too_many_connections"})
    await js.connect(url, via=transport, auth={"token": "b"})
    await ada.disconnect()
    await until(lambda: len(io.sockets) == 1)
    await js.connect(url, via=transport, auth={"token": "a"})
    assert io.stats().limited["max_connections_per_user"] == io.stats().connects["limited"] == 1


PROGRAM = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
import logging
logging.basicConfig()
from aiohttp import web
from rtframework import Server

io = Server()

@io.on("echo")
async def echo(socket, value):
    return value

app = web.Application()
io.attach(app)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=lambda *args: print(f"http://127.0.0.1:{os.environ['PORT']}"))
"""


async def test_descriptors_do_not_run_out(serve_program: ServeProgram, js: JSClients, tmp_path: Path) -> None:
    """A server with as many clients as descriptors would write errors, megabytes a second, and serve nobody."""
    program = tmp_path / "server.py"
    program.write_text(PROGRAM, encoding="utf-8")
    server = await serve_program(program)
    client = await js.connect(server.url, transports=["websocket"])
    writers: list[asyncio.StreamWriter] = []
    statuses: list[bytes] = []
    request = (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    try:
        for _ in range(300):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request.encode())
            statuses.append((await asyncio.wait_for(reader.readline(), 10)).split()[1])
            writers.append(writer)
        assert 100 < statuses.count(b"101") < 170
        assert statuses.count(b"503") == 300 - statuses.count(b"101")
        assert await client.emit_with_ack("echo", 1) == 1
    finally:
        for writer in writers:
            writer.close()
    assert "Traceback" not in server.printed
    assert len(server.printed) < 2_000, server.printed


async def test_idle_connections_write_no_megabytes(serve_program: ServeProgram, js: JSClients, tmp_path: Path) -> None:
    """TCP connections that ask for nothing use up the descriptors all the same: what is logged has to stay small."""
    program = tmp_path / "server.py"
    program.write_text(PROGRAM, encoding="utf-8")
    server = await serve_program(program)
    client = await js.connect(server.url, transports=["websocket"])
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(250):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.append(writer)
        await until(lambda: "ulimit -n" in server.printed)
        assert await client.emit_with_ack("echo", 1) == 1
    finally:
        for writer in writers:
            writer.close()
    assert await client.emit_with_ack("echo", 2) == 2
    assert "Traceback" not in server.printed
    assert len(server.printed) < 2_000, server.printed


# --- bans and the audit log -------------------------------------------------------------------------------------------


async def test_guessers_are_banned(serve: Serve, js: JSClients) -> None:
    """An attacker would go on for ever, connection by connection."""
    io = Server(auth=StaticTokenAuth({"right": "ada"}), **BEHIND)
    strikes = RateLimiter("3/h")

    @io.on_audit
    def ban_guessers(entry: AuditEntry) -> None:
        if entry.kind == "refusal" and entry.address and strikes.take(entry.network):
            io.engine.ban(entry.address, 600)

    server = await serve(io)
    there = await js.connect(
        server.url, transports=["polling"], auth={"token": "right"}, extraHeaders=of("2001:db8::1")
    )
    for number in range(4):
        client = await js.connect(
            server.url,
            transports=["polling"],
            auth={"token": "wrong"},
            extraHeaders=of(f"2001:db8::{number + 2}"),
            wait=False,
        )
        assert (await client.refused())["message"] == "Unknown token"
    await there.disconnected()
    assert list(io.engine.bans) == ["2001:db8::/64"]
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET", query=EIO, headers=of("2001:db8::1"))
        assert (answer.status, answer.text) == (403, '{"code":4,"message":"Forbidden"}')
        assert 590 < int(answer.headers["Retry-After"]) <= 600
        assert (await raw.request("GET", query=EIO, headers=of("2001:db8:0:1::1"))).status == 200
    assert io.engine.unban("2001:db8::1")
    assert not io.engine.unban("2001:db8::1")
    assert io.engine.bans == {}
    await js.connect(server.url, transports=["polling"], auth={"token": "right"}, extraHeaders=of("2001:db8::1"))
    assert io.stats().limited["banned"] == 1


async def test_the_audit_log_tells_who_came_and_who_was_refused(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody could find out afterwards who was in, who tried, and who threw whom out."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    auth = StaticTokenAuth({"secret-of-ada": "ada"})
    io = echoing(auth=auth, allow_request=lambda request: "no" not in request.query)
    entries: list[AuditEntry] = []

    @io.on_audit
    def note(entry: AuditEntry) -> None:
        entries.append(entry)

    server = await serve(io)
    ada = await js.connect(server.url, auth={"token": "secret-of-ada"})
    (socket,) = io.sockets.values()
    await (await js.connect(server.url, auth={"token": "secret-of-bob"}, wait=False)).refused()
    await (await ada.of("/nowhere", wait=False)).refused()
    for number in range(3):
        await ada.emit_with_ack("add", 1, number)
    await io.disconnect_sockets()
    await ada.disconnected()
    async with raw_client(server.url) as raw:
        assert (await raw.request("GET", query={**EIO, "no": "1"})).status == 403
    io.engine.ban("203.0.113.7", 60)
    sid, here = socket.id, "127.0.0.1"
    assert entries == [
        AuditEntry("login", here, "ada", nsp="/", sid=sid),
        AuditEntry("refusal", here, nsp="/", code="unknown_token"),
        AuditEntry("refusal", here, nsp="/nowhere", code="Invalid namespace"),
        AuditEntry("limit", here, "ada", nsp="/", sid=sid, limit="handler"),
        AuditEntry("kick", here, "ada", nsp="/", sid=sid),
        AuditEntry("refusal", here, code="forbidden"),
        AuditEntry("ban", "203.0.113.7", code="60 s"),
    ]
    records = [record for record in caplog.records if record.name == "rtframework.audit"]
    assert [record.kind for record in records] == [entry.kind for entry in entries]  # type: ignore[attr-defined]
    assert "secret" not in caplog.text
