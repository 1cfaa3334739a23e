"""Tools for tests: a server and clients without a network, a simulated clock, and conformance suites for plugins.

:class:`TestServer` serves :class:`TestClient` in the same process; ``docs/testing.md`` shows how. The suites test
whether a plugin's serializer, authenticator, adapter or store does all that its protocol asks for.

Example::

    async with TestServer(io) as server:
        alice = await server.connect(auth={"token": "a"})
        await alice.emit("message", "hi")

    class TestMySerializer(SerializerConformance):
        def serializer(self) -> Serializer:
            return MySerializer()
"""

from .client import TestClient
from .clock import Clock
from .conformance import (
    AdapterConformance,
    AuthenticatorConformance,
    ClusterBroker,
    ClusterConformance,
    HistoryConformance,
    KeyValueStoreConformance,
    PresenceConformance,
    SerializerConformance,
    run_suite,
)
from .inbox import Received
from .server import TestServer
from .stomp import StompMessage, TestStompClient
from .stream import TestStream
from .websocket import TestWebSocket

__all__ = [
    "AdapterConformance",
    "AuthenticatorConformance",
    "Clock",
    "ClusterBroker",
    "ClusterConformance",
    "HistoryConformance",
    "KeyValueStoreConformance",
    "PresenceConformance",
    "Received",
    "SerializerConformance",
    "StompMessage",
    "TestClient",
    "TestServer",
    "TestStompClient",
    "TestStream",
    "TestWebSocket",
    "run_suite",
]
