"""The conformance suite of gateways: plain websockets pass it, and broken ones do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest import SkipTest

import pytest
from aiohttp import web

from rtframework import Packet, Reply, Server
from rtframework.engine.ids import new_id
from rtframework.gateways.json_codec import JSONCodec
from rtframework.testing.conformance.gateway_peer import GatewayPeer
from rtframework.testing.conformance.gateways import GatewayConformance
from tests.support.gateways import PlainPeer, SockJSPeer, SockJSStreamPeer
from tests.support.stomp import StompPeer
from tests.support.stomp_over_sockjs import StompSockJSPeer, StompSockJSStreamPeer


class TestPlainWebSocket(GatewayConformance):
    """Plain websockets."""

    transport = "plain websocket"

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_websocket(app, "/ws")

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await PlainPeer.connect(url, f"/ws?token={token}", headers)


class TestStomp(GatewayConformance):
    """STOMP."""

    transport = "stomp"

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_stomp(app, "/stomp")

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await StompPeer.connect(url, token, headers)


class TestSockJSWebSocket(TestPlainWebSocket):
    """SockJS by websocket."""

    transport = "sockjs websocket"
    carries_bytes = False

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_sockjs(app)

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await SockJSPeer.connect(url, f"/sockjs/000/any/websocket?token={token}", headers)


class TestSockJSStream(TestSockJSWebSocket):
    """SockJS by a stream."""

    transport = "sockjs xhr_streaming"

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_sockjs(app, response_limit=2**30)

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        session = new_id()
        return await SockJSStreamPeer.connect(url, f"/sockjs/000/{session}?token={token}", headers)


class TestStompOverSockJSWebSocket(TestStomp):
    """STOMP over SockJS, by websocket."""

    transport = "sockjs websocket"
    carries_bytes = False

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_sockjs(app, "/spring", carries="stomp")

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await StompSockJSPeer.connect(url, token, headers)


class TestStompOverSockJSStream(TestStompOverSockJSWebSocket):
    """STOMP over SockJS, by a stream."""

    transport = "sockjs xhr_streaming"

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_sockjs(app, "/spring", carries="stomp", response_limit=2**30)

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await StompSockJSStreamPeer.connect(url, token, headers)


def broken(codec: JSONCodec) -> type[GatewayConformance]:
    """Make a suite for plain websockets with another codec."""

    class Broken(TestPlainWebSocket):
        visits = 6
        patience = 1.0

        def attach(self, io: Server, app: web.Application) -> None:
            io.attach_websocket(app, "/ws", codec=codec)

    return Broken


class _Loses(JSONCodec):
    """Loses every hundredth event."""

    number = 0

    def encode_outgoing(self, outgoing: Any) -> Any:
        self.number += 1
        return super().encode_outgoing(outgoing) if self.number % 100 else None


class _Breaks(JSONCodec):
    """Fails for what is no message."""

    def decode(self, message: str | bytes) -> Packet | Reply | None:
        try:
            return super().decode(message)
        except Exception as error:
            raise RuntimeError("unforeseen") from error


class _Trims(JSONCodec):
    """Has no line breaks in texts."""

    def encode_outgoing(self, outgoing: Any) -> Any:
        message = super().encode_outgoing(outgoing)
        return message.replace(r"\n", " ") if isinstance(message, str) else message


class _Keeps(JSONCodec):
    """Keeps all of its clients."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def auth(self, handshake: Any) -> Any:
        import gc

        self.kept += [each for each in gc.get_objects() if type(each).__name__ == "PlainClient"]
        return super().auth(handshake)


@pytest.mark.parametrize(
    ("codec", "test"),
    [
        (_Loses(), "test_events_of_the_server_come_once_and_in_order"),
        (_Breaks(), "test_what_is_no_message_harms_its_client_alone"),
        (_Trims(), "test_values_arrive_as_they_were_sent"),
        (_Keeps(), "test_nothing_is_left_of_those_who_have_gone"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_gateway_does_not_pass(codec: JSONCodec, test: str) -> None:
    """The suite would hold nothing."""
    with pytest.raises((AssertionError, TimeoutError)):
        getattr(broken(codec)(), test)()


def test_what_clients_cannot_do_is_skipped() -> None:
    """A protocol without answers could not be tested at all."""

    class Reads(TestPlainWebSocket):
        sends = asks = answers = carries_bytes = False
        visits = 3

    suite = Reads()
    suite.test_values_arrive_as_they_were_sent()
    suite.test_nothing_is_left_of_those_who_have_gone()
    for test in (
        suite.test_a_client_gets_its_answers,
        suite.test_a_client_may_be_asked,
        suite.test_events_of_clients_are_served_in_order,
        suite.test_a_message_that_is_too_long_ends_its_connection,
    ):
        with pytest.raises(SkipTest):
            test()


def test_a_suite_says_what_it_needs() -> None:
    """An author would not know what to write."""
    with pytest.raises(NotImplementedError, match="attach"):
        GatewayConformance().test_who_is_refused_is_told()
