"""RFC 7692 on the wire, per-message compression: what is agreed, what must be taken, and what must be refused."""

from __future__ import annotations

import contextlib
import json
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from rtframework import Deflate
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, raw_client
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PATH,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Head,
    Peer,
    fragments,
    frame,
    tcp,
)

LIMIT: Final = 100_000
"""Bytes that a message may have."""
TAIL: Final = b"\0\0\xff\xff"
PLAIN: Final = "permessage-deflate"


class Agreement:
    """What the server has agreed to, if it has (7.1): the windows in bits, and whether contexts are kept."""

    def __init__(self, head: Head) -> None:
        values = ", ".join(head.headers.get("sec-websocket-extensions", []))
        self.parameters: dict[str, str | None] = {}
        self.is_there = bool(values)
        if values:
            name, *parameters = (each.strip() for each in values.split(";"))
            assert name == PLAIN, f"{values!r} was not asked for"
            for each in parameters:
                key, _, value = (part.strip() for part in each.partition("="))
                assert key not in self.parameters, values
                self.parameters[key] = value.strip('"') or None
            assert self.parameters.keys() <= {
                "server_no_context_takeover",
                "client_no_context_takeover",
                "server_max_window_bits",
                "client_max_window_bits",
            }
        self.server_bits = int(self.parameters.get("server_max_window_bits") or 15)
        self.client_bits = int(self.parameters.get("client_max_window_bits") or 15)
        self.server_keeps = "server_no_context_takeover" not in self.parameters
        self.client_keeps = "client_no_context_takeover" not in self.parameters


class Inflater:
    """Reads what the server compresses, with no more window than was agreed."""

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._stream = zlib.decompressobj(-agreement.server_bits)

    def __call__(self, data: bytes) -> bytes:
        """A message's payload."""
        if not self._agreement.server_keeps:
            self._stream = zlib.decompressobj(-self._agreement.server_bits)
        # Byte by byte: zlib would look back further than its window within what it puts out at once.
        return b"".join(self._stream.decompress(bytes((each,))) for each in data + TAIL)


class Deflater:
    """Compresses as a client does (7.2.1)."""

    def __init__(self, agreement: Agreement, *, keeps: bool = False, level: int = 6) -> None:
        self._bits = -max(9, agreement.client_bits)  # zlib's distances stay below 256 with 9 bits
        self._keeps = keeps and agreement.client_keeps
        self._level = level
        self._stream = self._new()

    def __call__(self, data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
        """A message's payload."""
        if not self._keeps:
            self._stream = self._new()
        compressed = self._stream.compress(data) + self._stream.flush(flush)
        assert compressed.endswith(TAIL)
        return compressed[:-4] or b"\0"

    def _new(self) -> Any:
        return zlib.compressobj(self._level, zlib.DEFLATED, self._bits)


class Party:
    """A server that compresses, and one client that has joined and agreed on it."""

    def __init__(self, witness: Witness, peer: Peer, agreement: Agreement) -> None:
        self.witness = witness
        self.peer = peer
        self.agreement = agreement
        self.deflate = Deflater(agreement)

    async def assert_failed(self, *codes: int) -> None:
        """The connection was failed with one of these codes, nothing was served, nothing is left."""
        end = await self.peer.end()
        assert end.code in codes, f"closed with {end.code}"
        assert end.messages == []
        assert await self.witness.reason() == "transport error"
        assert self.witness.notes == []
        await eventually(lambda: not self.witness.engine.tasks)
        self.witness.assert_nothing_left()


@contextlib.asynccontextmanager
async def joined(serve: Serve, *offers: str, **options: Any) -> AsyncIterator[Party]:
    """A server, and a client that has joined with these offers, each in a header of its own."""
    options = {"per_message_deflate": Deflate(threshold=0), "max_http_buffer_size": LIMIT, **options}
    witness = Witness(**options)
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        agreement = Agreement(await peer.open(*(f"Sec-WebSocket-Extensions: {offer}" for offer in offers)))
        if agreement.is_there:
            peer.decompress = Inflater(agreement)
        await peer.join()
        yield Party(witness, peer, agreement)


@pytest.fixture
async def party(serve: Serve) -> AsyncIterator[Party]:
    """What browsers offer, and a server that takes it."""
    async with joined(serve, f"{PLAIN}; client_max_window_bits") as party:
        assert party.agreement.is_there
        yield party


def note(value: object) -> bytes:
    """An event that the witness keeps."""
    return b"42" + json.dumps(["note", value], separators=(",", ":")).encode()


# -- switched off


@pytest.mark.parametrize("offer", [PLAIN, f"{PLAIN}; client_max_window_bits", f"{PLAIN}, x-webkit-deflate-frame"])
async def test_nothing_is_agreed_by_a_server_that_does_not_compress(serve: Serve, offer: str) -> None:
    """Each browser would cost many times the memory."""
    async with joined(serve, offer, per_message_deflate=None) as party:
        assert not party.agreement.is_there
        await party.peer.echoes()
        assert not any(each.rsv for each in party.peer.frames)


@pytest.mark.parametrize("offers", [(), (PLAIN,)], ids=["nothing offered", "offered"])
async def test_what_was_not_agreed_is_not_taken(serve: Serve, offers: tuple[str, ...]) -> None:
    """Compressed data would be taken for text, or text for compressed data."""
    async with joined(serve, *offers, per_message_deflate=None) as party:
        party.peer.send(frame(TEXT, party.deflate(note(1)), rsv=RSV1))
        await party.assert_failed(1002)


async def test_clients_that_offer_nothing_get_nothing_compressed(serve: Serve) -> None:
    """A small client without zlib could not read a word."""
    async with joined(serve) as party:
        assert not party.agreement.is_there
        await party.peer.echoes("x" * 5_000)
        assert not any(each.rsv for each in party.peer.frames)
        party.peer.send(frame(TEXT, party.deflate(note(1)), rsv=RSV1))
        await party.assert_failed(1002)


# -- what is agreed (5, 7.1)

LONG: Final = "".join(random.Random(1).choice("0123456789abcdef") for _ in range(700))
"""Text that compresses only if one looks back further than a small window."""


async def both_ways(party: Party) -> None:
    """Messages that refer to what was before, in both directions and within the windows agreed."""
    deflate = Deflater(party.agreement, keeps=True)
    for value in (LONG, LONG, LONG * 3, "", "é" * 20_000, LONG):
        party.peer.send(
            frame(TEXT, deflate(b"429" + json.dumps(["echo", value], ensure_ascii=False).encode()), rsv=RSV1)
        )
        answer = await party.peer.receive()
        assert json.loads(str(answer).removeprefix("439")) == [value]
    await party.peer.echoes()  # what is not compressed, in between
    blob = random.Random(2).randbytes(3_000) * 2
    party.peer.send(
        frame(TEXT, deflate(b'451-9["echo",{"_placeholder":true,"num":0}]'), rsv=RSV1),
        frame(BINARY, deflate(blob), rsv=RSV1),
    )
    assert str(await party.peer.receive()).startswith("461-9")
    assert await party.peer.receive() == blob


TAKEN: Final = (
    PLAIN,
    f"{PLAIN};client_max_window_bits",
    f"{PLAIN}; client_no_context_takeover",
    f"{PLAIN}; server_no_context_takeover; client_no_context_takeover",
    *(f"{PLAIN}; server_max_window_bits={bits}" for bits in range(9, 16)),
    *(f"{PLAIN}; client_max_window_bits={bits}" for bits in range(8, 16)),
    f"{PLAIN}; server_max_window_bits=10; client_max_window_bits=12; server_no_context_takeover",
    f"{PLAIN}; client_max_window_bits; server_max_window_bits=10, {PLAIN}; client_max_window_bits",
)
MAY_BE_DECLINED: Final = (
    f"{PLAIN} ; client_max_window_bits ; server_no_context_takeover",
    f"{PLAIN}; server_max_window_bits=8",
    f'{PLAIN}; server_max_window_bits="10"',
    f"x-unknown; a=b, {PLAIN}",
    f"{PLAIN}; x-unknown=1, {PLAIN}",
    f"{PLAIN}; server_max_window_bits=99, {PLAIN}; server_max_window_bits=11",
)


def misfit(agreement: Agreement, offer: str) -> str | None:
    """What in an agreement is no answer to an offer; ``None`` when it is one."""
    name, *rest = (each.strip() for each in offer.split(";"))
    options = dict(each.partition("=")[::2] for each in rest)
    if name != PLAIN or "x-unknown" in options or "99" in options.values():
        return "nobody may take this offer"
    if "server_no_context_takeover" in options and agreement.server_keeps:
        return "server_no_context_takeover was asked for and is not confirmed (7.1.1.1)"
    if "server_max_window_bits" in options:
        told = agreement.parameters.get("server_max_window_bits")
        if told is None or not 8 <= int(told) <= int(options["server_max_window_bits"].strip('"')):
            return "server_max_window_bits was asked for and is not confirmed (7.1.2.1)"
    if "client_max_window_bits" in agreement.parameters:
        if "client_max_window_bits" not in options:
            return "client_max_window_bits was not offered (7.1.2.2)"
        if not 8 <= agreement.client_bits <= int(options["client_max_window_bits"] or 15):
            return "client_max_window_bits is more than was offered (7.1.2.2)"
    return None


@pytest.mark.parametrize("offer", [*TAKEN, *MAY_BE_DECLINED])
async def test_offers(serve: Serve, offer: str) -> None:
    """A client would be answered by what it did not offer or cannot do, and close, or read garbage."""
    async with joined(serve, offer) as party:
        if party.agreement.is_there:
            misfits = [misfit(party.agreement, each) for each in offer.split(",")]
            assert None in misfits, misfits
            await both_ways(party)
        else:
            assert offer in MAY_BE_DECLINED
            await party.peer.echoes(LONG)


@pytest.mark.parametrize(
    "offer",
    [
        f"{PLAIN}; server_max_window_bits=7",
        f"{PLAIN}; server_max_window_bits=16",
        f"{PLAIN}; server_max_window_bits=08",
        f"{PLAIN}; server_max_window_bits=100",
        f"{PLAIN}; server_max_window_bits=",
        f"{PLAIN}; server_max_window_bits",
        f"{PLAIN}; server_max_window_bits=x",
        f"{PLAIN}; server_max_window_bits=-10",
        f"{PLAIN}; client_max_window_bits=7",
        f"{PLAIN}; client_max_window_bits=16",
        f"{PLAIN}; client_max_window_bits=1x",
        f"{PLAIN}; server_no_context_takeover=1",
        f"{PLAIN}; client_no_context_takeover=true",
        f"{PLAIN}; unknown",
        f"{PLAIN}; server_max_window_bits=10; server_max_window_bits=11",
        f"{PLAIN}; client_no_context_takeover; client_no_context_takeover",
        f"{PLAIN}-2",
        f"x-{PLAIN}",
        "deflate",
    ],
)
async def test_offers_that_are_none(serve: Serve, offer: str) -> None:
    """Both sides would take something else for agreed (7.1): each has to be declined, or the handshake refused."""
    witness = Witness(per_message_deflate=Deflate(threshold=0))
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        head = await peer.request(
            *(
                "Host: localhost",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                f"Sec-WebSocket-Extensions: {offer}",
            )
        )
        if head.status != 101:
            assert head.status == 400
            return
        assert not Agreement(head).is_there
        await peer.join()
        await peer.echoes(LONG)


async def test_offers_may_be_in_several_headers(serve: Serve) -> None:
    """The second one would be lost (RFC 6455, 9.1); it may be declined, but not mixed with the first."""
    async with joined(serve, "x-unknown", f"{PLAIN}; server_no_context_takeover") as party:
        if party.agreement.is_there:
            assert not party.agreement.server_keeps
            await both_ways(party)
        else:
            await party.peer.echoes()


async def test_the_websocket_of_an_upgrade_compresses_too(serve: Serve) -> None:
    """Clients that begin with polling, as nearly all do, would not get what they have offered."""
    witness = Witness(per_message_deflate=Deflate(threshold=0), max_http_buffer_size=LIMIT)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, tcp(server.url) as peer:
        await join(raw)
        head = await peer.open(f"Sec-WebSocket-Extensions: {PLAIN}", path=f"{PATH}&sid={raw.sid}")
        agreement = Agreement(head)
        assert agreement.is_there
        peer.decompress = Inflater(agreement)
        deflate = Deflater(agreement, keeps=True)
        peer.send(frame(TEXT, deflate(b"2probe"), rsv=RSV1))
        assert await peer.receive() == "3probe"
        peer.send(frame(TEXT, deflate(b"5"), rsv=RSV1), frame(TEXT, deflate(note(LONG)), rsv=RSV1))
        await witness.noted(LONG)
        await both_ways(Party(witness, peer, agreement))


# -- what clients send (7.2)


def stored(deflate: Deflater, data: bytes, agreement: Agreement) -> bytes:
    """Not compressed at all, but in the format."""
    return Deflater(agreement, level=0)(data)


def full_flush(deflate: Deflater, data: bytes, agreement: Agreement) -> bytes:
    """Ended by another kind of flush."""
    return deflate(data, zlib.Z_FULL_FLUSH)


def many_blocks(deflate: Deflater, data: bytes, agreement: Agreement) -> bytes:
    """In several blocks (7.2.3.5)."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -agreement.client_bits)
    parts = [
        stream.compress(data[:9]) + stream.flush(zlib.Z_SYNC_FLUSH),
        stream.compress(data[9:20]) + stream.flush(zlib.Z_FULL_FLUSH),
        stream.compress(data[20:]) + stream.flush(zlib.Z_SYNC_FLUSH),
    ]
    return b"".join(parts)[:-4]


def final_block(deflate: Deflater, data: bytes, agreement: Agreement) -> bytes:
    """In a block that says that it is the last one, and an empty one after it (7.2.3.4)."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -agreement.client_bits)
    return bytes(stream.compress(data) + stream.flush(zlib.Z_FINISH) + b"\0")


def fixed_codes(deflate: Deflater, data: bytes, agreement: Agreement) -> bytes:
    """With the codes that every decompressor knows (7.2.3.1)."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -agreement.client_bits, 9, zlib.Z_FIXED)
    return bytes((stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4])


@pytest.mark.parametrize(
    "how", [stored, full_flush, many_blocks, final_block, fixed_codes], ids=lambda how: how.__name__
)
async def test_messages_may_be_compressed_in_many_ways(
    party: Party, how: Callable[[Deflater, bytes, Agreement], bytes]
) -> None:
    """Clients with another library than zlib would not be understood, or broken by the second message."""
    for number in range(3):
        data = note([number, "x" * 50])
        party.peer.send(frame(TEXT, how(party.deflate, data, party.agreement), rsv=RSV1))
    party.peer.send(frame(TEXT, party.deflate(note("last")), rsv=RSV1), frame(TEXT, note("plain")))
    await party.witness.noted(*([number, "x" * 50] for number in range(3)), "last", "plain")


async def test_messages_that_refer_to_the_ones_before(party: Party) -> None:
    """Browsers compress so unless they are told not to: the second message would be garbage."""
    deflate = Deflater(party.agreement, keeps=True)
    for _ in range(5):
        party.peer.send(frame(TEXT, deflate(note(LONG)), rsv=RSV1), frame(TEXT, note("plain")))
    await party.witness.noted(*[LONG, "plain"] * 5)


async def test_a_compressed_message_in_fragments(party: Party) -> None:
    """A message would be inflated in pieces, or its control frames with it (6.1)."""
    data = party.deflate(note(LONG))
    between = frame(PING, b"?") + frame(PONG)
    party.peer.send(fragments(TEXT, [data[:1], b"", data[1:100], data[100:], b""], rsv=RSV1, between=between))
    party.peer.send(fragments(TEXT, [bytes((each,)) for each in data], rsv=RSV1))
    await party.peer.trickle(fragments(TEXT, [data[:50], data[50:]], rsv=RSV1, between=between))
    await party.witness.noted(LONG, LONG, LONG)
    await party.peer.echoes()
    assert party.peer.pongs[-1] == b"?"


@pytest.mark.parametrize("payload", [b"\0", b"\x02\0", b"\x01\0\0\xff\xff\0"], ids=bytes.hex)
async def test_an_empty_compressed_message(party: Party, payload: bytes) -> None:
    """An empty picture would break the session (7.2.3.6)."""
    party.peer.send(
        frame(TEXT, b'451-["note",{"_placeholder":true,"num":0}]'),
        frame(BINARY, payload, rsv=RSV1),
        frame(TEXT, party.deflate(note(1)), rsv=RSV1),
    )
    await party.witness.noted(b"", 1)


async def test_compressed_text_is_text(party: Party) -> None:
    """What is no UTF-8 would pass because it came compressed."""
    party.peer.send(frame(TEXT, party.deflate(b'42["note","\xff"]'), rsv=RSV1))
    await party.assert_failed(1007)


FORBIDDEN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "RSV1 on a ping": lambda data: frame(PING, b"x", rsv=RSV1),
    "RSV1 on a pong": lambda data: frame(PONG, rsv=RSV1),
    "RSV1 on a close": lambda data: frame(CLOSE, b"\x03\xe8", rsv=RSV1),
    "RSV1 on a ping within a message": lambda data: frame(TEXT, data[:5], fin=False, rsv=RSV1) + frame(PING, rsv=RSV1),
    "RSV1 on a continuation": lambda data: (
        frame(TEXT, data[:5], fin=False, rsv=RSV1) + frame(CONTINUATION, data[5:], rsv=RSV1)
    ),
    "RSV1 on a continuation of what is not compressed": lambda data: (
        frame(TEXT, b'42["note",', fin=False) + frame(CONTINUATION, b"1]", rsv=RSV1)
    ),
    "RSV1 on an empty continuation": lambda data: (
        frame(TEXT, data, fin=False, rsv=RSV1) + frame(CONTINUATION, rsv=RSV1)
    ),
    "RSV2": lambda data: frame(TEXT, note(1), rsv=RSV2),
    "RSV3": lambda data: frame(TEXT, note(1), rsv=RSV3),
    "RSV1 and RSV2": lambda data: frame(TEXT, data, rsv=RSV1 | RSV2),
}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_bits_in_the_wrong_place(party: Party, name: str) -> None:
    """What is compressed would be guessed (6.1)."""
    party.peer.send(FORBIDDEN[name](party.deflate(note(1))))
    await party.assert_failed(1002)


CORRUPT: Final = {
    "a reserved kind of block": b"\x07",
    "a stored block with wrong lengths": b"\x00\x05\x00\x00\x00hello",
    "a distance beyond the beginning": b"\x4b\x04\x42\x00\xff\xff",
    "text": b"hello, world",
    "all ones": b"\xff" * 50,
}


@pytest.mark.parametrize("name", CORRUPT)
async def test_corrupt_data(party: Party, name: str) -> None:
    """It would be an unhandled error, or half a message."""
    party.peer.send(frame(TEXT, CORRUPT[name], rsv=RSV1), frame(TEXT, note(1)))
    await party.assert_failed(1002, 1007)


async def test_corrupt_data_in_the_middle(party: Party) -> None:
    """The same where a good beginning could be served."""
    data = bytearray(party.deflate(note(LONG)))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    party.peer.send(frame(TEXT, bytes(data), rsv=RSV1))
    end = await party.peer.end()
    assert end.code in (1000, 1002, 1007)  # whatever the bits mean now, it is no packet
    assert party.witness.notes == []


async def test_a_compressed_message_that_breaks_off(party: Party) -> None:
    """The part that came would be served as the whole."""
    data = party.deflate(note(LONG))
    party.peer.send(frame(TEXT, data[: len(data) // 2], rsv=RSV1))
    end = await party.peer.end()
    assert end.code in (1000, 1002, 1007)
    assert party.witness.notes == []


# -- sizes


@pytest.mark.parametrize("in_fragments", [False, True])
async def test_the_limit_is_that_of_the_message(party: Party, in_fragments: bool) -> None:
    """What is announced to clients would depend on how well their message compresses."""

    def send(size: int) -> None:
        data = party.deflate(b'42["note","' + b"x" * (size - 13) + b'"]')
        party.peer.send(
            fragments(TEXT, [data[:40], data[40:]], rsv=RSV1) if in_fragments else frame(TEXT, data, rsv=RSV1)
        )

    send(LIMIT)
    await party.witness.noted("x" * (LIMIT - 13))
    party.witness.notes.clear()
    send(LIMIT + 1)
    await party.assert_failed(1009)


@pytest.mark.parametrize("how", ["one frame", "fragments", "layers"])
async def test_a_bomb_costs_no_more_than_the_limit(party: Party, how: str) -> None:
    """Some kilobytes from anybody would become many megabytes of the server's memory."""
    data = party.deflate(b'42["note","' + b" " * 30_000_000 + b'"]')
    assert len(data) < LIMIT
    sent = {
        "one frame": frame(TEXT, data, rsv=RSV1),
        "fragments": fragments(TEXT, [data[at : at + 999] for at in range(0, len(data), 999)], rsv=RSV1),
        "layers": frame(TEXT, party.deflate(data) + TAIL + party.deflate(data), rsv=RSV1),
    }[how]
    if how == "layers":
        sent += frame(TEXT, data, rsv=RSV1)
    tracemalloc.start()
    try:
        party.peer.send(sent)
        end = await party.peer.end()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end.code in ((1009,) if how != "layers" else (1000, 1007, 1009))
    assert party.witness.notes == []
    assert peak < 20 * LIMIT, f"{peak} bytes"


async def test_many_small_bombs_are_refused_one_by_one(serve: Serve) -> None:
    """The memory of one would stay until the next."""
    async with joined(serve, PLAIN) as party:
        data = party.deflate(note("x" * (LIMIT - 20)))
        tracemalloc.start()
        try:
            for _ in range(100):
                party.peer.send(frame(TEXT, data, rsv=RSV1))
                await eventually(lambda: party.witness.notes)
                party.witness.notes.clear()
            await party.peer.echoes()
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert left < 10 * LIMIT


# -- what the server sends


async def test_control_frames_are_not_compressed(party: Party) -> None:
    """A client would close on a compressed pong, and has to (6.1)."""
    party.peer.send(frame(PING, b"x" * 125))
    await party.peer.echoes(LONG)
    await party.witness.only.disconnect(close=True)
    await party.peer.end()
    assert all(not each.rsv for each in party.peer.frames if each.opcode in (PONG, CLOSE))
    assert any(each.rsv for each in party.peer.frames), "nothing was compressed at all"


async def test_small_messages_are_not_compressed(serve: Serve) -> None:
    """Short messages would become longer, and cost more."""
    async with joined(serve, PLAIN, per_message_deflate=Deflate(threshold=500)) as party:
        await party.peer.echoes("x" * 100)
        assert not any(each.rsv for each in party.peer.frames)
        await party.peer.echoes("x" * 1_000)
        assert party.peer.frames[-1].rsv == RSV1
        assert len(party.peer.frames[-1].payload) < 200


async def test_broadcasts_among_answers(serve: Serve) -> None:
    """A broadcast is compressed once for all: it would refer to what only some have received."""
    async with joined(serve, PLAIN) as party, others_than(party) as others:
        for number in range(20):
            await party.peer.echoes(f"{LONG} {number}")
            await party.witness.io.emit("n", LONG, number)
            for peer in (party.peer, *others):
                assert json.loads(str(await peer.receive())[2:]) == ["n", LONG, number]


@contextlib.asynccontextmanager
async def others_than(party: Party) -> AsyncIterator[list[Peer]]:
    """Clients of the same server with other agreements."""
    host, port = party.peer.transport.get_extra_info("peername")[:2]
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for offer in ("x-none", f"{PLAIN}; server_max_window_bits=9", f"{PLAIN}; server_no_context_takeover"):
            peer = await stack.enter_async_context(tcp(f"http://{host}:{port}"))
            agreement = Agreement(await peer.open(f"Sec-WebSocket-Extensions: {offer}"))
            peer.decompress = Inflater(agreement) if agreement.is_there else None
            await peer.join()
            peers.append(peer)
        yield peers
