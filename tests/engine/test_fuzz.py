"""Two hundred thousand inputs that are almost packets, and megabytes made to be slow: refused or served, never worse.

The choices are made by a generator with a fixed seed, so that every run tests the same; ``RTF_FUZZ_SEED=7`` in the
environment takes another, ``RTF_FUZZ_INPUTS=5000000`` more of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework import DecodeError, EncodeError, JSONSerializer, Packet, PacketType, Server, Socket
from rtframework.engine.transports.polling import decode_payload
from rtframework.engine.v3.payload import MESSAGE, decode_binary, decode_text, encode_binary, encode_text
from rtframework.packets import MAX_ID
from rtframework.types import RESERVED_EVENTS
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, raw_client
from tests.support.thorough import is_thorough

INPUTS: Final = int(os.environ.get("RTF_FUZZ_INPUTS", 200_000 if is_thorough() else 100_000))
"""For all decoders together: never less than 100,000 unless somebody says so."""
JSON_INPUTS: Final = INPUTS * 6 // 10
PAYLOADS: Final = INPUTS * 2 // 10
MESSAGEPACK_INPUTS: Final = INPUTS - JSON_INPUTS - PAYLOADS
SEED: Final = int(os.environ.get("RTF_FUZZ_SEED", 1))
PATIENCE: Final = 0.25
"""Seconds that one small input may take: generous, for a machine that is busy with other things."""
LONGEST: Final = 4_000
"""Characters of a small input."""

VALID: Final = (
    "0",
    "0/admin,",
    '0{"token":"x"}',
    '0/admin,{"token":"x","list":[1,2,{"a":null}]}',
    "1",
    "1/admin,",
    '2["a"]',
    '2["message","text",1,-2.5e3,true,false,null,{"k":["v"]}]',
    '2/admin,["message","text"]',
    '212["question",{}]',
    '2/admin,9007199254740991["question"]',
    '2["é","日本","\\ud83d\\ude00","\\ud800","\\u0000"]',
    "31[]",
    '3/admin,12["answer",{"a":[]}]',
    '4{"message":"no","data":{"code":1}}',
    '4/admin,"no"',
    '51-["file",{"_placeholder":true,"num":0}]',
    '52-/admin,3["files",[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]]',
    '610-7[{"_placeholder":true,"num":9}]',
    '50-["none"]',
    # beyond the protocol's text, see docs/protocol.md
    "0/",
    '0/,{"token":"x"}',
    "1/admin",
    "37",
    "3/admin,7",
    '2["a",1e400,-1e400]',
)
TOKENS: Final = (
    *'0123456789[]{}",:-/\\\x1e\x00b²٣ \n\ufeff',
    *("null", "true", "NaN", "Infinity", "-", "1e400", "-0", "1" * 30, "0.1e-999", "51-", "/admin,", "\\u", "\\ud800"),
    *('{"_placeholder":true,"num":0}', '"num":-1', '"num":1.0', '"num":true', '"_placeholder":1', "__proto__"),
    *(f'"{name}"' for name in sorted(RESERVED_EVENTS)),
    *("[" * 300, "]" * 300, '{"":' * 300, '"' * 30, "\\" * 31, "a" * 2_000, "9" * 400),
)


def mutate(rng: random.Random, text: str, pool: Sequence[str]) -> str:
    """The text with up to four changes."""
    for _ in range(rng.randint(0, 4)):
        at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        change = rng.randrange(7)
        if change == 0:
            text = text[:at] + text[at + 1 :]
        elif change == 1:
            text = text[:at] + rng.choice(TOKENS) + text[at:]
        elif change == 2:
            text = text[:at] + rng.choice(TOKENS) + text[at + 1 :]
        elif change == 3:
            text = text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0x1F600))) + text[at + 1 :]
        elif change == 4:
            text = text[:to] + text[at:to] * rng.randint(1, 3) + text[to:]
        elif change == 5:
            text = text[:at]
        else:
            text = text[:at] + rng.choice(pool)[at:]
    return text[:LONGEST]


def rubbish(rng: random.Random) -> str:
    """Characters that packets are made of, in no order."""
    return "".join(rng.choice(TOKENS)[:20] for _ in range(rng.randint(0, 12)))


def frames_of(rng: random.Random) -> list[str | bytes]:
    """What one client sends: something like a packet, and perhaps something like attachments, and then more."""
    frames: list[str | bytes] = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        frames.append(rubbish(rng) if rng.random() < 0.1 else mutate(rng, rng.choice(VALID), VALID))
        if rng.random() < 0.5:
            frames += [rng.randbytes(rng.randint(0, 8)) for _ in range(rng.choice((1, 1, 2, 10, 11)))]
    return frames


def _packets_of(decode: Callable[[bytes], Iterator[str | bytes]], body: bytes) -> list[str | bytes]:
    return list(decode(body))


_PAYLOADS: Final = {each: partial(_packets_of, each) for each in (decode_payload, decode_text, decode_binary)}
"""The decoders of payloads, made to decode them to the end."""


class Stopwatch:
    """Counts inputs, and keeps the slowest."""

    def __init__(self) -> None:
        self.inputs = 0
        self.refused = 0
        self.slowest = 0.0
        self.culprit: Any = None

    def run(self, call: Callable[[Any], Any], given: Any) -> Any:
        """Call with an input; ``None`` when it is refused in the way that it should be."""
        self.inputs += 1
        started = time.thread_time()  # of this thread's own: other programs are at work, too
        try:
            return call(given)
        except ValueError as error:
            if not isinstance(error, DecodeError) and call not in _PAYLOADS.values():
                raise AssertionError(f"{given!r} is refused by {error!r}") from error
            self.refused += 1
            return None
        except Exception as error:
            raise AssertionError(f"{given!r} is answered by {error!r}") from error
        finally:
            took = time.thread_time() - started
            if took > self.slowest:
                self.slowest, self.culprit = took, given

    def judge(self, at_least: int) -> str:
        """Fail when one input was slow, or when there were not enough of them; a line for a report."""
        assert self.inputs >= at_least
        assert self.slowest < PATIENCE, f"{self.slowest:.3f} s for {self.culprit!r}"
        return f"{self.inputs} inputs, {self.refused} refused, slowest {self.slowest * 1000:.2f} ms"


def check(packet: Packet) -> None:
    """A decoder gives out only what the framework can rely on."""
    assert type(packet.nsp) is str
    assert packet.id is None or 0 <= packet.id <= MAX_ID
    if packet.type == PacketType.EVENT:
        name = packet.data[0]
        assert -MAX_ID <= name <= MAX_ID if type(name) is int else type(name) is str
        assert name not in RESERVED_EVENTS
    elif packet.type == PacketType.ACK:
        assert type(packet.data) is list
        assert packet.id is not None
    elif packet.type == PacketType.CONNECT:
        assert packet.data is None or type(packet.data) is dict
    elif packet.type == PacketType.DISCONNECT:
        assert packet.data is None
    else:
        assert packet.type == PacketType.CONNECT_ERROR


def test_there_are_as_many_inputs_as_is_said() -> None:
    """Fewer of them, to save a second, would find nothing any more and look the same."""
    inputs = JSON_INPUTS + PAYLOADS + MESSAGEPACK_INPUTS
    assert inputs >= 100_000 or "RTF_FUZZ_INPUTS" in os.environ


def test_no_text_breaks_the_json_decoder() -> None:
    """A packet that somebody made up would raise what nobody catches, or hold everybody up."""
    rng, watch, serializer = random.Random(SEED), Stopwatch(), JSONSerializer()
    again = 0
    while watch.inputs < JSON_INPUTS:
        decoder = serializer.decoder()
        for frame in frames_of(rng):
            refused = watch.refused
            packet = watch.run(decoder.decode, frame)
            if watch.refused > refused:
                break  # the connection is closed: nothing more is decoded
            if packet is not None:
                check(packet)
                again += send_back(serializer, packet)
    assert again > INPUTS // 50, "too few packets are valid for this to mean anything"
    print(f"JSON: {watch.judge(JSON_INPUTS)}")


def send_back(serializer: JSONSerializer, packet: Packet) -> bool:
    """What was received can be sent on, as a chat does, and arrives as the same."""
    try:
        frames = serializer.encode(packet)
    except EncodeError as error:
        if "NaN and infinities" in str(error):  # a number beyond floats, which is JSON all the same
            return False
        raise AssertionError(f"{packet!r} was received and cannot be sent: {error}") from error
    if len(frames) > 11:
        return False  # one attachment may stand in many places of what a client sends, and counts for each when sent
    decoder = serializer.decoder()
    (same,) = [found for found in map(decoder.decode, frames) if found is not None]
    assert same == packet, f"{packet!r} became {same!r}"
    return True


def test_no_body_breaks_the_payload_decoder() -> None:
    """A POST that somebody made up would raise what nobody catches, or bring what is no packet."""
    rng, watch = random.Random(SEED + 1), Stopwatch()
    bodies = (
        "40",
        '42["a"]\x1e42["b",1]',
        "bAQIDBA==",
        "bAQID\r\nBA==\r\n",
        "bAQ ID\tBA\n",
        "b-_-_AQI",
        '451-["a",{"_placeholder":true,"num":0}]\x1ebAAAA\n',
        '451-["a",{"_placeholder":true,"num":0}]\x1ebAAAA',
        "1",
        "3\x1e6",
    )
    while watch.inputs < PAYLOADS:
        body = rubbish(rng) if rng.random() < 0.1 else mutate(rng, rng.choice(bodies), bodies)
        raw = bytearray(body.encode(errors="surrogatepass"))
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            if raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        packets = watch.run(_PAYLOADS[decode_payload], bytes(raw))
        for packet in packets or ():
            assert isinstance(packet, bytes) or packet[:1] in "0123456"
            assert isinstance(packet, bytes) or "\x1e" not in packet
    assert 0 < watch.refused < watch.inputs
    print(f"payloads: {watch.judge(PAYLOADS)}")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "bytes"])
def test_no_body_breaks_the_old_payload_decoders(binary: bool) -> None:
    """The same, for clients of Engine.IO 3, whose payloads have lengths."""
    rng, watch = random.Random(SEED + 4), Stopwatch()
    packets: list[str | bytes] = [
        "40",
        '42["a"]',
        '42["é","😀",1]',
        "40/admin?a=1,",
        "2",
        "1",
        MESSAGE + b"\x01\xff",
        "6",
    ]
    decode = _PAYLOADS[decode_binary if binary else decode_text]
    again = 0
    while watch.inputs < PAYLOADS:
        chosen = [rng.choice(packets) for _ in range(rng.randint(1, 4))]
        if binary:
            raw = bytearray(encode_binary(chosen))
        else:
            text = encode_text(chosen)
            # Few changes keep a length right, so most are within the packets.
            if rng.random() < 0.5:
                text = mutate(rng, text, [encode_text([packet]) for packet in packets])
            raw = bytearray(text.encode(errors="surrogatepass"))
        for _ in range(rng.choice((0, 0, 1, 3))):
            if raw:
                at = rng.randrange(len(raw))
                raw[at : at + rng.randint(0, 1)] = bytes(
                    [rng.choice((0, 1, 2, 9, 10, 0x30, 0x3A, 0xFF, rng.randrange(256)))]
                )
        found = watch.run(decode, bytes(raw))
        for packet in found or ():
            assert packet[:1] == MESSAGE if isinstance(packet, bytes) else packet[:1] in tuple("0123456")
        if found:
            # What was understood is said again in the same way, but for texts that may be said in several.
            assert decode(encode_binary(found) if binary else encode_text(found).encode()) == found
            again += 1
    assert 0 < watch.refused < watch.inputs
    assert again > watch.inputs // 10
    print(f"payloads of version 3: {watch.judge(PAYLOADS)}")


@pytest.mark.parametrize("body", ["1:6" * 333_000, "1:😀" * 160_000, "9" * 999_000, "0:" * 499_000, "3:4😀" * 140_000])
def test_a_heavy_old_payload_is_read_in_time(body: str) -> None:
    """A megabyte in the smallest of packets would hold everybody up."""
    watch = Stopwatch()
    for decode in (decode_text, decode_binary):
        watch.run(_PAYLOADS[decode], body.encode())
    watch.run(_PAYLOADS[decode_binary], b"\x00\x01\xff6" * 249_000)
    watch.run(_PAYLOADS[decode_binary], b"\x00" + b"\x09" * 999_000)
    assert watch.slowest < 4 * PATIENCE, watch.culprit[:20]


def test_no_frame_breaks_the_messagepack_decoder() -> None:
    """The same, for clients that speak MessagePack."""
    rng, watch, serializer = random.Random(SEED + 2), Stopwatch(), MsgpackSerializer()
    valid = [
        frame
        for packet in (
            Packet(PacketType.CONNECT, "/", {"token": "x"}),
            Packet(
                PacketType.EVENT, "/admin", ["a", 1, -1, 2.5, None, True, "é", b"\x00\xff", {"k": [1, {"l": []}]}], 7
            ),
            Packet(PacketType.ACK, "/", [[], {}], 1),
            Packet(PacketType.DISCONNECT, "/admin"),
        )
        for frame in serializer.encode(packet)
        if isinstance(frame, bytes)
    ]
    while watch.inputs < MESSAGEPACK_INPUTS:
        frame = bytearray(rng.choice(valid))
        for _ in range(rng.randint(0, 4)):
            at = rng.randint(0, len(frame))
            change = rng.randrange(4)
            if change == 0:
                del frame[at:]
            elif change == 1:
                frame[at:at] = rng.randbytes(rng.randint(1, 4))
            elif change == 2:
                frame[at : at + 1] = bytes([rng.choice((0x80, 0x90, 0xC1, 0xC4, 0xC7, 0xD9, 0xDD, 0xDF, 0xFF))])
            else:
                frame[at:] = rng.choice(valid)[at:]
        packet = watch.run(serializer.decoder().decode, bytes(frame))
        if packet is not None:
            check(packet)
    print(f"MessagePack: {watch.judge(MESSAGEPACK_INPUTS)}")


@pytest.mark.parametrize("version", ["4", "3"])
async def test_no_packet_breaks_a_session(caplog: pytest.LogCaptureFixture, version: str) -> None:
    """A session would be neither open nor closed, or an error would be logged with a traceback each time."""
    rng, witness = random.Random(SEED + 3), Witness(allow_eio3=True)
    engine = witness.engine
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    caplog.set_level(logging.WARNING)
    await witness.io._start(None)  # type: ignore[arg-type]
    witness.gate.set()
    request = make_mocked_request("GET", f"/socket.io/?EIO={version}&transport=polling")
    try:
        for _ in range(INPUTS // 100):
            assert (await engine.handle_request(request)).status == 200
        for connection in list(engine.connections.values()):
            if rng.random() < 0.9 and version == "4":
                connection.receive_all(["40"])
            frames = frames_of(rng)
            head = MESSAGE if version == "3" and rng.random() < 0.9 else b""
            connection.receive_all([f"4{frame}" if isinstance(frame, str) else head + frame for frame in frames])
            connection.receive_all([mutate(rng, "42", ("0{}", "1", "2probe", "3", "5", "6", "bAQID\n", "b4-_-_"))])
        await eventually(lambda: all(each.inbox is None for each in engine.connections.values()))
        for connection in list(engine.connections.values()):
            connection.receive_all(["1"])
        await eventually(lambda: not engine.connections)
        await eventually(lambda: not engine.tasks)
        witness.assert_nothing_left()
    finally:
        await witness.io._stop(None)  # type: ignore[arg-type]
    assert errors == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


# -- a megabyte of the worst

MEGABYTE: Final = 999_000


def fill(start: str, part: str, end: str, size: int = MEGABYTE) -> str:
    """A text of about so many characters."""
    return start + ",".join([part] * ((size - len(start) - len(end)) // (len(part) + 1))) + end


def distinct(size: int) -> str:
    """An object with as many keys as fit, all different."""
    return "{" + ",".join(f'"{number}":0' for number in range(size // 11)) + "}"


SMALL_OBJECTS: Final = fill("[", '{"a":1}', "]")
HEAVY: Final[dict[str, list[str | bytes]]] = {
    "deep arrays": ['42["a",' + "[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2) + "]"],
    "deep objects": ['42["a",' + '{"a":' * (MEGABYTE // 6) + "1" + "}" * (MEGABYTE // 6) + "]"],
    "arrays as deep as is allowed": [fill('42["a",', "[" * 500 + "]" * 500, "]")],
    "empty arrays": [fill('42["a",', "[]", "]")],
    "empty objects": [fill('42["a",', "{}", "]")],
    "small objects": [f'42["a",{SMALL_OBJECTS}]'],
    "distinct keys": [f'42["a",{distinct(MEGABYTE)}]'],
    "small numbers": [fill('42["a",', "1", "]")],
    "long fractions": [fill('42["a",', "0.12345678901234567890", "]")],
    "exponents": [fill('42["a",', "1e-300", "]")],
    "one long number": ['42["a",' + "9" * MEGABYTE + "]"],
    "escapes": ['42["a","' + "\\u00e9" * (MEGABYTE // 6) + '"]'],
    "lone surrogates": ['42["a","' + "\\ud800" * (MEGABYTE // 6) + '"]'],
    "strings": [fill('42["a",', '"x"', "]")],
    "an attachment and empty objects": [fill('451-["a",', "{}", "]"), b"x"],
    "an attachment and small objects": [f'451-["a",{SMALL_OBJECTS}]', b"x"],
    "an attachment and placeholders": [fill('451-["a",', '{"_placeholder":true,"num":0}', "]"), b"x"],
    "an attachment and deep arrays": ['451-["a",' + "[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2) + "]", b"x"],
    "an attachment and deep objects": [
        '451-["a",' + '{"a":' * (MEGABYTE // 6) + "1" + "}" * (MEGABYTE // 6) + "]",
        b"x",
    ],
    "an attachment and a long number": ['451-["a",' + "9" * MEGABYTE + "]", b"x"],
    "a long attachment as text, in lines": [
        '451-["a",{"_placeholder":true,"num":0}]',
        "b" + "A-_A\n" * (MEGABYTE // 5),
    ],
    "an attachment and distinct keys": [f'451-["a",{distinct(MEGABYTE)}]', b"x"],
    "an acknowledgement": [f"430[{SMALL_OBJECTS}]"],
    "connect": ['40{"a":' + SMALL_OBJECTS + "}"],
}
REFUSED: Final = frozenset(
    {
        "deep arrays",
        "deep objects",
        "one long number",
        "an attachment and deep arrays",
        "an attachment and deep objects",
        "an attachment and a long number",
        "connect",
    }
)
"""Those that close the connection; the others are served."""


class Ticker:
    """Notes the longest time in which the event loop did nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Ticker:
        self._last = time.perf_counter()
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(0.005)
        assert self._task is not None
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - self._last)
            self._last = now


@pytest.mark.parametrize("name", HEAVY)
async def test_a_heavy_message_does_not_hold_up_the_others(serve: Serve, name: str) -> None:
    """One client could make everybody wait, again and again, with messages that the server allows."""
    io = Server()
    received: list[int] = []
    gone: list[str] = []

    @io.on("a")
    def a(socket: Socket, *args: Any) -> int:
        received.append(len(args))
        return len(args)

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        gone.append(reason)

    server = await serve(io)
    async with raw_client(server.url) as raw, raw_client(server.url) as other:
        bystander = await join_websocket(other)
        websocket = await join_websocket(raw)
        async with Ticker() as ticker:
            for frame in HEAVY[name]:
                await websocket.send(frame)
            await websocket.send('42["a"]')
            await eventually(lambda: received[-1:] == [0] or gone, 10)
        assert bool(gone) is (name in REFUSED), (gone, received)
        await bystander.send('421["a"]')
        assert await bystander.receive() == "431[0]"
    print(f"{name}: held up for {ticker.longest * 1000:.0f} ms")


def posts() -> Iterator[tuple[str, str]]:
    """POST bodies of a megabyte, by name."""
    for name, packet in {
        "events": '42["a"]',
        "pongs": "3",
        "noops": "6",
        "binary": "bAA==",
        "acknowledgements": "430[]",
        "acknowledgements without a payload": "430",
        "binary in lines": "bAA=\n=\n",
    }.items():
        yield name, "\x1e".join([packet] * (MEGABYTE // (len(packet) + 1)))
    yield "line breaks alone", "bAA" + "\r\n" * (MEGABYTE // 2)


@pytest.mark.parametrize(("name", "body"), [pytest.param(name, body, id=name) for name, body in posts()])
async def test_a_heavy_post_does_not_hold_up_the_others(serve: Serve, name: str, body: str) -> None:
    """The same in one POST: a million pieces instead of one."""
    io = Server()
    io.on("a")(lambda socket: None)
    server = await serve(io)
    async with raw_client(server.url) as raw, raw_client(server.url) as other:
        bystander = await join_websocket(other)
        await join(raw)
        async with Ticker() as ticker:
            await raw.request("POST", body=body)
            await bystander.send('421["a"]')
            assert json.loads(str(await bystander.receive())[3:]) in ([], [None])
    print(f"{name}: held up for {ticker.longest * 1000:.0f} ms")
