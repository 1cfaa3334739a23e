"""The routes of sockets and rooms, over all servers of the cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rtframework import BroadcastOperator, Namespace, RemoteSocket
from rtframework.exceptions import FetchTimeout
from rtframework.logs import quote
from rtframework.namespaces.own_rooms import own_rooms, room_of_user, user_of

from .problems import Problem, asking, changing
from .route import Call, Done, NamespaceName, Room, Rooms, Route, Seconds, Takes, UserId, Users

Limit = Annotated[int, Meta(ge=1, le=1000, description="Entries of one answer, at most.")]

Local = Annotated[bool, Meta(description="The server that answers alone, of several workers or servers.")]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A socket."""

    id: str
    namespace: str
    user: Annotated[str | None, Meta(description="The id of its user, as text.")]
    rooms: Annotated[list[str], Meta(description="Its rooms, without its own and those of its user and token.")]
    address: Annotated[str | None, Meta(description="The client's IP address.")]
    connected_at: Annotated[
        float, Meta(description="Time at which the connection was opened, in seconds since the epoch.")
    ]


class DescribedWithData(Described, frozen=True, kw_only=True):
    """A socket, and its ``data`` if they were asked for."""

    data: dict[str, Any] | UnsetType = UNSET


class FindSockets(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sockets of a namespace: all, or those in a room, of a user, or both."""

    namespace: NamespaceName = "/"
    room: Annotated[Room | UnsetType, Meta(description="Sockets in this room.")] = UNSET
    user: Annotated[UserId | UnsetType, Meta(description="Sockets of this user.")] = UNSET
    limit: Limit = 100
    after: Annotated[str, Meta(description="The `next` of the answer before.")] = ""
    timeout: Annotated[Seconds | UnsetType, Meta(description="Seconds that other servers have to answer.")] = UNSET
    local: Local = False


class Sockets(msgspec.Struct, frozen=True):
    """Sockets, in the order of their ids."""

    sockets: list[Described]
    total: Annotated[int, Meta(description="Number of all that fit.")]
    next: Annotated[
        str | None, Meta(description="What to give for `after` to get those that follow; null: there are none.")
    ]


class DescribeSocket(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The namespace of a socket, and what to show of it."""

    namespace: NamespaceName = "/"
    data: Annotated[bool, Meta(description="Show `socket.data` as well; needs the scope `admin`.")] = False
    local: Local = False


class FindRooms(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rooms of a namespace."""

    namespace: NamespaceName = "/"
    prefix: Annotated[str, Meta(description="Rooms whose names begin like this.")] = ""
    limit: Limit = 100
    after: Annotated[str, Meta(description="The `next` of the answer before.")] = ""
    timeout: Annotated[Seconds | UnsetType, Meta(description="Seconds that other servers have to answer.")] = UNSET
    local: Local = False


class RoomCount(msgspec.Struct, frozen=True):
    """A room, and how many sockets are in it."""

    name: str
    sockets: int


class RoomCounts(msgspec.Struct, frozen=True):
    """Rooms in the order of their names, without those that each socket has of its own."""

    rooms: list[RoomCount]
    total: Annotated[int, Meta(description="Number of all that fit.")]
    next: Annotated[
        str | None, Meta(description="What to give for `after` to get those that follow; null: there are none.")
    ]


class Move(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sockets, and rooms that they join or leave. Sockets that are selected in several ways are selected once."""

    rooms: Annotated[list[Room], Meta(min_length=1, max_length=1000, description="The rooms to join or leave.")]
    sockets: Annotated[Rooms, Meta(description="The sockets with these ids.")] = msgspec.field(default_factory=list)
    users: Annotated[Users, Meta(description="The sockets of these users.")] = msgspec.field(default_factory=list)
    in_: Annotated[Rooms, Meta(description="The sockets in any of these rooms.")] = msgspec.field(
        name="in", default_factory=list
    )
    namespace: NamespaceName = "/"


async def find_socket(namespace: Namespace, sid: str, *, local: bool = False) -> RemoteSocket:
    """Find a socket by its id, of any server unless ``local``. Raises :class:`Problem` if there is none."""
    here = await namespace.local.to(sid).fetch_sockets()
    try:
        with asking("one of them may have the socket"):
            found = here or ([] if local else await namespace.to(sid).fetch_sockets())
    except FetchTimeout as error:
        found = error.sockets
        if not any(each.id == sid for each in found):
            detail = "other servers have not answered, which may have the socket"
            raise Problem("fetch_timeout", detail, missing=list(error.missing)) from None
    for each in found:
        if each.id == sid:
            return each
    raise Problem("unknown_socket", f"there is no socket with this id in {namespace.name}: it may have left")


async def list_sockets(call: Call, taken: FindSockets) -> Sockets:
    """List sockets."""
    rooms = [each for each in (_room_of(taken.user), taken.room) if each is not UNSET]
    async with call.namespace(taken.namespace) as namespace:
        found, missing = await _fetch(namespace, rooms[:1], taken)
    fitting = sorted((each for each in found if each.rooms.issuperset(rooms)), key=lambda each: each.id)
    page = [each for each in fitting if each.id > taken.after][: taken.limit]
    following = page[-1].id if page and page[-1] is not fitting[-1] else None
    result = Sockets([_described(each) for each in page], len(fitting), following)
    _check_all_answered(missing, result)
    return result


async def describe_socket(call: Call, taken: DescribeSocket) -> DescribedWithData:
    """Describe a socket."""
    sid = call.parts["id"]
    call.about("socket", nsp=taken.namespace, sid=sid)
    if taken.data and not call.is_admin:
        raise Problem("missing_scope", "to see socket.data, the key needs the scope 'admin'", scope="admin")
    async with call.namespace(taken.namespace) as namespace:
        found = await find_socket(namespace, sid, local=taken.local)
    described = msgspec.structs.asdict(_described(found))
    return DescribedWithData(**described, data=found.data if taken.data else UNSET)


async def list_rooms(call: Call, taken: FindRooms) -> RoomCounts:
    """List rooms with their numbers of sockets."""
    async with call.namespace(taken.namespace) as namespace:
        found, missing = await _fetch(namespace, [], taken)
    counts: Counter[str] = Counter()
    for each in found:
        counts.update(room for room in _rooms_of(each) if room.startswith(taken.prefix))
    names = sorted(counts)
    page = [name for name in names if name > taken.after][: taken.limit]
    following = page[-1] if page and page[-1] != names[-1] else None
    result = RoomCounts([RoomCount(name, counts[name]) for name in page], len(names), following)
    _check_all_answered(missing, result)
    return result


async def join(call: Call, taken: Move) -> Done:
    """Make sockets join rooms."""
    async with _selected(call, taken) as selected:
        with changing():
            await selected.sockets_join(taken.rooms)
    return Done()


async def leave(call: Call, taken: Move) -> Done:
    """Make sockets leave rooms."""
    async with _selected(call, taken) as selected:
        with changing():
            await selected.sockets_leave(taken.rooms)
    return Done()


@asynccontextmanager
async def _selected(call: Call, taken: Move) -> AsyncIterator[BroadcastOperator]:
    call.about(quote(taken.rooms), nsp=taken.namespace)
    if not (taken.sockets or taken.users or taken.in_):
        raise Problem("invalid_body", "say whose: sockets, users or in", path="$")
    async with call.namespace(taken.namespace) as namespace:
        yield namespace.to(taken.sockets, map(room_of_user, taken.users), taken.in_)


def _room_of(user: UserId | UnsetType) -> str | UnsetType:
    return UNSET if user is UNSET else room_of_user(user)


async def _fetch(
    namespace: Namespace, rooms: list[str], taken: FindSockets | FindRooms
) -> tuple[list[RemoteSocket], tuple[str, ...] | None]:
    """Fetch sockets. Return also the servers that have not answered; ``None`` if all have."""
    audience = namespace.local if taken.local else namespace.except_()
    if rooms:
        audience = audience.to(rooms)
    if taken.timeout is not UNSET:
        audience = audience.timeout(taken.timeout)
    try:
        with asking():
            return await audience.fetch_sockets(), None
    except FetchTimeout as error:
        return error.sockets, error.missing


def _check_all_answered(missing: tuple[str, ...] | None, result: msgspec.Struct) -> None:
    if missing is not None:
        count = len(missing)
        detail = f"{count} server{' has' if count == 1 else 's have'} not answered in time; the others' answer is here"
        raise Problem("fetch_timeout", detail, missing=list(missing), **msgspec.structs.asdict(result))


def _described(socket: RemoteSocket) -> Described:
    return Described(
        id=socket.id,
        namespace=socket.nsp,
        user=user_of(socket.rooms),
        rooms=sorted(_rooms_of(socket)),
        address=socket.handshake.address,
        connected_at=socket.handshake.time,
    )


def _rooms_of(socket: RemoteSocket) -> frozenset[str]:
    """Return the rooms that the program has put a socket into."""
    return socket.rooms - own_rooms(socket.rooms) - {socket.id}


ROUTES: Final = (
    Route(
        "GET",
        "/rooms",
        "list_rooms",
        "read",
        "List the rooms of a namespace, each with its number of sockets.",
        list_rooms,
        FindRooms,
        RoomCounts,
        problems=("unknown_namespace", "fetch_timeout", "cluster_unavailable"),
    ),
    Route(
        "GET",
        "/sockets",
        "list_sockets",
        "read",
        "List the sockets of a namespace, in a room or of a user.",
        list_sockets,
        FindSockets,
        Sockets,
        problems=("unknown_namespace", "fetch_timeout", "cluster_unavailable"),
    ),
    Route(
        "GET",
        "/sockets/{id}",
        "describe_socket",
        "read",
        "Describe a socket.",
        describe_socket,
        DescribeSocket,
        DescribedWithData,
        problems=("unknown_namespace", "unknown_socket", "fetch_timeout", "cluster_unavailable"),
    ),
    Route(
        "POST",
        "/join",
        "join",
        "admin",
        "Make sockets join rooms.",
        join,
        Move,
        Done,
        problems=("unknown_namespace", "reserved_room", "refused", "cluster_unavailable"),
    ),
    Route(
        "POST",
        "/leave",
        "leave",
        "admin",
        "Make sockets leave rooms.",
        leave,
        Move,
        Done,
        problems=("unknown_namespace", "reserved_room", "cluster_unavailable"),
    ),
)
