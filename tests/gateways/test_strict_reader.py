"""Text that is no UTF-8, refused at its first wrong byte."""

from __future__ import annotations

import codecs
import itertools
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.engine.transports.rfc6455 import FrameError, FrameReader
from rtframework.gateways.strict_reader import StrictFrameReader
from tests.support.websocket import BINARY, CONTINUATION, PING, RSV1, TEXT, fragments, frame


class Heard:
    """Takes everything."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.controls: list[tuple[int, bytes]] = []

    def receive(self, packet: str | bytes) -> None:
        self.messages.append(packet)

    def control(self, opcode: int, payload: bytes) -> None:
        self.controls.append((opcode, payload))


def feed(kind: type[FrameReader], pieces: Sequence[bytes], inflates: bool = False) -> tuple[Heard, int | None, int]:
    """Feed a reader; what it has heard, the code that it has failed with, and the pieces until then."""
    heard = Heard()
    reader = kind(heard, heard, 100_000, inflates)
    for count, piece in enumerate(pieces, 1):
        try:
            more = reader.feed(piece)
            while more:
                more = reader.feed(b"")
        except FrameError as error:
            return heard, error.code, count
    return heard, None, len(pieces)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut bytes at these places."""
    ends = sorted({each % (len(data) + 1) for each in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


messages = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.one_of(st.text().map(str.encode), st.binary(), st.text().map(lambda text: text.encode()[:-1])),
        st.lists(st.integers(0, 1_000), max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(messages, st.lists(st.integers(0, 10_000), max_size=12))
def test_it_reads_what_the_other_reader_reads(
    sent: list[tuple[int, bytes, list[int], bool]], places: list[int]
) -> None:
    """A message would be refused, or taken, by the way in which it is cut."""
    data = b"".join(
        fragments(opcode, cut(payload, inside) or [b""], between=frame(PING, b"?") if pings else b"")
        for opcode, payload, inside, pings in sent
    )
    strict, code, _ = feed(StrictFrameReader, cut(data, places))
    other, expected, _ = feed(FrameReader, cut(data, places))
    assert code == expected
    assert strict.messages == other.messages


@given(st.text(), st.binary(min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=5))
def test_what_is_wrong_is_found_at_once(good: str, bad: bytes, inside: list[int]) -> None:
    """A client could send megabytes of what will be refused."""
    payload = good.encode() + bad
    decoder = codecs.getincrementaldecoder("utf-8")()
    wrong_at = None
    for at in range(len(payload)):
        try:
            decoder.decode(payload[at : at + 1])
        except UnicodeDecodeError:
            wrong_at = at
            break
    data = fragments(TEXT, [*cut(payload, inside), b"x" * 100])[:-1]
    _, code, count = feed(StrictFrameReader, [data[at : at + 1] for at in range(len(data))])
    if wrong_at is None:
        assert code in (None, 1007)
    else:
        assert code == 1007
        heads = 6 * (len(cut(payload, inside)) + 1)
        assert count <= wrong_at + 1 + heads


@pytest.mark.parametrize("length", [4, 200, 70_000])
def test_a_long_frame_is_looked_at_while_it_comes(length: int) -> None:
    """The first wrong byte of a long message would be found after the last one has come."""
    whole = frame(TEXT, b"\xff" + b"x" * length)
    start = len(whole) - length - 1
    _, code, _ = feed(StrictFrameReader, [whole[:start], whole[start : start + 1]])
    assert code == 1007


def test_half_a_character_is_awaited() -> None:
    """Text would be refused because the network has cut it within a character."""
    whole = frame(TEXT, "é€😀".encode())
    heard, code, _ = feed(StrictFrameReader, [whole[at : at + 1] for at in range(len(whole))])
    assert (code, heard.messages) == (None, ["é€😀"])


def test_half_a_character_at_the_end_is_refused() -> None:
    """A message that ends within a character would be waited for."""
    for pieces in ([frame(TEXT, b"\xc3")], [frame(TEXT, b"\xc3", fin=False), frame(CONTINUATION, b"")]):
        assert feed(StrictFrameReader, pieces)[1] == 1007


def test_a_character_may_be_cut_by_a_frame() -> None:
    """A client that fragments by length would not be understood."""
    data = frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"\xff") + frame(CONTINUATION, b"\xac")
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        heard, code, _ = feed(StrictFrameReader, pieces)
        assert (code, heard.messages, heard.controls) == (None, ["€"], [(PING, b"\xff")])


def test_what_is_compressed_is_looked_at_when_it_is_whole() -> None:
    """Compressed text would be refused: its bytes are no UTF-8."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = (compressor.compress("é".encode() * 50) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = fragments(TEXT, [packed[:3], packed[3:]], rsv=RSV1)
    heard, code, _ = feed(StrictFrameReader, [data[at : at + 1] for at in range(len(data))], inflates=True)
    assert (code, heard.messages) == (None, ["é" * 50])


def test_binary_messages_are_not_text() -> None:
    """A picture would be refused."""
    data = fragments(BINARY, [b"\xff\xfe", b"\xfd" * 200]) + frame(TEXT, b"ok")
    heard, code, _ = feed(StrictFrameReader, [data[at : at + 7] for at in range(0, len(data), 7)])
    assert (code, heard.messages) == (None, [b"\xff\xfe" + b"\xfd" * 200, "ok"])
