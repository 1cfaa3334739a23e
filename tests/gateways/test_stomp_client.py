"""STOMP clients: what their frames do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtframework import EventError, Limits, RateLimit, Server, Socket
from rtframework.testing import Clock
from tests.engine import eventually
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.stomp import Got, StompTalk, stomp, stomp_in_memory, stomp_talk

pytestmark = NOT_ON_UVLOOP


def receipt(id: str) -> Got:
    """Return a receipt."""
    return Got("RECEIPT", {"receipt-id": id}, b"")


class Party:
    """A server with a client, and what its handlers have noted."""

    def __init__(self, io: Server, page: StompTalk) -> None:
        self.io = io
        self.page = page
        self.notes: list[Any] = []
        self.gate = asyncio.Event()
        io.on("note")(lambda socket, *args: self.notes.append(list(args)))

        @io.on("wait")
        async def wait(socket: Socket) -> str:
            await self.gate.wait()
            return "waited"

    @property
    def socket(self) -> Socket:
        """The client's socket."""
        (socket,) = self.io.sockets.values()
        return socket


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    """A server whose clients may read "open" and "news:{id}"."""
    io = Server()
    async with stomp_in_memory(io, ["open", "news:{id}"]) as server, stomp_talk(server) as page:
        yield Party(io, page)


# --- rooms ------------------------------------------------------------------------------------------------------------


async def test_a_subscription_is_a_room_until_it_ends(party: Party) -> None:
    """Pages would hear nothing, or for ever."""
    io, page = party.io, party.page
    await page.subscribe("/topic/open", "1")
    await page.subscribe("/topic/open", "2")
    assert party.socket.rooms == {party.socket.id, "open"}
    await io.to("open").emit("a", 1)
    got = [await page.hear(), await page.hear()]
    assert [(each.headers["subscription"], each.args) for each in got] == [("1", [1]), ("2", [1])]
    await page.say("UNSUBSCRIBE", id=1, receipt="u1")
    assert await page.hear() == receipt("u1")
    await io.to("open").emit("a", 2)
    assert (await page.hear()).headers["subscription"] == "2"
    await page.say("UNSUBSCRIBE", id=2, receipt="u2")
    assert await page.hear() == receipt("u2")
    assert party.socket.rooms == {party.socket.id}
    await page.say("UNSUBSCRIBE", id="unknown", receipt="u3")
    assert await page.hear() == receipt("u3")


async def test_a_room_of_the_program_s_may_be_read_and_stays(party: Party) -> None:
    """A client that unsubscribes would lose what the program sends it otherwise."""
    io, page = party.io, party.page
    await party.socket.join("secret")
    await page.subscribe("/user/queue/*", "mine")
    await io.to("secret").emit("a")
    assert (await page.hear()).headers["destination"] == "/user/queue/a"
    await page.subscribe("/topic/secret", "s")
    await io.to("secret").emit("a")
    got = await page.hear()
    assert (got.headers["subscription"], got.headers["destination"], got.args) == ("s", "/topic/secret", [])
    await page.say("UNSUBSCRIBE", id="s")
    await page.say("SEND", destination="/app/note", receipt="r")
    await page.hear()
    assert "secret" in party.socket.rooms


async def test_an_event_to_several_rooms_comes_by_each_subscription(party: Party) -> None:
    """As with Spring: each subscription is a view of its own in a page."""
    io, page = party.io, party.page
    await page.subscribe("/topic/news:1", "one")
    await page.subscribe("/topic/news:2", "two")
    await page.subscribe("/user/queue/*", "mine")
    await io.to("news:1").to("news:2").to("news:3").emit("a")
    assert {(await page.hear()).headers["subscription"] for _ in range(2)} == {"one", "two"}
    await io.to("news:1").except_("news:2").emit("b")
    await io.emit("c")
    assert (await page.hear()).headers["event"] == "c"


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("/topic/secret", "this client may not subscribe to /topic/secret"),
        ("/topic/", "subscriptions are to /topic/<room>, /user/queue/<event> or /app/<event>"),
        ("/queue/a", "subscriptions are to /topic/<room>, /user/queue/<event> or /app/<event>"),
        ("/user/queue/", "subscriptions are to /topic/<room>, /user/queue/<event> or /app/<event>"),
        ("/app/", "subscriptions are to /topic/<room>, /user/queue/<event> or /app/<event>"),
        ("/topic/$user:ada", "this client may not subscribe to /topic/$user:ada"),
    ],
)
async def test_what_the_program_has_not_allowed_is_refused(party: Party, destination: str, why: str) -> None:
    """A client could read whatever it likes."""
    await party.page.say("SUBSCRIBE", id=1, destination=destination, receipt="r")
    got = await party.page.hear()
    assert (got.command, got.headers) == ("ERROR", {"receipt-id": "r", "message": why})
    assert (await party.page.websocket.receive()).data in (1008, 4400)
    await eventually(lambda: not party.io.sockets)


async def test_nothing_may_be_read_by_default() -> None:
    """A program that forgets to say who may read what would be open."""
    async with stomp_in_memory(Server()) as server, stomp_talk(server) as page:
        await page.say("SUBSCRIBE", id=1, destination="/topic/a")
        assert await page.error() == "this client may not subscribe to /topic/a"
        assert page.code == 1008


async def test_a_function_decides(caplog: pytest.LogCaptureFixture) -> None:
    """A program could not ask its database."""
    gate = asyncio.Event()

    async def topics(socket: Socket, topic: str) -> Any:
        await gate.wait()
        if topic == "broken":
            raise KeyError("unforeseen")
        if topic == "told":
            raise EventError("no", "not before noon")
        if topic == "owned":
            return "$user:ada"
        return f"tenant-1:{topic}"

    io = Server()
    notes: list[Any] = []
    io.on("note")(lambda socket: notes.append(socket.rooms))
    async with stomp_in_memory(io, topics) as server:
        async with stomp_talk(server) as page:
            await page.say("SUBSCRIBE", id=1, destination="/topic/a")
            await page.say("SEND", destination="/app/note")  # waits for the answer: else it would miss what it sets off
            await page.say("SUBSCRIBE", id=2, destination="/topic/b", receipt="b")
            await server.settle()
            assert notes == []
            gate.set()
            assert await page.hear() == receipt("b")
            assert {"tenant-1:a"} <= notes[0]
            await io.to("tenant-1:a").emit("x")
            assert (await page.hear()).headers["destination"] == "/topic/a"
        for topic, why in (
            ("broken", "Internal server error"),
            ("told", "not before noon"),
            ("owned", "a room's name may not begin with $"),
        ):
            async with stomp_talk(server) as page:
                await page.say("SUBSCRIBE", id=1, destination=f"/topic/{topic}")
                message = await page.error()
                assert message == why or (topic == "owned" and "$" in message)
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(errors) == 1
    assert "topics" in errors[0].getMessage()


async def test_who_leaves_while_it_subscribes_joins_nothing() -> None:
    """A room would have members that have gone."""
    gate = asyncio.Event()

    async def topics(socket: Socket, topic: str) -> bool:
        await gate.wait()
        return True

    io = Server()
    async with stomp_in_memory(io, topics) as server:
        async with stomp_talk(server) as page:
            await page.say("SUBSCRIBE", id=1, destination="/topic/a")
            await server.settle()
        await eventually(lambda: not io.sockets)
        gate.set()
        await server.settle()
        assert sum(io.stats().rooms.values()) == 0
        await eventually(lambda: not io._server.eio.table.tasks)


# --- events -----------------------------------------------------------------------------------------------------------


async def test_events_for_this_client_come_to_its_queues(party: Party) -> None:
    """A page could not be told anything by itself."""
    io, page = party.io, party.page
    await page.subscribe("/user/queue/mail", "mail")
    await party.socket.emit("mail", {"unread": 3})
    await party.socket.emit("else")
    await io.emit("mail", "all")
    await io.to(party.socket.id).emit("mail")
    await io.emit("mail", b"bytes")
    assert [(await page.hear()).args for _ in range(4)] == [[{"unread": 3}], ["all"], [], [b"bytes"]]


async def test_a_receipt_comes_when_the_handler_has_ended(party: Party) -> None:
    """A page would take for done what is still on its way."""
    page = party.page
    await page.say("SEND", destination="/app/wait", receipt="waited:1")
    await page.say("SEND", "1", destination="/app/note", receipt="noted")
    assert await page.hear() == receipt("noted")
    party.gate.set()
    assert await page.hear() == receipt("waited:1")
    await page.say("SEND", destination="/app/nowhere", receipt="x")
    assert await page.hear() == Got("RECEIPT", {"receipt-id": "x", "error": "unknown_event"}, b"")


async def test_an_answer_goes_where_the_client_wants_it(party: Party) -> None:
    """A page could not tell which answer is to which event."""
    io, page = party.io, party.page
    io.on("double")(lambda socket, number: 2 * number)
    await page.subscribe("/user/queue/reply", "r")
    await page.subscribe("/user/queue/doubles", "d")
    await page.say("SEND", "1", destination="/app/double")
    await page.say("SEND", "2", destination="/app/double", correlation_id="a:b")
    await page.say("SEND", "3", destination="/app/double", reply_to="/user/queue/doubles", receipt="done")
    await page.say("SEND", "4", destination="/app/note")
    await page.say("SEND", "4", destination="/app/note", correlation_id="c")
    got = [await page.hear() for _ in range(5)]
    assert [(each.headers.get("subscription"), each.args if each.body else None) for each in got] == [
        *(("r", [2]), ("r", [4]), ("d", [6]), (None, None)),
        ("r", None),
    ]
    assert got[1].headers["correlation-id"] == "a:b"
    assert got[1].headers["destination"] == "/user/queue/reply"
    assert got[2].headers["destination"] == "/user/queue/doubles"
    assert (got[4].headers["correlation-id"], got[4].headers["args"]) == ("c", "0")


async def test_a_subscription_to_an_event_is_answered_once(party: Party) -> None:
    """A page would have to subscribe and to ask, as no page written for Spring does."""
    io, page = party.io, party.page
    io.on("state")(lambda socket: {"ready": True})
    await page.say("SUBSCRIBE", id="s", destination="/app/state", receipt="r")
    got = await page.hear()
    assert (got.headers["subscription"], got.headers["destination"], got.json) == ("s", "/app/state", {"ready": True})
    assert await page.hear() == receipt("r")
    await page.say("SUBSCRIBE", id="n", destination="/app/nowhere")
    got = await page.hear()
    assert (got.headers["error"], got.json["error"]["code"]) == ("unknown_event", "unknown_event")
    await page.say("UNSUBSCRIBE", id="s", receipt="u")
    assert await page.hear() == receipt("u")


async def test_rates_hold_for_events() -> None:
    """Whoever is limited by Socket.IO would use the other door."""
    io = Server(rate_limit=RateLimit(events="2/h"))
    io.on("a")(lambda socket: None)
    async with stomp_in_memory(io) as server, stomp_talk(server) as page:
        for number in range(3):
            await page.say("SEND", destination="/app/a", receipt=number)
        got = [(await page.hear()).headers for _ in range(3)]
        assert [each.get("error") for each in got] == [None, None, "rate_limited"]


async def test_rates_hold_for_subscriptions() -> None:
    """A client could ask the program's database as often as it likes."""
    io = Server(rate_limit=RateLimit(events="2/h"))
    async with stomp_in_memory(io, "{room}") as server, stomp_talk(server) as page:
        for number in range(2):
            await page.subscribe(f"/topic/{number}", str(number))
        await page.say("SUBSCRIBE", id="2", destination="/topic/2")
        assert await page.error() == "too many events and subscriptions"
        assert page.code == 4429


# --- answers to the server --------------------------------------------------------------------------------------------


async def test_ack_and_nack_answer_a_question(party: Party) -> None:
    """A program could not know whether its event has arrived."""
    page, socket = party.page, party.socket
    await page.subscribe("/user/queue/sure?", "q", ack="client-individual")
    asking = asyncio.create_task(socket.emit_with_ack("sure?", 1))
    got = await page.hear()
    await page.say("ACK", id=got.headers["ack"], receipt="a")
    assert await page.hear() == receipt("a")
    assert await asking is None
    asking = asyncio.create_task(socket.emit_with_ack("sure?", 2))
    await page.say("NACK", id=(await page.hear()).headers["ack"])
    answer = await asking
    assert answer["error"]["code"] == "nack"
    asking = asyncio.create_task(socket.emit_with_ack("sure?", 3))
    got = await page.hear()
    await page.say("SEND", "[1,2]", destination=got.headers["reply-to"], args=2, receipt="s")
    assert await page.hear() == receipt("s")
    assert await asking == (1, 2)


async def test_ack_of_the_mode_client_is_for_all_before(party: Party) -> None:
    """STOMP 1.2, "SUBSCRIBE ack Header": the acknowledgement is cumulative."""
    io, page, socket = party.io, party.page, party.socket
    await page.subscribe("/user/queue/*", "q", ack="client")
    asked = [asyncio.create_task(socket.emit_with_ack("sure?", number)) for number in range(3)]
    got = [await page.hear() for _ in range(3)]
    await io.emit("news")
    plain = await page.hear()
    await page.say("ACK", id=got[1].headers["ack"])
    assert [await each for each in asked[:2]] == [None, None]
    assert not asked[2].done()
    await page.say("ACK", id=plain.headers["ack"])
    assert await asked[2] is None


async def test_ack_of_version_1_1() -> None:
    """Clients of the version before could not answer."""
    io = Server()
    async with stomp_in_memory(io) as server, stomp_talk(server, version="1.1") as page:
        await page.subscribe("/user/queue/sure?", "a:b", ack="client")
        (socket,) = io.sockets.values()
        asking = asyncio.create_task(socket.emit_with_ack("sure?"))
        got = await page.hear()
        await page.say("ACK", message_id=got.headers["message-id"], subscription="a:b")
        assert await asking is None
        await page.say("ACK", message_id=got.headers["message-id"], subscription="unknown", receipt="r")
        assert await page.hear() == receipt("r")
        await page.say("ACK", message_id="1")
        assert await page.error() == "ACK and NACK have message-id and subscription"


# --- transactions, the end --------------------------------------------------------------------------------------------


async def test_a_transaction_is_served_at_its_end_or_not_at_all(party: Party) -> None:
    """Half of an order would be served."""
    page = party.page
    for name in ("a", "b"):
        await page.say("BEGIN", transaction=name, receipt=f"begin {name}")
        assert await page.hear() == receipt(f"begin {name}")
    for number, name in enumerate(("a", "b", "a")):
        await page.say("SEND", str(number), destination="/app/note", transaction=name, receipt=number)
        assert await page.hear() == receipt(str(number))
    assert party.notes == []
    assert party.io.stats().inbound_bytes > 0
    await page.send(
        stomp("COMMIT", transaction="a", receipt="commit") + stomp("SEND", "9", destination="/app/note", receipt="9")
    )
    assert [await page.hear(), await page.hear()] == [receipt("commit"), receipt("9")]
    assert party.notes == [[0], [2], [9]]
    await page.say("ABORT", transaction="b", receipt="abort")
    assert await page.hear() == receipt("abort")
    assert party.notes == [[0], [2], [9]]
    await eventually(lambda: party.io.stats().inbound_bytes == 0)


async def test_answers_come_before_the_end(party: Party) -> None:
    """A page that sends and leaves could not know whether that was served."""
    page = party.page
    await page.say("SEND", destination="/app/wait", receipt="waited")
    await page.say("DISCONNECT", receipt="bye")
    await page.say("SEND", "late", destination="/app/note")
    await asyncio.sleep(0)
    party.gate.set()
    assert [await page.hear(), await page.hear()] == [receipt("waited"), receipt("bye")]
    assert (await page.websocket.receive()).data == 1000
    assert party.notes == []


async def test_a_handler_that_hangs_holds_up_no_end() -> None:
    """A client that wants to leave would stay for ever."""
    io = Server(ping_timeout=5.0)
    io.on("wait")(lambda socket: asyncio.Event().wait())
    async with stomp_in_memory(io, clock=Clock()) as server, stomp_talk(server) as page:
        await page.say("SEND", destination="/app/wait", receipt="never")
        await page.say("DISCONNECT", receipt="bye")
        await server.settle()
        assert len(io.sockets) == 1
        await server.clock.advance(6)
        assert await page.hear() == receipt("bye")
        assert (await page.websocket.receive()).data == 1000


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (stomp("CONNECT", accept_version="1.2"), "CONNECT is no command of a client, or comes twice"),
        (stomp("MESSAGE"), "MESSAGE is no command of a client, or comes twice"),
        (stomp("SEND", destination="/topic/open"), "events are sent to /app/<event>"),
        (stomp("SEND"), "events are sent to /app/<event>"),
        (stomp("SEND", destination="/app/"), "events are sent to /app/<event>"),
        (stomp("SEND", destination="/app/disconnect"), "invalid payload: a reserved event name"),
        (
            stomp("SEND", destination="/app/a", reply_to="/topic/open"),
            "reply-to is a queue of the client",
        ),
        (stomp("SEND", "{", destination="/app/a", content_type="application/json"), "the body is no JSON"),
        (stomp("SEND", "x", destination="/reply/x"), "an id that is none of the server's"),
        (stomp("SEND", destination="/app/a", transaction="t"), "a transaction that has not begun"),
        (stomp("COMMIT", transaction="t"), "a transaction that has not begun"),
        (stomp("BEGIN"), "BEGIN names a transaction"),
        (stomp("SUBSCRIBE", destination="/topic/open"), "SUBSCRIBE has an id"),
        (stomp("SUBSCRIBE", id=1, destination="/topic/open", ack="yes"), "ack is auto, client or client-individual"),
        (stomp("UNSUBSCRIBE"), "UNSUBSCRIBE has an id"),
        (stomp("ACK", id="x"), "the id of ACK and NACK is the header ack of a message"),
        (stomp("ACK", id="x.y"), "an id that is none of the server's"),
        (b"SEND\ndestination:/app/a\nx:\\t\n\n\0", "an escape that does not exist: \\t"),
        (b"SEND\n\0", "no blank line behind the headers"),
    ],
)
async def test_mistakes_are_told_and_close(party: Party, frame: bytes, why: str) -> None:
    """A programmer would look for the mistake for hours."""
    await party.page.send(stomp("SEND", "first", destination="/app/note", content_type="text/plain") + frame)
    assert (await party.page.error()).startswith(why)
    assert party.page.code == 4400
    assert party.notes == [["first"]]


async def test_a_second_subscription_with_the_same_id_is_refused(party: Party) -> None:
    """Messages of two rooms could not be told apart."""
    await party.page.subscribe("/topic/open", "1")
    await party.page.say("SUBSCRIBE", id=1, destination="/topic/news:1")
    assert await party.page.error() == "there is a subscription with this id already"


async def test_what_comes_first_is_connect() -> None:
    """Who is not let in could act."""
    io = Server()
    async with stomp_in_memory(io) as server, stomp_talk(server, joins=False) as page:
        await page.say("SEND", "1", destination="/app/note")
        assert await page.error() == "the first frame is CONNECT"


async def test_clients_are_bounded() -> None:
    """A client could fill the memory with subscriptions, or with what it has not sent whole."""
    io = Server(limits=Limits(max_rooms=3, max_http_buffer_size=30_000, max_connect_size=1_000))
    async with stomp_in_memory(io) as server:
        async with stomp_talk(server) as page:
            for number in range(3):
                await page.subscribe(f"/user/queue/{number}", str(number))
            await page.say("SUBSCRIBE", id=4, destination="/user/queue/4")
            assert "Limits.max_rooms" in await page.error()
        async with stomp_talk(server) as page:
            for _ in range(4):
                await page.websocket.send_bytes(b"SEND\ndestination:/app/a\n\n" + b"x" * 9_000)
            assert await page.error() == "a frame has at most 30000 bytes"
        async with stomp_talk(server, joins=False) as page:
            await page.websocket.send_bytes(b"CONNECT\na:" + b"x" * 900)
            await page.websocket.send_bytes(b"x" * 900)
            assert await page.error() == "a frame has at most 1000 bytes"
        await eventually(lambda: io.stats().inbound_bytes == 0)


async def test_many_frames_in_one_message_are_served_in_order(party: Party) -> None:
    """What a page sends at once would be served in another order, or hold up the others."""
    frames = [stomp("SEND", str(number), destination="/app/note") for number in range(1_000)]
    await party.page.websocket.send_bytes(b"".join(frames))
    await party.page.say("SEND", "1000", destination="/app/note", receipt="r")
    assert await party.page.hear() == receipt("r")
    assert party.notes == [[number] for number in range(1_001)]
    await eventually(lambda: party.io.stats().inbound_bytes == 0)


async def test_a_frame_in_pieces_has_no_more_values_than_another() -> None:
    """A client could have the server build a million lists, in messages that look small."""
    io = Server(limits=Limits(max_items=1_000))
    async with stomp_in_memory(io) as server, stomp_talk(server) as page:
        data = stomp("SEND", "[" + "[]," * 20_000 + "[]]", destination="/app/a")
        for start in range(0, len(data), 8_000):
            await page.websocket.send_bytes(data[start : start + 8_000])
        assert "Limits.max_items" in await page.error()
