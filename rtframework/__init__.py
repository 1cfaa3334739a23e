"""A Socket.IO server framework for aiohttp."""

from .adapter import MemoryAdapter
from .authenticators import StaticTokenAuth, TokenSources
from .broadcast import BroadcastOperator
from .declarations import emits
from .events import Ack, Event
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
from .injection import Depends
from .namespace import Namespace
from .options import Cookie, Cors, Deflate, Limits, Recovery
from .plugins import load
from .protocols import CallNext
from .remote import RemoteSocket
from .serializers import JSONSerializer
from .server import Server
from .socket import Socket
from .stats import Stats
from .types import AckResponses, ConnectionFailure, DisconnectReason, Handshake, Identity, Packet, PacketType, Target

__all__ = [
    "Ack",
    "AckError",
    "AckResponses",
    "AckTimeout",
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
