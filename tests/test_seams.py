"""The seams of python-socketio, python-engineio, aiohttp and asyncio: what the engine and the test client rely on.

They may change with any release, the private ones without notice. Each row is one, with the signature that the engine
was written for; when a row fails after an upgrade, read the new method before changing the row.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import RequestHandler

import rtframework.engine
from rtframework.engine import closed_transport
from rtframework.engine.transports.rfc6455 import unmask, xor_mask
from rtframework.testing.network import MemoryConnector
from tests.support.server import HOST

SEAMS: Final = {
    "socketio.async_server.AsyncServer.__init__": (
        "(self, client_manager=None, logger=False, json=None, async_handlers=True, namespaces=None, **kwargs)"
    ),
    "socketio.async_server.AsyncServer._engineio_server_class": "(self)",
    "socketio.async_server.AsyncServer.attach": "(self, app, socketio_path='socket.io')",
    "engineio.base_server.BaseServer.__init__": (
        "(self, async_mode=None, ping_interval=25, ping_timeout=20, max_http_buffer_size=1000000, "
        "allow_upgrades=True, http_compression=True, compression_threshold=1024, cookie=None, "
        "cors_allowed_origins=None, cors_credentials=True, logger=False, json=None, async_handlers=True, "
        "monitor_clients=None, transports=None, **kwargs)"
    ),
    "engineio.base_server.BaseServer.generate_id": "(self)",
    "engineio.async_server.AsyncServer.attach": "(self, app, engineio_path='engine.io')",
    "engineio.async_server.AsyncServer.handle_request": "(self, *args, **kwargs)",
    "engineio.async_server.AsyncServer.shutdown": "(self)",
    "engineio.async_server.AsyncServer.disconnect": "(self, sid=None)",
    "engineio.async_server.AsyncServer.start_background_task": "(self, target, *args, **kwargs)",
    "socketio.async_manager.AsyncManager.connect": "(self, sid, namespace)",
    "socketio.async_manager.AsyncManager.enter_room": "(self, sid, namespace, room, eio_sid=None)",
    "socketio.async_manager.AsyncManager.leave_room": "(self, sid, namespace, room)",
    "socketio.async_manager.AsyncManager.close_room": "(self, room, namespace)",
    "socketio.async_manager.AsyncManager.can_disconnect": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.set_server": "(self, server)",
    "socketio.async_manager.AsyncManager.emit": (
        "(self, event, data, namespace, room=None, skip_sid=None, callback=None, to=None, **kwargs)"
    ),
    "socketio.async_manager.AsyncManager.pre_connect": "(self, eio_sid, namespace)",
    "socketio.async_manager.AsyncManager.trigger_callback": "(self, sid, id, data)",
    "socketio.async_server.AsyncServer._trigger_event": "(self, event, namespace, *args)",
    "socketio.async_server.AsyncServer.call": (
        "(self, event, data=None, to=None, sid=None, namespace=None, timeout=60, ignore_queue=False)"
    ),
    "socketio.async_server.AsyncServer.disconnect": "(self, sid, namespace=None, ignore_queue=False)",
    "socketio.async_server.AsyncServer.emit": (
        "(self, event, data=None, to=None, room=None, skip_sid=None, namespace=None, callback=None, ignore_queue=False)"
    ),
    "socketio.async_server.AsyncServer.instrument": (
        "(self, auth=None, mode='development', read_only=False, server_id=None, namespace='/admin', "
        "server_stats_interval=2)"
    ),
    "socketio.async_server.AsyncServer.shutdown": "(self)",
    "socketio.base_manager.BaseManager.__init__": "(self)",
    "socketio.base_manager.BaseManager._generate_ack_id": "(self, sid, callback)",
    "socketio.base_manager.BaseManager.basic_close_room": "(self, room, namespace)",
    "socketio.base_manager.BaseManager.basic_disconnect": "(self, sid, namespace, **kwargs)",
    "socketio.base_manager.BaseManager.basic_enter_room": "(self, sid, namespace, room, eio_sid=None)",
    "socketio.base_manager.BaseManager.basic_leave_room": "(self, sid, namespace, room)",
    "socketio.base_manager.BaseManager.eio_sid_from_sid": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.get_namespaces": "(self)",
    "socketio.base_manager.BaseManager.get_participants": "(self, namespace, room)",
    "socketio.base_manager.BaseManager.get_rooms": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.is_connected": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.is_pre_connected": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.is_sid_room": "(self, namespace, room)",
    "socketio.base_manager.BaseManager.pre_disconnect": "(self, sid, namespace)",
    "socketio.base_manager.BaseManager.sid_from_eio_sid": "(self, eio_sid, namespace)",
    "socketio.base_server.BaseServer.event": "(self, *args, **kwargs)",
    "socketio.base_server.BaseServer.on": "(self, event, handler=None, namespace=None)",
    # What programs reach through ours: called, not replaced.
    "socketio.base_server.BaseServer._get_event_handler": "(self, event, namespace, args)",
    "socketio.base_server.BaseServer._get_namespace_handler": "(self, namespace, args)",
    "socketio.base_server.BaseServer.get_environ": "(self, sid, namespace=None)",
    "socketio.async_server.AsyncServer.get_session": "(self, sid, namespace=None)",
    "socketio.async_server.AsyncServer.save_session": "(self, sid, session, namespace=None)",
    "socketio.async_server.AsyncServer._send_packet": "(self, eio_sid, pkt)",
    "socketio.async_server.AsyncServer._send_eio_packet": "(self, eio_sid, eio_pkt)",
    "socketio.async_manager.AsyncManager.disconnect": "(self, sid, namespace, **kwargs)",
    "socketio.async_namespace.AsyncNamespace.trigger_event": "(self, event, *args)",
    "engineio.async_server.AsyncServer.send_packet": "(self, sid, pkt)",
    "engineio.async_server.AsyncServer.get_session": "(self, sid)",
    "engineio.base_server.BaseServer._get_socket": "(self, sid)",
    "engineio.base_server.BaseServer._generate_sid_cookie": "(self, sid, attributes)",
    "engineio.async_drivers.aiohttp.translate_request": "(request)",
    # The client of the command line, see rtframework/cli/client.py.
    "socketio.async_client.AsyncClient._handle_eio_message": "(self, data)",
    "socketio.async_client.AsyncClient._handle_event": "(self, namespace, id, data)",
    "socketio.async_client.AsyncClient._handle_disconnect": "(self, namespace)",
    "socketio.async_client.AsyncClient._handle_eio_disconnect": "(self, reason)",
    "socketio.async_client.AsyncClient._send_packet": "(self, pkt)",
    "socketio.base_client.BaseClient.__init__": (
        "(self, reconnection=True, reconnection_attempts=0, reconnection_delay=1, reconnection_delay_max=5, "
        "randomization_factor=0.5, logger=False, serializer='default', json=None, handle_sigint=True, **kwargs)"
    ),
    "socketio.packet.Packet.encode": "(self)",
    "socketio.packet.Packet.decode": "(self, encoded_packet)",
    # How a websocket leaves aiohttp after the handshake, see rtframework/engine/http/detach.py.
    "aiohttp.web_protocol.RequestHandler.set_parser": "(self, parser, data_received_cb=None)",
    "aiohttp.web_protocol.RequestHandler.force_close": "(self)",
    "aiohttp.web_protocol.RequestHandler.connection_lost": "(self, exc)",
    "aiohttp.web_response.StreamResponse.prepare": "(self, request)",
    "aiohttp.web_response.StreamResponse.write_eof": "(self, data=b'')",
    # What serves an application, see rtframework/engine/http/protocol.py.
    "aiohttp.web_app.Application._make_handler": (
        "(self, *, loop=None, access_log_class=<class 'aiohttp.web_log.AccessLogger'>, **kwargs)"
    ),
    "aiohttp.web_server.Server.__init__": (
        "(self, handler, *, request_factory=None, handler_cancellation=False, loop=None, **kwargs)"
    ),
    "aiohttp.web_server.Server.__call__": "(self)",
    "aiohttp.web_protocol.RequestHandler.connection_made": "(self, transport)",
    "aiohttp.web_protocol.RequestHandler.data_received": "(self, data)",
    "aiohttp.web_protocol.RequestHandler.start": "(self)",
    "aiohttp.http_writer.StreamWriter.__init__": "(self, protocol, loop, on_chunk_sent=None, on_headers_sent=None)",
    "aiohttp.tcp_helpers.tcp_keepalive": "(transport)",
    "aiohttp.web_protocol.RequestHandler._process_keepalive": "(self)",
    "aiohttp.web_protocol.RequestHandler.finish_response": "(self, request, resp, start_time)",
    "aiohttp.web_protocol.RequestHandler.handle_error": "(self, request, status=500, exc=None, message=None)",
    # Requests that aiohttp does not serve, see rtframework/engine/http/direct.py.
    "aiohttp.web_app.Application._handle": "(self, request)",
    "aiohttp.web_urldispatcher.UrlDispatcher.resolve": "(self, request)",
    "aiohttp.web_urldispatcher.UrlMappingMatchInfo.__init__": "(self, match_dict, route)",
    "aiohttp.web_urldispatcher.UrlMappingMatchInfo.add_app": "(self, app)",
    # Connections that come from, and go to, other workers, see rtframework/engine/http/routed.py.
    "aiohttp.base_protocol.BaseProtocol.resume_writing": "(self)",
    "aiohttp.web_protocol.RequestHandler.log_access": "(self, request, response, time)",
    "aiohttp.web_server.Server.shutdown": "(self, timeout=None)",
    "asyncio.base_events.BaseEventLoop.connect_accepted_socket": (
        "(self, protocol_factory, sock, *, ssl=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)"
    ),
    "asyncio.selector_events._SelectorTransport.abort": "(self)",
    "asyncio.selector_events._SelectorTransport.get_write_buffer_size": "(self)",
    "asyncio.transports._FlowControlMixin.set_write_buffer_limits": "(self, high=None, low=None)",
    # How clients of the test client come without a network, see rtframework/testing/network.py.
    "aiohttp.connector.BaseConnector._create_connection": "(self, req, traces, timeout)",
}


def resolve(name: str) -> Any:
    """The object of a dotted name: the longest part that is a module is imported."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def without_types(signature: inspect.Signature) -> inspect.Signature:
    """A signature without annotations, which change with nothing else changing."""
    empty = inspect.Parameter.empty
    parameters = [each.replace(annotation=empty) for each in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def overrides() -> Iterator[tuple[str, str]]:
    """Every method of ours that replaces one of the libraries': its name, and the name of what it replaces."""
    package = rtframework.engine
    names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for module_name in [*names, "rtframework.cli.client"]:
        module = importlib.import_module(module_name)
        for cls in vars(module).values():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__:
                continue
            upstream = [base for base in cls.__mro__[1:] if base.__module__.split(".")[0] in ("socketio", "engineio")]
            for name, value in vars(cls).items():
                if not inspect.isroutine(value):
                    continue
                base = next((base for base in upstream if name in vars(base)), None)
                if base is not None:
                    yield f"{cls.__qualname__}.{name}", f"{base.__module__}.{base.__qualname__}.{name}"


@pytest.mark.parametrize("name", SEAMS)
def test_a_seam_is_as_it_was(name: str) -> None:
    """An override with another signature fails while serving a client, if not in silence."""
    try:
        found = resolve(name)
    except AttributeError:
        pytest.fail(f"the seam {name} is gone: see what took its place, then adapt the engine and this table")
    signature = str(without_types(inspect.signature(found)))
    assert signature == SEAMS[name], f"the seam {name} has changed: adapt the engine, then this table"


def test_the_parser_is_told_that_a_request_is_served() -> None:
    """A connection would stop after 32 requests: see ``HttpProtocol._end_request``."""
    assert callable(HttpRequestParser.message_consumed)


def test_the_address_of_a_client_can_be_given() -> None:
    """The clients of requests that are forwarded would all be this machine: see ``RoutedProtocol.take``."""
    cached = [type(vars(RequestHandler)[name]).__name__ for name in ("peername", "ssl_context")]
    assert cached == ["under_cached_property"] * 2
    assert "_cache" in RequestHandler.__slots__


def test_the_parser_says_that_it_holds_something_back() -> None:
    """A piece of a request would be taken for the beginning of the next: see ``HttpProtocol._ends_request``."""
    assert {"_buffer_paused", "_reading_paused", "_upgraded"} <= set(BaseProtocol.__slots__)
    assert {"_request_count", "_request_in_progress", "_waiter", "_task_handler"} <= set(RequestHandler.__slots__)


async def test_a_transport_keeps_a_method_of_itself() -> None:
    """A closed connection would wait for the garbage collector again: see ``engine/closed_transport.py``."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, HOST, 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    if isinstance(transport, closed_transport._SelectorSocketTransport):  # not on uvloop
        assert callable(vars(transport)["_read_ready_cb"])
    else:
        assert "uvloop" in type(transport).__module__
    transport.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_connection_survives_the_transport_that_had_it(loop: str) -> None:
    """A connection that is passed on would be reset, or be read by two processes."""
    program = f"""
import asyncio, socket
async def main():
    ours, theirs = socket.socketpair()
    kept = theirs.dup()
    loop = asyncio.get_running_loop()
    got = []
    class Ends(asyncio.Protocol):
        def data_received(self, data):
            got.append(data)
            self.transport.abort()
        def connection_made(self, transport): self.transport = transport
        def connection_lost(self, exc): got.append(exc)
    theirs.setblocking(False)
    await loop.connect_accepted_socket(Ends, theirs)
    ours.sendall(b"one")
    while len(got) < 2:
        await asyncio.sleep(0.001)
    ours.sendall(b"two")
    for _ in range(5):
        await asyncio.sleep(0)
    assert (got, kept.recv(9)) == ([b"one", None], b"two"), got
    kept.sendall(b"three")
    assert ours.recv(9) == b"three"
{"import uvloop; uvloop.run(main())" if loop == "uvloop" else "asyncio.run(main())"}
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 0


def test_the_test_client_sees_what_waits_in_the_event_loop() -> None:
    """Every test of a program would fail, or worse: say that nothing comes before it has looked."""
    loop: Any = asyncio.SelectorEventLoop()
    try:
        assert (list(loop._ready), loop._scheduled) == ([], [])
        soon = loop.call_soon(print)
        later, last = loop.call_at(loop.time() + 50, print), loop.call_at(loop.time() + 100, print)
        assert list(loop._ready) == [soon], "settling.py counts what is to run in the next turn"
        assert (loop._scheduled[0], {*loop._scheduled}) == (later, {later, last}), "settling.py asks for the next timer"
        assert vars(loop).get("time") is None, "clock.py puts a time of its own over the loop's"
    finally:
        loop.close()


def test_connections_in_memory_take_the_place_of_aiohttps() -> None:
    """The test client would go to the network."""
    assert "_create_connection" in vars(MemoryConnector)


def test_the_mask_is_taken_off_in_c() -> None:
    """Everything would work as before, and cost up to a hundred times as much for large messages."""
    data = bytearray(b"0123456789")
    unmask(b"\x01\x02\x03\x04", data)
    again = bytearray(data)
    xor_mask(b"\x01\x02\x03\x04", again)
    assert again == b"0123456789"
    assert unmask is not xor_mask, (
        "aiohttp has moved its websocket_mask: see where to, in rtframework/engine/transports/rfc6455.py"
    )


def test_every_override_has_a_row() -> None:
    """A seam that nobody watches breaks with the next release of the library."""
    unwatched = [f"{ours} overrides {theirs}" for ours, theirs in overrides() if theirs not in SEAMS]
    assert not unwatched, "add to the table: " + "; ".join(unwatched)
