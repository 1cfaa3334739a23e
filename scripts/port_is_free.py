"""Ends with a plain message when the demo cannot listen: ``PORT`` (8080) on ``HOST`` (127.0.0.1)."""

from __future__ import annotations

import os
import socket
import sys

host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8080")
if not (port.isdecimal() and 0 < int(port) < 65536):
    sys.exit(f"PORT={port} is no port. Choose another: make demo PORT=8081")
try:
    socket.create_server((host, int(port))).close()
except OSError as error:
    why = os.strerror(error.errno) if error.errno else str(error)
    sys.exit(f"Cannot listen on port {port}: {why}. Choose another: make demo PORT={int(port) % 65535 + 1}")
