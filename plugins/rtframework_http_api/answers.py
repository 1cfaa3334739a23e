"""Answers of the API, before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

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

    def to_response(self, **more: str) -> web.Response:
        """Make the response. ``more``: further headers, with ``_`` for ``-``."""
        headers = {**_ALWAYS, **self.headers, **{name.replace("_", "-"): value for name, value in more.items()}}
        return web.Response(
            body=self.body,
            status=self.status,
            headers={**headers, "Content-Type": JSON if self.code is None else PROBLEM},
        )


def answer_of(result: Any, status: int = 200) -> Answer:
    """Make the answer of a call that was made."""
    return Answer(status, to_json(result))


def answer_of_problem(problem: Problem) -> Answer:
    """Make the answer of a call that has failed."""
    return Answer(problem.status, to_json(problem.members()), problem.headers, problem.code, problem.made)
