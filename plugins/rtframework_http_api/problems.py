"""Errors of the API, as problem details (RFC 9457), each with a code that does not change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from rtframework.exceptions import (
    AckTimeout,
    ClusterUnavailable,
    ConfigurationError,
    EncodeError,
    EventError,
)

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "invalid_json": (400, "The body is no JSON."),
    "invalid_query": (400, "The query has an unknown, repeated or wrong parameter."),
    "invalid_idempotency_key": (400, "The Idempotency-Key is empty, too long or not printable."),
    "missing_key": (401, "There is no key in the request."),
    "invalid_key": (401, "Nobody has this key."),
    "missing_scope": (403, "The key does not have the scope of the call."),
    "not_found": (404, "There is no such path."),
    "unknown_namespace": (404, "There is no such namespace."),
    "unknown_socket": (404, "There is no such socket in the namespace."),
    "no_presence": (404, "No presence of the server fits the room."),
    "no_history": (404, "No history of the server fits the room."),
    "method_not_allowed": (405, "The path has another method."),
    "body_timeout": (408, "The body has not arrived in time."),
    "answer_not_kept": (409, "A call with this Idempotency-Key was made; its answer was too large to be kept."),
    "body_too_large": (413, "The body is larger than max_body."),
    "unsupported_media_type": (415, "The body is not declared as application/json."),
    "invalid_body": (422, "The body does not fit the call."),
    "cannot_be_sent": (422, "Clients could not receive these arguments."),
    "reserved_room": (422, 'The name of a room begins with "$".'),
    "refused": (422, "The server's limits do not allow the call."),
    "idempotency_key_reused": (422, "A call with this Idempotency-Key had another body."),
    "too_many_attempts": (429, "Too many requests from this address had no good key."),
    "internal_error": (500, "The call has failed; the log of the server says why."),
    "cluster_unavailable": (503, "The other servers cannot be reached."),
    "not_serving": (503, "The server has not started, or stops."),
    "ack_timeout": (504, "Not all sockets have answered in time; the answers so far are in the problem."),
    "fetch_timeout": (504, "Not all servers have answered in time; the sockets so far are in the problem."),
}
"""All codes, each with its status and what it means."""

_PHRASES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""The reason phrases of RFC 9110, which are titles of problems without a type of their own (RFC 9457, 4.2.1)."""

_RETRY_AFTER: Final = 2.0
"""Seconds after which a call that the cluster could not take may be tried again."""


class Problem(Exception):
    """An error that the caller is told.

    ``code``: one of ``CODES``. ``detail``: what is wrong, in words. ``headers``: of the response. ``made``: true if the
    call may have had an effect. ``more``: further members of the problem.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        made: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.made = made
        self.more = more

    @property
    def status(self) -> int:
        """The status of the response."""
        return CODES[self.code][0]

    def members(self) -> dict[str, Any]:
        """Return the members of the problem."""
        title = _PHRASES[self.status]
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.more,
        }


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that says when to try again."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def problem_of(error: Exception) -> Problem | None:
    """Return the problem of an exception of the framework; ``None`` for what is a fault of the server."""
    match error:
        case Problem():
            return error
        case ClusterUnavailable():
            had_effect = error.local or error.uncertain
            return Problem(
                "cluster_unavailable",
                _who_has_it(error),
                headers=retry_after(_RETRY_AFTER),
                made=had_effect,
                local=error.local,
                uncertain=error.uncertain,
            )
        case AckTimeout():
            count = len(error.missing)
            detail = f"{count} {'has' if count == 1 else 'have'} not answered in time"
            return Problem(
                "ack_timeout", detail, made=True, responses=dict(error.responses), missing=list(error.missing)
            )
        case EncodeError():
            return Problem("cannot_be_sent", str(error))
        case EventError(code="reserved_room"):
            return Problem("reserved_room", error.message)
        case EventError():
            return Problem("refused", error.message, made=True, reason=error.code)
        case ConfigurationError():
            return Problem("invalid_body", str(error))
    return None


@contextmanager
def asking(hint: str = "?local=true asks this one alone") -> Iterator[None]:
    """Tell a caller that the other servers cannot be asked. ``hint``: what helps meanwhile."""
    try:
        yield
    except ClusterUnavailable as error:
        detail = f"the other servers cannot be asked ({error}): {hint}"
        raise Problem("cluster_unavailable", detail, headers=retry_after(_RETRY_AFTER)) from None


@contextmanager
def changing(*, holds_here: bool = False) -> Iterator[None]:
    """Tell a caller that the other servers do not take a change, which may be made twice without harm.

    ``holds_here``: true if this server makes it in any case.
    """
    try:
        yield
    except ClusterUnavailable as error:
        here = holds_here or error.local
        others = "may not have been told" if error.uncertain else "were not told"
        detail = f"the other servers {others}{', it holds on this one' if here else ''}: try again"
        headers = retry_after(_RETRY_AFTER)
        raise Problem("cluster_unavailable", detail, headers=headers, local=here, uncertain=error.uncertain) from None


def _who_has_it(error: ClusterUnavailable) -> str:
    if error.uncertain:
        return "the other servers may have it or not, which cannot be known: a second call may do it twice"
    if error.local:
        return "the clients of this server have it, those of the others will not get it"
    return "nobody has it, and nobody will get it: try again"
