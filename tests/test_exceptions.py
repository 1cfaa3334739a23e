"""The error tree: what a program may catch, and what a client is told."""

from __future__ import annotations

import inspect
import re

import pytest

from rtframework import exceptions
from rtframework.exceptions import (
    AckError,
    AckTimeout,
    ClusterUnavailable,
    ConfigurationError,
    ConnectionRefused,
    DecodeError,
    Disconnected,
    EncodeError,
    EventError,
    FetchTimeout,
    InvalidPayload,
    PluginNotFound,
    RTFrameworkError,
    SerializationError,
)


def test_everything_has_one_root() -> None:
    """``except RTFrameworkError`` would miss some of what the framework raises."""
    raised = [
        member
        for member in vars(exceptions).values()
        if inspect.isclass(member) and issubclass(member, Exception) and member.__module__ == exceptions.__name__
    ]
    assert len(raised) == 17
    assert all(issubclass(member, RTFrameworkError) for member in raised)


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    """Whoever reads what to catch would be misled."""
    drawn: dict[str, str] = {}
    stack = ["RTFrameworkError"]
    for line in (exceptions.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            stack[depth:] = [found[2]]
            drawn[found[2]] = stack[depth - 1]
    assert drawn.keys() | {"RTFrameworkError"} == {
        name for name, member in vars(exceptions).items() if inspect.isclass(member) and issubclass(member, Exception)
    }
    for child, parent in drawn.items():
        assert getattr(exceptions, child).__bases__[0].__name__ == parent


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (PluginNotFound, LookupError),
        (AckTimeout, TimeoutError),
        (FetchTimeout, TimeoutError),
        (ClusterUnavailable, ConnectionError),
        (Disconnected, ConnectionError),
        (EncodeError, ValueError),
        (DecodeError, ValueError),
    ],
)
def test_python_s_own_names_catch_them_too(error: type[Exception], builtin: type[Exception]) -> None:
    """``except TimeoutError`` around a question to a client is what people write."""
    assert issubclass(error, builtin)


def test_a_refusal_carries_message_and_data() -> None:
    """The client could not tell why it was refused."""
    refused = ConnectionRefused("forbidden", {"code": 403})
    assert (refused.message, refused.data, str(refused)) == ("forbidden", {"code": 403}, "forbidden")
    assert ConnectionRefused().message == "Connection refused"
    assert ConnectionRefused().data is None


def test_an_event_error_becomes_an_object_for_the_client() -> None:
    """The acknowledgement of a refused event would have another shape than documented."""
    assert EventError("not_in_room").to_payload() == {"error": {"code": "not_in_room", "message": "not_in_room"}}
    assert EventError("full", "The room is full", {"most": 8}).to_payload() == {
        "error": {"code": "full", "message": "The room is full", "details": {"most": 8}}
    }
    assert EventError("empty", details=[]).to_payload()["error"]["details"] == []
    assert str(EventError("full", "The room is full")) == "The room is full"


def test_an_invalid_payload_is_an_event_error_with_a_fixed_code() -> None:
    """Clients look for the code "invalid_payload" to show what is wrong with a form."""
    problem = {"path": "$[0].text", "message": "Expected `str`, got `int`"}
    error = InvalidPayload("wrong", (problem,))
    assert isinstance(error, EventError)
    assert error.to_payload() == {"error": {"code": "invalid_payload", "message": "wrong", "details": [problem]}}
    assert "details" not in InvalidPayload("wrong").to_payload()["error"]


def test_a_timeout_keeps_what_did_come() -> None:
    """A vote that one client did not answer would lose all the other votes."""
    late = AckTimeout(responses={"a": 1}, missing=["b"])
    assert (late.responses, late.missing) == ({"a": 1}, ("b",))
    assert (AckTimeout().responses, AckTimeout().missing) == ({}, ())
    assert isinstance(late, AckError)
    assert isinstance(EncodeError(), SerializationError)


def test_what_a_cluster_has_done_can_be_read() -> None:
    """A program could not use the answers that did come, or would tell a client twice."""
    late = FetchTimeout(sockets=["a"], missing=["server"])
    assert (late.sockets, late.missing) == (["a"], ("server",))
    assert (FetchTimeout().sockets, FetchTimeout().missing) == ([], ())
    assert ClusterUnavailable("down", local=True).local
    assert not ClusterUnavailable().local
    assert ClusterUnavailable(uncertain=True).uncertain
    assert not ClusterUnavailable().uncertain
