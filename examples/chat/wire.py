"""What goes over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=100)]
Text = Annotated[str, Meta(pattern=r"\S", max_length=2000)]
Key = Annotated[str, Meta(min_length=8, max_length=64)]
"""The sender's own id for a message: what is sent twice is posted once."""


class Person(Struct, frozen=True):
    id: str
    name: str


class Message(Struct, frozen=True):
    id: str  # grows with time, also over a restart: clients sort by it
    key: Key
    author: Person
    text: Text
    time: datetime
    room: str | None = None  # said in a room …
    to: Person | None = None  # … or to a person
