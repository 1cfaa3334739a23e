"""The engine: python-socketio's server with a protocol edge and a hot path of its own.

This package is the only place that imports socketio or engineio.
"""

from .api import EngineIO
from .collector import tune_gc
from .gateway import Gateway
from .http.heads import limit_heads
from .python_socketio.manager import Manager
from .python_socketio.server import AsyncServer

__all__ = ["AsyncServer", "EngineIO", "Gateway", "Manager", "limit_heads", "tune_gc"]
