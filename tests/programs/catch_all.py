"""Catch-all handlers for events, namespaces and both."""

from __future__ import annotations

from typing import Any

import socketio

from tests.programs import MakeServer, Program


class Rest(socketio.AsyncNamespace):  # type: ignore[misc]  # socketio is not typed
    """Whatever namespace nobody else has."""

    def on_from_class(self, namespace: str, sid: str, *args: Any) -> list[Any]:
        """The namespace comes first."""
        return ["class", namespace, *args]


def build(make_server: MakeServer, **options: Any) -> Program:
    """Every combination; answers say which handler was found."""
    program = Program(make_server(namespaces="*", **options))
    sio, seen = program.sio, program.seen
    sio.register_namespace(Rest("*"))

    @sio.on("exact", namespace="/known")
    def exact(sid: str, *args: Any) -> list[Any]:
        return ["exact", *args]

    @sio.on("*", namespace="/known")
    async def any_event(event: str, sid: str, *args: Any) -> list[Any]:
        return ["any event", event, *args]

    @sio.on("exact", namespace="*")
    def any_namespace(namespace: str, sid: str, *args: Any) -> list[Any]:
        return ["any namespace", namespace, *args]

    @sio.on("connect", namespace="*")
    async def connect(namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        seen.append(("connect", namespace, auth))

    @sio.on("disconnect", namespace="*")
    async def disconnect(namespace: str, sid: str, reason: str) -> None:
        seen.append(("disconnect", namespace))

    return program


def build_widest(make_server: MakeServer, **options: Any) -> Program:
    """One handler for all events of all namespaces."""
    program = Program(make_server(namespaces="*", **options))

    @program.sio.on("*", namespace="*")
    async def everything(event: str, namespace: str, sid: str, *args: Any) -> list[Any]:
        return [event, namespace, *args]

    return program
