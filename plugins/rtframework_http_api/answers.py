"""Answers of the API, before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from rtframework.engine.http.last_response import LastResponse, must_be_last

from .binary import to_json
from .problems import Problem

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"

_ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call. ``code``: of its problem. ``made``: true if the call may have had an effect."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    made: bool = True

    def to_response(self, request: web.Request, *, repeated: bool = False) -> web.Response:
        """Make the response to a request; the last one of its connection if there is a body that was not read.

        ``repeated``: true if the call was made before.
        """
        headers = {**_ALWAYS, **self.headers, "Content-Type": JSON if self.code is None else PROBLEM}
        if repeated:
            headers["Idempotency-Replayed"] = "true"
        kind = LastResponse if must_be_last(request) else web.Response
        return kind(body=self.body, status=self.status, headers=headers)


def answer_of(result: Any, status: int = 200) -> Answer:
    """Make the answer of a call that was made."""
    return Answer(status, to_json(result))


def answer_of_problem(problem: Problem) -> Answer:
    """Make the answer of a call that has failed."""
    return Answer(problem.status, to_json(problem.members()), problem.headers, problem.code, problem.made)
