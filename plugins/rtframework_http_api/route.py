"""A route of the API, and a call of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from rtframework.logs import quote
from rtframework.namespaces.patterns import Pattern, is_namespace

from .problems import Problem

if TYPE_CHECKING:
    from rtframework import Namespace, Server

    from .keys import Scope
    from .others import Others

Method: TypeAlias = Literal["GET", "POST"]

LONGEST_NAME: Final = 1_000
"""Characters of a room, a user's id, a namespace or an event's name."""
MOST_NAMES: Final = 10_000
"""Rooms or users of one call."""
LONGEST_WAIT: Final = 60.0
"""Seconds for which a call may wait for clients or other servers."""

NamespaceName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=LONGEST_NAME, description="The namespace.", examples=["/"])
]
Room: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
UserId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)] | int
Rooms: TypeAlias = Annotated[list[Room], Meta(max_length=MOST_NAMES)]
Users: TypeAlias = Annotated[list[UserId], Meta(max_length=MOST_NAMES)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=LONGEST_WAIT)]


class Takes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a call takes: fields of a JSON object, or parameters of a query."""


class Nothing(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No fields."""


class Done(msgspec.Struct, frozen=True):
    """The call was made."""

    ok: Literal[True] = True


@dataclass(slots=True)
class Call:
    """One call, and what the audit log is to say of it.

    ``key``: the name of the caller's key. ``parts``: of the path, by name.
    """

    io: Server
    others: Others
    key: str
    is_admin: bool
    parts: Mapping[str, str]
    subject: str = ""
    """The user, socket or event that the call is about, quoted."""
    nsp: str | None = None
    sid: str | None = None
    claimed: set[str] = field(default_factory=set)
    """Namespaces of other servers that calls have named so far; the same set for all calls."""

    def about(self, subject: object, *, nsp: str | None = None, sid: str | None = None) -> None:
        """Note what the call is about, for the audit log."""
        self.subject, self.nsp, self.sid = quote(subject), nsp, sid

    def namespace(self, name: str) -> Namespace:
        """Find a namespace by name. Raises :class:`Problem` if there is none of that name.

        One of a parent's that has no client here may have some on another server: it is made then.
        """
        self.nsp = name
        io = self.io
        if not io.is_serving:
            raise Problem("not_serving", "the server has not started, or stops", headers={"Retry-After": "1"})
        found = io.namespaces.get(name)
        if found is None and self.others.exist and self._is_of_parent(name):
            if len(self.claimed) >= io.options.limits.max_dynamic_namespaces:
                detail = "calls have named too many namespaces that have no client on this server"
                raise Problem("too_many_namespaces", detail, headers={"Retry-After": "60"})
            self.claimed.add(name)
            found = io.of(name)
        if found is None:
            known = ", ".join(sorted(each for each in io.namespaces if io.namespaces[each].parent is None)[:10])
            raise Problem("unknown_namespace", f"there is no namespace {quote(name)} here; there are {known}")
        return found

    def _is_of_parent(self, name: str) -> bool:
        rules = (parent.rule for parent in self.io.parents)
        return (
            is_namespace(name)
            and len(name) <= self.io.options.limits.max_namespace_name
            and any(isinstance(rule, Pattern) and rule.match(name) is not None for rule in rules)
        )


Serve: TypeAlias = Callable[[Call, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """A route: ``serve(call, taken)`` makes the call and returns a ``gives``, or raises :class:`Problem`.

    ``name``: of the call, for the audit log and the OpenAPI document. ``takes``: the body of a POST, the query of a
    GET. ``problems``: the codes that this call alone may answer.
    """

    method: Method
    path: str
    name: str
    scope: Scope
    summary: str
    serve: Serve
    takes: type[Takes]
    gives: Any
    status: int = 200
    problems: tuple[str, ...] = ()
