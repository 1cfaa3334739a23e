"""A route of the API, and a call of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from rtframework.logs import quote
from rtframework.namespaces.patterns import is_template

from .problems import Problem, retry_after

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
    """The user, socket or event that the call is about. Names that a caller gives are quoted."""
    nsp: str | None = None
    sid: str | None = None

    def about(self, subject: str, *, nsp: str | None = None, sid: str | None = None) -> None:
        """Note what the call is about, for the audit log."""
        self.subject, self.nsp, self.sid = subject, nsp, sid

    @asynccontextmanager
    async def namespace(self, name: str) -> AsyncIterator[Namespace]:
        """Keep a namespace while in the block. Raises :class:`Problem` if there is none of that name.

        A child without clients here may have some on another server.
        """
        self.nsp = name
        self.check_serving()
        async with self.io.visit("" if is_template(name) else name) as found:
            if found is None:
                raise Problem("unknown_namespace", self._hint_at(name))
            yield found

    def check_serving(self) -> None:
        """Raise :class:`Problem` unless the server serves."""
        if not self.io.is_serving:
            raise Problem("not_serving", "the server has not started, or stops", headers=retry_after(1))

    def _hint_at(self, name: str) -> str:
        io = self.io
        known = [*(each for each in io.namespaces if io.namespaces[each].parent is None), *(p.name for p in io.parents)]
        return f"there is no namespace {quote(name)}; there are {', '.join(sorted(known)[:10])}"


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
