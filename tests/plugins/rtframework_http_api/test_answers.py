"""Answers, before they are sent."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request

from rtframework_http_api.answers import Answer, answer_of, answer_of_problem
from rtframework_http_api.problems import Problem


def test_answers_are_not_kept_by_proxies() -> None:
    """Who is there would be seen by somebody without a key."""
    request = make_mocked_request("GET", "/")
    for answer in (answer_of({"a": 1}), answer_of_problem(Problem("not_found", "no"))):
        response = answer.to_response(request)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers


def test_a_problem_has_its_media_type_and_headers() -> None:
    """Libraries for problem details would not know one."""
    problem = Problem("method_not_allowed", "no", headers={"Allow": "GET"})
    response = answer_of_problem(problem).to_response(make_mocked_request("GET", "/"))
    assert (response.status, response.headers["Content-Type"]) == (405, "application/problem+json")
    assert response.headers["Allow"] == "GET"


def test_a_repeated_answer_says_so() -> None:
    """Nobody could tell whether a retry was needed."""
    response = Answer(200, b"{}").to_response(make_mocked_request("GET", "/"), repeated=True)
    assert (response.headers["Idempotency-Replayed"], response.headers["Content-Type"]) == ("true", "application/json")
