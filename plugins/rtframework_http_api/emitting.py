"""The route that emits events."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rtframework import BroadcastOperator, Namespace
from rtframework.exceptions import ConfigurationError
from rtframework.logs import quote
from rtframework.namespaces.own_rooms import room_of_user
from rtframework.packets import check_event_name

from .binary import to_bytes
from .problems import Problem
from .route import LONGEST_NAME, Call, NamespaceName, Rooms, Route, Seconds, Takes, Users

_DEFAULT_WAIT: Final = 5.0


class Emit(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event, and who gets it: everybody in the namespace, unless ``rooms`` or ``users`` are given."""

    event: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, examples=["news"])] | int
    args: Annotated[list[Any], Meta(description="The arguments.", examples=[[{"title": "hello"}]])] = msgspec.field(
        default_factory=list
    )
    namespace: NamespaceName = "/"
    rooms: Annotated[
        Rooms | UnsetType,
        Meta(description="Sockets in any of these rooms; a socket's id is a room of its own. `[]` is nobody."),
    ] = UNSET
    users: Annotated[Users | UnsetType, Meta(description="Sockets of these users, beside those in `rooms`.")] = UNSET
    except_: Annotated[Rooms, Meta(description="Leave out the sockets in any of these rooms.")] = msgspec.field(
        name="except", default_factory=list
    )
    except_users: Annotated[Users, Meta(description="Leave out the sockets of these users.")] = msgspec.field(
        default_factory=list
    )
    volatile: Annotated[bool, Meta(description="Drop the event for clients that cannot take it at once.")] = False
    compress: Annotated[bool, Meta(description="Compress the event where the transport can do that.")] = True
    binary: Annotated[bool, Meta(description='Objects `{"$base64": "…"}` in `args` are bytes.')] = False
    with_ack: Annotated[bool, Meta(description="Wait for the answer of each socket.")] = False
    timeout: Annotated[Seconds, Meta(description="Seconds to wait for answers, with `with_ack`.")] = _DEFAULT_WAIT


class Emitted(msgspec.Struct, frozen=True):
    """The event was emitted. With ``with_ack``, the answers."""

    ok: Literal[True] = True
    responses: dict[str, Any] | UnsetType = UNSET
    """The answers by socket id: null, one value, or an array of several. Bytes are `{"$base64": "…"}`."""
    missing: Annotated[
        list[str] | UnsetType,
        Meta(description="The ids of sockets that left before they had answered, and names of servers that did."),
    ] = UNSET


async def emit(call: Call, taken: Emit) -> Emitted:
    """Emit an event."""
    call.about(quote(taken.event), nsp=taken.namespace)
    try:
        event = check_event_name(taken.event)
    except ConfigurationError as error:
        raise Problem("invalid_body", str(error), path="$.event") from None
    args = to_bytes(taken.args) if taken.binary else taken.args
    async with call.namespace(taken.namespace) as namespace:
        audience = _select(namespace, taken)
        if not taken.with_ack:
            await audience.emit(event, *args)
            return Emitted()
        answers = await audience.timeout(taken.timeout).emit_with_ack(event, *args)
    return Emitted(responses=dict(answers), missing=list(answers.missing))


def _select(namespace: Namespace, taken: Emit) -> BroadcastOperator:
    audience = namespace.compress(taken.compress)
    if taken.rooms is not UNSET or taken.users is not UNSET:
        users = [] if taken.users is UNSET else taken.users
        audience = audience.to([] if taken.rooms is UNSET else taken.rooms, map(room_of_user, users))
    if taken.except_ or taken.except_users:
        audience = audience.except_(taken.except_, map(room_of_user, taken.except_users))
    return audience.volatile if taken.volatile else audience


ROUTES: Final = (
    Route(
        "POST",
        "/emit",
        "emit",
        "emit",
        "Emit an event to all sockets of a namespace, to rooms or to users.",
        emit,
        Emit,
        Emitted,
        problems=("unknown_namespace", "cannot_be_sent", "cluster_unavailable", "ack_timeout"),
    ),
)
