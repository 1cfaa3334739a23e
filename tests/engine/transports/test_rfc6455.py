"""RFC 6455 on the wire: what a server must take, and what it must refuse, byte by byte.

Where the RFC leaves a choice, each of its answers is taken; where it does not, only its own.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from tests.conftest import Serve
from tests.engine import Witness, eventually, join, raw_client
from tests.support.server import RunningServer
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PATH,
    PING,
    PONG,
    REQUEST,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    End,
    Peer,
    fragments,
    frame,
    tcp,
)

LIMIT: Final = 100_000
"""Bytes that a message may have."""


class Party:
    """A server and one client that has joined."""

    def __init__(self, witness: Witness, server: RunningServer, peer: Peer) -> None:
        self.witness = witness
        self.server = server
        self.peer = peer

    async def assert_failed(self, *codes: int | None) -> End:
        """The connection was failed (7.1.7) with one of these codes, nothing was served, nothing is left."""
        end = await self.peer.end()
        assert end.code in codes, f"closed with {end.code}"
        assert end.messages == []
        await self.assert_gone("transport error")
        assert self.witness.notes == []
        return end

    async def assert_gone(self, reason: str) -> None:
        """The session has ended, for this reason."""
        assert await self.witness.reason() == reason
        await eventually(lambda: not self.witness.engine.tasks)
        self.witness.assert_nothing_left()


@contextlib.asynccontextmanager
async def joined(serve: Serve, *headers: str, **options: Any) -> AsyncIterator[Party]:
    """A server with these options, and a client that has joined with these headers."""
    witness = Witness(max_http_buffer_size=LIMIT, **options)
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        await peer.open(*headers)
        await peer.join()
        yield Party(witness, server, peer)


@pytest.fixture
async def party(serve: Serve) -> AsyncIterator[Party]:
    """A server with default settings but its limit, and a client that has joined."""
    async with joined(serve) as party:
        yield party


def note(value: object) -> bytes:
    """An event that the witness keeps."""
    return b"42" + json.dumps(["note", value], ensure_ascii=False, separators=(",", ":")).encode()


def note_of(length: int) -> tuple[bytes, str]:
    """A note whose message has so many bytes, and its text."""
    text = "x" * (length - len(note("")))
    return note(text), text


# -- the opening handshake (4)


async def test_the_handshake_of_the_rfc(serve: Serve) -> None:
    """No browser would connect."""
    server = await serve(Witness().io)
    async with tcp(server.url) as peer:
        head = await peer.open("Sec-WebSocket-Protocol: chat, superchat")
        assert head.one("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert head.one("sec-websocket-protocol") in (None, "chat", "superchat")
        assert head.one("sec-websocket-extensions") is None
        await peer.join()
        await peer.echoes()


@pytest.mark.parametrize(
    "headers",
    [
        ("connection: keep-alive, Upgrade", "upgrade: WebSocket"),
        ("CONNECTION: UPGRADE", "UPGRADE: WEBSOCKET"),
        ("Connection: keep-alive", "Connection: upgrade", "Upgrade: websocket"),
        ("Connection:Upgrade", "Upgrade:  websocket "),
        ("Connection: foo,,  upgrade ,bar", "Upgrade: websocket"),
    ],
)
async def test_headers_may_be_written_in_many_ways(serve: Serve, headers: tuple[str, ...]) -> None:
    """Firefox and half of the proxies would not get through."""
    server = await serve(Witness().io)
    async with tcp(server.url) as peer:
        head = await peer.request(*headers, REQUEST[0], *REQUEST[3:])
        assert head.status == 101
        await peer.join()
        await peer.echoes()


async def test_a_handshake_in_single_bytes(serve: Serve) -> None:
    """A slow network would be refused."""
    server = await serve(Witness().io)
    async with tcp(server.url) as peer:
        await peer.trickle("\r\n".join((f"GET {PATH} HTTP/1.1", *REQUEST, "", "")).encode())
        assert (await peer.head()).status == 101
        await peer.join()
        await peer.echoes()


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 8, 50], ids=lambda cut: f"{cut} bytes")
async def test_frames_right_behind_the_handshake(serve: Serve, cut: int) -> None:
    """What a hasty client sends with its request, or what a proxy joins, would be lost."""
    witness = Witness()
    server = await serve(witness.io)
    data = frame(TEXT, b"40") + frame(PING, b"early") + frame(TEXT, note("early")) + frame(TEXT, b'429["echo"]')
    async with tcp(server.url) as peer:
        await peer.open(behind=data[:cut])
        peer.send(data[cut:])
        assert str(await peer.receive()).startswith("0{")
        assert str(await peer.receive()).startswith("40{")
        assert await peer.receive() == "439[]"
        assert peer.pongs == [b"early"]
        assert witness.notes == ["early"]


async def test_everything_behind_the_handshake(serve: Serve) -> None:
    """The same for a client that says all it has to say at once, and leaves."""
    witness = Witness()
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        await peer.open(behind=frame(TEXT, b"40") + frame(TEXT, note(1)) + frame(CLOSE, b"\x03\xe8"))
        end = await peer.end()
        assert (end.clean, end.code) == (True, 1000)
    assert await witness.reason() == "transport close"
    assert witness.notes == [1]


def without(name: str, *instead: str) -> tuple[str, ...]:
    """The headers of the handshake with others in place of one."""
    return (*(line for line in REQUEST if not line.startswith(name + ":")), *instead)


def key(value: str) -> tuple[str, ...]:
    """The headers with another key."""
    return without("Sec-WebSocket-Key", f"Sec-WebSocket-Key: {value}")


REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "no key": without("Sec-WebSocket-Key"),
    "an empty key": key(""),
    "a short key": key("MDEyMzQ1Njc4OWFiY2Rl"),
    "a long key": key("MDEyMzQ1Njc4OWFiY2RlZmc="),
    "a key that is no base64": key("dGhl!HNhbXBsZSBub25jZ="),
    "two keys": (*REQUEST, f"Sec-WebSocket-Key: {KEY}"),
    "two keys in one": key(f"{KEY}, {KEY}"),
    "no version": without("Sec-WebSocket-Version"),
    "no Upgrade": without("Upgrade"),
    "another Upgrade": without("Upgrade", "Upgrade: h2c"),
    "no Connection": without("Connection"),
    "another Connection": without("Connection", "Connection: keep-alive"),
    "no Host": without("Host"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_handshake_is_refused(serve: Serve, name: str) -> None:
    """Something else than a websocket client, tricked into this by a page, would have a session (4.2.1)."""
    witness = Witness()
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        head = await peer.request(*REFUSED[name])
        assert head.status in (400, 426)
        assert "sec-websocket-accept" not in head.headers
    assert not witness.engine.connections


@pytest.mark.parametrize("version", ["0", "8", "12", "14", "256", "13, 8", "x", "-13", "013", "13.0", ""])
async def test_other_versions_are_told_which_is_spoken(serve: Serve, version: str) -> None:
    """An old client would speak its own version to a server that does not (4.2.2, 4.4)."""
    witness = Witness()
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        head = await peer.request(*without("Sec-WebSocket-Version", f"Sec-WebSocket-Version: {version}"))
        # What cannot be a version (11.6) is a bad request as well.
        assert head.status in ((426,) if version in ("0", "8", "12", "14") else (400, 426))
        if head.status == 426:
            told = ",".join(head.headers.get("sec-websocket-version", []))
            assert [each.strip() for each in told.split(",")] == ["13"]
    assert not witness.engine.connections


@pytest.mark.parametrize(
    "first",
    [f"POST {PATH} HTTP/1.1", f"PUT {PATH} HTTP/1.1", f"HEAD {PATH} HTTP/1.1", f"GET {PATH} HTTP/1.0"],
    ids=["POST", "PUT", "HEAD", "HTTP/1.0"],
)
async def test_only_get_opens_a_websocket(serve: Serve, first: str) -> None:
    """A form on any page could open one (4.1)."""
    witness = Witness()
    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        head = await peer.request(*REQUEST, first=first)
        assert 400 <= head.status < 500 or head.status == 505
        assert "sec-websocket-accept" not in head.headers
    assert not witness.engine.connections


# -- lengths (5.2)


@pytest.mark.parametrize("length", [13, 125, 126, 127, 128, 65_535, 65_536, 65_537, LIMIT])
async def test_lengths_at_their_edges(party: Party, length: int) -> None:
    """A message of just that length would break the session."""
    data, text = note_of(length)
    assert len(data) == length
    party.peer.send(frame(TEXT, data), frame(TEXT, note("next")))
    await party.witness.noted(text, "next")


@pytest.mark.parametrize("length", [13, 125, 126, 127, 128, 65_535, 65_536, 65_537])
async def test_lengths_of_what_the_server_sends(party: Party, length: int) -> None:
    """A client would take the rest of a message for the next frame."""
    text = "x" * (length - len('42["n",""]'))
    await party.witness.io.emit("n", text)
    assert await party.peer.receive() == f'42["n","{text}"]'
    sent = party.peer.frames[-1]
    assert (sent.opcode, sent.fin, sent.rsv, len(sent.payload)) == (TEXT, True, 0, length)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536])
async def test_lengths_of_binary_messages(party: Party, length: int) -> None:
    """The same for pictures, the empty one among them."""
    blob = random.Random(length).randbytes(length)
    party.peer.send(frame(TEXT, b'451-9["echo",{"_placeholder":true,"num":0}]'), frame(BINARY, blob))
    assert await party.peer.receive() == '461-9[{"_placeholder":true,"num":0}]'
    assert await party.peer.receive() == blob


async def test_an_empty_message_is_a_message(party: Party) -> None:
    """It would be passed over, though it is no packet of the session's protocol."""
    party.peer.send(frame(TEXT))
    assert (await party.peer.end()).code == 1000
    await party.assert_gone("parse error")


@pytest.mark.parametrize("length_bytes", [2, 8])
async def test_lengths_in_a_longer_form_than_needed(party: Party, length_bytes: int) -> None:
    """They are against the rules; a server may refuse them, and else must read them right."""
    party.peer.send(frame(TEXT, note(1), length_bytes=length_bytes), frame(TEXT, b'429["echo"]'))
    answer = await party.peer.next_message()
    if isinstance(answer, str):
        assert answer == "439[]"
        assert party.witness.notes == [1]
    else:
        assert await party.witness.reason() == "transport error"
        assert party.witness.notes == []


@pytest.mark.parametrize(
    "length", [1 << 63, (1 << 64) - 1, (1 << 63) + 5], ids=["only the top bit", "all bits", "the top bit and 5"]
)
async def test_lengths_with_the_top_bit(party: Party, length: int) -> None:
    """A length that is taken for a negative one has broken servers."""
    party.peer.send(bytes((0x81, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + b"hello")
    await party.assert_failed(1002, 1009)


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 31, 1 << 32, (1 << 63) - 1])
async def test_what_is_too_long_is_refused_before_it_comes(party: Party, length: int) -> None:
    """The server would wait for it, and keep what has come."""
    party.peer.send(bytes((0x81, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + b"hello")
    await party.assert_failed(1009)


async def test_a_message_of_fragments_is_bounded_as_a_whole(party: Party) -> None:
    """The limit would be one of frames, and memory that of whoever sends them."""
    part = b"x" * (LIMIT // 4)
    party.peer.send(fragments(TEXT, [b'42["note","', part, part, part, part, part]))
    await party.assert_failed(1009)


async def test_a_message_of_fragments_may_be_as_long_as_any(party: Party) -> None:
    """A client that fragments would get less."""
    data, text = note_of(LIMIT)
    party.peer.send(fragments(TEXT, [data[at : at + 999] for at in range(0, LIMIT, 999)]))
    await party.witness.noted(text)


# -- frames in the stream


async def test_single_bytes(party: Party) -> None:
    """A frame that a network cuts anywhere would break the session."""
    await party.peer.trickle(
        frame(TEXT, note(1))
        + frame(PING, b"?")
        + frame(TEXT, note("x" * 200))
        + fragments(TEXT, [b'42["no', b'te"', b",3]"])
        + frame(PONG)
        + frame(TEXT, b'429["echo"]')
    )
    assert await party.peer.receive() == "439[]"
    assert party.witness.notes == [1, "x" * 200, 3]
    assert party.peer.pongs == [b"?"]


async def test_many_messages_in_one_segment(party: Party) -> None:
    """What a client sends in one go would be lost but for the first."""
    party.peer.send(*(frame(TEXT, note(number)) for number in range(1_000)))
    await party.witness.noted(*range(1_000))


@pytest.mark.parametrize("seed", range(8))
async def test_any_stream_in_any_segments(party: Party, seed: int) -> None:
    """Some mixture of messages, fragments, control frames and segments would be read wrong."""
    rng = random.Random(seed)
    stream, notes, pings = bytearray(), [], []

    def control() -> bytes:
        if rng.random() < 0.5:
            return frame(PONG, rng.randbytes(rng.choice((0, 3, 125))), mask=rng.randbytes(4))
        pings.append(rng.randbytes(rng.choice((0, 1, 2, 3, 4, 5, 125))))
        return frame(PING, pings[-1], mask=rng.randbytes(4))

    for number in range(60):
        text = "".join(rng.choice("aé日😀 ") for _ in range(rng.choice((0, 1, 7, 100, 130, 22_000 // (1 + number)))))
        notes.append(text)
        data = note(text)
        places = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 0, 1, 2, 9))))
        parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
        for index, part in enumerate(parts):
            opcode = CONTINUATION if index else TEXT
            stream += frame(opcode, part, fin=index == len(parts) - 1, mask=rng.randbytes(4))
            if rng.random() < 0.3:
                stream += control()
    stream += frame(TEXT, b'429["echo"]')
    cuts = sorted(rng.randint(0, len(stream)) for _ in range(300))
    await party.peer.trickle(bytes(stream), cuts)
    assert await party.peer.receive() == "439[]"
    assert party.witness.notes == notes
    assert party.peer.pongs[-1] == pings[-1]
    expected = iter(pings)
    assert all(pong in expected for pong in party.peer.pongs), "pongs for what nobody asked, or out of order (5.5.3)"


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4", b"\0\0\0\1"], ids=bytes.hex)
@pytest.mark.parametrize("length", [13, 14, 15, 16, 17, 126, 1_000, 9_999])
async def test_masks(party: Party, mask: bytes, length: int) -> None:
    """Messages of some lengths would be garbled at their end."""
    data, text = note_of(length)
    party.peer.send(frame(TEXT, data, mask=mask))
    await party.witness.noted(text)


UNMASKED: Final = {
    "text": frame(TEXT, note(1), mask=None),
    "binary": frame(BINARY, b"x", mask=None),
    "empty": frame(TEXT, b"", mask=None),
    "ping": frame(PING, b"x", mask=None),
    "pong": frame(PONG, b"", mask=None),
    "close": frame(CLOSE, b"\x03\xe8", mask=None),
    "continuation": frame(TEXT, b"42", fin=False) + frame(CONTINUATION, b'["note",1]', mask=None),
}


@pytest.mark.parametrize("name", UNMASKED)
async def test_frames_without_a_mask(party: Party, name: str) -> None:
    """A page could write into caches between it and the server what it likes (5.1, 10.3)."""
    party.peer.send(UNMASKED[name])
    await party.assert_failed(1002, None)


OPCODES: Final = {"text": TEXT, "binary": BINARY, "ping": PING, "pong": PONG, "close": CLOSE}


@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3], ids=["RSV1", "RSV2", "RSV3", "all"])
@pytest.mark.parametrize("name", [*OPCODES, "continuation"])
async def test_reserved_bits(party: Party, rsv: int, name: str) -> None:
    """What an extension changed that was not agreed would be taken as it is (5.2)."""
    if name == "continuation":
        party.peer.send(frame(TEXT, b"42", fin=False), frame(CONTINUATION, b'["note",1]', rsv=rsv))
    else:
        payload = {"text": note(1), "close": b"\x03\xe8"}.get(name, b"")
        party.peer.send(frame(OPCODES[name], payload, rsv=rsv))
    await party.assert_failed(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"hello"], ids=["empty", "hello"])
async def test_reserved_opcodes(party: Party, opcode: int, payload: bytes) -> None:
    """Frames that nobody has defined would be guessed at (5.2)."""
    party.peer.send(frame(opcode, payload))
    await party.assert_failed(1002)


async def test_what_comes_before_a_bad_frame_is_served(party: Party) -> None:
    """A message that is whole would be lost, because of the segment that it came in."""
    party.peer.send(frame(TEXT, note(1)), frame(TEXT, note(2)), frame(3), frame(TEXT, note(3)))
    end = await party.peer.end()
    assert end.code == 1002
    assert await party.witness.reason() == "transport error"
    assert party.witness.notes in ([1, 2], [1], []), "nothing after it, and the rest in order"


# -- fragments (5.4)


@pytest.mark.parametrize(
    "parts",
    [
        [b'42["note"', b",1]"],
        [b"", b'42["note",1]'],
        [b'42["note",1]', b""],
        [b"", b"", b'42["note",1]', b"", b""],
        [b'42["no', b"", b'te",1]'],
        [bytes((each,)) for each in b'42["note",1]'],
    ],
    ids=["two", "empty first", "empty last", "empty around", "empty within", "single bytes"],
)
@pytest.mark.parametrize(
    "between",
    [b"", frame(PING, b"?"), frame(PONG, b"!"), frame(PING) + frame(PONG) + frame(PING, b"?")],
    ids=["nothing", "a ping", "a pong", "pings and a pong"],
)
async def test_fragments(party: Party, parts: list[bytes], between: bytes) -> None:
    """A client that sends while it still writes, as some libraries do, would be cut off."""
    party.peer.send(fragments(TEXT, parts, between=between), frame(TEXT, b'429["echo"]'))
    assert await party.peer.receive() == "439[]"
    assert party.witness.notes == [1]
    asked = between.count(frame(PING, b"?")) * (len(parts) - 1)
    assert party.peer.pongs.count(b"?") <= asked
    assert (party.peer.pongs[-1:] == [b"?"]) is bool(asked)


async def test_a_ping_within_a_message_is_answered_before_its_end(party: Party) -> None:
    """A client that sends something large, slowly, would be taken for dead, or take the server for it."""
    party.peer.send(frame(TEXT, b'429["echo",', fin=False), frame(PING, b"are you there?"))
    found = await party.peer.next_frame()
    assert found is not None
    assert (found.opcode, found.payload) == (PONG, b"are you there?")
    party.peer.send(frame(CONTINUATION, b"1]"))
    assert await party.peer.receive() == "439[1]"


async def test_a_thousand_fragments(party: Party) -> None:
    """The same in a thousand pieces, an empty one after each."""
    text = "".join(chr(0x61 + number % 26) for number in range(1_000))
    data = note(text)
    party.peer.send(fragments(TEXT, [part for each in data for part in (bytes((each,)), b"")]))
    await party.witness.noted(text)


async def test_fragments_of_binary(party: Party) -> None:
    """Pictures in pieces would arrive as several, or not."""
    party.peer.send(
        frame(TEXT, b'452-9["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'),
        fragments(BINARY, [b"\xff", b"", b"\x00\x80", b"\xc0"], between=frame(PING, b"?")),
        fragments(BINARY, [b"", b""]),
    )
    assert str(await party.peer.receive()).startswith("462-9")
    assert await party.peer.receive() == b"\xff\x00\x80\xc0"
    assert await party.peer.receive() == b""


BROKEN: Final = {
    "a continuation of nothing": frame(CONTINUATION, note(1)),
    "an empty continuation of nothing": frame(CONTINUATION),
    "a continuation of nothing, unfinished": frame(CONTINUATION, b"42", fin=False),
    "a continuation after the end": fragments(BINARY, [b"", b""]) + frame(CONTINUATION, note(1)),
    "a text within a text": frame(TEXT, b"42", fin=False) + frame(TEXT, note(1)),
    "a text within a text, unfinished": frame(TEXT, b"42", fin=False) + frame(TEXT, note(1), fin=False),
    "a binary within a text": frame(TEXT, b"42", fin=False) + frame(BINARY, b"x"),
    "a text within a binary": frame(BINARY, b"42", fin=False) + frame(TEXT, note(1)),
    "a text after an empty fragment": frame(TEXT, b"", fin=False) + frame(TEXT, note(1)),
    "an opcode within a text": frame(TEXT, b"42", fin=False) + frame(5, b"x"),
}


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "a continuation after the end"])
async def test_fragments_that_do_not_fit(party: Party, name: str) -> None:
    """Pieces of different messages would be put together."""
    party.peer.send(BROKEN[name])
    await party.assert_failed(1002)


async def test_a_continuation_after_the_end(party: Party) -> None:
    """The same when a message has just ended."""
    party.peer.send(fragments(TEXT, [b'429["ec', b'ho"]']))
    assert await party.peer.receive() == "439[]"
    party.peer.send(frame(CONTINUATION, b"x"))
    await party.assert_failed(1002)


# -- control frames (5.5)


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00\xff\xfe", b"x" * 125], ids=["empty", "one", "binary", "125"])
async def test_pings_are_answered_with_their_payload(party: Party, payload: bytes) -> None:
    """A proxy that looks whether the server is there would close the connection."""
    party.peer.send(frame(PING, payload))
    found = await party.peer.next_frame()
    assert found is not None
    assert (found.opcode, found.payload, found.fin, found.rsv) == (PONG, payload, True, 0)


async def test_many_pings(party: Party) -> None:
    """A burst of them would bring answers that fit none."""
    pings = [str(number).encode() for number in range(200)]
    party.peer.send(*(frame(PING, ping) for ping in pings), frame(TEXT, b'429["echo"]'))
    assert await party.peer.receive() == "439[]"
    assert party.peer.pongs[-1] == pings[-1]
    expected = iter(pings)
    assert all(pong in expected for pong in party.peer.pongs)


@pytest.mark.parametrize("payload", [b"", b"x" * 125])
async def test_pongs_that_nobody_asked_for(party: Party, payload: bytes) -> None:
    """Clients that send heartbeats of their own, as Internet Explorer did, would be closed (5.5.3)."""
    party.peer.send(frame(PONG, payload), frame(PONG, payload))
    await party.peer.echoes()
    assert party.peer.pongs == []


@pytest.mark.parametrize("name", ["ping", "pong", "close"])
async def test_control_frames_in_fragments(party: Party, name: str) -> None:
    """They could not be told from the message around them."""
    party.peer.send(frame(OPCODES[name], b"\x03\xe8", fin=False), frame(CONTINUATION, b""))
    await party.assert_failed(1002)


@pytest.mark.parametrize("name", ["ping", "pong", "close"])
@pytest.mark.parametrize(("length", "length_bytes"), [(126, 2), (65_536, 8), (126, 8)])
async def test_long_control_frames(party: Party, name: str, length: int, length_bytes: int) -> None:
    """A ping of a megabyte would have to be answered with one."""
    party.peer.send(frame(OPCODES[name], b"\x03\xe8".ljust(length, b"x"), length_bytes=length_bytes))
    await party.assert_failed(1002)


# -- the closing handshake (5.5.1, 7)

VALID_CODES: Final = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
REGISTERED_LATER: Final = (1012, 1013, 1014)
INVALID_CODES: Final = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


async def test_a_close_without_a_code(party: Party) -> None:
    """Clients that give none, as `ws.close()` in a browser, would be answered by a code that must not be sent."""
    party.peer.send(frame(CLOSE))
    end = await party.peer.end(answer=False)
    assert end.clean
    assert end.code in (None, 1000)
    await party.assert_gone("transport close")


@pytest.mark.parametrize("code", VALID_CODES)
@pytest.mark.parametrize("reason", [b"", b"bye", "é😀".encode(), b"x" * 123], ids=["", "bye", "not ASCII", "long"])
async def test_closes_are_answered(party: Party, code: int, reason: bytes) -> None:
    """A client would wait for the answer, and take the end for a failure."""
    party.peer.send(close(code, reason))
    end = await party.peer.end(answer=False)
    assert end.clean
    assert end.code in (code, 1000)
    await party.assert_gone("transport close")


@pytest.mark.parametrize("code", REGISTERED_LATER)
async def test_closes_with_codes_of_later_days(party: Party, code: int) -> None:
    """The same for codes that are registered but not in the RFC: known or refused."""
    party.peer.send(close(code))
    end = await party.peer.end()
    assert end.clean
    assert end.code in (code, 1000, 1002)


@pytest.mark.parametrize("code", INVALID_CODES)
@pytest.mark.parametrize("reason", [b"", b"bye"], ids=["", "bye"])
async def test_closes_with_a_code_that_must_not_be_sent(party: Party, code: int, reason: bytes) -> None:
    """Codes that only say something locally would be believed, and sent back (7.4)."""
    party.peer.send(close(code, reason))
    await party.assert_failed(1002)


async def test_a_close_with_half_a_code(party: Party) -> None:
    """It would be read beyond its end."""
    party.peer.send(frame(CLOSE, b"\x03"))
    await party.assert_failed(1002)


@pytest.mark.parametrize(
    "reason", [b"\xff", b"bye\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"x" * 122 + b"\xe2"], ids=bytes.hex
)
async def test_a_close_whose_reason_is_no_text(party: Party, reason: bytes) -> None:
    """A reason that is logged would break whoever reads the log."""
    party.peer.send(close(1000, reason))
    await party.assert_failed(1002, 1007)


@pytest.mark.parametrize(
    "after",
    [
        frame(TEXT, note(1)),
        frame(PING, b"?"),
        frame(PONG),
        close(1001),
        frame(3, b"x"),
        frame(TEXT, note(1), mask=None),
        b"\x81\xff" + b"\xff" * 12,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["text", "ping", "pong", "close", "opcode", "unmasked", "length", "HTTP"],
)
@pytest.mark.parametrize("together", [True, False], ids=["in the same segment", "later"])
async def test_nothing_after_a_close_is_served(party: Party, after: bytes, together: bool) -> None:
    """Handlers would run for a client that has said goodbye, and frames follow the last one."""
    if together:
        party.peer.send(close(1000), after)
    else:
        await party.peer.trickle(close(1000) + after, [len(close(1000))])
    end = await party.peer.end(answer=False)
    assert (end.clean, end.code, end.messages) == (True, 1000, [])
    assert party.peer.pongs == []
    await party.assert_gone("transport close")
    assert party.witness.notes == []


async def test_what_comes_before_a_close_is_served(party: Party) -> None:
    """The last words of a client that leaves would be lost."""
    party.peer.send(frame(TEXT, note(1)), frame(TEXT, b'429["echo"]'), close(1000))
    end = await party.peer.end(answer=False)
    assert (end.clean, end.code) == (True, 1000)
    await party.assert_gone("transport close")
    assert party.witness.notes == [1]


async def test_a_close_within_a_message(party: Party) -> None:
    """A client that gives up while it sends would be failed, or its half message served."""
    party.peer.send(frame(TEXT, note(1), fin=False), close(1000))
    end = await party.peer.end(answer=False)
    assert (end.clean, end.code) == (True, 1000)
    await party.assert_gone("transport close")
    assert party.witness.notes == []


async def test_the_server_closes_tcp_first(party: Party) -> None:
    """The port of every client that leaves would be blocked for minutes on its side (7.1.1)."""
    party.peer.send(close(1000))
    assert (await party.peer.end(answer=False)).clean  # which waits for the server to do so


async def test_both_close_at_once(party: Party) -> None:
    """A close that crosses the other would be answered, or taken for a failure."""
    await party.witness.only.disconnect(close=True)
    party.peer.send(close(1001))
    end = await party.peer.end(answer=False)
    assert end.clean
    assert end.code in (1000, 1001)
    await party.assert_gone("server namespace disconnect")


async def test_the_server_waits_for_the_answer_to_its_close(party: Party) -> None:
    """A client that is just sending would get a reset instead of the last words."""
    await party.witness.io.emit("last words")
    await party.witness.only.disconnect(close=True)
    messages = []
    while (found := await party.peer.next_frame()) is not None and found.opcode != CLOSE:
        messages.append(found.payload)
    assert messages[0] == b'42["last words"]'
    assert found is not None
    assert found.payload[:2] == b"\x03\xe8"
    party.peer.send(frame(TEXT, note(1)), frame(PING, b"?"), fragments(TEXT, [b"42", note(1)]))
    party.peer.send(close(1000))
    while (found := await party.peer.next_frame()) is not None:
        assert (found.opcode, found.payload) == (PONG, b"?"), "data after the close frame"
    await party.assert_gone("server namespace disconnect")
    assert party.witness.notes == []


# -- text (8.1)

TEXTS: Final = (
    "\x7f\x80",
    "\u07ff\u0800",
    "\ud7ff\ue000",
    "\ufeff\ufffd",
    "\ufffe\uffff",
    "\U00010000\U0010ffff",
    "κόσμε",
    "日本語",
    "👩‍👩‍👧",
)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
async def test_text_both_ways(party: Party, text: str) -> None:
    """People whose names have such letters would be disconnected, or called something else."""
    party.peer.send(frame(TEXT, note(text)))
    await party.witness.noted(text)
    await party.peer.echoes(text)
    await party.witness.io.emit("n", text)
    assert json.loads(str(await party.peer.receive())[2:]) == ["n", text]


async def test_text_may_be_cut_anywhere(party: Party) -> None:
    """A fragment that ends within a letter would be refused."""
    text = "".join(TEXTS)
    data = note(text)
    for at in range(len(data) + 1):
        party.peer.send(fragments(TEXT, [data[:at], data[at:]], between=frame(PING)))
    party.peer.send(fragments(TEXT, [bytes((each,)) for each in data]))
    await party.witness.noted(*[text] * (len(data) + 2))


NO_TEXT: Final = {
    "a continuation byte": b"\x80",
    "continuation bytes": b"\xbf\xbf",
    "a lead byte alone": b"\xc3",
    "a lead byte and a letter": b"\xe2x",
    "two thirds of a letter": b"\xe2\x82",
    "three quarters of a letter": b"\xf0\x9f\x98",
    "overlong slash": b"\xc0\xaf",
    "overlong slash in three": b"\xe0\x80\xaf",
    "overlong slash in four": b"\xf0\x80\x80\xaf",
    "overlong DEL": b"\xc1\xbf",
    "overlong U+07FF": b"\xe0\x9f\xbf",
    "overlong U+FFFF": b"\xf0\x8f\xbf\xbf",
    "overlong NUL": b"\xc0\x80",
    "half a pair, high": b"\xed\xa0\x80",
    "half a pair, low": b"\xed\xbf\xbf",
    "a pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "Latin-1": b"caf\xe9",
}


def whole(data: bytes, at: int) -> bytes:
    """In one frame."""
    return frame(TEXT, data)


def cut_before(data: bytes, at: int) -> bytes:
    """In two fragments, the second one beginning with what is wrong."""
    return fragments(TEXT, [data[:at], data[at:]])


def cut_within(data: bytes, at: int) -> bytes:
    """In two fragments, cut after the first wrong byte."""
    return fragments(TEXT, [data[: at + 1], data[at + 1 :]], between=frame(PING))


def in_bytes(data: bytes, at: int) -> bytes:
    """In as many fragments as there are bytes."""
    return fragments(TEXT, [bytes((each,)) for each in data])


@pytest.mark.parametrize("how", [whole, cut_before, cut_within, in_bytes], ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", NO_TEXT)
async def test_what_is_no_text(party: Party, name: str, how: Callable[[bytes, int], bytes]) -> None:
    """Bytes that are no text would get into logs, files and databases that can hold only text."""
    data = b'42["note","' + NO_TEXT[name] + b'"]'
    party.peer.send(how(data, len(b'42["note","')))
    await party.assert_failed(1007)


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"], ids=bytes.hex)
async def test_text_that_ends_within_a_letter(party: Party, tail: bytes) -> None:
    """The rest would be taken from the next message."""
    party.peer.send(fragments(TEXT, [note(1) + tail[:1], tail[1:]]), frame(TEXT, b"\xac" + note(2)))
    await party.assert_failed(1007)


async def test_binary_need_not_be_text(party: Party) -> None:
    """Any picture would end the connection."""
    blob = b"".join(NO_TEXT.values())
    party.peer.send(frame(TEXT, b'451-["note",{"_placeholder":true,"num":0}]'), fragments(BINARY, [blob[:9], blob[9:]]))
    await party.witness.noted(blob)


async def test_what_is_no_text_may_be_in_pings(party: Party) -> None:
    """Their payload is any bytes."""
    party.peer.send(frame(PING, b"\xff\xc0"))
    await party.peer.echoes()
    assert party.peer.pongs == [b"\xff\xc0"]


# -- the websocket of an upgrade


async def test_the_probe_may_come_with_the_handshake(serve: Serve) -> None:
    """A client that does not wait for the answer to its request would stay on polling."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, tcp(server.url) as peer:
        await join(raw)
        probe = frame(PING, b"?") + fragments(TEXT, [b"2", b"", b"probe"], between=frame(PONG))
        await peer.open(path=f"{PATH}&sid={raw.sid}", behind=probe[:20])
        await peer.trickle(probe[20:])
        assert await peer.receive() == "3probe"
        assert peer.pongs == [b"?"]
        await peer.trickle(frame(TEXT, b"5") + frame(TEXT, note("é")) + fragments(TEXT, [note(2)[:9], note(2)[9:]]))
        await peer.echoes()
        assert witness.notes == ["é", 2]
        peer.send(close(1000))
        assert (await peer.end(answer=False)).code == 1000
        assert await witness.reason() == "transport close"


async def test_everything_behind_the_probe(serve: Serve) -> None:
    """What came in the same segment as the last step of an upgrade would be lost."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, tcp(server.url) as peer:
        await join(raw)
        await peer.open(path=f"{PATH}&sid={raw.sid}")
        peer.send(frame(TEXT, b"2probe"))
        assert await peer.receive() == "3probe"
        peer.send(frame(TEXT, b"5"), frame(TEXT, note(1)), frame(PING, b"?"), frame(TEXT, note(2)), close(1000))
        end = await peer.end(answer=False)
        assert (end.code, peer.pongs) == (1000, [b"?"])
        assert await witness.reason() == "transport close"
        assert witness.notes == [1, 2]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(3), 1002),
        (frame(TEXT, b"2probe", rsv=RSV1), 1002),
        (frame(TEXT, b"2prob\xff"), 1007),
        (close(1005), 1002),
        (b"\x81\xff\x7f" + b"\xff" * 11, 1009),
    ],
    ids=["opcode", "RSV1", "no text", "code", "length"],
)
@pytest.mark.parametrize("probed", [False, True])
async def test_bad_frames_during_an_upgrade(serve: Serve, data: bytes, code: int, probed: bool) -> None:
    """They end the attempt, and the client would lose its session with it."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, tcp(server.url) as peer:
        await join(raw)
        await peer.open(path=f"{PATH}&sid={raw.sid}")
        if probed:
            peer.send(frame(TEXT, b"2probe"))
            assert await peer.receive() == "3probe"
        peer.send(data)
        assert (await peer.end()).code == code
        await raw.post('429["echo"]')
        assert [packet for packet in await raw.poll() if packet != "6"] == ["439[]"]
        assert witness.reasons == []


async def test_a_refused_handshake_leaves_the_session_polling(serve: Serve) -> None:
    """A client with a websocket of another version could not even poll any more."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, tcp(server.url) as peer, tcp(server.url) as other:
        await join(raw)
        first = f"GET {PATH}&sid={raw.sid} HTTP/1.1"
        head = await peer.request(*without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), first=first)
        assert head.status == 426
        head = await other.request(*REFUSED["no key"], first=first)
        assert head.status == 400
        await raw.post('429["echo"]')
        assert await raw.receive() == "439[]"
        websocket = await raw.upgrade()
        await websocket.send('428["echo"]')
        assert await websocket.receive() == "438[]"
