"""HTTP long-polling, request by request: nothing is lost silently, nothing malformed is survived."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from rtframework import Limits, Socket
from rtframework.engine.frames import EncodedFrames
from rtframework.engine.http.direct import DirectRoute
from rtframework.engine.transports.polling import decode_payload
from rtframework.engine.transports.upgrade import Upgrade
from tests.conftest import Serve
from tests.engine import PATIENCE, Witness, eventually, join, line, other_tasks, raw_client, turns_until, wire
from tests.support import heap
from tests.support.raw import NOOP, SEPARATOR, RawClient, encode_payload
from tests.support.server import HOST, RunningServer

ERRORS = {
    "transport": (0, "Transport unknown"),
    "sid": (1, "Session ID unknown"),
    "method": (2, "Bad handshake method"),
    "request": (3, "Bad request"),
    "version": (5, "Unsupported protocol version"),
}
"""Node's codes and messages."""

TEXT = "Content-Type: text/plain;charset=UTF-8"


@pytest.fixture(params=["directly", "by aiohttp"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How requests are served: without a task where they may be, or as in an application with middleware."""
    found: str = request.param
    if found == "by aiohttp":
        monkeypatch.setattr(DirectRoute, "obstacle", "a test")
    return found


class Party:
    """A server and one polling client that has joined."""

    def __init__(self, witness: Witness, server: RunningServer, raw: RawClient) -> None:
        self.witness = witness
        self.server = server
        self.raw = raw

    @property
    def has_poll(self) -> bool:
        """Whether a GET waits."""
        return all(connection.has_poll for connection in self.witness.engine.connections.values())

    async def start_poll(self) -> asyncio.Task[str]:
        """A GET that has reached the server and waits."""

        async def poll() -> str:
            answer = await self.raw.request("GET")
            return f"{answer.status} {answer.text}"

        task = asyncio.create_task(poll())
        await eventually(lambda: self.has_poll)
        return task

    async def assert_gone(self, reason: str) -> None:
        """The session has ended and nothing of it is left."""
        assert await self.witness.reason() == reason
        answer = await self.raw.request("GET")
        assert (answer.status, json.loads(answer.text)["code"]) == (400, 1)
        await eventually(lambda: not (self.witness.engine.tasks or self.witness.engine.connections))
        self.witness.assert_nothing_left()


@pytest.fixture
async def party(serve: Serve) -> AsyncIterator[Party]:
    """One polling client in a server with a body limit of 20,000 bytes."""
    witness = Witness(max_http_buffer_size=20_000)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        yield Party(witness, server, raw)


# -- what arrives


async def test_a_post_is_answered_ok(party: Party) -> None:
    """The protocol says ``ok``, in these letters."""
    answer = await party.raw.post('42["note",1]')
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers["Content-Type"].startswith("text/html")
    await party.witness.noted(1)


async def test_a_body_in_many_segments_is_one_body(party: Party) -> None:
    """Whatever is larger than the network's segments would be cut off and lost, with status 200."""
    body = encode_payload(('42["note","' + "x" * 9_000 + '"]', '42["note",2]')).encode()
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), TEXT, f"Content-Length: {len(body)}", body=body[:10])
        for start in range(10, len(body), 3_000):
            await http.more(body[start : start + 3_000])
            await asyncio.sleep(0.002)
        assert await http.response() == (200, b"ok")
    await party.witness.noted("x" * 9_000, 2)


async def test_a_chunked_body_is_one_body(party: Party) -> None:
    """A proxy that sends chunks would make messages vanish."""
    body = encode_payload(('42["note",1]', '42["note","é"]')).encode()
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), TEXT, "Transfer-Encoding: chunked")
        for at in range(len(body)):
            await http.more(b"1\r\n" + body[at : at + 1] + b"\r\n")
        assert party.witness.notes == []
        await http.more(b"0\r\n\r\n")
        assert await http.response() == (200, b"ok")
    await party.witness.noted(1, "é")


@pytest.mark.parametrize("count", [17, 100, 1_000])
async def test_any_number_of_packets_in_one_post(party: Party, count: int) -> None:
    """Clients that were offline for a while would lose what they send at once."""
    answer = await party.raw.post(*[f'42["note",{number}]' for number in range(count)])
    assert answer.text == "ok"
    await party.witness.noted(*range(count))


async def test_binary_arrives_in_place(party: Party) -> None:
    """Pictures would be mixed up with each other or with the text around them."""
    await party.raw.post(
        '42["note",1]', '451-["note",{"_placeholder":true,"num":0}]', b"\x00\xff", '42["note",2]', '451-["note",3]', b""
    )
    await party.witness.noted(1, b"\x00\xff", 2, 3)


async def test_binary_may_come_in_a_later_post(party: Party) -> None:
    """A client that splits its payload at the size limit would lose the packet."""
    await party.raw.post('451-["note",{"_placeholder":true,"num":0}]')
    await party.raw.post(b"abc")
    await party.witness.noted(b"abc")


async def test_a_body_of_exactly_the_limit_is_taken(party: Party) -> None:
    """Clients that split at ``maxPayload`` would be closed."""
    packet = '42["note","' + "x" * (20_000 - 13) + '"]'
    assert len(packet) == 20_000
    assert (await party.raw.post(packet)).text == "ok"
    await party.witness.noted("x" * (20_000 - 13))


async def test_a_handler_that_waits_holds_up_nothing(party: Party) -> None:
    """One slow question would block the client's other messages, its heartbeats and the POST itself."""
    answer = await party.raw.post('420["hold","slow"]', '42["note",1]', '421["hold","slower"]', '42["note",2]')
    assert answer.text == "ok"
    await party.witness.noted(1, 2)
    await party.raw.post('42["note",3]')
    await party.witness.noted(1, 2, 3)
    party.witness.gate.set()
    assert [await party.raw.receive() for _ in range(2)] == ['430["slow"]', '431["slower"]']


async def test_compressed_bodies_are_refused(party: Party) -> None:
    """A few kilobytes could become gigabytes in the server's memory."""
    bomb = gzip.compress(b'42["note","' + b"x" * 20_000_000 + b'"]')
    assert len(bomb) < 20_000
    answer = await party.raw.request("POST", body=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status == 415
    await party.assert_gone("transport error")
    assert party.witness.notes == []


# -- what is refused


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_closes_the_session(party: Party, announced: bool) -> None:
    """One client could fill the server's memory with a single request."""
    async with wire(party.server.url) as http:
        if announced:
            await http.send(line(party.raw, "POST"), TEXT, "Content-Length: 20001")
        else:
            await http.send(line(party.raw, "POST"), TEXT, "Transfer-Encoding: chunked")
            for _ in range(5):
                await http.more(b"1388\r\n" + b"4" * 5_000 + b"\r\n")
        status, body = await http.response()
        assert (status, body) == (413, b"")
    await party.assert_gone("transport error")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SEPARATOR.encode(),
        b'42["note",1]\x1e',
        b'\x1e42["note",1]',
        b"7",
        b"x",
        b" ",
        b"\x00",
        b"\xc3\xa9",
        b"b!",
        b"bA",
        b"b\xc3\xa9",
        b"bAA==x",
        b"bAA=\nA",
        b"\xff\xfe",
        b'42["note","\xff"]',
        b'42["note","\xed\xa0\xbd"]',
    ],
    ids=repr,
)
async def test_a_malformed_payload_closes_the_session(party: Party, body: bytes) -> None:
    """Some of what a client meant to send would be lost, and nobody would know."""
    answer = await party.raw.request("POST", body=body, headers={"Content-Type": "text/plain;charset=UTF-8"})
    assert (answer.status, json.loads(answer.text)) == (400, {"code": 3, "message": "Bad request"})
    await party.assert_gone("parse error")
    assert party.witness.notes == ([1] if body.startswith(b"42") and body.endswith(b"\x1e") else [])


async def test_what_waits_comes_before_the_close_of_a_broken_payload(party: Party) -> None:
    """A client would never hear that it was let in, nor of its last answers. Node sends them, then NOOP and CLOSE."""
    await party.raw.post('421["echo",1]\x1e7')
    assert (await party.raw.request("GET")).text == "431[1]"
    assert (await party.raw.request("GET")).text == "6\x1e1"
    await party.assert_gone("parse error")


async def test_an_octet_stream_is_refused(party: Party) -> None:
    """Engine.IO 3's binary payloads would be read as text."""
    answer = await party.raw.request("POST", body=b'42["note",1]', headers={"Content-Type": "application/octet-stream"})
    assert answer.status == 400
    await party.assert_gone("transport error")
    assert party.witness.notes == []


async def test_a_body_without_a_type_is_text(party: Party) -> None:
    """Small clients that send no Content-Type, as Node lets them, could not send anything."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), "Content-Length: 12", body=b'42["note",1]')
        assert await http.response() == (200, b"ok")
    await party.witness.noted(1)


async def test_overlapping_gets_end_the_session(party: Party) -> None:
    """Packets would go to either of the two, in no order."""
    first = await party.start_poll()
    second = await party.raw.request("GET")
    assert (second.status, json.loads(second.text)["code"]) == (400, 3)
    assert await first == "200 1"
    await party.assert_gone("transport error")


async def test_overlapping_posts_end_the_session(party: Party) -> None:
    """The order of a client's messages would depend on which request wins."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), TEXT, "Content-Length: 12", body=b"42")
        (connection,) = party.witness.engine.connections.values()
        await eventually(lambda: connection.polling is not None and connection.polling._posting)
        second = await party.raw.post('42["note",2]')
        assert second.status == 400
        await http.more(b'["note",1]')
        assert (await http.response())[0] in (200, 400)
    await party.assert_gone("transport error")
    assert party.witness.notes == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_are_refused(party: Party, method: str) -> None:
    """A PUT that looks like a POST to one part and like a GET to another would confuse both."""
    answer = await party.raw.request(method)
    assert answer.status == 400
    if method != "HEAD":
        assert json.loads(answer.text) == {"code": 3, "message": "Bad request"}
    assert (await party.raw.post('42["note",1]')).text == "ok"
    await party.witness.noted(1)


@pytest.mark.parametrize(
    ("method", "query", "error"),
    [
        ("GET", {"EIO": "4"}, "transport"),
        ("GET", {"EIO": "4", "transport": "abc"}, "transport"),
        ("GET", {"EIO": "4", "transport": "__proto__"}, "transport"),
        ("GET", {"EIO": "4", "transport": "polling", "sid": "abc"}, "sid"),
        ("POST", {"EIO": "4", "transport": "polling", "sid": "abc"}, "sid"),
        ("GET", {"EIO": "4", "transport": "websocket", "sid": "abc"}, "sid"),
        ("POST", {"EIO": "4", "transport": "polling"}, "method"),
        ("PUT", {"EIO": "4", "transport": "polling"}, "method"),
        ("HEAD", {"EIO": "4", "transport": "polling"}, "method"),
        ("GET", {"EIO": "4", "transport": "websocket"}, "request"),
        ("GET", {"EIO": "3", "transport": "polling"}, "version"),
        ("GET", {"EIO": "5", "transport": "polling"}, "version"),
        ("GET", {"transport": "polling"}, "version"),
    ],
)
async def test_errors_are_node_s(serve: Serve, method: str, query: dict[str, str], error: str) -> None:
    """Clients, proxies and people look for these codes to know what is wrong."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        answer = await raw.request(method, query=query)
        code, message = ERRORS[error]
        assert answer.status == 400
        assert answer.headers["Content-Type"].startswith("application/json")
        if method != "HEAD":
            assert json.loads(answer.text) == {"code": code, "message": message}
        assert not witness.engine.connections


async def test_transports_can_be_limited(serve: Serve) -> None:
    """A server behind a balancer without sticky sessions must be able to refuse polling, and another websockets."""
    server = await serve(Witness(transports=["websocket"]).io)
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET")
        assert (answer.status, json.loads(answer.text)["code"]) == (400, 0)
        await raw.open_websocket()
    server = await serve(Witness(transports=["polling"]).io)
    async with raw_client(server.url) as raw:
        assert (await raw.handshake())["upgrades"] == []
        answer = await raw.request("GET", query=raw.query("websocket"))
        assert (answer.status, json.loads(answer.text)["code"]) == (400, 0)


# -- what is sent


async def test_a_poll_brings_everything_that_waits(party: Party) -> None:
    """Each message would cost a request."""
    for number in range(3):
        await party.witness.only.emit("n", number)
    await party.witness.only.emit("b", b"\x01")
    answer = await party.raw.request("GET")
    assert answer.packets() == [
        '42["n",0]',
        '42["n",1]',
        '42["n",2]',
        '451-["b",{"_placeholder":true,"num":0}]',
        b"\x01",
    ]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


async def test_a_waiting_poll_is_answered_at_once(party: Party) -> None:
    """Messages would come with the next heartbeat."""
    poll = await party.start_poll()
    await party.witness.only.emit("n", 1)
    await party.witness.only.emit("n", 2)
    assert await poll == '200 42["n",1]\x1e42["n",2]'


async def test_a_message_at_the_moment_of_a_noop_is_not_lost(party: Party) -> None:
    """A message in just the millisecond in which a waiting poll ends would vanish without a trace."""
    (connection,) = party.witness.engine.connections.values()
    polling = connection.polling
    assert polling is not None
    connection.upgrade = cast(Upgrade, SimpleNamespace(probed=True))
    poll = await party.start_poll()
    ended = polling._waiting
    assert ended is not None
    await turns_until(ended.done)
    connection.send(EncodedFrames.of_messages(['2["n",1]']))
    connection.outbox.flush()
    connection.upgrade = None
    received = (await poll).partition(" ")[2]
    if received == NOOP:
        received = str(await party.raw.receive(timeout=1))
    assert received == '42["n",1]'


async def test_large_answers_are_compressed_for_those_who_take_it(serve: Serve) -> None:
    """Polling clients would pay for every byte twice, or get what they cannot read."""
    for wanted, compression in (("gzip", True), ("identity", True), ("gzip", False)):
        witness = Witness(http_compression=compression)
        server = await serve(witness.io)
        async with raw_client(server.url) as raw:
            await join(raw)
            await witness.io.emit("n", "x" * 5_000)
            answer = await raw.request("GET", headers={"Accept-Encoding": wanted})
            assert answer.text == '42["n","' + "x" * 5_000 + '"]'
            assert ("Content-Encoding" in answer.headers) == (compression and wanted == "gzip")
            await witness.io.emit("n", "x")
            small = await raw.request("GET", headers={"Accept-Encoding": wanted})
            assert "Content-Encoding" not in small.headers


# -- clients that go away


async def test_a_client_that_says_good_bye_is_gone(party: Party) -> None:
    """People who close the page would be shown as being online until a ping times out."""
    poll = await party.start_poll()
    assert (await party.raw.post("1")).text == "ok"
    assert await poll == "200 6"
    await party.assert_gone("transport close")


async def test_an_aborted_poll_ends_the_session(party: Party) -> None:
    """What is sent to a client after it hung up would be taken for delivered, and lost."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "GET"))
        await eventually(lambda: party.has_poll)
        http.reset()
    assert await party.witness.reason(within=1.0) == "transport error"
    await party.assert_gone("transport error")


async def test_an_answer_to_nobody_ends_the_session(party: Party) -> None:
    """The packets in that answer are lost, so the session must not go on as if they had arrived."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "GET"))
        await eventually(lambda: party.has_poll)
        http.reset()
        (connection,) = party.witness.engine.connections.values()
        polling = connection.polling
        assert polling is not None
        await eventually(lambda: polling.abandoned or connection.is_closed)  # without a task, it hears at once
        await party.witness.io.emit("lost", 1)
    assert await party.witness.reason(within=1.0) == "transport error"


def polls_at_work() -> list[asyncio.Task[object]]:
    """The server's requests that are being served."""
    return [task for task in other_tasks() if "handle_request" in _stack_of(task)]


def _stack_of(task: asyncio.Task[object]) -> str:
    names = []
    step: object = task.get_coro()
    while step is not None:
        names.append(getattr(step, "__qualname__", ""))
        step = getattr(step, "cr_await", None)
    return " ".join(names)


async def test_an_aborted_poll_leaves_no_task(party: Party, way: str) -> None:
    """Every phone that drives into a tunnel would cost the server a task, a request and a session for ever."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "GET"))
        await eventually(lambda: party.has_poll)
        assert len(polls_at_work()) == (way == "by aiohttp")
        http.reset()
    assert await party.witness.reason() == "transport error"
    await eventually(lambda: not polls_at_work(), within=0.5)


async def test_an_aborted_post_ends_the_waiting_poll(party: Party) -> None:
    """The client would wait for an answer to its poll that never comes."""
    poll = await party.start_poll()
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), TEXT, "Content-Length: 100", body=b"42")
        (connection,) = party.witness.engine.connections.values()
        await eventually(lambda: connection.polling is not None and connection.polling._posting)
        http.reset()
    assert await party.witness.reason() == "transport error"
    async with asyncio.timeout(0.5):
        assert await poll in ("200 1", "200 6")


async def test_an_aborted_post_ends_the_session(party: Party) -> None:
    """Half a message would be served, or the client believe that it was."""
    async with wire(party.server.url) as http:
        body = b'42["note",1]\x1e42["note",2]'
        await http.send(line(party.raw, "POST"), TEXT, "Content-Length: 100", body=body)
        (connection,) = party.witness.engine.connections.values()
        await eventually(lambda: connection.polling is not None and connection.polling._posting)
        http.reset()
    await party.assert_gone("transport error")
    assert party.witness.notes == []


async def test_an_answer_that_fails_while_it_is_written_ends_the_session(serve: Serve) -> None:
    """A client that hangs up while its large answer is compressed would lose it, and be shown as online."""
    witness = Witness()
    app = web.Application()
    prepared = asyncio.Event()
    gate = asyncio.Event()

    async def hold(request: web.Request, response: web.StreamResponse) -> None:
        # What takes time between the handler and the wire: compression in a thread, other software's signals.
        if request.method == "GET" and b"big" in (getattr(response, "body", None) or b""):
            prepared.set()
            await gate.wait()

    app.on_response_prepare.append(hold)
    witness.io.attach(app)
    server = await serve(app)
    async with raw_client(server.url) as raw, wire(server.url) as http:
        await join(raw)
        await witness.io.emit("big", "x" * 50_000)
        await http.send(line(raw, "GET"))
        await prepared.wait()
        http.reset()
        (runner_connection,) = [each for each in witness.engine.connections.values() if each.sid == raw.sid]
        await asyncio.sleep(0.02)
        gate.set()
        assert await witness.reason(within=1.0) == "transport error"
        assert runner_connection.sid not in witness.engine.connections


@pytest.fixture
async def cancelling() -> AsyncIterator[tuple[Witness, str]]:
    """A server whose requests are cancelled when their client hangs up, as in aiohttp's own test server."""
    witness = Witness()
    app = web.Application()
    witness.io.attach(app)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    yield witness, f"http://{HOST}:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cancelled_request_ends_the_session(cancelling: tuple[Witness, str], method: str) -> None:
    """With ``handler_cancellation=True`` a lost message would go unnoticed."""
    witness, url = cancelling
    async with raw_client(url) as raw, wire(url) as http:
        await join(raw)
        (connection,) = witness.engine.connections.values()
        polling = connection.polling
        assert polling is not None
        if method == "GET":
            await http.send(line(raw, "GET"))
            await eventually(lambda: connection.has_poll)
        else:
            await http.send(line(raw, "POST"), TEXT, "Content-Length: 100", body=b"42")
            await eventually(lambda: polling._posting)
        http.reset()
        assert await witness.reason(within=1.0) == "transport error"


async def test_a_body_that_comes_too_late_is_refused(party: Party) -> None:
    """A message that reached nobody would be acknowledged."""
    async with wire(party.server.url) as http:
        await http.send(line(party.raw, "POST"), TEXT, "Content-Length: 12", body=b"42")
        (connection,) = party.witness.engine.connections.values()
        await eventually(lambda: connection.polling is not None and connection.polling._posting)
        connection.abort("ping timeout")
        await http.more(b'["note",1]')
        status, _ = await http.response()
        assert status == 400
    assert party.witness.notes == []


async def test_a_client_that_does_not_come_for_the_end_is_forgotten(serve: Serve) -> None:
    """A session that the server closed would wait for ever for a client that has gone."""
    witness = Witness(ping_timeout=0.1)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        (connection,) = witness.engine.connections.values()
        connection.close("forced close")
        assert await witness.reason() == "forced close"
        await eventually(lambda: not witness.engine.connections)
        assert (await raw.request("GET")).status == 400


async def test_a_client_that_comes_for_the_end_gets_everything(serve: Serve) -> None:
    """The last words to a client that is thrown out, the reason say, would not reach it."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        await witness.io.emit("last words")
        await witness.only.disconnect()
        (connection,) = witness.engine.connections.values()
        connection.close("forced close")
        answer = await raw.request("GET")
        assert answer.packets() == ['42["last words"]', "41", "1"]
        assert (await raw.request("GET")).status == 400
        witness.assert_nothing_left()


# -- back-pressure


async def test_too_many_events_at_work_hold_up_the_next_post(serve: Serve) -> None:
    """A client could start any number of slow handlers: the memory of the server would be its."""
    witness = Witness(limits=Limits(max_pending_events=5))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        await raw.post(*[f'42{number}["hold",{number}]' for number in range(20)])
        await eventually(lambda: witness.holding == 5)
        late = asyncio.create_task(raw.post('42["note","late"]'))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(late)
        assert witness.holding == 5
        assert witness.notes == []
        witness.gate.set()
        async with asyncio.timeout(PATIENCE):
            assert (await late).text == "ok"
        await witness.noted("late")
        answers = [str(await raw.receive()) for _ in range(20)]
        assert answers == [f"43{number}[{number}]" for number in range(20)]


async def test_a_post_of_many_packets_lets_others_live(serve: Serve) -> None:
    """One client could stop the server for a second with every megabyte that it sends."""
    witness = Witness(max_http_buffer_size=1_000_000)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            last = time.thread_time()  # other programs of the machine may have the processor for longer
            while True:
                await asyncio.sleep(0.001)
                longest, last = max(longest, time.thread_time() - last), time.thread_time()

        watching = asyncio.create_task(watch())
        count = 70_000
        heap.leave_out()  # to go through what all other tests have left takes long, too
        try:
            await raw.post(*['42["note",1]'] * count)
            await eventually(lambda: len(witness.notes) == count)
        finally:
            watching.cancel()
        assert longest < 0.1, longest


# -- turns


async def test_a_payload_of_very_many_packets_is_taken_in_parts(party: Party) -> None:
    """100 POSTs of a megabyte of tiny packets took 900 MB."""
    most = 0
    connection = party.witness.engine.connections[str(party.raw.sid)]

    @party.witness.io.on("look")
    def look(socket: Socket) -> None:
        nonlocal most
        most = max(most, len(connection.inbox or ()))

    answer = await party.raw.request("POST", body=SEPARATOR.join(['42["look"]'] * 1_500))
    assert answer.status == 200
    assert 0 < most <= 256
    await party.raw.post('42["note",1]')
    await party.witness.noted(1)


async def test_a_post_is_read_once_the_one_before_is_served(serve: Serve) -> None:
    """A client would fill the memory with what nobody has served yet."""
    witness = Witness(limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        await raw.post('42["hold"]', '42["note",1]')
        await eventually(lambda: witness.holding)
        second = asyncio.create_task(raw.post('42["note",2]'))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert (second.done(), witness.notes) == (False, [])
        witness.gate.set()
        assert (await second).status == 200
        await witness.noted(1, 2)


async def test_a_pong_carries_nothing(party: Party) -> None:
    """A client would have its bytes kept, as what it calls a heartbeat."""
    await party.raw.post("3aaaaaa")
    await party.assert_gone("parse error")


async def test_a_body_that_comes_slowly_has_more_time(serve: Serve) -> None:
    """Somebody with a bad line could never send a picture."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.2, limits=Limits(body_timeout=0.8, least_rate=500))
    server = await serve(witness.io)
    body = b'42["note","' + b"x" * 20_000 + b'"]'
    async with raw_client(server.url) as raw, wire(server.url) as http:
        await join(raw)
        polling = asyncio.create_task(raw.poll())
        raw.answer_pings = False
        await http.send(line(raw, "POST"), TEXT, f"Content-Length: {len(body)}")
        for start in range(0, len(body), 400):
            await http.more(body[start : start + 400])
            await asyncio.sleep(0.02)  # in a second, all of it
        assert await http.response() == (200, b"ok")
        await eventually(lambda: witness.notes)
        polling.cancel()
    assert witness.io.stats().inbound_bytes == 0


async def test_a_body_that_comes_too_slowly_has_not(serve: Serve) -> None:
    """A request would be held for ever by a byte now and then."""
    witness = Witness(limits=Limits(body_timeout=0.2, least_rate=1_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as http:
        await join(raw)
        await http.send(line(raw, "POST"), TEXT, "Content-Length: 10000")
        answer = asyncio.create_task(http.response())
        while not answer.done():
            await http.more(b"4")
            await asyncio.sleep(0.02)
        assert (await answer)[0] == 408
    assert await witness.reason() == "transport error"
    assert witness.io.stats().inbound_bytes == 0


async def test_what_follows_the_end_is_not_looked_at(party: Party) -> None:
    """A body of half a million packets behind a close would hold everybody up."""
    looked_at = 0
    (connection,) = party.witness.engine.connections.values()

    def packets(body: bytes) -> Iterator[str | bytes]:
        nonlocal looked_at
        yield "1"
        while looked_at < 5_000:
            looked_at += 1
            yield "3"

    polling = connection.polling
    assert polling is not None
    await polling._hand_over(packets(b""))
    assert looked_at <= 1_000
    assert connection.is_closed


def test_a_payload_is_decoded_packet_by_packet() -> None:
    """One wide character would have the server keep four bytes for each of a whole body, which counts as one."""
    packets = decode_payload("4a\x1e4\U0001f600\x1ebAP8=\x1e".encode() + b"\xff")
    assert [next(packets), next(packets), next(packets)] == ["4a", "4\U0001f600", b"\x00\xff"]
    with pytest.raises(ValueError, match="utf-8"):
        next(packets)
