"""Ids that cannot be guessed."""

from __future__ import annotations

from binascii import b2a_base64
from os import urandom
from typing import Final

_FOR_URLS: Final = bytes.maketrans(b"+/", b"-_")


def new_id() -> str:
    """Make an id of 120 random bits: 20 letters, digits, ``-`` and ``_`` (RFC 4648, 5)."""
    return b2a_base64(urandom(15), newline=False).translate(_FOR_URLS).decode("ascii")


LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""The first letters of session ids, by the slot of their worker (RFC 4648, 5)."""

SLOTS: Final = tuple(LETTERS.find(letter) for letter in range(256))
"""The slot of each byte; -1 for those that are no letter of an id."""


def new_id_of(slot: int) -> str:
    """Make a session id that names a worker: a letter for its slot, and 114 random bits in 19 more."""
    return with_slot(slot, new_id()[1:])


def with_slot(slot: int, id: str) -> str:
    """Put the letter of a worker's slot in front of an id."""
    return chr(LETTERS[slot]) + id
