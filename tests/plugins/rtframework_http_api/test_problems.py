"""Errors that callers are told."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from rtframework import AckTimeout, ClusterUnavailable, ConfigurationError, EncodeError, EventError
from rtframework_http_api import problems
from rtframework_http_api.problems import CODES, Problem, asking, changing, problem_of


def test_every_status_has_its_title() -> None:
    """An error would be answered with an exception."""
    for code, (status, meaning) in CODES.items():
        members = Problem(code, "why").members()
        assert (members["status"], members["code"], members["detail"]) == (status, code, "why")
        assert members["title"] == problems._PHRASES[status]
        assert status in set(HTTPStatus)
        assert status >= 400
        assert meaning.endswith(".")


@pytest.mark.parametrize(
    ("error", "code", "made"),
    [
        (ClusterUnavailable(), "cluster_unavailable", False),
        (ClusterUnavailable(local=True), "cluster_unavailable", True),
        (ClusterUnavailable(uncertain=True), "cluster_unavailable", True),
        (AckTimeout(responses={"a": 1}, missing=["b"]), "ack_timeout", True),
        (EncodeError("NaN"), "cannot_be_sent", False),
        (EventError("reserved_room", "$"), "reserved_room", False),
        (EventError("too_many_rooms"), "refused", True),
        (ConfigurationError("no"), "invalid_body", False),
    ],
)
def test_errors_of_the_framework(error: Exception, code: str, made: bool) -> None:
    """A caller would be told of a fault of the server, or a retry would be refused that could have helped."""
    problem = problem_of(error)
    assert problem is not None
    assert (problem.code, problem.made) == (code, made)


def test_what_came_so_far_is_told() -> None:
    """Answers that have come would be lost with those that have not."""
    problem = problem_of(AckTimeout(responses={"a": 1}, missing=["b"]))
    assert problem is not None
    assert problem.members() | {} == {
        "type": "about:blank",
        "title": "Gateway Timeout",
        "status": 504,
        "code": "ack_timeout",
        "detail": "1 has not answered in time",
        "responses": {"a": 1},
        "missing": ["b"],
    }


def test_a_cluster_that_is_away_says_who_has_it_and_when_to_try_again() -> None:
    """A caller would send twice what was sent, or never what was not."""
    told = {}
    for name, error in (
        ("nobody", ClusterUnavailable()),
        ("here", ClusterUnavailable(local=True)),
        ("unknown", ClusterUnavailable(uncertain=True)),
    ):
        problem = problem_of(error)
        assert problem is not None
        assert problem.headers == {"Retry-After": "2"}
        told[name] = (problem.more, problem.detail)
    assert told["nobody"] == ({"local": False, "uncertain": False}, "nobody has it, and nobody will get it: try again")
    assert told["here"][0] == {"local": True, "uncertain": False}
    assert "twice" in told["unknown"][1]


def test_a_fault_of_the_server_is_none() -> None:
    """A mistake in the program would be told to a caller."""
    assert problem_of(KeyError("secret")) is None


def test_a_question_to_a_cluster_that_is_away_says_what_helps() -> None:
    """Somebody who looks for the cause of an outage would be told that an event was lost."""
    with pytest.raises(Problem, match=r"cannot be asked \(Redis is away\): \?local=true") as raised, asking():
        raise ClusterUnavailable("Redis is away")
    assert (raised.value.code, raised.value.more, raised.value.made) == ("cluster_unavailable", {}, False)


@pytest.mark.parametrize(
    ("error", "holds_here", "detail"),
    [
        (ClusterUnavailable(), False, "the other servers were not told: try again"),
        (ClusterUnavailable(), True, "the other servers were not told, it holds on this one: try again"),
        (ClusterUnavailable(local=True), False, "the other servers were not told, it holds on this one: try again"),
        (ClusterUnavailable(uncertain=True), False, "the other servers may not have been told: try again"),
    ],
)
def test_a_change_may_be_made_again(error: ClusterUnavailable, holds_here: bool, detail: str) -> None:
    """A retry under the same Idempotency-Key would be answered by the failure, and somebody stay in."""
    with pytest.raises(Problem) as raised, changing(holds_here=holds_here):
        raise error
    assert (raised.value.detail, raised.value.made) == (detail, False)
    assert raised.value.more == {"local": holds_here or error.local, "uncertain": error.uncertain}
