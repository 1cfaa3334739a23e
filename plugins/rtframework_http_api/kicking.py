"""The routes that throw clients out: a user, a socket, tokens."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from rtframework.logs import quote
from rtframework.namespaces.own_rooms import own_rooms

from .problems import Problem, changing
from .route import LONGEST_NAME, Call, Done, NamespaceName, Room, Route, Takes, UserId
from .sockets import find_socket


class Kick(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user or a socket, and what its client is told: the event ``kicked`` with ``{reason, reconnect}``."""

    user: Annotated[UserId | UnsetType, Meta(description="All sockets of this user in the namespace.")] = UNSET
    socket: Annotated[Room | UnsetType, Meta(description="The socket with this id.")] = UNSET
    namespace: NamespaceName = "/"
    reason: Annotated[
        Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)] | None,
        Meta(description="What the client and its disconnect handlers are told.", examples=["password changed"]),
    ] = None
    reconnect: Annotated[
        bool,
        Meta(description="Close the connection; the client comes back, and needs credentials that were issued later."),
    ] = False
    close: Annotated[bool, Meta(description="Disconnect the client from all namespaces.")] = False


class Revoke(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens that are taken back: one by its id, those of a user, or all that were issued before a time."""

    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)] | UnsetType,
        Meta(description="The id of a token (`jti`). It stands alone."),
    ] = UNSET
    user: Annotated[UserId | UnsetType, Meta(description="Tokens of this user.")] = UNSET
    issued_before: Annotated[
        Annotated[float, Meta(ge=0)] | UnsetType,
        Meta(
            description="Tokens issued before this time, in seconds since the epoch; of a user, now by default. "
            "Without `user` it concerns everybody, and needs the scope `admin`."
        ),
    ] = UNSET


async def kick(call: Call, taken: Kick) -> Done:
    """Throw out a user or a socket."""
    if (taken.user is UNSET) is (taken.socket is UNSET):
        raise Problem("invalid_body", "say who: either user or socket, and one of them", path="$")
    if taken.socket is not UNSET:
        await _kick_socket(call, taken, taken.socket)
    elif taken.user is not UNSET:
        call.about(f"user {quote(taken.user)}", nsp=taken.namespace)
        async with call.namespace(taken.namespace) as namespace:
            user = namespace.user(taken.user)
            with changing(holds_here=True):
                await user.disconnect(taken.close, reason=taken.reason, reconnect=taken.reconnect)
    return Done()


async def _kick_socket(call: Call, taken: Kick, sid: str) -> None:
    call.about("socket", nsp=taken.namespace, sid=sid)
    async with call.namespace(taken.namespace) as namespace:
        found = await find_socket(namespace, sid)
        if taken.reconnect and not own_rooms(found.rooms):
            detail = "reconnect asks for fresh credentials, and this client has no user that could have others"
            raise Problem("invalid_body", detail, path="$.reconnect")
        with changing():
            await found.disconnect(taken.close, reason=taken.reason, reconnect=taken.reconnect)


async def revoke(call: Call, taken: Revoke) -> Done:
    """Take tokens back."""
    whole = taken.id is UNSET and taken.user is UNSET
    who = "of everybody" if whole else f"of user {quote(taken.user)}" if taken.id is UNSET else quote(taken.id)
    call.about(who)
    if whole and taken.issued_before is UNSET:
        raise Problem("invalid_body", "say which tokens: id, user or issued_before", path="$")
    if taken.id is not UNSET and (taken.user is not UNSET or taken.issued_before is not UNSET):
        raise Problem("invalid_body", "the id of a token stands alone, without user and issued_before", path="$.id")
    if whole and not call.is_admin:
        detail = "to take the tokens of everybody back, the key needs the scope 'admin'"
        raise Problem("missing_scope", detail, scope="admin")
    call.check_serving()
    with changing(holds_here=True):
        await call.io.revoke_tokens(
            id=None if taken.id is UNSET else taken.id,
            user=None if taken.user is UNSET else taken.user,
            issued_before=None if taken.issued_before is UNSET else taken.issued_before,
        )
    return Done()


ROUTES: Final = (
    Route(
        "POST",
        "/kick",
        "kick",
        "kick",
        "Throw out a user or a socket, and tell its clients why.",
        kick,
        Kick,
        Done,
        problems=("unknown_namespace", "unknown_socket", "fetch_timeout", "cluster_unavailable"),
    ),
    Route(
        "POST",
        "/revoke",
        "revoke",
        "kick",
        "Take tokens back, in all namespaces.",
        revoke,
        Revoke,
        Done,
        problems=("cluster_unavailable",),
    ),
)
