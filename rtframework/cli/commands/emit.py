"""Send an event to a Socket.IO server and, with --ack, print the answer: one line of JSON for each of its values.

rtframework emit http://localhost:8080 message '{"room": "lobby", "text": "hello"}' --ack
rtframework emit https://example.org/admin kick ada --auth @token.json
rtframework emit http://localhost:8080 upload cat.jpg --binary @cat.jpg --msgpack
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from ...packets import number_of
from ...types import RESERVED_EVENTS
from ..client import connect
from ..endpoint import Endpoint, add_endpoint
from ..errors import Exit, Failure
from ..values import parse_seconds, parse_value, read_file, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_endpoint(parser)
    parser.add_argument("event", metavar="EVENT", help="the event's name; digits are a number")
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


def run(args: argparse.Namespace) -> int:
    """Send the event, and print the answer. Return the exit code. Raises ``Failure``."""
    event = parse_event(args.event)
    values = [parse_value(each) for each in args.args] + [read_file(each) for each in args.binary]
    answer = asyncio.run(_emit(Endpoint.of(args), event, values, args.timeout if args.ack else None))
    if answer is not None:
        for line in [show(answer, exact=True)] if args.json else map(show, answer):
            print(line)
    return Exit.DONE


def parse_event(text: str) -> str | int:
    """Parse an event's name: ``1`` is a number, ``"1"`` in quotes and ``one`` are strings.

    Raises ``Failure`` for a name that no event can have.
    """
    if not text:
        raise Failure("an event needs a name", Exit.USAGE)
    if text in RESERVED_EVENTS:
        raise Failure(f'"{text}" can be no event: the name is reserved', Exit.USAGE)
    if text[0] == text[-1] == '"' and number_of(text[1:-1]) is not None:
        return text[1:-1]
    number = number_of(text)
    return text if number is None else number


async def _emit(endpoint: Endpoint, event: str | int, args: list[Any], timeout: float | None) -> list[Any] | None:
    async with connect(endpoint) as connection:
        if timeout is not None:
            return await connection.ask(event, args, timeout)
        await connection.emit(event, args)
    return None
