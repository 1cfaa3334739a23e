"""One connection: replies in order whatever the network does, and a clear end."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtframework_redis.address import Address
from rtframework_redis.commands import begin, bulk, read_streams
from rtframework_redis.errors import LinkFull, LinkLost, ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.link import STALE, Link, LinkOptions, wall_time
from tests.plugins.rtframework_redis.conftest import GREETING, HELLO, Fake, Peer, RedisServer
from tests.support.thorough import examples
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]
QUICK: Final = LinkOptions(idle=0.1, ping_timeout=0.2, block_grace=0.1)
"""A connection that soon notices that nobody answers."""


class Wire(asyncio.Transport):
    """A transport that only keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = False
        self.waiting = 0

    def write(self, data: Any) -> None:
        """Keep it."""
        self.writes.append(bytes(data))

    def abort(self) -> None:
        """Keep that it was aborted."""
        self.ended = True

    def close(self) -> None:
        """Keep that it was closed."""
        self.ended = True

    def get_write_buffer_size(self) -> int:
        """Return what the test says."""
        return self.waiting


def make(**settings: Any) -> tuple[Link, Wire]:
    """Return a connection over a transport that keeps what is written; end it with ``link.fail``."""
    link, wire = Link(**settings), Wire()
    link.connection_made(wire)
    return link, wire


async def open_link(url: str, **settings: Any) -> Link:
    """Open a connection to a server of the test."""
    return await connect(Address.from_url(url), **settings)


async def test_commands_of_one_turn_are_one_write() -> None:
    """Each emit would cost a system call."""
    link, wire = make()
    first, second = link.send("SET", "a", 1), link.send("GET", b"a")
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]
    link.data_received(b"+OK\r\n$1\r\n1\r\n")
    assert (await first, await second) == (b"OK", b"1")
    assert (link.traffic.commands, link.traffic.replies, link.unanswered) == (2, 2, 0)
    link.fail("end")


async def test_a_command_that_is_bytes_already() -> None:
    """Each event would be packed anew, which costs as much as all the rest."""
    link, wire = make(options=LinkOptions(max_pending=30))
    reply = link.send_packed(begin(2, "GET") + bulk(b"a"))
    await asyncio.sleep(0)
    assert wire.writes == [b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]
    link.send_packed(begin(2, "GET") + bulk(b"b"))
    with pytest.raises(LinkFull):
        link.send_packed(begin(2, "GET") + bulk(b"c"))
    link.data_received(b"+a\r\n")
    assert await reply == b"a"
    link.fail("end")


MULTI: Final = b"*1\r\n$5\r\nMULTI\r\n"
EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"
THREE: Final = (begin(1, "ONE"), begin(1, "TWO"), begin(1, "SIX"))


async def test_commands_that_were_sent_together_are_one_transaction() -> None:
    """Each server would be woken for the first event of a burst, and again for the others."""
    taken: list[list[Any]] = []
    link, wire = make()
    before = link.send("GET", "a")
    link.send_all(THREE, lambda replies: taken.append(list(replies)))
    after = link.send("GET", "b")
    assert wire.writes == [b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n" + MULTI + b"".join(THREE) + EXEC]
    await asyncio.sleep(0)
    assert wire.writes[1:] == [b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"]
    assert link.traffic.commands == 7
    link.data_received(b"+a\r\n+OK\r\n+QUEUED\r\n")
    assert taken == []
    link.data_received(b"+QUEUED\r\n+QUEUED\r\n*3\r\n+1\r\n+2\r\n-WRONGTYPE no\r\n+b\r\n")
    ((one, two, three),) = taken
    assert (one, two, str(three)) == (b"1", b"2", "WRONGTYPE no")
    assert (await before, await after, link.unanswered) == (b"a", b"b", 0)
    link.fail("end")


@pytest.mark.parametrize("first", range(1, 79))
async def test_a_transaction_is_read_wherever_the_bytes_are_parted(first: int) -> None:
    """An event would count as added by the reply to another one, once in a thousand bursts."""
    replies = b"+a\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+1\r\n+2\r\n+3\r\n+OK\r\n+QUEUED\r\n+b\r\n"
    found: list[Any] = []
    link, _ = make()
    before = link.send("GET", "a")
    link.send_all(THREE, found.extend)
    after = [link.send("SET", "a", 1), link.send("GET", "a"), link.send("GET", "b")]
    for part in (replies[:first], replies[first:]):
        link.data_received(part)
    assert await before == b"a"
    assert found == [b"1", b"2", b"3"]
    assert [await each for each in after] == [b"OK", b"QUEUED", b"b"]
    assert (link.traffic.replies, link.traffic.bytes_read, link.unanswered) == (9, len(replies), 0)
    link.fail("end")


@pytest.mark.parametrize(
    ("replies", "taken"),
    [
        (
            b"+OK\r\n-OOM full\r\n+QUEUED\r\n+QUEUED\r\n-EXECABORT discarded\r\n",
            ["OOM full", "EXECABORT discarded", "EXECABORT discarded"],
        ),
        (b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n-READONLY no\r\n", ["READONLY no"] * 3),
        (b"-NOPERM MULTI\r\n+1\r\n-OOM full\r\n+3\r\n-NOPERM EXEC\r\n", ["b'1'", "OOM full", "b'3'"]),
    ],
)
async def test_a_transaction_that_is_refused_is_told_by_command(replies: bytes, taken: list[str]) -> None:
    """An event that was added would be taken for one that was not, or the other way round."""
    stale: list[str] = []
    found: list[Any] = []
    link, wire = make(on_stale=lambda error: stale.append(error.code))
    link.send_all(THREE, found.extend)
    link.data_received(replies)
    assert [str(each) for each in found] == taken
    assert stale == ["READONLY"] * (b"READONLY" in replies)
    link.send_all(THREE, found.extend)  # who may not use MULTI is not asked each time
    assert wire.writes[-1].startswith(MULTI) is (b"NOPERM" not in replies)
    link.fail("end")


async def test_of_a_transaction_that_was_cut_nothing_is_told() -> None:
    """An event would be taken for added though Redis has discarded it with the connection."""
    taken: list[Any] = []

    def end(push: list[Any]) -> None:
        link.fail("end")

    link, _ = make(on_push=end)
    link.send_all(THREE, taken.extend)
    link.data_received(b"+OK\r\n+QUEUED\r\n>2\r\n+message\r\n+x\r\n+QUEUED\r\n")
    assert taken == []
    with pytest.raises(LinkLost):
        link.send_all([begin(1, "ONE")], taken.extend)


async def test_commands_that_are_sent_together_need_room() -> None:
    """A slow Redis would fill the memory."""
    link, _ = make(options=LinkOptions(max_pending=10))
    link.send_all(THREE, lambda _: None)
    with pytest.raises(LinkFull):
        link.send_all([begin(1, "ONE")], lambda _: None)
    link.data_received(b"+OK\r\n" + b"+QUEUED\r\n" * 3 + b"*3\r\n+1\r\n+1\r\n+1\r\n")
    link.send_all([begin(1, "ONE")], lambda _: None)
    link.fail("end")


async def test_each_command_asks_for_a_slot_that_is_moving() -> None:
    """While a Cluster is changed all events but the first of each burst would be refused."""
    taken: list[Any] = []
    link, wire = make(asking=True)
    link.send_all([begin(1, "ONE"), begin(1, "TWO")], taken.extend)
    asking = b"*1\r\n$6\r\nASKING\r\n"
    assert b"".join(wire.writes) == asking + b"*1\r\n$3\r\nONE\r\n" + asking + b"*1\r\n$3\r\nTWO\r\n"
    link.data_received(b"+OK\r\n+1\r\n+OK\r\n+2\r\n")
    assert taken == [b"1", b"2"]
    link.fail("end")


async def test_a_taker_of_replies_that_fails_is_reported() -> None:
    """A mistake would be taken for one of Redis, and the connection be ended for it, again and again."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def take(replies: Sequence[Any]) -> None:
        raise IndexError(replies[0])

    link, _ = make()
    link.send_all([begin(1, "ONE")], take)
    after = link.send("GET", "b")
    link.data_received(b"+1\r\n+b\r\n")
    assert await after == b"b"
    assert [str(context["exception"]) for context in complaints] == ["b'1'"]
    link.fail("end")


async def test_an_error_has_a_code() -> None:
    """The layers above decide by the code whether to load a script, to ask where the master is, or to give up."""
    link, _ = make()
    replies = [link.send("GET", "a") for _ in range(4)]
    link.data_received(b"-MOVED 3999 127.0.0.1:6381\r\n-NOSCRIPT No matching script.\r\n-\r\n*2\r\n-ERR one\r\n:1\r\n")
    for reply, code in zip(replies[:3], ("MOVED", "NOSCRIPT", ""), strict=True):
        with pytest.raises(ReplyError) as caught:
            await reply
        assert caught.value.code == code
    first, second = await replies[3]
    assert isinstance(first, ReplyError)
    assert second == 1
    link.fail("end")


async def test_a_stale_master_is_told_once() -> None:
    """After a failover all writes would go on failing, because nobody asks where the new master is."""
    told: list[str] = []
    link, _ = make(on_stale=lambda error: told.append(error.code))
    replies = [link.send("SET", "a", 1) for _ in range(3)]
    link.data_received(b"-OOM no memory\r\n-READONLY You can't write\r\n-READONLY You can't write\r\n")
    assert told == ["READONLY"]
    await asyncio.gather(*replies, return_exceptions=True)
    link.fail("end")


async def test_an_error_of_one_channel_is_none_of_the_connection() -> None:
    """In a Redis Cluster, each channel that moves would cost the subscriptions to all others."""
    told: list[str] = []
    options = LinkOptions(stale=STALE - {"MOVED"})
    link, _ = make(on_stale=lambda error: told.append(error.code), options=options)
    replies = [link.send("SPUBLISH", "a", 1) for _ in range(2)]
    link.data_received(b"-MOVED 1 127.0.0.1:7000\r\n-LOADING soon\r\n")
    assert told == ["LOADING"]
    await asyncio.gather(*replies, return_exceptions=True)
    link.fail("end")


async def test_what_was_not_written_says_so() -> None:
    """A command that never left would be settled as if Redis could have it, or be sent twice."""
    link, _ = make()
    written = link.send("SET", "a", 1)
    await asyncio.sleep(0)
    unwritten = link.send("SET", "a", 2)
    link.connection_lost(ConnectionResetError("reset by peer"))
    results = await asyncio.gather(written, unwritten, return_exceptions=True)
    assert [(type(each), each.written, str(each)) for each in results if isinstance(each, LinkLost)] == [
        (LinkLost, True, "reset by peer"),
        (LinkLost, False, "reset by peer"),
    ]
    assert str(await link.lost) == "reset by peer"
    with pytest.raises(LinkLost, match="reset by peer") as caught:
        link.send("PING")
    assert not caught.value.written


async def test_lost_commands_that_nobody_awaits_are_silent() -> None:
    """Each broken connection would write a traceback for each command that was on its way."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    link, _ = make()
    for _ in range(3):
        link.send("PING")
    link.fail("gone")
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_cancelled_command_keeps_its_place() -> None:
    """The next command would get the reply of the cancelled one."""
    link, _ = make()
    first, second = link.send("GET", "a"), link.send("GET", "b")
    first.cancel()
    link.data_received(b"+a\r\n+b\r\n")
    assert await second == b"b"
    link.fail("end")


async def test_room_is_given_in_the_order_of_the_calls() -> None:
    """With a slow Redis the events of one emitter would overtake each other, or fill the memory."""
    link, wire = make(options=LinkOptions(max_pending=100))
    link.send("SET", "a", "x" * 100)
    with pytest.raises(LinkFull):
        link.send("SET", "a", "x")
    with pytest.raises(LinkFull):
        link.subscribe("SUBSCRIBE", "a")
    order: list[int] = []

    async def emit(number: int) -> None:
        await link.room()
        link.send("SET", "key", "x" * 40)
        order.append(number)

    tasks = [asyncio.create_task(emit(number)) for number in range(50)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    for count in range(1, 200):
        if len(order) == 49:
            break
        assert link.unanswered < 200
        link.data_received(b"+OK\r\n")
        late = asyncio.create_task(emit(1000 + count)) if count == 5 else None
        tasks.extend([late] if late else [])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    while len(order) < 50:
        link.data_received(b"+OK\r\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == [*range(3), *range(4, 50), 1005]
    await asyncio.gather(*tasks, return_exceptions=True)
    link.fail("end")
    assert wire.ended


async def test_who_waits_for_room_learns_of_the_end() -> None:
    """An emit would wait for ever when Redis goes while it is slow."""
    link, _ = make(options=LinkOptions(max_pending=10))
    link.send("SET", "a", "x" * 100)
    waiting = asyncio.create_task(link.room())
    await asyncio.sleep(0)
    link.fail("gone")
    with pytest.raises(LinkLost, match="gone"):
        await waiting
    with pytest.raises(LinkLost, match="gone"):
        await link.room()


async def test_pushes_between_replies() -> None:
    """A message that arrives between two replies would be taken for one, and all that follow would be wrong."""
    pushes: list[Any] = []
    link, _ = make(on_push=pushes.append)
    replies = [link.send("GET", "a"), link.subscribe("SUBSCRIBE", "one", b"two"), link.send("GET", "b")]
    message = b">3\r\n+message\r\n+one\r\n+hi\r\n"
    link.data_received(
        message + b"+a\r\n" + message + b">3\r\n+subscribe\r\n+one\r\n:1\r\n" + message
        + b">3\r\n+subscribe\r\n+two\r\n:2\r\n+b\r\n" + b">3\r\n+sunsubscribe\r\n+moved\r\n:0\r\n"
    )  # fmt: skip
    assert [await reply for reply in replies] == [b"a", 2, b"b"]
    assert pushes == [[b"message", b"one", b"hi"]] * 3 + [[b"sunsubscribe", b"moved", 0]]
    assert link.traffic.pushes == 6
    link.fail("end")


async def test_a_refused_subscription_is_an_error() -> None:
    """A server that may not subscribe would believe that it is told of everything."""
    link, _ = make()
    refused, after = link.subscribe("SSUBSCRIBE", "one"), link.send("PING")
    link.data_received(b"-NOPERM no permission\r\n+PONG\r\n")
    with pytest.raises(ReplyError, match="NOPERM"):
        await refused
    assert await after == b"PONG"
    with pytest.raises(ValueError, match="UNSUBSCRIBE needs channels"):
        link.subscribe("UNSUBSCRIBE")
    link.fail("end")


async def test_pushes_without_resp3() -> None:
    """On an old Redis messages would be taken for replies."""
    pushes: list[Any] = []
    link, _ = make(on_push=pushes.append)
    replies = [link.send("LRANGE", "a", 0, -1), link.subscribe("SUBSCRIBE", "one", "two")]
    link.data_received(b"*1\r\n+message\r\n*3\r\n+subscribe\r\n+one\r\n:1\r\n*3\r\n+message\r\n+one\r\n+hi\r\n")
    link.data_received(b"*3\r\n+subscribe\r\n+two\r\n:2\r\n*3\r\n+message\r\n+two\r\n+ho\r\n")
    assert [await reply for reply in replies] == [[b"message"], 2]
    pong = link.send("PING")
    link.data_received(b"*2\r\n+pong\r\n$0\r\n\r\n")
    assert await pong == [b"pong", b""]
    assert pushes == [[b"message", b"one", b"hi"], [b"message", b"two", b"ho"]]
    link.fail("end")


async def test_a_message_that_breaks_its_handler_is_reported() -> None:
    """One bad message would cut the server off from the cluster."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def handle(push: list[Any]) -> None:
        raise ValueError(push[2])

    link, _ = make(on_push=handle)
    reply = link.send("GET", "a")
    link.data_received(b">3\r\n+message\r\n+one\r\n+bad\r\n+a\r\n")
    assert await reply == b"a"
    assert [str(context["exception"]) for context in complaints] == ["b'bad'"]
    link.fail("end")


STREAM: Final = (
    b"+OK\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n1\r\n2\r\n-MOVED 1 a:1\r\n$-1\r\n:42\r\n_\r\n"
    b"%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nd\r\n$13\r\n$5\r\nab\r\n*1\r\n:\r\n"
    b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*2\r\n-ERR x\r\n#t\r\n,1.5\r\n$0\r\n\r\n"
)


async def read_in_pieces(pieces: list[bytes]) -> tuple[list[Any], list[Any]]:
    """Return replies and pushes of ``STREAM``, received in pieces."""
    pushes: list[Any] = []
    link, _ = make(on_push=pushes.append)
    replies = [link.send("ANY") for _ in range(6)]
    replies += [link.subscribe("SUBSCRIBE", "c")] + [link.send("ANY") for _ in range(3)]
    for piece in pieces:
        link.data_received(piece)
    found = await asyncio.gather(*replies, return_exceptions=True)
    link.fail("end")
    return [repr(each) for each in found], pushes


@given(cuts=st.sets(st.integers(1, len(STREAM) - 1)))
@example(cuts=set(range(1, len(STREAM))))
@settings(max_examples=examples(800))
def test_any_split_of_the_stream_gives_the_same_replies(cuts: set[int]) -> None:
    """On a slow network replies would be lost or mixed up."""
    whole = asyncio.run(read_in_pieces([STREAM]))
    assert len(whole[0]) == 10
    assert not any("LinkLost" in each for each in whole[0])
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(places)]
    assert asyncio.run(read_in_pieces(pieces)) == whole


@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [
                *(b"+OK\r\n", b">0\r\n", b">1\r\n+a\r\n", b"%1\r\n*0\r\n:1\r\n", b"*4294967290\r\n", b"$-7\r\n"),
                *(b"*1\r\n" * 12, b">2\r\n:1\r\n_\r\n", b"|1\r\n+a\r\n+b\r\n", b"-\xff\r\n", b"(1\r\n", b"*-9\r\n"),
            ]
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(1600))
def test_rubbish_ends_the_connection_alone(pieces: list[bytes]) -> None:
    """Something else than Redis on that port would end the whole server."""

    async def scenario() -> None:
        pushes: list[Any] = []
        link, wire = make(on_push=pushes.append)
        replies = [link.send("ANY"), link.subscribe("SUBSCRIBE", "a"), link.send("ANY")]
        for piece in pieces:
            link.data_received(piece)
        link.fail("end")
        await asyncio.gather(*replies, return_exceptions=True)
        assert wire.ended
        assert all(reply.done() for reply in replies)
        assert link.lost.done()

    asyncio.run(scenario())


async def test_a_reply_without_a_command_ends_the_connection() -> None:
    """All later replies would be given to the wrong commands."""
    link, wire = make()
    link.data_received(b"+OK\r\n")
    assert wire.ended
    assert str(await link.lost) == "Redis sent something that nobody has asked for"


async def test_a_reply_has_a_bound() -> None:
    """A reply that never ends would fill the memory."""
    link, wire = make(options=LinkOptions(max_reply=1000))
    reply = link.send("GET", "a")
    link.data_received(b"$100000\r\n")
    for _ in range(100):
        link.data_received(b"x" * 100)
    assert wire.ended
    with pytest.raises(LinkLost, match="more than 1000 bytes"):
        await reply


async def test_the_reply_is_lost_after_the_command_was_executed(fake_server: Fake) -> None:
    """A stream would get an entry twice: nobody can know, so nobody but the layers above may repeat it."""

    def add(peer: Peer, command: list[bytes]) -> None:
        peer.writer.transport.abort()

    server = await fake_server({b"XADD": add})
    link = await open_link(server.url)
    with pytest.raises(LinkLost) as caught:
        await link.send("XADD", "s", "*", "a", 1)
    assert caught.value.written
    assert [command[0] for command in server.peers[0].received].count(b"XADD") == 1
    await link.close()


async def test_a_silent_server_is_noticed(fake_server: Fake) -> None:
    """Behind a dead router the server would wait for events that never come, for hours."""
    server = await fake_server()
    link = await open_link(server.url, options=QUICK)
    server.answers.pop(b"PING")
    assert "silent" in str(await asyncio.wait_for(link.lost, 5))
    assert server.peers[0].received[-1] == [b"PING"]
    await link.close()


async def test_a_silent_server_is_noticed_while_a_reply_is_due(fake_server: Fake) -> None:
    """An emit would wait for ever."""
    server = await fake_server()
    link = await open_link(server.url, options=QUICK)
    with pytest.raises(LinkLost, match="silent") as caught:
        await asyncio.wait_for(link.send("GET", "a"), 5)
    assert caught.value.written
    await link.close()


async def test_a_large_command_on_its_way_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow network a large event would break the connection again and again."""
    now = wall_time()
    monkeypatch.setattr("rtframework_redis.link.wall_time", lambda: now)
    link, wire = make()
    reply = link.send("SET", "a", "large")
    for wire.waiting in (900, 600, 300):
        now += 12
        link._tick()
        link._tick()
        assert link.is_usable
    for _ in range(3):
        now += 12
        link._tick()
    with pytest.raises(LinkLost, match="silent for"):
        await reply


async def test_an_idle_connection_that_answers_stays(fake_server: Fake) -> None:
    """A server without events would reconnect all the time."""
    server = await fake_server()
    link = await open_link(server.url, options=LinkOptions(idle=0.05, ping_timeout=30))
    await until(lambda: [command[0] for command in server.peers[0].received].count(b"PING") >= 4)
    assert link.is_usable
    await link.close()


async def test_a_blocking_read_has_a_deadline_of_its_own(fake_server: Fake) -> None:
    """A reader on a dead connection would be deaf, and one with a short timeout would reconnect all the time."""

    async def read(peer: Peer, command: list[bytes]) -> bytes | None:
        await asyncio.sleep(0.5)  # longer than idle and ping_timeout together
        return b"_\r\n" if command[1] == b"one" else None

    server = await fake_server({b"XREAD": read})
    link = await open_link(server.url, options=QUICK)
    assert await link.send_blocking(0.6, "XREAD", "one") is None
    with pytest.raises(LinkLost, match="silent"):
        await asyncio.wait_for(link.send_blocking(0.1, "XREAD", "two"), 5)
    with pytest.raises(ValueError, match="for ever"):
        link.send_blocking(0, "XREAD")
    await link.close()


async def test_a_process_that_stood_still_reads_before_it_judges(
    fake_server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a suspend every server would throw away connections whose replies are there already."""
    server = await fake_server({b"GET": b"+a\r\n"})
    link = await open_link(server.url, options=LinkOptions(idle=20, ping_timeout=20))
    reply = link.send("GET", "a")
    monkeypatch.setattr("rtframework_redis.link.wall_time", lambda: 1e12)
    link._heard = False
    link._tick()
    assert await reply == b"a"
    monkeypatch.undo()
    link._tick()
    assert link.is_usable
    await link.close()


async def test_a_retired_connection_still_gets_its_replies() -> None:
    """At a failover all commands on their way would be in doubt, although Redis has refused them."""
    link, wire = make()
    replies = [link.send("GET", "a"), link.send("GET", "b")]
    link.data_received(b"+a\r\n")
    link.retire("moved")
    with pytest.raises(LinkLost, match="moved") as caught:
        link.send("GET", "c")
    assert not caught.value.written
    assert not wire.ended
    link.data_received(b"+b\r\n")
    assert [await reply for reply in replies] == [b"a", b"b"]
    assert wire.ended
    assert str(await link.lost) == "moved"


async def test_a_retired_connection_does_not_wait_for_ever() -> None:
    """A connection to a former master that hangs would never be given up."""
    link, _ = make(options=LinkOptions(close_timeout=0.01))
    reply = link.send("GET", "a")
    link.retire("moved")
    with pytest.raises(LinkLost, match="moved"):
        await reply
    idle, _ = make()
    idle.retire("moved")
    idle.retire("again")
    assert str(await idle.lost) == "moved"


async def test_asking_goes_before_each_command() -> None:
    """While a Cluster moves a slot its stream could not be written."""
    link, wire = make(asking=True)
    reply = link.send("GET", "a")
    await asyncio.sleep(0)
    assert wire.writes == [b"*1\r\n$6\r\nASKING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]
    link.data_received(b"+OK\r\n+a\r\n")
    assert await reply == b"a"
    link.fail("end")


# a real Redis


async def test_commands_streams_and_messages(redis_server: Start) -> None:
    """Nothing would work."""
    server = await redis_server()
    pushes: list[Any] = []
    link, reader = await open_link(server.url), await open_link(server.unix_url, on_push=pushes.append)
    assert link.resp3
    assert (link.role, link.version[:1].isdecimal()) == ("master", True)
    assert link.client_id != reader.client_id
    waiting = reader.send_blocking(5, "XREAD", "BLOCK", 5000, "STREAMS", "s", "$")
    await until(lambda: reader.traffic.commands == 5)
    entries = await asyncio.gather(*(link.send("XADD", "s", "*", "n", number) for number in range(100)))
    first = (await waiting)[b"s"][0]
    assert first == [entries[0], [b"n", b"0"]]
    assert await reader.subscribe("SUBSCRIBE", "a", "b") == 2
    assert await reader.subscribe("PSUBSCRIBE", "x*") == 3
    assert await reader.subscribe("SSUBSCRIBE", "shard") == 1
    assert await link.send("PUBLISH", "a", b"\x00\xff") == 1
    assert await link.send("PUBLISH", "xyz", "p") == 1
    assert await link.send("SPUBLISH", "shard", "s") == 1
    assert await reader.subscribe("UNSUBSCRIBE", "a", "a") == 2
    assert await reader.send("GET", "none") is None
    assert pushes == [
        [b"message", b"a", b"\x00\xff"],
        [b"pmessage", b"x*", b"xyz", b"p"],
        [b"smessage", b"shard", b"s"],
    ]
    await link.close()
    await reader.close()


async def test_streams_and_messages_without_resp3(redis_server: Start) -> None:
    """A Redis before 6, or a proxy before it, could not be used."""
    server = await redis_server()
    pushes: list[Any] = []
    url = f"{server.url}?protocol=2"
    link, reader = await open_link(url), await open_link(url, on_push=pushes.append)
    entry = await link.send("XADD", "s", "*", "a", 1)
    found = await link.send_blocking(1, "XREAD", "BLOCK", 1000, "STREAMS", "s", "0")
    assert [(name, *entries) for name, entries in read_streams(found)] == [(b"s", [entry, [b"a", b"1"]])]
    assert await reader.subscribe("PSUBSCRIBE", "a*", "b*") == 2
    assert await link.send("PUBLISH", "abc", "hi") == 1
    assert await reader.send("PING") == [b"pong", b""]
    assert pushes == [[b"pmessage", b"a*", b"abc", b"hi"]]
    await link.close()
    await reader.close()


async def test_64_megabytes(redis_server: Start) -> None:
    """A large broadcast would count as silence, or break the connection."""
    server = await redis_server()
    link = await open_link(server.url, options=LinkOptions(idle=1, ping_timeout=2))
    value = memoryview(bytes(range(256)) * (64 * 4096))
    with pytest.raises(LinkFull):
        await asyncio.gather(link.send("SET", "a", value), link.send("SET", "b", 1))
    await link.room()
    assert await link.send("GET", "a") == value
    await link.close()


@pytest.mark.parametrize("end", ["killed", "client kill"])
async def test_the_end_of_the_connection_is_noticed_at_once(redis_server: Start, end: str) -> None:
    """The server would believe that it is connected, and its emits would be lost."""
    server = await redis_server()
    link = await open_link(server.url)
    waiting = link.send_blocking(50, "BLPOP", "list", 50)
    await until(lambda: link.traffic.commands == 5)
    if end == "killed":
        await server.kill()
    else:
        other = await open_link(server.unix_url)
        assert await other.send("CLIENT", "KILL", "ID", link.client_id or 0) == 1
        await other.close()
    with pytest.raises(LinkLost) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.written
    await link.close()


async def test_a_frozen_redis_is_noticed(redis_server: Start) -> None:
    """A Redis that hangs keeps its connections open; nobody would ever be told."""
    server = await redis_server()
    link = await open_link(server.url, options=QUICK)
    server.freeze()
    reply = link.send("SET", "a", 1)
    with pytest.raises(LinkLost, match="silent"):
        await asyncio.wait_for(reply, 5)
    await link.close()
    server.thaw()


async def test_a_short_freeze_changes_nothing(redis_server: Start) -> None:
    """A Redis that saves its data for a moment would cost all servers their connections."""
    server = await redis_server()
    link = await open_link(server.url)
    server.freeze()
    replies = [link.send("INCR", "a") for _ in range(100)]
    await until(lambda: link.traffic.commands == 104)
    server.thaw()
    assert await asyncio.gather(*replies) == list(range(1, 101))
    await link.close()


async def test_closing_a_frozen_connection_is_bounded(redis_server: Start) -> None:
    """A server could not be stopped while Redis hangs."""
    server = await redis_server()
    link = await open_link(server.url, options=LinkOptions(max_pending=1 << 30, close_timeout=0.1))
    server.freeze()
    reply = link.send("SET", "a", b"x" * (32 << 20))  # more than the sockets hold
    await asyncio.wait_for(link.close(), 5)
    with pytest.raises(LinkLost, match="closed"):
        await reply
    await link.close()
    server.thaw()


async def test_what_was_sent_before_closing_arrives(redis_server: Start) -> None:
    """The last events of a server that is stopped would be lost."""
    server = await redis_server()
    link = await open_link(server.url)
    link.send("SET", "a", "last")
    await link.close()
    other = await open_link(server.url)
    found: list[Any] = []

    async def look() -> None:
        while not found:
            value = await other.send("GET", "a")
            found.extend([value] if value else [])

    await asyncio.wait_for(look(), 5)
    assert found == [b"last"]
    await other.close()


def test_the_greeting_of_the_fake_server_is_whole() -> None:
    """The tests above would talk to a server that is unlike Redis in its first words."""
    assert GREETING[b"HELLO"] == HELLO
