"""A Socket.IO server framework for aiohttp."""

from .adapters import BaseAdapter, MemoryAdapter
from .authenticators import StaticTokenAuth, TokenSources
from .exceptions import (
    AckError,
    AckTimeout,
    ConfigurationError,
    ConnectionRefused,
    ContractError,
    DecodeError,
    Disconnected,
    EncodeError,
    EventError,
    InvalidPayload,
    InvalidReturn,
    PluginNotFound,
    RTFrameworkError,
    SerializationError,
)
from .handlers.declarations import emits
from .handlers.dependencies import Depends
from .handlers.event import Ack, Event
from .namespaces.namespace import Namespace
from .namespaces.operators import BroadcastOperator, RemoteSocket
from .namespaces.socket import Socket
from .options import Cookie, Cors, Deflate, Limits, Recovery
from .plugins import load
from .protocols import CallNext
from .serializers import JSONSerializer
from .server import Server
from .stats import Stats
from .types import AckResponses, ConnectionFailure, DisconnectReason, Handshake, Identity, Packet, PacketType, Target

__all__ = [
    "Ack",
    "AckError",
    "AckResponses",
    "AckTimeout",
    "BaseAdapter",
    "BroadcastOperator",
    "CallNext",
    "ConfigurationError",
    "ConnectionFailure",
    "ConnectionRefused",
    "ContractError",
    "Cookie",
    "Cors",
    "DecodeError",
    "Deflate",
    "Depends",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "Event",
    "EventError",
    "Handshake",
    "Identity",
    "InvalidPayload",
    "InvalidReturn",
    "JSONSerializer",
    "Limits",
    "MemoryAdapter",
    "Namespace",
    "Packet",
    "PacketType",
    "PluginNotFound",
    "RTFrameworkError",
    "Recovery",
    "RemoteSocket",
    "SerializationError",
    "Server",
    "Socket",
    "StaticTokenAuth",
    "Stats",
    "Target",
    "TokenSources",
    "emits",
    "load",
]
