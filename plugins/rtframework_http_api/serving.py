"""The routes about servers: health, statistics, drain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from rtframework import Stats
from rtframework.exceptions import ClusterUnavailable

from .problems import asking, changing
from .route import Call, Nothing, Route, Seconds, Takes

_PATIENCE: Final = 2.0
"""Seconds that other servers have to answer."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A server of the cluster. One of Node is only counted: its name is ``?``."""

    name: str
    host: str | None
    pid: int | None
    version: str | None
    started: Annotated[float | None, Meta(description="Time at which it began to serve, in seconds since the epoch.")]
    sockets: Annotated[int | None, Meta(description="Sockets of all namespaces, as of some seconds ago.")]
    is_self: Annotated[bool, Meta(description="True for the server that answers.")]


class ClusterHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the other servers."""

    up: bool
    reason: Annotated[str, Meta(description="The reason why it is not up, in words.")]
    nodes: Annotated[list[Node] | None, Meta(description="The servers; null if they cannot be asked.")]


class HealthOf(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the server that answers, and of its cluster."""

    node: Annotated[str, Meta(description="Its name in the cluster.")]
    ready: Annotated[bool, Meta(description="True if it takes clients, and reaches the other servers.")]
    draining: bool
    cluster: ClusterHealth


class AskStats(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The servers to ask."""

    local: Annotated[bool, Meta(description="The server that answers alone, of several workers or servers.")] = False
    timeout: Annotated[Seconds, Meta(description="Seconds that other servers have to answer.")] = _PATIENCE


class StatsOf(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics, see ``io.stats()``: the sum of all servers that have answered, and those of each by name."""

    total: dict[str, Any]
    servers: dict[str, dict[str, Any]]
    missing: Annotated[
        list[str],
        Meta(description="Servers that have not answered in time, or have no HTTP API; `?` for each without a name."),
    ]


class Drain(Takes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The time over which clients are sent away."""

    seconds: Annotated[
        Annotated[float, Meta(ge=0, le=3600)], Meta(description="Time over which clients leave, at most.")
    ] = 10.0


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """Servers that send their clients away from now on; ``/health`` says how many are left."""

    draining: list[str]
    missing: Annotated[list[str], Meta(description="Workers of the port that have not answered in time.")]


async def health(call: Call, taken: Nothing) -> HealthOf:
    """Tell how the server and its cluster are."""
    io = call.io
    state = io.cluster.health
    nodes: list[Node] | None = None
    try:
        nodes = [
            Node(**{name: getattr(each, name) for name in Node.__struct_fields__}) for each in await io.cluster.nodes()
        ]
    except ClusterUnavailable as error:
        state = type(state)(False, state.reason or str(error))
    return HealthOf(
        node=io.cluster.node,
        ready=io.is_serving and not io.is_draining and state.up,
        draining=io.is_draining,
        cluster=ClusterHealth(up=state.up, reason=state.reason, nodes=nodes),
    )


async def stats(call: Call, taken: AskStats) -> StatsOf:
    """Count connections, drops, refusals …"""
    servers = {call.io.cluster.node: plain_stats(call.io.stats())}
    missing: tuple[str, ...] = ()
    if not taken.local:
        with asking():
            others, missing = await call.others.stats(taken.timeout)
        servers.update(others)
    return StatsOf(total=add_up(list(servers.values())), servers=servers, missing=list(missing))


async def drain(call: Call, taken: Drain) -> Draining:
    """Send the clients of this server away: of all workers of its port."""
    call.about(f"{taken.seconds:g} s")
    call.check_serving()
    with changing():
        names, missing = await call.others.drain(taken.seconds, _PATIENCE)
    return Draining(draining=names, missing=list(missing))


def plain_stats(found: Stats) -> dict[str, Any]:
    """Turn statistics into what JSON has."""
    return {each.name: _plain(getattr(found, each.name)) for each in fields(found)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return dict(value) if isinstance(value, Mapping) else value


def add_up(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Add numbers of the same name, at any depth. Of booleans all have to be true."""
    total: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in found for name in each):
        values = [each[name] for each in found if each.get(name) is not None]
        if not values:
            total[name] = None
        elif all(isinstance(value, dict) for value in values):
            total[name] = add_up(values)
        elif all(isinstance(value, bool) for value in values):
            total[name] = all(values)
        else:
            total[name] = sum(value for value in values if isinstance(value, int | float))
    return total


ROUTES: Final = (
    Route(
        "GET",
        "/health",
        "health",
        "read",
        "Tell how the server and its cluster are.",
        health,
        Nothing,
        HealthOf,
    ),
    Route(
        "GET",
        "/stats",
        "stats",
        "read",
        "Count connections, drops, refusals … of all servers of the cluster.",
        stats,
        AskStats,
        StatsOf,
        problems=("cluster_unavailable",),
    ),
    Route(
        "POST",
        "/drain",
        "drain",
        "admin",
        "Send the clients of this server away, a few at a time, before it ends.",
        drain,
        Drain,
        Draining,
        status=202,
        problems=("not_serving", "cluster_unavailable"),
    ),
)
