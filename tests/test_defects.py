"""What a server of this kind has to get right though no example shows it, row by row, and the tests that show it.

Each row is a promise, and names at least one test for each part of it; what no other file tests is tested below. The
rows were collected before the server was written, from what users of such servers lose when it is not kept.
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import time
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.engine import Witness, engine_of, eventually, join_websocket, raw_client
from tests.support.raw import RawWebSocket
from tests.support.simulation import (
    MemoryTransport,
    SimulatedLoop,
    client_frame,
    read_frame,
    read_head,
    read_response,
    request,
    websocket_request,
)

TESTS: Final = Path(__file__).parent

DEFECTS: Final = {
    1: (
        "Nobody receives a broadcast before being let in, or after the connect handler has failed.",
        "integration/test_connecting::test_an_error_on_the_way_in_refuses_and_tells_nothing",
        "integration/test_connecting::test_nothing_reaches_a_client_that_is_not_in",
        "engine/python_socketio/test_server::test_a_connect_handler_that_fails_lets_nobody_in",
        "engine/python_socketio/test_server::test_nobody_receives_before_being_let_in",
    ),
    2: (
        "Lifecycle handlers run for what happens, never because a client sent an event of their name.",
        "engine/test_protocol::test_reserved_events_close_the_connection",
        "engine/python_socketio/test_server::test_reserved_names_run_no_lifecycle_handler",
        "test_serializers::test_reserved_names_are_refused",
    ),
    3: (
        "An emit to an empty selection of rooms reaches nobody.",
        "adapters/test_rooms::test_an_empty_selection_is_nobody",
        "integration/test_rooms::test_selections",
        "engine/python_socketio/test_server::test_an_empty_list_of_rooms_is_nobody",
    ),
    4: (
        "The number of attachments that a packet may announce is bounded.",
        "test_serializers::test_the_number_of_attachments_is_bounded",
        "engine/python_socketio/test_server::test_attachments_are_bounded_with_any_packet_class",
    ),
    5: (
        "A connection ends with the first packet that is none.",
        "engine/test_protocol::test_malformed_packets_close_the_connection",
        "engine/test_protocol::test_nothing_after_a_malformed_packet_is_served",
        "engine/transports/test_websocket::test_a_malformed_packet_ends_the_connection",
        "engine/transports/test_polling::test_a_malformed_payload_closes_the_session",
    ),
    6: (
        "A client is told why a namespace was refused.",
        "engine/test_protocol::test_an_unknown_namespace_is_refused_with_a_message",
        "integration/test_connecting::test_invalid_namespace",
        "engine/python_socketio/test_server::test_an_unknown_namespace_is_refused_with_a_message",
    ),
    7: (
        "A handler is called once, and answered for when it fails.",
        "integration/test_events::test_errors_of_handlers",
        "engine/python_socketio/test_server::test_connect_handlers_are_called_once_and_with_what_they_take",
        "engine/python_socketio/test_server::test_a_handler_that_fails_harms_nothing_else",
    ),
    8: (
        "A slow connect handler holds up neither heartbeats nor the other namespaces of its client.",
        "test_defects::test_a_slow_connection_handler_holds_up_nothing_else",
        "engine/python_socketio/test_server::test_a_slow_connect_handler_holds_up_nothing_else",
    ),
    9: (
        "The client's own address is told, and compression is a setting.",
        "integration/test_connecting::test_what_the_handshake_tells",
        "engine/python_socketio/test_server::test_environ_tells_the_clients_own_address",
        "engine/transports/test_websocket::test_compression_is_not_negotiated",
        "engine/test_limits::test_per_message_deflate",
    ),
    10: (
        "A queue that grows, a client that joins nothing, an upgrade that stalls, a question to somebody who has "
        "left and, at shutdown, every connection: each comes to an end in time.",
        "engine/test_outbox::test_a_websocket_that_never_reads_is_a_slow_consumer_and_harms_nobody",
        "engine/test_outbox::test_a_client_that_never_polls_is_a_slow_consumer",
        "engine/test_heartbeat::test_a_client_that_joins_nothing_is_closed",
        "engine/transports/test_upgrade::test_a_silent_websocket_does_not_stop_polling",
        "integration/test_events::test_a_question_fails_at_once_when_the_client_leaves",
        "engine/python_socketio/test_server::test_call_ends_when_the_client_leaves",
        "engine/transports/test_websocket::test_shutdown_tells_everybody_and_leaves_nothing",
    ),
    11: (
        "Binary data in a room of polling and websocket clients is the same for all of them.",
        "engine/test_frames::test_messages_get_their_type_and_binary_goes_as_it_is",
        "integration/test_rooms::test_rooms_of_polling_and_websocket_clients_together",
        "engine/python_socketio/test_server::test_polling_and_websocket_clients_in_one_room_get_the_same_bytes",
    ),
    12: (
        "What it costs when a client leaves does not depend on the rooms of others.",
        "adapters/test_rooms::test_leaving_costs_the_own_rooms_only",
        "engine/python_socketio/test_manager::test_leaving_costs_what_the_client_had",
    ),
    13: (
        "Any number of messages may come in one request, within its bytes.",
        "engine/transports/test_polling::test_any_number_of_packets_in_one_post",
        "engine/transports/test_polling::test_a_body_of_exactly_the_limit_is_taken",
    ),
    14: (
        "Neither a receiver of a broadcast nor a message that comes costs a task or a log line.",
        "test_defects::test_neither_a_broadcast_nor_an_event_makes_a_task",
        "engine/test_runner::test_handlers_that_do_not_wait_share_one_task_and_one_turn",
        "adapters/test_memory::test_a_broadcast_is_encoded_once_and_to_nobody_too",
    ),
    15: (
        "The settings of a server are its own.",
        "engine/python_socketio/test_packet_classes::test_json_is_set_for_one_server",
        "engine/python_socketio/test_server::test_json_modules_are_each_servers_own",
    ),
    16: (
        "What a client posts is delivered whole or refused, and requests that break the protocol are refused.",
        "engine/transports/test_polling::test_a_post_is_answered_ok",
        "engine/transports/test_polling::test_a_body_in_many_segments_is_one_body",
        "engine/transports/test_polling::test_a_chunked_body_is_one_body",
        "engine/transports/test_polling::test_any_number_of_packets_in_one_post",
        "engine/transports/test_polling::test_binary_arrives_in_place",
        "engine/transports/test_polling::test_overlapping_gets_end_the_session",
        "engine/transports/test_polling::test_overlapping_posts_end_the_session",
        "engine/transports/test_polling::test_other_methods_are_refused",
        "engine/transports/test_polling::test_errors_are_node_s",
        "engine/test_stateful::TestSessions",
    ),
    17: (
        "A client whose upgrade fails goes on by polling, and one that upgrades hears everything once.",
        "engine/transports/test_upgrade::test_a_silent_websocket_does_not_stop_polling",
        "engine/transports/test_upgrade::test_a_websocket_that_drops_leaves_the_session_polling",
        "engine/transports/test_upgrade::test_polls_do_not_spin_while_an_upgrade_is_under_way",
        "engine/transports/test_upgrade::test_a_second_websocket_is_accepted_and_closed",
        "engine/transports/test_upgrade::test_packets_during_the_upgrade_arrive_once_and_in_order",
        "engine/transports/test_upgrade::test_the_dance",
        "engine/test_stateful::TestSessions",
    ),
    18: (
        "Times of less than a second are announced as what they are.",
        "engine/test_heartbeat::test_fractions_of_a_second_are_announced_exactly",
    ),
    19: (
        "Nothing of a client is left, whatever its lifecycle handlers raise.",
        "engine/test_connection::test_handlers_that_fail_at_the_end_leave_nothing",
        "integration/test_connecting::test_a_failing_disconnect_handler_leaves_nothing_behind",
        "engine/python_socketio/test_server::test_a_disconnect_handler_that_fails_leaves_no_ghost",
        "engine/test_leaks::test_visitors_leave_nothing_behind",
    ),
    20: (
        "A client that does not read costs no more than its bound, and one that is gone is noticed and cut off.",
        "engine/test_outbox::test_a_websocket_that_never_reads_is_a_slow_consumer_and_harms_nobody",
        "engine/test_outbox::test_a_poll_that_is_not_read_keeps_the_bound",
        "engine/test_heartbeat::test_an_unasked_pong_counts_for_nothing",
        "engine/test_heartbeat::test_who_does_not_answer_is_gone_in_time",
        "test_defects::test_a_client_that_does_not_read_is_cut_off_with_all_that_waited",
    ),
    21: (
        "A client that offers compression costs no more than others.",
        "engine/transports/test_websocket::test_compression_is_not_negotiated",
    ),
    22: (
        "A server that is told to stop tells everybody and ends within seconds.",
        "engine/transports/test_websocket::test_shutdown_tells_everybody_and_leaves_nothing",
        "engine/transports/test_websocket::test_shutdown_does_not_wait_for_a_handler_for_ever",
        "engine/python_socketio/test_server::test_the_process_ends_at_sigterm",
        "test_defects::test_a_thousand_clients_are_told_at_shutdown",
    ),
    23: (
        "One large message of small values does not hold up the others.",
        "engine/test_fuzz::test_a_heavy_message_does_not_hold_up_the_others",
        "engine/test_fuzz::test_a_heavy_post_does_not_hold_up_the_others",
        "test_serializers::test_a_hostile_megabyte_costs_little",
    ),
    24: (
        "A packet that is none costs little to refuse, in time and in the log.",
        "engine/test_protocol::test_a_flood_of_malformed_packets_is_cheap_and_quiet",
        "test_defects::test_a_malformed_packet_costs_little_and_no_traceback",
    ),
    25: (
        "An acknowledgement that nobody waits for changes nothing, and a decoder raises nothing but its own error.",
        "engine/test_protocol::test_acknowledgements_that_nobody_expects_are_passed_over",
        "engine/python_socketio/test_server::test_an_answer_to_no_question_is_harmless",
        "engine/test_fuzz::test_no_text_breaks_the_json_decoder",
        "engine/python_socketio/test_packet_classes::test_nothing_but_decode_errors_escapes",
    ),
    26: (
        "The handlers that a client may have at work, and the namespaces it may be in, are bounded.",
        "engine/transports/test_websocket::test_too_many_events_at_work_pause_reading",
        "engine/transports/test_polling::test_too_many_events_at_work_hold_up_the_next_post",
        "engine/test_protocol::test_too_many_namespaces_close_the_connection",
    ),
    27: ("A broker between servers that is down or slow loses nothing silently, blocks no emit and reorders nothing.",),
}
"""Number: the promise, and the tests (``module::name``, below ``tests/``) that show that it is kept."""

NOT_YET: Final = {27: "adapters that connect servers"}
"""Rows without tests, because what they are about is not there."""


@cache
def names_in(module: str) -> frozenset[str]:
    """The tests of a module: its functions and classes, and names that are given a class."""
    tree = ast.parse((TESTS / f"{module}.py").read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in found if name.lower().startswith("test"))


def references() -> Iterator[tuple[int, str]]:
    """Every test that a row names."""
    for number, (_, *tests) in DEFECTS.items():
        for test in tests:
            yield number, test


@pytest.mark.parametrize(("number", "test"), [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in references()])
def test_what_shows_it_right_is_there(number: int, test: str) -> None:
    """A promise could be broken unseen after its test was renamed or deleted."""
    module, _, name = test.partition("::")
    path = TESTS / f"{module}.py"
    assert path.is_file(), f"row {number}: {path.name} is gone"
    assert name in names_in(module), f"row {number}: {module} has no {name} any more"


def test_every_row_has_a_sentence_and_a_test() -> None:
    """A row without a test says that something is right and proves nothing."""
    assert list(DEFECTS) == list(range(1, len(DEFECTS) + 1))
    for number, (sentence, *tests) in DEFECTS.items():
        assert sentence.endswith("."), number
        assert bool(tests) is (number not in NOT_YET), number
        assert len(set(tests)) == len(tests), number


def test_no_row_waits_for_what_is_there() -> None:
    """The first adapter that connects servers would come without the tests that it needs."""
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if 27 in NOT_YET:
        assert list(project["entry-points"]["rtframework.adapters"]) == ["memory"], "row 27 needs its tests now"


# -- what no other file tests


async def test_a_slow_connection_handler_holds_up_nothing_else(serve: Serve) -> None:
    """A database that is slow at one door would disconnect the clients that stand there, from everything."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.3)
    entered, gate = asyncio.Event(), asyncio.Event()

    @witness.io.of("/slow").on("connection")
    async def connection(socket: Socket) -> None:
        entered.set()
        await gate.wait()

    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send("40/slow,")
        await entered.wait()
        # It is served in the meantime, and its heartbeats are heard: several of them fit into this time.
        started = time.monotonic()
        number = 0
        while websocket.pings < 4 or time.monotonic() - started < 0.6:
            number += 1
            await websocket.send(f'42{number}["echo"]')
            assert await websocket.receive() == f"43{number}[]"
        gate.set()
        assert str(await websocket.receive()).startswith('40/slow,{"sid"')
        assert witness.reasons == []


async def test_neither_a_broadcast_nor_an_event_makes_a_task(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand clients would cost a thousand tasks for each message, and a log line each at the usual level."""
    witness = Witness()
    caplog.set_level(logging.INFO, "rtframework")
    server = await serve(witness.io)
    loop = asyncio.get_running_loop()
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        websockets: list[RawWebSocket] = [await join_websocket(one), await join_websocket(two)]
        made: list[Any] = []

        def count(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
            made.append(work)
            return asyncio.Task(work, loop=loop, **options)

        loop.set_task_factory(count)
        try:
            for number in range(50):
                await witness.io.emit("news", number)
                for websocket in websockets:
                    await websocket.ws.send_str(f'42{number}["echo"]')
            for websocket in websockets:
                for _ in range(100):
                    await websocket.ws.receive()
        finally:
            loop.set_task_factory(None)
        assert made == []
    assert [record for record in caplog.records if record.name.startswith("rtframework")] == []


class Crowd:
    """A server on a simulated network, and clients that have joined."""

    def __init__(self, io: Server) -> None:
        self.io = io
        self.loop = SimulatedLoop()
        app = web.Application()
        io.attach(app)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.loop.run_until_complete(self.runner.setup())

    def line(self) -> MemoryTransport:
        """A TCP connection."""
        server: Any = self.runner.server
        return MemoryTransport(self.loop, server())

    async def websocket(self) -> MemoryTransport:
        """A client by websocket."""
        line = self.line()
        line.send(websocket_request("/socket.io/?EIO=4&transport=websocket"))
        await read_head(line.reader)
        await read_frame(line.reader)
        line.send(client_frame(1, b"40"))
        await read_frame(line.reader)
        return line

    async def polling(self) -> MemoryTransport:
        """A client by polling, with a GET that waits."""
        path = "/socket.io/?EIO=4&transport=polling"
        for method, body in (("GET", None), ("POST", b"40"), ("GET", None)):
            line = self.line()
            line.send(request(method, path, body))
            _, text = await read_response(line.reader)
            if text[0] == "0":
                path += "&sid=" + json.loads(text[1:])["sid"]
            line.hang_up()
        line = self.line()
        line.send(request("GET", path))
        return line

    def close(self) -> None:
        """The end."""
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.run_until_complete(asyncio.sleep(15))
        self.loop.close()


def test_a_client_that_does_not_read_is_cut_off_with_all_that_waited() -> None:
    """What waits for somebody who is not there would stay for as long as its TCP connection does."""
    io = Server()
    crowd = Crowd(io)
    line = crowd.loop.run_until_complete(crowd.websocket())
    (socket,) = io.sockets.values()
    line.stop_reading()

    async def emit() -> None:
        for _ in range(50):
            await socket.emit("blob", "x" * 10_000)
            await asyncio.sleep(0)

    crowd.loop.run_until_complete(emit())
    assert line.get_write_buffer_size() > 400_000
    crowd.loop.run_until_complete(asyncio.sleep(44.9))
    assert socket.connected
    crowd.loop.run_until_complete(asyncio.sleep(1))
    assert socket._left == "ping timeout"
    assert line.ended
    assert line.get_write_buffer_size() == 0
    crowd.close()


def test_a_thousand_clients_are_told_at_shutdown() -> None:
    """A deployment would take minutes, or cut everybody off without a word."""
    io = Server()
    gone: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        gone.append(reason)

    crowd = Crowd(io)

    async def come() -> tuple[list[MemoryTransport], list[MemoryTransport]]:
        websockets = [await crowd.websocket() for _ in range(800)]
        return websockets, [await crowd.polling() for _ in range(200)]

    websockets, polls = crowd.loop.run_until_complete(come())

    async def hear() -> None:
        for line in websockets:
            assert await read_frame(line.reader) == (1, b'42["last words"]')
            assert await read_frame(line.reader) == (8, b"\x03\xe8")
            line.send(client_frame(8, b"\x03\xe8"))
        for line in polls:
            assert await read_response(line.reader) == (200, "1")

    async def stop() -> float:
        hearing = asyncio.create_task(hear())
        started = crowd.loop.time()
        for socket in io.sockets.values():
            if socket.transport == "websocket":
                await socket.emit("last words")
        await crowd.runner.cleanup()
        await hearing
        return crowd.loop.time() - started

    started = time.process_time()
    # aiohttp hears nothing any more when it stops, so that clients which wait for us to hang up wait for a while.
    assert crowd.loop.run_until_complete(stop()) < 4
    assert time.process_time() - started < 5
    assert gone == ["server shutting down"] * 1_000
    assert not engine_of(io).connections
    crowd.close()


@pytest.mark.usefixtures("throttled")
async def test_a_malformed_packet_costs_little_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody with a slow line could keep a server busy, and fill its disk."""
    caplog.set_level(logging.WARNING)
    witness = Witness()
    engine = witness.engine
    get = make_mocked_request("GET", "/socket.io/?EIO=4&transport=polling")
    await witness.io._start(None)  # type: ignore[arg-type]
    try:
        for _ in range(2_000):
            await engine.handle_request(get)
        started = time.process_time()
        for number, connection in enumerate(list(engine.connections.values())):
            connection.take(("4nonsense", '42["', "9", '4599-["a"]', "42[[[[")[number % 5])
        each = (time.process_time() - started) / 2_000
        await eventually(lambda: not engine.connections)
    finally:
        await witness.io._stop(None)  # type: ignore[arg-type]
    print(f"{each * 1e6:.0f} microseconds for a packet that is none, the end of its connection included")
    assert each < 0.0001
    # The one line a second that says what it may be, and at the end how many there were.
    assert sum(record.left_out + 1 for record in caplog.records) == 1_601  # type: ignore[attr-defined]
    assert len(caplog.records) == 2
    assert not any(record.exc_info for record in caplog.records)
