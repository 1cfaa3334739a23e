"""The route that tells who is in a room."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from rtframework.exceptions import ConfigurationError

from .problems import Problem, asking
from .route import Call, NamespaceName, Room, Route, Takes


class FindPeople(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room with presence."""

    room: Room
    namespace: NamespaceName = "/"
    limit: Annotated[int, Meta(ge=1, le=1000, description="Users of one answer, at most.")] = 100
    after: Annotated[str, Meta(description="The `next` of the answer before.")] = ""


class Person(msgspec.Struct, frozen=True):
    """A user in the room."""

    user: Annotated[str, Meta(description="The id as text; the socket's id for a socket without a user.")]
    meta: Annotated[Any, Meta(description="What others are shown of the user.")]
    tabs: Annotated[int, Meta(description="The user's sockets in the room; 0 while the last one may come back.")]
    since: Annotated[float, Meta(description="Time at which the user came, in seconds since the epoch.")]


class People(msgspec.Struct, frozen=True):
    """The users in a room, in the order of their ids."""

    users: list[Person]
    next: Annotated[
        str | None, Meta(description="What to give for `after` to get those that follow; null: there are none.")
    ]


async def presence(call: Call, taken: FindPeople) -> People:
    """Tell who is in a room."""
    async with call.namespace(taken.namespace) as namespace:
        try:
            with asking("try again"):
                found = await namespace.presence(taken.room, limit=taken.limit + 1, after=taken.after or None)
        except ConfigurationError as error:
            raise Problem("no_presence", str(error)) from None
    page = [Person(each.user, each.meta, each.tabs, each.since) for each in found[: taken.limit]]
    return People(page, page[-1].user if len(found) > taken.limit else None)


ROUTES: Final = (
    Route(
        "GET",
        "/presence",
        "presence",
        "read",
        "Tell who is in a room with presence.",
        presence,
        FindPeople,
        People,
        problems=("unknown_namespace", "no_presence", "cluster_unavailable"),
    ),
)
