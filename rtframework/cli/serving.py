"""Serving an application until a signal ends the process."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.log import access_logger

from ..engine import limit_heads, tune_gc
from ..engine.drain import drain_all
from ..engine.http.readiness import Readiness
from ..exceptions import ConfigurationError
from ..server import Server
from .addresses import BACKLOG, url_of
from .errors import Exit, Failure
from .program_errors import failure_of
from .signals import on_end

if TYPE_CHECKING:
    from .loading import Target
    from .worker import Worker

log: Final = logging.getLogger("rtframework.cli")


async def serve(
    target: Target,
    found: object,
    socks: Sequence[socket.socket],
    *,
    keep_alive: float,
    shutdown_timeout: float,
    access_log: bool,
    ready: str | None = None,
    tunes_gc: bool = True,
    drains: float = 0.0,
    worker: Worker | None = None,
) -> int:
    """Serve an application until a signal. Return the exit code. Raises ``Failure``.

    ``found``: the object loaded from the target: an application, a server or a factory. ``keep_alive``: seconds that a
    connection may be idle. ``shutdown_timeout``: seconds that pending requests have to end after the signal.
    ``ready``: the path that load balancers ask, for a server. ``tunes_gc``: keep Python's garbage collector from what
    lives long. ``drains``: seconds over which clients are sent away after the signal, before anything is closed.
    ``worker``: this process, if it is one of several, which may be told to leave.
    """
    ending = asyncio.Event()
    on_end(ending.set)
    if worker is not None:
        await worker.join(ending.set)
    starting = asyncio.create_task(
        _start(target, found, keep_alive, shutdown_timeout, access_log, ready, tunes_gc, worker)
    )
    told = asyncio.create_task(ending.wait())
    leaving = asyncio.Event()
    left = asyncio.create_task(leaving.wait())
    try:
        await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
        if starting.cancelled():
            return Exit.DONE
        runner = starting.result()
        try:
            for sock in socks:
                await web.SockSite(runner, sock).start()
                sock.listen(BACKLOG)  # not passed to the site: asyncio would accept as many in one turn
            if worker is None:
                print(f"Serving {target.text} on {', '.join(map(url_of, socks))} (Ctrl-C ends it)", flush=True)
            else:
                worker.serve(leaving.set)
            await asyncio.wait((told, left), return_when=asyncio.FIRST_COMPLETED)
            if worker is not None and left.done():
                worker.drains()
                await _stop_listening(runner, socks)
                await _drain(worker.drain, told)
            else:
                if worker is not None and drains:
                    worker.drains()
                await _drain(drains, told)
        finally:
            if worker is not None:
                worker.stop()
            try:
                await runner.cleanup()
            except Exception as error:
                raise failure_of(f"{target.text} has failed to clean up", error) from error
    finally:
        told.cancel()
        left.cancel()
        if worker is not None:
            await worker.leave()
    return Exit.DONE


async def _stop_listening(runner: web.AppRunner, socks: Sequence[socket.socket]) -> None:
    """Accept no more connections, and lose none: others listen on the same sockets."""
    loop = asyncio.get_running_loop()
    for sock in socks:
        loop.remove_reader(sock.fileno())
    for _ in range(4):  # turns of the loop between accept() and connection_made(), in asyncio
        await asyncio.sleep(0)
    for site in list(runner.sites):
        await site.stop()


async def _drain(seconds: float, told: asyncio.Future[Any]) -> None:
    """Send clients away; when the process is told to end meanwhile, leave the rest to the shutdown."""
    if not seconds:
        return
    draining = asyncio.create_task(drain_all(seconds))
    await asyncio.wait((draining,) if told.done() else (draining, told), return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()


async def _start(
    target: Target,
    found: Any,
    keep_alive: float,
    shutdown_timeout: float,
    access_log: bool,
    ready: str | None,
    tunes_gc: bool,
    worker: Worker | None,
) -> web.AppRunner:
    if target.is_factory:
        found = await target.make(found)
    target.expect(found, web.Application, Server)
    if ready is not None and isinstance(found, web.Application):
        raise Failure(
            f"{target.text} is an application, whose routes are its own: instead of --ready, write "
            f"app.router.add_get({ready!r}, Readiness(io).handler)",
            Exit.USAGE,
        )
    app = found if isinstance(found, web.Application) else _attach(target, found, ready)
    limit_heads(app)  # of a server in a sub-application, it does not know
    if worker is not None:
        worker.connect(app)
    if tunes_gc:
        tune_gc(app)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        keepalive_timeout=keep_alive,
        shutdown_timeout=shutdown_timeout,
        access_log=access_logger if access_log else None,
    )
    try:
        await runner.setup()
    except Exception as error:
        await _clean_up_quietly(runner)
        raise failure_of(f"{target.text} has failed to start", error) from error
    except asyncio.CancelledError:
        await _clean_up_quietly(runner)
        raise
    return runner


async def _clean_up_quietly(runner: web.AppRunner) -> None:
    try:
        await runner.cleanup()
    except Exception:
        log.exception("the clean-up of an application that did not start has failed")


def _attach(target: Target, server: Server, ready: str | None) -> web.Application:
    app = web.Application()
    if ready is not None:
        app.router.add_get(ready, Readiness(server).handler)
    try:
        server.attach(app)
    except ConfigurationError:
        others = target.others(web.Application)
        raise Failure(
            f"{target.text} is a server that the program has attached to an application: "
            f"name that, {others[0] if others else 'or what makes it'}"
        ) from None
    return app
