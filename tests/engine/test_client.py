"""A client of Socket.IO on a connection that has nothing of Engine.IO: what it needs of one is a few methods."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rtframework import ConnectionRefused, Handshake, Limits, Packet, PacketType, Server, Socket
from tests.engine import eventually
from tests.support.stream import Doorman, Stream, arrive

# --- alone ------------------------------------------------------------------------------------------------------------


async def test_one_connection_carries_two_namespaces() -> None:
    """Socket.IO could be had by Engine.IO alone."""
    doorman = Doorman()
    stream = arrive(doorman)
    assert not stream.is_kept
    assert await stream.answers('0{"token":"x"}', "0/admin,") == [
        '0{"sid":"sid of /"}',
        '0/admin,{"sid":"sid of /admin"}',
    ]
    assert doorman.asked == [("/", {"token": "x"}), ("/admin", None)]
    assert stream.is_kept
    stream.say('2["a",1]', '2/admin,7["b"]', '51-["c",{"_placeholder":true,"num":0}]', b"\x00\xff", "3/admin,5[true]")
    assert [(each.type, each.data, each.id) for each in doorman.only("/").packets] == [
        (PacketType.EVENT, ["a", 1], None),
        (PacketType.EVENT, ["c", b"\x00\xff"], None),
    ]
    assert [(each.type, each.data, each.id) for each in doorman.only("/admin").packets] == [
        (PacketType.EVENT, ["b"], 7),
        (PacketType.ACK, [True], 5),
    ]


async def test_who_leaves_one_namespace_stays_in_the_other() -> None:
    """A page that closes its chat would lose its notifications."""
    doorman = Doorman()
    stream = arrive(doorman)
    await stream.answers("0", "0/admin,")
    stream.say("1/admin,", '2["still here"]')
    assert doorman.only("/admin").reasons == ["client namespace disconnect"]
    assert doorman.only("/").reasons == []
    assert [each.data for each in doorman.only("/").packets] == [["still here"]]
    assert len(await stream.answers("0/admin,")) == 1
    stream.end("gone")
    assert [(each.nsp, each.reasons) for each in doorman.members] == [
        ("/", ["gone"]),
        ("/admin", ["client namespace disconnect"]),
        ("/admin", ["gone"]),
    ]


async def test_who_is_refused_may_ask_again() -> None:
    """A user who mistyped a password would have to load the page again."""
    doorman = Doorman()
    stream = arrive(doorman)
    refusal = '4/closed,{"message":"no","data":{"code":1}}'
    assert await stream.answers("0/closed,") == [refusal]
    assert await stream.answers("0/closed,", "0") == [refusal, '0{"sid":"sid of /"}']
    assert stream.is_open


async def test_an_application_that_fails_bars_nobody_for_ever() -> None:
    """The client could never ask for the namespace again."""
    doorman = Doorman()
    stream = arrive(doorman)
    for _ in range(2):
        stream.say("0/broken,")
        with pytest.raises(RuntimeError):
            await stream.settle()
    assert len(doorman.asked) == 2


async def test_asking_twice_before_the_answer_is_asking_once() -> None:
    """A client would be in the namespace twice, and one of the two would be a ghost."""
    doorman = Doorman()
    doorman.gate.clear()
    stream = arrive(doorman)
    stream.say("0/slow,", "0/slow,", "0", "0/slow,")
    await asyncio.sleep(0)
    doorman.gate.set()
    assert await stream.answers() == ['0/slow,{"sid":"sid of /slow"}', '0{"sid":"sid of /"}']
    assert [each.nsp for each in doorman.members] == ["/slow", "/"]


async def test_asking_again_after_the_answer_starts_anew() -> None:
    """A client that has missed the answer would wait for another one for ever."""
    doorman = Doorman()
    stream = arrive(doorman)
    for _ in range(2):
        assert await stream.answers("0/fragile,") == ['0/fragile,{"sid":"sid of /fragile"}']
    first, second = doorman.members
    assert first.reasons == ["client namespace disconnect"]
    stream.say('2/fragile,["x"]')
    assert (len(first.packets), len(second.packets)) == (0, 1)


async def test_who_left_while_the_answer_was_made_is_not_barred_by_it() -> None:
    """The end of the first attempt would be taken for the end of the second, which is then served twice."""
    doorman = Doorman()
    stream = arrive(doorman)
    client = stream.client
    assert client is not None
    doorman.gate.clear()
    stream.say("0")
    await asyncio.sleep(0)
    client.leave("/")  # as the application does that gives up
    stream.say("0")
    await asyncio.sleep(0)
    assert len(doorman.asked) == 2
    stream.say("0")
    doorman.gate.set()
    await stream.settle()
    assert len(doorman.asked) == 2


async def test_nobody_is_in_more_namespaces_than_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    """One client that joins thousands would slow everybody down."""
    caplog.set_level(logging.INFO)
    doorman = Doorman()
    stream = arrive(doorman, Limits(max_namespaces=2))
    await stream.answers("0/a,", "0/b,")
    await stream.answers("1/b,", "0/c,", "0/c,")
    assert stream.is_open
    doorman.gate.clear()
    stream.say("0/d,")
    assert stream.ends == ["forced server close"]
    (record,) = caplog.records
    assert (record.address, record.nsp, record.transport, record.limit) == ("10.0.0.1", "/d", "stream", 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("x", "parse error"),
        ("", "parse error"),
        (b"attachment of nothing", "parse error"),
        ('2["' + "x" * 300 + '"]', "parse error"),
        ("2[1.5]", "parse error"),
        ("2[" + "9" * 400 + "]", "parse error"),
        ("2/admin,[true]", "parse error"),
        ("2[1" + "0" * 15 + "]", "parse error"),
        ('2/elsewhere,["a"]', "forced server close"),
        ("3/elsewhere,1[]", "forced server close"),
        ("1/elsewhere,", "forced server close"),
        ('4{"message":"x"}', "forced server close"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_a_client_may_not_say_ends_its_connection(message: str | bytes, reason: str) -> None:
    """What a broken client means would be guessed at."""
    doorman = Doorman()
    stream = arrive(doorman, Limits(max_event_name=15))
    await stream.answers("0", "0/admin,")
    stream.say(message)
    assert stream.ends == [reason]
    assert [each.reasons for each in doorman.members] == [[reason], [reason]]
    assert [each.packets for each in doorman.members] == [[], []]


async def test_a_decoder_that_fails_harms_its_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of a serializer would end the task that serves everybody."""
    stream = arrive(Doorman())
    assert stream.client is not None

    class Broken:
        def decode(self, frame: str | bytes) -> Packet | None:
            raise KeyError("unforeseen")

    stream.client._decoder = Broken()
    stream.say("0")
    assert stream.ends == ["parse error"]
    assert len([each for each in caplog.records if each.exc_info]) == 1


async def test_nobody_enters_when_the_connection_has_gone() -> None:
    """A ghost would stay in the namespace, whom nobody tells to go."""
    doorman = Doorman()
    doorman.gate.clear()
    stream = arrive(doorman)
    stream.say("0")
    await asyncio.sleep(0)
    stream.end("gone")
    doorman.gate.set()
    await stream.settle()
    assert (doorman.members, stream.is_kept) == ([], False)


# --- under a server ---------------------------------------------------------------------------------------------------


async def test_a_server_serves_any_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Another protocol to the same rooms would need a server of its own."""
    io = Server()
    admin = io.of("/admin")
    gone: list[tuple[str, str]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")
        assert (socket.conn.transport, socket.conn.protocol) == ("stream", 0)

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @admin.on("connection")
    def only_admins(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "right":
            raise ConnectionRefused("not for you")

    @admin.on("who")
    async def who(socket: Socket) -> str:
        await asyncio.sleep(0)
        return f"{socket.nsp} {socket.handshake.address}"

    for namespace in (io, admin):
        namespace.on("disconnect")(lambda socket, reason: gone.append((socket.nsp, reason)))

    one, two = arrive(io._host), arrive(io._host)
    (let_in, refused) = await one.answers("0", "0/admin,")
    assert str(let_in).startswith('0{"sid":"')
    assert refused == '4/admin,{"message":"not for you"}'
    (let_in,) = await one.answers('0/admin,{"token":"right"}')
    assert str(let_in).startswith('0/admin,{"sid":"')
    await two.answers("0")

    assert await one.answers('21["echo","é",2]', '2/admin,2["who"]') == ['31["é",2]', '3/admin,2["/admin 10.0.0.1"]']
    assert await one.answers('51-3["echo",{"_placeholder":true,"num":0}]', b"\x00\xff") == [
        '61-3[{"_placeholder":true,"num":0}]',
        b"\x00\xff",
    ]
    await io.to("lobby").emit("news", 1)
    await admin.emit("secret")
    assert (await one.answers(), await two.answers()) == (['2["news",1]', '2/admin,["secret"]'], ['2["news",1]'])

    asking = asyncio.create_task(io.timeout(3).emit_with_ack("question"))
    await eventually(lambda: one.sent and two.sent)
    for stream, answer in ((one, "yes"), (two, "no")):
        (question,) = stream.sent
        stream.sent.clear()
        stream.say(f'3{str(question)[1:].partition("[")[0]}["{answer}"]')
    assert sorted((await asking).values()) == ["no", "yes"]

    await one.answers("1/admin,")
    assert (len(io.sockets), len(admin.sockets)) == (2, 0)
    two.say("x")
    one.end("transport close")
    await eventually(lambda: len(gone) == 3)
    assert sorted(gone) == [("/", "parse error"), ("/", "transport close"), ("/admin", "client namespace disconnect")]
    assert (len(io.sockets), len(admin.sockets)) == (0, 0)
    assert caplog.records == []


# --- asked again with other credentials -------------------------------------------------------------------------------


class ByName:
    """Lets in everybody but Nobody, by the name in ``auth``."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the name."""
        await asyncio.sleep(0)
        name = handshake.auth.get("name")
        if name == "nobody":
            raise ConnectionRefused("not for you")
        return name or "anonymous"


def serving() -> tuple[Server, Stream, list[str]]:
    """Make a server that says who a client is, with one client of it; and a list of those that have left."""
    io = Server(auth=ByName())
    gone: list[str] = []

    @io.on("who")
    async def who(socket: Socket) -> str:
        return str(socket.user)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        gone.append(f"{socket.user}: {reason}")

    return io, arrive(io._host), gone


@pytest.mark.parametrize("first", ["anonymous", "nobody"])
async def test_the_latest_credentials_count(first: str) -> None:
    """A user who signs in while the page still connects would stay who he was before, or outside."""
    io, stream, gone = serving()
    stream.say(f'0{{"name":"{first}"}}')
    await asyncio.sleep(0)
    answers = await stream.answers('0{"name":"ada"}')
    assert str(answers[0]).startswith('0{"sid"' if first == "anonymous" else '4{"message":"not for you"}')
    assert str(answers[-1]).startswith('0{"sid"')
    assert len(answers) == 2
    assert await stream.answers('21["who"]') == ['31["ada"]']
    assert gone == (["anonymous: client namespace disconnect"] if first == "anonymous" else [])
    assert [socket.user for socket in io.sockets.values()] == ["ada"]


async def test_packets_of_the_time_before_are_dropped() -> None:
    """A page that sends at once when it is connected, and connects twice, would lose all of its namespaces."""
    io, stream, _ = serving()
    io.of("/b")
    await stream.answers("0", "0/b,")
    stream.say('0{"name":"ada"}', '21["who"]', "31[]")
    (answer,) = await stream.answers()
    assert str(answer).startswith('0{"sid"')
    assert await stream.answers('22["who"]') == ['32["ada"]']
    assert stream.is_open
    assert len(io.of("/b").sockets) == 1


async def test_leaving_while_joining_anew_is_leaving() -> None:
    """A socket that no client knows of would stay."""
    io, stream, gone = serving()
    await stream.answers("0")
    stream.say('0{"name":"ada"}', "1")
    await stream.settle()
    assert stream.is_open
    assert not io.sockets
    assert gone == ["anonymous: client namespace disconnect", "ada: client namespace disconnect"]


async def test_work_that_never_begins_holds_nothing() -> None:
    """Messages that are refused after they were decoded would fill the bound of all clients, for good."""
    doorman = Doorman()
    stream = arrive(doorman)
    client = stream.client
    assert client is not None
    await stream.answers("0")
    held = 0

    def hold(size: int) -> bool:
        nonlocal held
        held += size
        return True

    def release(size: int) -> None:
        nonlocal held
        held -= size

    async def work() -> None:
        """Do nothing."""

    stream.hold, stream.release = hold, release  # type: ignore[method-assign]
    client._collect("51-[]")
    inner = work()
    begun = client._serve_collected(inner)
    assert begun is not None
    assert held > 0
    begun.close()
    inner.close()
    client.ended("gone")
    assert held == 0


async def test_parts_of_an_outdated_packet_are_counted_no_more() -> None:
    """A client that joins anew while it sends pictures would be closed for their size."""
    doorman = Doorman()
    stream = arrive(doorman)
    client = stream.client
    assert client is not None
    await stream.answers("0/slow,")
    doorman.gate.clear()
    stream.say("0/slow,")
    await asyncio.sleep(0)
    stream.say('51-/slow,["c",{"_placeholder":true,"num":0}]', b"x" * 1_000)
    assert (client._collected, client._size) == (0, 0)
    doorman.gate.set()
    await stream.settle()
