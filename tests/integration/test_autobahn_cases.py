"""Cases of Autobahn's fuzzing client, by hand, against the server that is made for it: ``tests.support.autobahn``.

The client itself needs Python 2.7 or Docker. The numbers are its own: groups 1 (sizes), 2 (pings), 3 (reserved bits),
4 (opcodes), 5 (fragments), 6 (UTF-8, refused at once), 7 (closing), 9 (large messages), 10 and 12 (compression).
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from rtframework import Limits
from tests.conftest import Serve
from tests.support.autobahn import attach_plain
from tests.support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Peer, frame, tcp

LARGEST = 2_000_000
EXTENSION = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"

GOOD: tuple[str, ...] = (
    "Hello-µ@ßöäüàá-UTF-8!!",  # 6.2
    "κόσμε",  # 6.5
    "\x00",  # 6.7
    "\x80\u0800\U00010000",
    "\x7f\u07ff\uffff\U0010ffff",  # 6.9
    "\ud7ff\ue000\ufffd",  # 6.11
    "\ufffe\uffff\U0001fffe\U0001ffff\U0010fffe",  # 6.22: no characters, and UTF-8 all the same
)
BAD: tuple[bytes, ...] = (
    "κόσμε".encode() + b"\xed\xa0\x80edited",  # 6.3: a surrogate
    *(b"\x80", b"\xbf", b"\x80\xbf\x80\xbf\x80\xbf"),  # 6.14: continuations alone
    *(b"\xc0 \xc1 \xc2 ", b"\xe0 \xe1 ", b"\xf0 \xf1 "),  # 6.15: beginnings alone
    *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf"),  # 6.16: incomplete
    *(b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),  # 6.18
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf"),  # 6.19, 6.20: too long
    *(b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80"),  # 6.21
    *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),  # 6.12, 6.13: beyond U+10FFFF
)


@contextlib.asynccontextmanager
async def connected(serve: Serve, *headers: str) -> AsyncIterator[Peer]:
    """A client of the server."""
    app = web.Application()
    attach_plain(app, Limits(max_http_buffer_size=LARGEST, max_connect_size=LARGEST, max_outbox=4 * LARGEST))
    server = await serve(app)
    async with tcp(server.url) as peer:
        peer.patience = 20.0
        await peer.open(*headers, path="/ws")
        yield peer


async def echoed(peer: Peer, opcode: int, payload: bytes, pieces: Sequence[bytes] | None = None) -> None:
    """Send a message, and get it back as it was."""
    for piece in [frame(opcode, payload)] if pieces is None else pieces:
        peer.send(piece)
    assert await peer.receive() == (payload.decode() if opcode == TEXT else payload)


async def test_messages_of_all_sizes(serve: Serve) -> None:
    """1.1, 1.2 and 9: a message of just the wrong length would break the connection."""
    async with connected(serve) as peer:
        for opcode in (TEXT, BINARY):
            for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1_000_000):
                await echoed(peer, opcode, b"*" * size)
            whole = frame(opcode, b"*" * 65_536)
            await echoed(peer, opcode, b"*" * 65_536, [whole[at : at + 997] for at in range(0, len(whole), 997)])


async def test_pings_of_all_sizes(serve: Serve) -> None:
    """2: a client that pings would not know whether the server is there."""
    async with connected(serve) as peer:
        payloads = [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125]
        for payload in payloads:
            peer.send(frame(PING, payload))
        peer.send(frame(PONG, b"unsolicited"), frame(PONG))
        peer.send(*(frame(PING, b"payload-%d" % number) for number in range(10)))
        await echoed(peer, TEXT, b"x")
        assert peer.pongs == [*payloads, *(b"payload-%d" % number for number in range(10))]
        peer.send(frame(PING, b"x" * 126))
        assert (await peer.end()).code == 1002


@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2, RSV2 | RSV3, RSV1 | RSV2 | RSV3])
async def test_reserved_bits(serve: Serve, rsv: int) -> None:
    """3: an extension that was not agreed would be guessed at; what came before is answered."""
    async with connected(serve) as peer:
        peer.send(frame(TEXT, b"before"), frame(TEXT, b"wrong", rsv=rsv), frame(PING))
        end = await peer.end()
        assert (end.code, end.messages, peer.pongs) == (1002, ["before"], [])


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_reserved_opcodes(serve: Serve, opcode: int) -> None:
    """4: a frame of another kind would be taken for a message."""
    async with connected(serve) as peer:
        peer.send(frame(TEXT, b"before"), frame(opcode, b"reserved"), frame(PING))
        end = await peer.end()
        assert (end.code, end.messages, peer.pongs) == (1002, ["before"], [])


async def test_fragments_with_pings_between(serve: Serve) -> None:
    """5.3 to 5.8 and 5.19: a long message would keep the other side from being answered."""
    async with connected(serve) as peer:
        for cut in (False, True):
            pieces = [
                frame(TEXT, b"fragment1", fin=False),
                frame(CONTINUATION, b"fragment2", fin=False),
                frame(PING, b"pongme 1!"),
                frame(CONTINUATION, b"", fin=False),
                frame(CONTINUATION, b"fragment3", fin=False),
                frame(PING, b"pongme 2!"),
                frame(CONTINUATION, b"fragment4"),
            ]
            if cut:
                pieces = [bytes((each,)) for each in b"".join(pieces)]
            await echoed(peer, TEXT, b"fragment1fragment2fragment3fragment4", pieces)
        assert peer.pongs == [b"pongme 1!", b"pongme 2!"] * 2
        await echoed(peer, BINARY, b"", [frame(BINARY, fin=False), frame(CONTINUATION)])


@pytest.mark.parametrize(
    "wrong",
    [
        [frame(PING, b"x", fin=False)],
        [frame(CLOSE, fin=False)],
        [frame(CONTINUATION, b"x", fin=False)],
        [frame(CONTINUATION, b"x")],
        [frame(TEXT, b"a", fin=False), frame(BINARY, b"b")],
        [frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b"), frame(CONTINUATION, b"c")],
    ],
    ids=["ping", "close", "begins", "alone", "within", "behind"],
)
async def test_fragments_that_are_none(serve: Serve, wrong: list[bytes]) -> None:
    """5.1, 5.2, 5.9 to 5.18: messages would be put together of parts of others."""
    async with connected(serve) as peer:
        peer.send(*wrong)
        assert (await peer.end()).code == 1002


async def test_text_is_utf_8(serve: Serve) -> None:
    """6.1, 6.2, 6.5 to 6.11, 6.17, 6.22: people's names would be refused."""
    async with connected(serve) as peer:
        for text in GOOD:
            payload = text.encode()
            await echoed(peer, TEXT, payload)
            cut = [frame(TEXT, payload[:1], fin=False)]
            cut += [frame(CONTINUATION, payload[at : at + 1], fin=False) for at in range(1, len(payload))]
            await echoed(peer, TEXT, payload, [*cut, frame(CONTINUATION)])
            await echoed(peer, TEXT, payload, [bytes((each,)) for each in frame(TEXT, payload)])
        await echoed(peer, TEXT, b"", [frame(TEXT, fin=False), frame(CONTINUATION, fin=False), frame(CONTINUATION)])


@pytest.mark.parametrize("payload", BAD, ids=repr)
@pytest.mark.parametrize("way", ["whole", "fragments", "bytes"])
async def test_other_text_is_refused(serve: Serve, payload: bytes, way: str) -> None:
    """6.3, 6.4, 6.6, 6.8, 6.12 to 6.21: programs would get text that is none."""
    async with connected(serve) as peer:
        if way == "fragments":
            peer.send(frame(TEXT, b"good ", fin=False), frame(CONTINUATION, payload, fin=False), frame(CONTINUATION))
        else:
            whole = frame(TEXT, payload)
            peer.send(*([whole] if way == "whole" else [whole[at : at + 1] for at in range(len(whole))]))
        end = await peer.end()
        assert (end.code, end.messages) == (1007, [])


@pytest.mark.parametrize("wrong_at", range(4))
@pytest.mark.parametrize("in_one_frame", [False, True])
async def test_wrong_text_is_refused_before_its_end(serve: Serve, wrong_at: int, in_one_frame: bool) -> None:
    """6.4: a client could send megabytes of what will be refused. The message has no end here."""
    good, wrong = "κόσμε".encode(), b"\xf4\x90\x80\x80"
    text = good + wrong[: max(2, wrong_at + 1)]
    async with connected(serve) as peer:
        if in_one_frame:
            whole = frame(TEXT, text + b"edited" * 1_000)
            head = len(whole) - len(text + b"edited" * 1_000)
            peer.send(whole[: head + len(good)])
            peer.send(whole[head + len(good) : head + len(text)])
        else:
            peer.send(frame(TEXT, good, fin=False), frame(CONTINUATION, text[len(good) :], fin=False))
        assert (await peer.end()).code == 1007


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_close_codes(serve: Serve, code: int) -> None:
    """7.7: a client that says why it goes would be told that it has broken the protocol."""
    async with connected(serve) as peer:
        peer.send(frame(TEXT, b"last"), frame(CLOSE, code.to_bytes(2, "big") + b"because"), frame(PING), frame(TEXT))
        end = await peer.end(answer=False)
        assert (end.code, end.messages, peer.pongs) == (code, ["last"], [])


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_close_codes_that_are_none(serve: Serve, code: int) -> None:
    """7.9 and 7.13: a code that only programs may use would be passed on."""
    async with connected(serve) as peer:
        peer.send(frame(CLOSE, code.to_bytes(2, "big")))
        assert (await peer.end(answer=False)).code == 1002


async def test_close_frames(serve: Serve) -> None:
    """7.1 and 7.3: half a code, too long a reason, or one that is no text, would be taken for a proper end."""
    for payload, code in (
        (b"", None),
        (b"a", 1002),
        (b"\x03\xe8" + b"*" * 123, 1000),
        (b"\x03\xe8" + b"*" * 124, 1002),
        (b"\x03\xe8\xed\xa0\x80", 1007),
    ):
        async with connected(serve) as peer:
            peer.send(frame(CLOSE, payload))
            end = await peer.end(answer=False)
            assert (end.code, end.clean) == (code, True)


async def test_compressed_messages(serve: Serve) -> None:
    """12 and 13: messages would be garbled, by a client's window or by where they are cut."""
    async with connected(serve, EXTENSION) as peer:
        peer.decompress = lambda data: zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")
        for size in (0, 16, 64, 256, 1_024, 4_096, 131_072):
            for bits in (9, 15):
                payload = (b'{"id":%d,"text":"' % size + b"lorem ipsum " * (size // 12 + 1))[:size]
                compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)
                packed = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
                parts = [packed[: len(packed) // 2], packed[len(packed) // 2 :]]
                await echoed(peer, TEXT, payload, [frame(TEXT, packed, rsv=RSV1)])
                pieces = [frame(TEXT, parts[0], fin=False, rsv=RSV1), frame(PING), frame(CONTINUATION, parts[1])]
                await echoed(peer, TEXT, payload, pieces)
        await echoed(peer, TEXT, b"not compressed")
