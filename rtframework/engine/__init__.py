"""The engine: python-socketio's server with a protocol edge and a hot path of its own.

This package is the only place that imports socketio or engineio.
"""

from .engine_io import EngineIO
from .gateway import Gateway
from .manager import Manager
from .server import AsyncServer

__all__ = ["AsyncServer", "EngineIO", "Gateway", "Manager"]
