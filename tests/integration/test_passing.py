"""Connections that arrive at the wrong worker go to the right one, whatever carries them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import re
import ssl
from collections.abc import AsyncIterator
from functools import partial
from io import BytesIO
from operator import sub
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, TCPConnector, WSMsgType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rtframework.engine.ids import LETTERS
from rtframework.workers.shared_table import SlotState
from tests.engine import Wire, raw_client, wire
from tests.support.front import nginx, program
from tests.support.js import JSClients
from tests.support.passing_workers import Workers, passing_workers
from tests.support.raw import RawClient
from tests.support.server import HOST
from tests.support.transports import TRANSPORTS, Transport
from tests.support.until import until

LOOPS: Final = ("asyncio", "uvloop")
TEXT: Final = {"Content-Type": "text/plain;charset=UTF-8"}


OPTIONS: Final = {"allow_eio3": True, "max_http_buffer_size": 8_000_000}


@pytest_asyncio.fixture(params=LOOPS, scope="module", loop_scope="module")
async def workers(request: pytest.FixtureRequest) -> AsyncIterator[Workers]:
    """Two workers, which many tests share."""
    async with passing_workers(loop=request.param, server=OPTIONS) as found:
        yield found


@pytest.fixture
async def mortals() -> AsyncIterator[Workers]:
    """Two workers of this test's own."""
    async with passing_workers(loop="uvloop", server=OPTIONS) as found:
        yield found


@contextlib.asynccontextmanager
async def sessions(workers: Workers, count: int = 2) -> AsyncIterator[list[str]]:
    """Session ids of clients by polling, one of each worker, in the main namespace."""
    found: list[RawClient] = []
    async with contextlib.AsyncExitStack() as stack:
        for slot in range(count):
            raw = await stack.enter_async_context(raw_client(workers.url_of(slot)))
            await raw.handshake()
            assert (await raw.post("40")).text == "ok"
            assert str(await raw.receive()).startswith("40")
            found.append(raw)
        sids = [str(raw.sid) for raw in found]
        assert [sid[0] for sid in sids] == ["A", "B", "C", "D"][:count]
        yield sids
        for slot, raw in enumerate(found):  # so that the next test finds as many clients at both
            if workers.is_alive(slot):
                with contextlib.suppress(OSError, ClientError):
                    await raw.post("1")


def line(method: str, sid: str, transport: str = "polling") -> str:
    """The first line of a request."""
    return f"{method} /socket.io/?EIO=4&transport={transport}&sid={sid} HTTP/1.1"


async def post(tcp: Wire, sid: str, body: bytes) -> None:
    """Send packets, and wait until they are taken."""
    await tcp.send(line("POST", sid), f"Content-Length: {len(body)}", body=body)
    assert await tcp.response() == (200, b"ok")


async def get(tcp: Wire, sid: str) -> bytes:
    """Take a payload."""
    await tcp.send(line("GET", sid))
    status, body = await tcp.response()
    assert status == 200, body
    return body


@pytest.mark.parametrize("v2", [False, True], ids=["v4", "v2"])
async def test_clients_find_their_worker(workers: Workers, js: JSClients, transport: Transport, v2: bool) -> None:
    """Default clients would get "Session ID unknown" at one of their three connections, and never connect."""
    clients = [await js.connect(workers.url, via=transport, v2=v2) for _ in range(8)]
    slots = [await client.emit_with_ack("slot") for client in clients]
    assert await asyncio.gather(*(client.emit_with_ack("echo", "x" * 100) for client in clients)) == ["x" * 100] * 8
    assert [await client.emit_with_ack("slot") for client in clients] == slots
    assert set(slots) <= {0, 1}


async def test_a_connection_goes_to_and_fro(workers: Workers) -> None:
    """Behind a proxy, requests of many clients come on one connection: they would be lost, or descriptors would be."""

    async def descriptors() -> list[int]:
        return [(await workers.ask(slot, "tell"))["fds"] for slot in (0, 1)]

    turns = 500 if workers.loop == "uvloop" else 50
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        before: list[int] = []
        for turn in range(turns):
            if turn == 1:  # both have passed a connection on
                before = await descriptors()
            for sid in sids:
                await post(tcp, sid, b'421["echo","%d%b"]' % (turn, b"x" * (turn % 50) * 10))
            for sid in sids:
                assert await get(tcp, sid) == b'431["%d%b"]' % (turn, b"x" * (turn % 50) * 10)
        async with asyncio.timeout(10):  # each is kept until it is known to have been taken
            while max(map(sub, await descriptors(), before)) > 0:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.01)


async def test_a_request_may_come_in_any_pieces(workers: Workers) -> None:
    """A request that a network has cut in two would be refused, or be read twice."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        body = b'421["echo","in pieces"]'
        request = "\r\n".join((line("POST", "{}"), "Host: x", f"Content-Length: {len(body)}", "", "")).encode() + body
        for position in range(1, len(request)):
            sid = sids[position % 2]
            whole = request.replace(b"{}", sid.encode())
            await tcp.more(whole[:position])
            await asyncio.sleep(0)
            await tcp.more(whole[position:])
            assert await tcp.response() == (200, b"ok")
            assert await get(tcp, sid) == b'431["in pieces"]'


async def test_a_request_may_come_byte_by_byte(workers: Workers) -> None:
    """The same."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        for sid in sids * 2:
            body = b'421["echo",1]'
            head = "\r\n".join((line("POST", sid), "Host: x", f"Content-Length: {len(body)}", "", "")).encode()
            for byte in head + body:
                await tcp.more(bytes([byte]))
            assert await tcp.response() == (200, b"ok")
            assert await get(tcp, sid) == b"431[1]"


@pytest.mark.parametrize("size", [60_000, 70_000, 500_000, 5_000_000])
async def test_bodies_of_any_size_come_with_their_connection(workers: Workers, size: int) -> None:
    """A large message would arrive without its beginning."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        text = b"".join(b"%08d" % number for number in range(size // 8))
        for _ in range(2):
            for sid in sids:
                await post(tcp, sid, b'421["echo","%b"]' % text)
                assert await get(tcp, sid) == b'431["%b"]' % text


async def test_a_chunked_body_comes_with_its_connection(workers: Workers) -> None:
    """A proxy that streams would have its requests refused."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        for _ in range(3):
            for sid in sids:
                await tcp.send(line("POST", sid), "Transfer-Encoding: chunked", body=b'5\r\n421["\r\n')
                await tcp.more(b'6\r\necho",\r\n2\r\n7]\r\n0\r\n\r\n')
                assert await tcp.response() == (200, b"ok")
            for sid in sids:
                assert await get(tcp, sid) == b"431[7]"


async def test_requests_behind_one_that_waits_are_forwarded(workers: Workers) -> None:
    """A client that sends the next request before it has its answer would get a refusal for that."""
    async with sessions(workers) as (ours, theirs), wire(workers.url_of(0)) as tcp:
        body = b'421["echo","pipelined"]'
        for _ in range(3):
            await tcp.send(line("GET", ours))  # waits
            await asyncio.sleep(0)
            for sid in (theirs, ours, theirs):
                await tcp.send(line("POST", sid), f"Content-Length: {len(body)}", body=body)
                await tcp.send(line("GET", sid))
            async with wire(workers.url_of(1)) as other:
                await post(other, ours, b'422["echo","first"]')
            assert await tcp.response() == (200, b'432["first"]')
            for _ in range(3):
                assert await tcp.response() == (200, b"ok")
                assert await tcp.response() == (200, b'431["pipelined"]')


async def test_the_pages_of_a_program_follow_on_the_same_connection(workers: Workers) -> None:
    """A browser uses its connections for everything."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        here = 0
        for slot, sid in [*enumerate(sids)] * 3:
            await tcp.send("GET /tell?a=b HTTP/1.1", "X-Odd:  two spaces ")
            status, body = await tcp.response()
            assert (status, json.loads(body)["slot"]) == (200, here)
            await post(tcp, sid, b"3")
            here = slot
            await tcp.send("POST /socket.io/own HTTP/1.1", "Content-Length: 70000", body=b"x" * 70_000)
            assert await tcp.response() == (200, b"[%d, 70000]" % here)


async def test_a_websocket_is_passed_on_with_its_session(workers: Workers) -> None:
    """An upgrade that lands at another worker would fail, and the client would poll for ever."""
    for slot in (0, 1):
        async with raw_client(workers.url_of(slot)) as raw:
            await raw.handshake()
            await raw.post("40")
            await raw.receive()
            raw.endpoint = f"{workers.url_of(1 - slot)}/socket.io/"
            websocket = await raw.upgrade()
            await websocket.send('421["slot"]')
            assert await websocket.receive() == f"431[{slot}]"


async def test_the_owner_of_a_session_has_died(mortals: Workers) -> None:
    """A client would wait for an answer that never comes, and not come back by itself."""
    async with sessions(mortals) as (ours, theirs), wire(mortals.url_of(0)) as tcp:
        await post(tcp, ours, b"3")
        await mortals.kill(1)
        await tcp.send(line("GET", theirs))
        status, body = await tcp.response()
        assert (status, json.loads(body)["message"]) == (400, "Session ID unknown")
        await post(tcp, ours, b"3")
        await mortals.start_one(1)
        async with raw_client(mortals.url_of(1)) as raw:
            await raw.handshake()
            assert raw.sid is not None
            await post(tcp, raw.sid, b"40")


async def test_a_worker_dies_that_the_table_still_has(mortals: Workers) -> None:
    """Requests would hang until the broker has noticed."""
    async with sessions(mortals) as (ours, theirs), wire(mortals.url_of(0)) as tcp:
        await mortals.die(1)
        for _ in range(3):
            await tcp.send(line("GET", theirs))
            assert (await tcp.response())[0] == 400
        await post(tcp, ours, b"3")


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_worker_that_hangs_gets_its_connections_later(loop: str) -> None:
    """A worker that computes for a second would lose the clients that were passed on to it meanwhile."""
    async with passing_workers(loop=loop) as workers, sessions(workers) as sids, contextlib.AsyncExitStack() as stack:
        os.kill(workers.pid(1), 19)
        wires = [await stack.enter_async_context(wire(workers.url_of(0))) for _ in range(60)]
        for number, tcp in enumerate(wires):
            body = b'421["echo",%d]' % number
            await tcp.send(line("POST", sids[1]), f"Content-Length: {len(body)}", body=body)
        async with wire(workers.url_of(0)) as tcp:
            await post(tcp, sids[0], b"3")
        os.kill(workers.pid(1), 18)
        answers = [await tcp.response() for tcp in wires]
        # Several POSTs at a time are refused, as in one process: all have been answered by the owner.
        assert {status for status, _ in answers} <= {200, 400}
        assert (await workers.ask(1, "tell"))["slot"] == 1


async def test_a_worker_that_hangs_dies(mortals: Workers) -> None:
    """Those who wait for it would wait for ever."""
    async with sessions(mortals) as sids, contextlib.AsyncExitStack() as stack:
        os.kill(mortals.pid(1), 19)
        wires = [await stack.enter_async_context(wire(mortals.url_of(0))) for _ in range(60)]
        for tcp in wires:
            await tcp.send(line("GET", sids[1]))
        async with wire(mortals.url_of(0)) as tcp:
            await post(tcp, sids[0], b"3")
        await mortals.kill(1)
        for tcp in wires:  # those that were in the queue of the dead, too
            assert (await tcp.response())[0] == 400


async def test_made_up_session_ids(workers: Workers) -> None:
    """A client that names all workers in turn would have its connection go round for ever, or end a worker."""
    async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
        for letter in LETTERS.decode() * 2:
            await tcp.send(line("GET", letter + "x" * 19))
            status, body = await tcp.response()
            assert (status, json.loads(body)["message"]) == (400, "Session ID unknown")
        for sid in sids:
            await post(tcp, sid, b'421["echo",1]')
            assert await get(tcp, sid) == b"431[1]"


async def test_a_worker_ends_while_connections_are_passed_on(mortals: Workers) -> None:
    """Those on their way would be answered by nobody, or the worker would not end."""
    ended = asyncio.Event()
    answered: list[int] = []

    async def alternate(sids: list[str]) -> None:
        async with wire(mortals.url_of(0)) as tcp:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not ended.is_set():
                    for sid in sids:
                        await tcp.send(line("POST", sid), "Content-Length: 1", body=b"3")
                        status, _ = await tcp.response()
                        answered.append(status)

    async with sessions(mortals) as sids, sessions(mortals) as others, asyncio.TaskGroup() as group:
        for each in (sids, others) * 3:
            group.create_task(alternate(each))
        await until(lambda: len(answered) > 30)
        await mortals.end(1)
        async with wire(mortals.url_of(0)) as tcp:
            await tcp.send("GET /tell HTTP/1.1")
            assert (await tcp.response())[0] == 200
        ended.set()
    assert set(answered) <= {200, 400}  # two at a time are refused, and those of a session that has gone


# --- where new sessions go --------------------------------------------------------------------------------------------


async def test_new_sessions_are_spread() -> None:
    """Behind a proxy with one connection, one worker would have all clients."""
    async with passing_workers(3, loop="uvloop") as workers, wire(workers.url_of(0)) as tcp:
        for _ in range(300):
            await tcp.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
            status, body = await tcp.response()
            assert (status, body[:1]) == (200, b"0")
        counts = [workers.table.clients(slot) for slot in range(3)]
        assert sum(counts) == 300
        assert max(counts) - min(counts) <= 20, counts


async def test_a_worker_that_drains_takes_no_new_sessions(mortals: Workers, js: JSClients) -> None:
    """Clients would connect to it, only to be moved at once."""
    mortals.table.set_state(0, SlotState.DRAINING)
    for via in ("polling", "websocket"):
        client = await js.connect(mortals.url_of(0), transports=[via])
        assert await client.emit_with_ack("slot") == 1


# --- programs of all kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"middleware": True}, {"log": True}, {"drop_in": True}, {"server": {"cookie": "io", "per_message_deflate": None}}],
    ids=["middleware", "log", "drop-in", "cookie"],
)
async def test_programs_of_all_kinds(options: dict[str, Any], js: JSClients) -> None:
    """What has to see each request would see it twice, or not at all, or clients would not connect."""
    async with passing_workers(**options) as workers:
        clients = [await js.connect(workers.url, via=transport) for transport in TRANSPORTS * 2]
        assert {await client.emit_with_ack("slot") for client in clients} <= {0, 1}
        if "middleware" in options or "log" in options:
            async with sessions(workers) as sids, wire(workers.url_of(0)) as tcp:
                for sid in sids * 3:
                    await post(tcp, sid, b"3")
            if "middleware" in options:
                for slot in (0, 1):
                    seen = (await workers.ask(slot, "tell"))["seen"]
                    assert seen.count(f"POST polling {HOST}") >= 4
            else:

                def logged(slot: int, sid: str) -> int:
                    return len(re.findall(rf"POST \S+sid={sid}", (workers.directory / f"log{slot}").read_text()))

                def is_logged(slot: int, sid: str) -> bool:
                    return logged(slot, sid) == 5

                for slot, sid in enumerate(sids):
                    await until(partial(is_logged, slot, sid))
                    assert logged(1 - slot, sid) == 0


@pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")
async def test_behind_nginx(js: JSClients) -> None:
    """The usual proxy keeps connections to the workers alive, and sends requests of all clients over each."""
    async with passing_workers(loop="uvloop", server={"trusted_proxies": 1}) as workers:
        configuration = f"""
            map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
            upstream chat {{ server {HOST}:{workers.url.rpartition(":")[2]}; keepalive 4; }}
            server {{
                listen 443 ssl;
                location / {{
                    proxy_pass http://chat;
                    proxy_http_version 1.1;
                    proxy_set_header Host $host;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_read_timeout 120s;
                }}
            }}
        """
        async with nginx(configuration, {}) as front:
            clients = [await js.connect(front.url, via=transport) for transport in TRANSPORTS * 4]
            slots = [await client.emit_with_ack("slot") for client in clients]
            for _ in range(5):
                texts = ["x" * 20_000] * len(clients)
                assert await asyncio.gather(*(each.emit_with_ack("echo", texts[0]) for each in clients)) == texts
            assert [await client.emit_with_ack("slot") for client in clients] == slots
            assert await clients[0].emit_with_ack("address") == [HOST, False]


# --- TLS in the workers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("loop", LOOPS)
async def test_over_tls(loop: str, pem: Path) -> None:
    """A program that speaks TLS by itself could have one worker only."""
    context = ssl.create_default_context(cafile=str(pem))
    async with (
        passing_workers(loop=loop, tls=str(pem), server={"max_http_buffer_size": 3_000_000}) as workers,
        ClientSession(connector=TCPConnector(ssl=context, limit=1)) as session,
    ):
        for slot in (0, 1):
            here, there = (f"{workers.url_of(each)}/socket.io/?EIO=4&transport=" for each in (slot, 1 - slot))
            async with session.get(here + "polling") as response:
                sid = json.loads((await response.text())[1:])["sid"]
            polling = f"{there}polling&sid={sid}"
            async with session.post(polling, data="40") as response:
                assert (response.status, await response.text()) == (200, "ok")
            async with session.get(polling) as response:
                assert (await response.text()).startswith("40")
            for size in (10, 2_000_000):
                async with session.post(
                    polling, headers=TEXT, data=BytesIO(f'421["echo","{"x" * size}"]'.encode())
                ) as response:
                    assert (response.status, await response.text()) == (200, "ok")
                async with session.get(polling) as response:
                    assert await response.text() == f'431["{"x" * size}"]'
            async with session.post(polling, data='422["address"]') as response:
                assert await response.text() == "ok"
            async with session.get(polling) as response:
                assert await response.text() == f'432[["{HOST}",true]]'
        async with (
            ClientSession(connector=TCPConnector(ssl=context)) as other,
            other.ws_connect(f"{there}websocket&sid={sid}", max_msg_size=0) as websocket,
        ):
            poll = asyncio.ensure_future(session.get(polling))
            await websocket.send_str("2probe")
            assert await websocket.receive_str() == "3probe"
            await (await poll).read()
            await websocket.send_str("5")
            for size in (10, 2_000_000):
                await websocket.send_str(f'421["echo","{"x" * size}"]')
                assert await websocket.receive_str() == f'431["{"x" * size}"]'
            await websocket.send_str("1")
            assert (await websocket.receive()).type is WSMsgType.CLOSE
        await until(lambda: [workers.table.clients(each) for each in (0, 1)] == [1, 0])
