"""Stock Socket.IO servers in Node with the adapters of its world: tests/js/node_server.mjs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tests.support.cluster.driven import DrivenProgram
from tests.support.cluster.processes import MissingProgram, find_program
from tests.support.cluster.redis_server import folder_of_logs, showing
from tests.support.js import JS_FOLDER, pack

NodeAdapter: TypeAlias = Literal["streams", "classic", "sharded", "memory"]
NodeClient: TypeAlias = Literal["redis", "ioredis"]


class NodeServer(DrivenProgram):
    """One Node process with one server."""

    async def emitter(
        self,
        method: Literal["emit", "socketsJoin", "socketsLeave", "disconnectSockets", "serverSideEmit"],
        *args: Any,
        nsp: str = "/",
        rooms: Sequence[str] = (),
        except_: Sequence[str] = (),
        **flags: bool,
    ) -> None:
        """Call a method of ``@socket.io/redis-emitter``, which classic adapters take for another server."""
        await self.do(
            "emitter", method=method, args=pack(list(args)), nsp=nsp, rooms=list(rooms), flags=flags,
            except_=except_,
        )  # fmt: skip


def node_server(
    name: str,
    folder: Path,
    *,
    url: str,
    adapter: NodeAdapter = "streams",
    client: NodeClient = "redis",
    recovery: float | None = 120.0,
    namespaces: Sequence[str] = ("/", "/chat"),
    port: int = 0,
    clock: float = 0.0,
    **options: Any,
) -> NodeServer:
    """Prepare a server that is not started yet.

    ``url``: of Redis. ``recovery``: seconds that a client may be away, ``None`` for none. ``clock``: seconds by which
    the server's clock is wrong. ``options``: of the adapter, in JavaScript's names; ``pingInterval`` and
    ``pingTimeout`` are the server's. Raises ``MissingProgram``.
    """
    if not (JS_FOLDER / "node_modules" / "@socket.io" / "redis-streams-adapter").is_dir():
        raise MissingProgram("Node's adapters are missing: run `make test` once, it installs them")
    pings: dict[str, Any] = {key: options.pop(key) for key in ("pingInterval", "pingTimeout") if key in options}
    config: dict[str, Any] = {
        "name": name,
        "url": url,
        "adapter": adapter,
        "client": client,
        "recovery": None if recovery is None else round(recovery * 1000),
        "namespaces": list(namespaces),
        "port": port,
        "clock": clock,
        "options": options,
        **pings,
    }
    command = [find_program("node"), "node_server.mjs", json.dumps(config)]
    return NodeServer(name, "node", command, folder, cwd=JS_FOLDER)


@contextlib.asynccontextmanager
async def running_node(name: str = "node", *, url: str, **options: Any) -> AsyncIterator[NodeServer]:
    """A Node server with the options of :func:`node_server`, which is gone at the end."""
    with contextlib.ExitStack() as stack:
        server = node_server(name, stack.enter_context(folder_of_logs("node")), url=url, **options)
        stack.enter_context(showing([server.program]))
        await server.start()
        yield server
        await server.close()
