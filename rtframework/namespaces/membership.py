"""The states of a socket in its namespace."""

from __future__ import annotations

import enum


class State(enum.IntEnum):
    """How far a client has come in its namespace; the numbers are in the order of the way in and out."""

    CONNECTING = 0
    """Authentication and middleware run: it is in no room and receives nothing."""
    RESUMED = 1
    """As CONNECTING, but it continues a session: it is in its rooms again, and packets for it are held back."""
    JOINED = 2
    """Its connection handlers run: it can be selected, and packets for it are held back."""
    CONNECTED = 3
    """The client has been told that it is connected."""
    DISCONNECTED = 4
    """It has left, or was refused."""
