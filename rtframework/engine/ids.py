"""Ids that cannot be guessed."""

from __future__ import annotations

from binascii import b2a_base64
from os import urandom
from typing import Final

_FOR_URLS: Final = bytes.maketrans(b"+/", b"-_")


def new_id() -> str:
    """Make an id of 120 random bits: 20 letters, digits, ``-`` and ``_`` (RFC 4648, 5)."""
    return b2a_base64(urandom(15), newline=False).translate(_FOR_URLS).decode("ascii")
