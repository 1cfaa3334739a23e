"""Suites of things that are good or broken, and which of their tests fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtframework.testing import AuthenticatorConformance, SerializerConformance, run_suite
from rtframework.types import Handshake


def serializer_suite(make: Callable[[], Any], **attributes: Any) -> type[SerializerConformance]:
    return type("Suite", (SerializerConformance,), {"serializer": lambda self: make(), **attributes})


def authenticator_suite(make: Callable[[], Any]) -> type[AuthenticatorConformance]:
    return type(
        "Suite",
        (AuthenticatorConformance,),
        {
            "authenticator": lambda self: make(),
            "good": lambda self: Handshake(auth={"token": "good-token"}),
            "bad": lambda self: {
                "wrong": Handshake(auth={"token": "wrong-token"}),
                "in a header": Handshake(headers={"Authorization": "Bearer wrong-token"}),
            },
        },
    )


def names_of(suite: type[Any]) -> set[str]:
    return {name for name in vars(suite) if name.startswith("test_")}


def failures(suite: type[Any]) -> set[str]:
    """The tests of a suite that fail."""
    try:
        run_suite(suite)
    except ExceptionGroup as group:
        return {error.__notes__[-1].rpartition(".")[2] for error in group.exceptions}
    return set()
