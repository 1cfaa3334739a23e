"""What goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=100)]
Text = Annotated[str, Meta(pattern=r"\S", max_length=2000)]
Key = Annotated[str, Meta(min_length=8, max_length=64)]
"""The sender's own id for a message: what is sent twice is posted once."""


class Person(Struct, frozen=True):
    id: str
    name: str

    @classmethod
    def of(cls, claims: Mapping[str, Any]) -> Self:
        """The person whose token has these claims."""
        return cls(claims["sub"], claims["name"])


class Message(Struct, frozen=True):
    id: str  # grows with time, also over a restart: clients sort by it
    key: Key
    author: Person
    text: Text
    time: datetime
    room: str | None = None  # said in a room …
    to: Person | None = None  # … or to a person
