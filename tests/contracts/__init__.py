"""Parts of a contract, to be looked at."""

from __future__ import annotations

from typing import Any

from rtframework import Server
from rtframework.contracts import EventContract, NamespaceContract, describe


def namespace_of(server: Server, name: str = "/") -> NamespaceContract:
    """The contract of one namespace."""
    return next(each for each in describe(server).namespaces if each.name == name)


def received(server: Server, event: str = "event") -> EventContract:
    """The contract of an event that clients emit."""
    return next(each for each in namespace_of(server).receives if each.name == event)


def types(event: EventContract) -> list[Any]:
    """Names and types of its arguments."""
    return [(each.name, *each.types) for each in event.arguments]
