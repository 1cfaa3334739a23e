"""Print the events that a Socket.IO server sends: a line for each, its name and its arguments as JSON.

  rtframework listen http://localhost:8080
  rtframework listen http://localhost:8080 message joined --emit join '{"room": "lobby"}'
  rtframework listen wss://example.org/prices --json --count 10 | jq .args
  rtframework listen --ws ws://localhost:8080/ws
  rtframework listen --sse 'http://localhost:8080/events?room=scores'
  rtframework listen --stomp ws://localhost:8080/stomp --topic news:1
  rtframework listen --sockjs http://localhost:8080/sockjs

Events that request an acknowledgement are answered with --ack only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from typing import Any, Final

from ...packets import event_key, number_of
from ..connecting import AnyConnection, connect
from ..endpoint import Endpoint, add_endpoint
from ..errors import Exit, Failure
from ..received import Place, Received
from ..values import parse_event, parse_seconds, parse_value, show

_DELAYS: Final = (1.0, 2.0, 5.0)
"""Seconds before each attempt to connect again."""
_GAP: Final = "gap"
"""The event of a stream of server-sent events that tells of events that were missed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_endpoint(parser)
    parser.add_argument("events", metavar="EVENT", nargs="*", default=[], help="show these only; default: all")
    parser.add_argument(
        "--topic", metavar="ROOM", action="append", default=[], help="with --stomp: read this room; may be repeated"
    )
    parser.add_argument(
        "--json", action="store_true", help='print {"event": ..., "args": [...]}, bytes as {"$base64": ...}'
    )
    parser.add_argument("--count", metavar="N", type=_count, help="end after so many events")
    parser.add_argument("--timeout", metavar="SECONDS", type=parse_seconds, help="end after this time; default: never")
    parser.add_argument(
        "--emit",
        metavar=("EVENT", "ARG"),
        nargs="+",
        action="append",
        default=[],
        help="send an event when connected; may be repeated",
    )
    parser.add_argument("--ack", metavar="JSON", help="answer events that ask for it with this")
    parser.add_argument("--reconnect", action="store_true", help="connect again when the connection is lost")


def run(args: argparse.Namespace) -> int:
    """Print events until the end. Return the exit code. Raises ``Failure``."""
    listener = _Listener(args, Endpoint.of(args))
    return asyncio.run(listener.run())


class _Listener:
    def __init__(self, args: argparse.Namespace, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._events = frozenset(args.events)
        self._json: bool = args.json
        self._count: int | None = args.count
        self._timeout: float | None = args.timeout
        self._emits = [(parse_event(event), [parse_value(each) for each in values]) for event, *values in args.emit]
        self._answer: list[Any] | None = None if args.ack is None else [parse_value(args.ack)]
        self._reconnect: bool = args.reconnect
        self._attempt = 0
        self._place = Place()

    async def run(self) -> int:
        try:
            async with asyncio.timeout(self._timeout):
                while not await self._listen():
                    pass
        except TimeoutError:
            if self._count is not None:
                raise Failure(f"{self._count} more did not come within {self._timeout:g} s", Exit.TIMED_OUT) from None
        return Exit.DONE

    async def _listen(self) -> bool:
        """Print the events of one connection. Return ``False`` to connect again."""
        try:
            async with connect(self._endpoint, self._place) as connection:
                self._attempt = 0
                _say(
                    f"connected to {self._endpoint.resource}, namespace {self._endpoint.namespace}, "
                    f"by {connection.transport}{' over SockJS' if self._endpoint.sockjs else ''}, id {connection.id}"
                )
                for event, values in self._emits:
                    await connection.emit(event, values)
                while self._count is None or self._count > 0:
                    await self._take(connection, await connection.next())
                return True
        except Failure as failure:
            if not self._reconnect or failure.code not in (Exit.LOST, Exit.UNREACHABLE):
                raise
            delay = self._delay()
            self._attempt += 1
            _say(f"{failure}; trying again in {delay:.1f} s")
            await asyncio.sleep(delay)
            return False

    def _delay(self) -> float:
        """Return the seconds until the next attempt: not less than the server has asked for."""
        delay = _DELAYS[min(self._attempt, len(_DELAYS) - 1)]
        if self._place.retry is None:
            return delay * random.uniform(0.8, 1.2)
        return (max(self._place.retry, delay) if self._attempt else self._place.retry) * random.uniform(1, 1.2)

    async def _take(self, connection: AnyConnection, received: Received) -> None:
        if received.id is not None and self._answer is not None:
            await connection.answer(received, self._answer)
        if self._events and event_key(received.event) not in self._events:
            if received.event == _GAP and self._endpoint.protocol == "sse":
                _say(f"events are missing: {self._line(received)}")
            return
        print(self._line(received), flush=True)
        if self._count is not None:
            self._count -= 1

    def _line(self, received: Received) -> str:
        if self._json:
            return show({"event": received.event, "args": received.args}, exact=True)
        name = received.event
        if isinstance(name, int):
            name = str(name)
        elif not name.isprintable() or not name or " " in name or '"' in name or number_of(name) is not None:
            name = show(name)  # in quotes: "1" is a string, 1 a number
        return " ".join([name, *map(show, received.args)])


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events")
    return int(text)


def _say(text: str) -> None:
    print(f"rtframework listen: {text}", file=sys.stderr, flush=True)
