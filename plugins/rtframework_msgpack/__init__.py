"""MessagePack packets for rtframework, compatible with ``socket.io-msgpack-parser`` in JavaScript."""

from .serializer import MsgpackSerializer

__all__ = ["MsgpackSerializer"]
