"""The routes of what was said in rooms."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rtframework.adapters.history import no_history
from rtframework.exceptions import ConfigurationError
from rtframework.logs import quote

from .problems import Problem, asking, changing
from .route import Call, Done, NamespaceName, Room, Route, Takes


class ReadHistory(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room with history, and which page of it: the newest entries, or those before or after one."""

    room: Room
    namespace: NamespaceName = "/"
    before: Annotated[Room | UnsetType, Meta(description="The id of an entry: those before it.")] = UNSET
    after: Annotated[Room | UnsetType, Meta(description="The id of an entry: those that came first after it.")] = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries of one answer, at most `History.page`.")] = 50


class Said(msgspec.Struct, frozen=True):
    """An event that was emitted to the room."""

    id: str
    event: str | int
    args: Annotated[list[Any], Meta(description='The arguments. Bytes are `{"$base64": "…"}`.')]
    at: Annotated[int, Meta(description="Time at which it was emitted, in milliseconds since the epoch.")]


class Page(msgspec.Struct, frozen=True):
    """Entries, the oldest first."""

    entries: list[Said]
    gap: Annotated[bool, Meta(description="Entries after the one that was asked for are gone.")]
    more: Annotated[bool, Meta(description="There are further entries.")]


class ClearHistory(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room with history."""

    room: Room
    namespace: NamespaceName = "/"


async def read_history(call: Call, taken: ReadHistory) -> Page:
    """Return a page of what was said in a room."""
    call.about(quote(taken.room), nsp=taken.namespace)
    async with call.namespace(taken.namespace) as namespace:
        try:
            with asking("try again"):
                page = await namespace.history(
                    taken.room,
                    before=None if taken.before is UNSET else taken.before,
                    after=None if taken.after is UNSET else taken.after,
                    limit=taken.limit,
                )
        except ConfigurationError as error:
            raise _problem(taken.room, error, "invalid_query") from None
    entries = [Said(each.id, each.event, list(each.args), each.at) for each in page.entries]
    return Page(entries, page.gap, page.more)


async def clear_history(call: Call, taken: ClearHistory) -> Done:
    """Forget what was said in a room."""
    call.about(quote(taken.room), nsp=taken.namespace)
    async with call.namespace(taken.namespace) as namespace:
        try:
            with changing():
                await namespace.clear_history(taken.room)
        except ConfigurationError as error:
            raise _problem(taken.room, error, "invalid_body") from None
    return Done()


def _problem(room: str, error: ConfigurationError, code: str) -> Problem:
    text = str(error)
    return Problem("no_history" if text == str(no_history(room)) else code, text)


ROUTES: Final = (
    Route(
        "GET",
        "/history",
        "read_history",
        "history",
        "Return a page of what was said in a room with history.",
        read_history,
        ReadHistory,
        Page,
        problems=("unknown_namespace", "no_history", "cluster_unavailable"),
    ),
    Route(
        "POST",
        "/history/clear",
        "clear_history",
        "history",
        "Forget what was said in a room with history.",
        clear_history,
        ClearHistory,
        Done,
        problems=("unknown_namespace", "no_history", "cluster_unavailable"),
    ),
)
