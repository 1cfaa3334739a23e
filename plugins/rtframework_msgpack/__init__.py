"""MessagePack packets for rtframework: what ``socket.io-msgpack-parser`` speaks in JavaScript."""

from .serializer import MsgpackSerializer

__all__ = ["MsgpackSerializer"]
