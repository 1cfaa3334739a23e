"""Send an event to a Socket.IO server and, with --ack, print the answer: one line of JSON for each of its values.

rtframework emit http://localhost:8080 message '{"room": "lobby", "text": "hello"}' --ack
rtframework emit https://example.org/admin kick ada --auth @token.json
rtframework emit http://localhost:8080 upload cat.jpg --binary @cat.jpg --msgpack

With --redis, send it to the clients of all servers that share a Redis. There is no URL of a server then:

rtframework emit --redis redis://localhost --namespace /chat --to lobby --except muted message '{"text": "hello"}'
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final

from ...exceptions import ClusterUnavailable, ConfigurationError, EncodeError
from ..connecting import connect
from ..endpoint import Endpoint, add_endpoint
from ..errors import Exit, Failure
from ..values import parse_event, parse_seconds, parse_value, read_file, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_endpoint(parser, url="?")
    parser.add_argument("event", metavar="EVENT", nargs="?", help="the event's name; digits are a number")
    parser.add_argument("args", metavar="ARG", nargs="*", default=[], help="JSON, or a string where it is none")
    parser.add_argument("--ack", action="store_true", help="wait for the answer and print it")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=10.0,
        help="time for the answer (default: %(default)g)",
    )
    parser.add_argument(
        "--binary",
        metavar="@FILE",
        action="append",
        default=[],
        help="one more argument, the bytes of a file; @- is stdin; may be repeated",
    )
    parser.add_argument(
        "--json", action="store_true", help='print the answer as one JSON array, bytes as {"$base64": "..."}'
    )
    group = parser.add_argument_group("emitting to clients")
    group.add_argument("--redis", metavar="URL", help="emit to the clients of all servers on this Redis")
    group.add_argument("--to", metavar="ROOM", action="append", help="only to this room; may be repeated")
    group.add_argument(
        "--except", dest="except_", metavar="ROOM", action="append", help="not to this room; may be repeated"
    )
    group.add_argument("--adapter", choices=("streams", "pubsub"), help="what the servers have (default: streams)")
    group.add_argument("--stream", metavar="KEY", help="the servers' stream (default: socket.io)")
    group.add_argument("--channel-prefix", metavar="TEXT", help="of the servers' channels (default: socket.io)")


def run(args: argparse.Namespace) -> int:
    """Send the event, and print the answer. Return the exit code. Raises ``Failure``."""
    words = [each for each in (args.url, args.event, *args.args) if each is not None]
    url = words.pop(0) if args.redis is None and words else None  # with --redis, the event comes first
    _check(args, url, words)
    event = parse_event(words[0])
    values = [parse_value(each) for each in words[1:]] + [read_file(each) for each in args.binary]
    if args.redis is not None:
        _publish(args, event, values)
        return Exit.DONE
    answer = asyncio.run(_emit(Endpoint.of(args), event, values, args.timeout if args.ack else None))
    if answer is not None:
        for line in [show(answer, exact=True)] if args.json else map(show, answer):
            print(line)
    return Exit.DONE


def _check(args: argparse.Namespace, url: str | None, words: list[str]) -> None:
    """Check that the arguments are there and belong together. Raises ``Failure``."""
    if url is not None and url.startswith(("redis:", "rediss:", "unix:", "redis+", "rediss+")):
        raise Failure(f"for the clients of all servers on a Redis, write --redis {url}", Exit.USAGE)
    if not words:
        missing = "EVENT" if args.redis is not None or url is not None else "URL, EVENT"
        raise Failure(f"the following arguments are required: {missing}\nSee rtframework emit --help", Exit.USAGE)
    misplaced = _OF_REDIS if args.redis is None else _OF_SERVERS
    for option in misplaced:
        if getattr(args, option.replace("-", "_").replace("except", "except_")):
            why = "is for --redis only" if args.redis is None else "cannot be used with --redis"
            raise Failure(f"--{option} {why}", Exit.USAGE)


_OF_REDIS: Final = ("to", "except", "adapter", "stream", "channel-prefix")
_OF_SERVERS: Final = (
    "ack",
    "json",
    "auth",
    "header",
    "query",
    "transport",
    "msgpack",
    "insecure",
    "verbose",
    "ws",
    "stomp",
)


def _publish(args: argparse.Namespace, event: str | int, values: list[Any]) -> None:
    """Emit to the clients of all servers on a Redis. Raises ``Failure``."""
    try:
        from rtframework_redis import SyncPublisher
    except ModuleNotFoundError as error:
        raise Failure(f"--redis needs {error.name}: pip install 'rtframework[redis]'") from None
    names = {"adapter": args.adapter, "stream": args.stream, "channel_prefix": args.channel_prefix}
    given = {option: value for option, value in names.items() if value is not None}
    namespace = f"/{(args.namespace or '').removeprefix('/')}"
    try:
        publisher = SyncPublisher(args.redis, publish_timeout=args.connect_timeout, **given)
        selected = publisher.of(namespace).except_(args.except_ or [])
        if args.to is not None:
            selected = selected.to(args.to)
        with publisher:
            selected.emit(event, *values)
    except (ConfigurationError, EncodeError) as error:
        raise Failure(str(error), Exit.USAGE) from None
    except ClusterUnavailable as error:
        is_refused = bool(getattr(error.__cause__, "code", ""))
        known = Exit.FAILED if is_refused else Exit.UNREACHABLE
        raise Failure(str(error), Exit.LOST if error.uncertain else known) from None


async def _emit(endpoint: Endpoint, event: str | int, args: list[Any], timeout: float | None) -> list[Any] | None:
    async with connect(endpoint) as connection:
        if timeout is not None:
            return await connection.ask(event, args, timeout)
        await connection.emit(event, args)
    return None
