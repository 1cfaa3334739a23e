"""One TCP connection in memory: bytes in order, pressure, and every way to end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.testing.memory_transport import MemoryTransport
from tests.support.thorough import examples

KERNEL = 65_536


class Server(asyncio.Protocol):
    """The server's side: what it is told."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.keeps_open = False
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.log.append(data)

    def eof_received(self) -> bool:
        self.log.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(exc if exc is None else type(exc))


class Client:
    """The client's side: what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.log: list[Any] = []

    def feed_data(self, data: bytes) -> None:
        self.data += data

    def feed_eof(self) -> None:
        self.log.append("eof")

    def set_exception(self, exc: Exception) -> None:
        self.log.append(type(exc))


class Line:
    """Both sides, and what is between them."""

    def __init__(self, **options: Any) -> None:
        self.server = Server()
        self.client = Client()
        loop = asyncio.get_running_loop()
        self.transport = MemoryTransport(loop, self.server, far_end=self.client, **options)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_server_knows_who_is_there() -> None:
    """A program that looks at addresses could not be tested."""
    line = Line(address="192.0.2.9")
    assert line.server.transport is line.transport
    assert line.transport.get_extra_info("peername") == ("192.0.2.9", 50_000)
    assert line.transport.get_extra_info("socket") is None
    assert line.transport.get_protocol() is line.server


async def test_bytes_go_both_ways_in_order() -> None:
    """A test would see what no network does."""
    line = Line()
    line.transport.send(b"one")
    line.transport.send(b"two")
    line.transport.write(b"three")
    line.transport.write(bytearray(b"four"))
    line.transport.write(memoryview(b"five"))
    assert line.server.log == [], "who sends is not called back at once"
    await turns()
    assert line.server.log == [b"one", b"two"]
    assert line.client.data == b"threefourfive"


async def test_what_is_sent_may_arrive_in_pieces() -> None:
    """A parser that counts on whole packets would pass every test and fail in the world."""
    line = Line(segment=3)
    line.transport.send(b"abcdefgh")
    await turns()
    assert line.server.log == [b"abc", b"def", b"gh"]


async def test_nothing_arrives_while_the_server_does_not_read() -> None:
    """A server that holds back a client that sends too much could not be tested."""
    line = Line(segment=1)
    line.transport.send(b"abc")
    await asyncio.sleep(0)
    line.transport.pause_reading()
    assert not line.transport.is_reading()
    await turns()
    before = list(line.server.log)
    assert len(before) < 3
    line.transport.resume_reading()
    assert line.transport.is_reading()
    await turns()
    assert line.server.log == [b"a", b"b", b"c"]


# --- pressure ---------------------------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_fills_the_network_and_then_the_server() -> None:
    """A slow client, whose server has to notice it, could not be tested."""
    line = Line()
    line.transport.stop_reading()
    line.transport.write(b"x" * KERNEL)
    assert (len(line.client.data), line.transport.get_write_buffer_size()) == (KERNEL, 0)
    line.transport.write(b"y" * KERNEL)
    assert (len(line.client.data), line.transport.get_write_buffer_size()) == (KERNEL, KERNEL)
    assert line.server.log == []
    line.transport.write(b"z")
    assert line.server.log == ["pause"]
    line.transport.write(b"z")
    assert line.server.log == ["pause"], "it is told once"
    line.transport.start_reading()
    assert line.server.log == ["pause", "resume"]
    assert line.client.data == b"x" * KERNEL + b"y" * KERNEL + b"zz"
    line.transport.stop_reading()
    line.transport.write(b"again")
    assert line.client.data.endswith(b"again"), "the network is empty again"


async def test_what_waits_is_written_before_the_end() -> None:
    """The last words of a server to a slow client would be lost, as they are not in the world."""
    line = Line()
    line.transport.stop_reading()
    line.transport.write(b"x" * (KERNEL + 5))
    line.transport.close()
    await turns()
    assert line.transport.is_closing()
    assert line.client.log == []
    line.transport.start_reading()
    await turns()
    assert len(line.client.data) == KERNEL + 5
    assert (line.client.log, line.server.log) == (["eof"], [None])


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_the_server_closes() -> None:
    """A client would not hear of it, or the server hear of it in the middle of its own call."""
    line = Line()
    line.transport.write(b"bye")
    line.transport.close()
    line.transport.close()
    assert line.server.log == []
    await turns()
    assert (line.client.data, line.client.log, line.server.log) == (b"bye", ["eof"], [None])
    line.transport.write(b"late")
    line.transport.send(b"late")
    await turns()
    assert (line.client.data, line.server.log) == (b"bye", [None])


async def test_the_server_gives_up() -> None:
    """``abort`` would wait for a client that does not read."""
    line = Line()
    line.transport.stop_reading()
    line.transport.write(b"x" * (KERNEL + 5))
    line.transport.abort()
    await turns()
    assert line.transport.get_write_buffer_size() == 0
    assert line.server.log == [None]
    assert len(line.client.data) == KERNEL


async def test_the_client_hangs_up_after_what_it_has_sent() -> None:
    """A server would not see the last packet of a client that leaves in good order."""
    line = Line(segment=1)
    line.transport.send(b"ab")
    line.transport.hang_up()
    await turns()
    assert line.server.log == [b"a", b"b", "eof", None]
    assert line.transport.is_closing()


async def test_a_server_may_write_on_after_the_client_has_ended() -> None:
    """A half-closed connection could not be tested."""
    line = Line()
    line.server.keeps_open = True
    line.transport.hang_up()
    await turns()
    assert line.server.log == ["eof"]
    line.transport.write(b"still here")
    assert line.client.data == b"still here"
    assert line.transport.can_write_eof()
    line.transport.write_eof()
    assert line.client.log == ["eof"]


async def test_a_reset_is_heard_by_both() -> None:
    """A phone that is switched off would look like one that leaves in good order."""
    line = Line()
    line.transport.send(b"lost")
    line.transport.reset()
    line.transport.reset()
    await turns()
    assert (line.client.log, line.server.log) == ([ConnectionResetError], [ConnectionResetError])


async def test_a_dead_line_tells_nobody() -> None:
    """A tunnel, in which only a timeout helps, could not be tested."""
    line = Line()
    line.transport.send(b"on its way")
    line.transport.die()
    line.transport.send(b"never")
    line.transport.write(b"x" * 10)
    line.transport.hang_up()
    line.transport.reset()
    line.transport.start_reading()
    await turns()
    assert (line.server.log, line.client.data, line.client.log) == ([], b"", [])
    assert not line.transport.is_closing()
    line.transport.bury()
    await turns()
    assert (line.server.log, line.client.log) == ([ConnectionResetError], [ConnectionResetError])


async def test_only_a_dead_line_is_buried() -> None:
    """All other clients of the server would be cut off when it stops."""
    line = Line()
    line.transport.bury()
    await turns()
    assert (line.server.log, line.client.log) == ([], [])


async def test_without_a_far_end_there_is_a_stream() -> None:
    """A test that speaks HTTP by hand would need a class of its own."""
    server = Server()
    transport = MemoryTransport(asyncio.get_running_loop(), server)
    transport.write(b"line\nrest")
    assert await transport.reader.readline() == b"line\n"
    transport.close()
    assert await transport.reader.read() == b"rest"


async def test_a_new_protocol_takes_over() -> None:
    """A websocket, which leaves HTTP after the handshake, could not be tested."""
    line, other = Line(), Server()
    line.transport.set_protocol(other)
    line.transport.send(b"x")
    await turns()
    assert (line.server.log, other.log) == ([], [b"x"])


async def test_files_are_read_by_aiohttp_itself() -> None:
    """An application with static files could not be tested: there is no file descriptor to send them to."""
    with pytest.raises(NotImplementedError):
        _ = Line().transport._sendfile_compatible


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("write"), st.integers(1, 50_000).map(bytes)),
        st.sampled_from([("stop", b""), ("start", b""), ("pause", b""), ("resume", b""), ("turn", b"")]),
    ),
    max_size=25,
)


@settings(max_examples=examples(400))
@given(STEPS, st.integers(0, 4))
def test_no_byte_is_lost_or_comes_twice(steps: list[tuple[str, bytes]], segment: int) -> None:
    """A test would fail, or pass, because of the network that it is in.

    The model: what was sent is a prefix of what has arrived and what waits, and all of it arrives once both read.
    """

    async def scenario() -> None:
        line = Line(segment=segment)
        transport = line.transport
        sent = written = b""
        for step, data in steps:
            if step == "send":
                transport.send(data)
                sent += data
            elif step == "write":
                transport.write(data)
                written += data
            elif step == "turn":
                await asyncio.sleep(0)
            else:
                {
                    "stop": transport.stop_reading,
                    "start": transport.start_reading,
                    "pause": transport.pause_reading,
                    "resume": transport.resume_reading,
                }[step]()
            assert len(line.client.data) + transport.get_write_buffer_size() == len(written)
            told = [each for each in line.server.log if isinstance(each, str)]
            assert told == ["pause", "resume"] * (len(told) // 2) + ["pause"] * (len(told) % 2)
        transport.start_reading()
        transport.resume_reading()
        await turns(len(sent) + 2)
        assert b"".join(each for each in line.server.log if isinstance(each, bytes)) == sent
        assert line.client.data == written
        assert "pause" not in line.server.log or line.server.log[::-1].index("resume") < line.server.log[::-1].index(
            "pause"
        )

    asyncio.run(scenario())
