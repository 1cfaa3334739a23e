"""Serve an aiohttp application, or a Server, for which an application is made.

rtframework run server:app
rtframework run 'server:make_app()' --port 0
rtframework run 'examples/chat/server.py:make_app()' --reload
rtframework run server:app --dev
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ...development import develop
from ..addresses import bind, bind_shared, bind_unix, can_share, remove_unix
from ..errors import Exit, Failure
from ..loading import Target, add_target
from ..reloader import inherit, serve_and_reload
from ..serving import serve
from ..values import parse_seconds
from ..worker import Worker
from ..workers import DRAIN, MOST, count_cores, supervise

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "the aiohttp application, or the Server,")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s; all: 0.0.0.0)")
    parser.add_argument("--port", type=_port, default=8080, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--path", metavar="FILE", help="listen on a Unix socket of that name, not on host and port")
    parser.add_argument(
        "--mode", type=_mode, help="the Unix socket's permissions, octal: 660 lets the group in (default: by the umask)"
    )
    parser.add_argument("--reload", action="store_true", help="start again when a Python file changes; implies --dev")
    parser.add_argument(
        "--reload-dir",
        metavar="DIR",
        action="append",
        type=Path,
        help="folder to watch instead of the program's; may be repeated",
    )
    parser.add_argument(
        "--dev",
        action="store_true",
        help="development mode: tell of unknown events, blocking handlers, coroutines that are not awaited, ...",
    )
    parser.add_argument(
        "--slow-callback",
        metavar="SECONDS",
        type=parse_seconds,
        default=0.1,
        help="development mode: name what blocks the event loop as long (default: %(default)g)",
    )
    parser.add_argument(
        "--slow-provider",
        metavar="SECONDS",
        type=parse_seconds,
        default=1.0,
        help="development mode: name providers of Depends that take as long (default: %(default)g)",
    )
    parser.add_argument(
        "--loop", choices=("auto", "asyncio", "uvloop"), default="auto", help="auto: uvloop, if it is installed"
    )
    parser.add_argument("--log-level", choices=_LEVELS, default="warning", help="default: %(default)s")
    parser.add_argument(
        "--ready",
        metavar="PATH",
        type=_path,
        help="a Server: answer load balancers there, with 503 while it starts or stops",
    )
    parser.add_argument("--access-log", action="store_true", help="log each HTTP request")
    parser.add_argument(
        "--keep-alive",
        metavar="SECONDS",
        type=parse_seconds,
        default=75.0,
        help="time that a connection may be idle (default: %(default)g)",
    )
    parser.add_argument(
        "--tune-gc",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep Python's garbage collector from what lives long, so that clients do not wait for it (default: yes)",
    )
    parser.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=5.0,
        help="time that requests have to end when the server does (default: %(default)g)",
    )
    parser.add_argument(
        "--drain",
        metavar="SECONDS",
        type=parse_seconds,
        default=0.0,
        help="at the end, send clients away over that time, and take no new ones (default: close all at once)",
    )
    parser.add_argument(
        "--workers",
        metavar="NUMBER",
        type=_workers,
        help="serve with several processes on one port; auto: one for each core (default: this process)",
    )
    parser.add_argument(
        "--worker-timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=30.0,
        help="kill and replace a worker whose event loop stands still as long (default: %(default)g)",
    )
    # Passed to child processes: those of --reload, and workers.
    parser.add_argument("--inherit", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--join", type=Path, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve the target until a signal. Return the exit code. Raises ``Failure``."""
    if args.mode is not None and args.path is None:
        raise Failure("--mode is about a Unix socket: name its file with --path", Exit.USAGE)
    if args.workers is not None and not can_share():
        raise Failure(
            "--workers needs Linux: here, run one process, or several on ports of their own with a proxy in front of "
            "them and Redis, see docs/cluster.md",
            Exit.USAGE,
        )
    target = Target.parse(args.target, factory=args.factory)
    make_loop = _loop_factory(args.loop)
    places: list[list[socket.socket]] = []
    if args.inherit is not None:
        socks = inherit(args.inherit, args.parent)
    elif args.path is not None:
        socks = [bind_unix(args.path, args.mode)]
    elif args.workers is not None:
        places = bind_shared(args.host, args.port, args.workers)
        socks = [sock for place in places for sock in place]
    else:
        socks = bind(args.host, args.port)
    try:
        if args.inherit is None and (args.reload or args.workers is not None):
            folders = _folders(args, target) if args.reload else []
            if args.workers is None:
                return asyncio.run(
                    serve_and_reload(_arguments(args), socks, folders, shutdown_timeout=args.shutdown_timeout)
                )
            with asyncio.Runner(loop_factory=make_loop) as runner:
                return runner.run(
                    supervise(
                        args.target,
                        _arguments(args),
                        places or [socks] * args.workers,
                        timeout=args.worker_timeout,
                        shutdown_timeout=args.shutdown_timeout,
                        drain=_drain(args),
                        drains_at_end=bool(args.drain),
                        folders=folders,
                    )
                )
        if args.reload or args.dev:
            level = logging.getLevelNamesMapping()[args.log_level.upper()]
            develop(slow_callback=args.slow_callback, slow_provider=args.slow_provider, level=level)
        else:
            logging.basicConfig(format=_FORMAT, level=args.log_level.upper())
        worker = None if args.worker is None else Worker(args.worker, args.join, _drain(args))
        if worker is not None:
            worker.take_default()
        found = target.load()
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(
                serve(
                    target,
                    found,
                    socks,
                    keep_alive=args.keep_alive,
                    shutdown_timeout=args.shutdown_timeout,
                    access_log=args.access_log,
                    ready=args.ready,
                    tunes_gc=args.tune_gc,
                    drains=args.drain,
                    worker=worker,
                )
            )
    finally:
        for sock in socks:
            sock.close()
        if args.path is not None:
            remove_unix(args.path)


def _arguments(args: argparse.Namespace) -> list[str]:
    """Return the command line of the child process."""
    arguments = ["run", args.target, *["--reload"] * args.reload, "--host", args.host, "--port", str(args.port)]
    arguments += ["--loop", args.loop, "--log-level", args.log_level, "--shutdown-timeout", str(args.shutdown_timeout)]
    arguments += ["--keep-alive", str(args.keep_alive)]
    arguments += ["--slow-callback", str(args.slow_callback), "--slow-provider", str(args.slow_provider)]
    arguments += ["--drain", str(args.drain)] + ["--dev"] * args.dev
    arguments += ["--ready", args.ready] if args.ready is not None else []
    arguments += ["--factory"] * args.factory + ["--access-log"] * args.access_log
    arguments += [] if args.tune_gc else ["--no-tune-gc"]
    return arguments


def _drain(args: argparse.Namespace) -> float:
    """Return the seconds over which a worker that is replaced sends its clients away."""
    return args.drain or (0.0 if args.reload else DRAIN)


def _folders(args: argparse.Namespace, target: Target) -> list[Path]:
    folders = [folder.resolve() for folder in args.reload_dir or [target.folder]]
    for folder in folders:
        if not folder.is_dir():
            raise Failure(f"there is no folder {folder}", Exit.USAGE)
    return folders


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        if name == "uvloop":
            raise Failure("uvloop is not installed: pip install 'rtframework[speed]'") from None
        return None
    return factory


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if text == "auto":
        return count_cores()
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 to {MOST}, or auto")
    return int(text)


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is no path: it begins with /")
    return text


def _mode(text: str) -> int:
    if not text or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise argparse.ArgumentTypeError(f"{text!r} is no mode: three octal digits, 660 for one")
    return int(text, 8)
