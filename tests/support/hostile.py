"""A client that sends whatever can be sent, and values for it to send."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any, Final

import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.raw import Closed, RawWebSocket, raw_client

KEYS: Final = st.sampled_from(["_placeholder", "num", "type", "data", ""]) | st.text(max_size=5)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.just({"_placeholder": True, "num": 0}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS.filter("__proto__".__ne__), inner, max_size=4),
    max_leaves=30,
)


def collect(strategy: st.SearchStrategy[list[Any]], number: int) -> list[list[Any]]:
    """Return examples of a strategy, for a test that is async."""
    found: list[list[Any]] = []

    @settings(max_examples=number, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def note(example: list[Any]) -> None:
        found.append(example)

    note()
    return found


def as_in_javascript(value: Any) -> Any:
    """Turn all numbers into floats, which is what they are there; NaN equals itself."""
    if isinstance(value, list | tuple):
        return [as_in_javascript(each) for each in value]
    if isinstance(value, dict):
        return {key: as_in_javascript(each) for key, each in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Attachment:
    """A placeholder of the JSON parser on the wire; ``number`` is that of its attachment, if there is one."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Attachment({self.number!r})"


class Verbatim(str):
    """JSON that no encoder would write."""

    __slots__ = ()


NUMBERS: Final = st.sampled_from([0, 1, 2, 5, -1, 1.0, True, None, "0", [0], 2**53, 1e300])
ODD_JSON: Final = st.sampled_from(
    [
        "1e400",
        "-1e400",
        "-0",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        '"\\ud800"',
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '"\u2028\x7f"',
        '{"__proto__":{"a":1}}',
        '{"__proto__":null}',
        '{"a":1,"a":2}',
        '{"":{"":""}}',
        '{"toJSON":1,"hasOwnProperty":1,"constructor":null}',
        '{"_placeholder":false,"num":0}',
        '{"_placeholder":"true","num":0}',
        '{"\\u005fplaceholder":true,"num":0}',
        '{"_placeholder" : true , "num" : 0}',
        '{"_placeholder":true,"_placeholder":false,"num":0}',
        '{"_placeholder":true}',
        '"_placeholder"',
        "[" * 300 + "]" * 300,
        '{"a":' * 300 + "1" + "}" * 300,
        "NaN",
        "[1,]",
    ]
).map(Verbatim)
ODD_MSGPACK: Final = st.sampled_from(
    [
        msgpack.ExtType(0, b"\x00"),
        msgpack.ExtType(0, b"abc"),
        msgpack.ExtType(0, bytes(8)),
        msgpack.ExtType(0, b"\x00\x00\x01\x90" + bytes(4)),
        msgpack.ExtType(0, b"\x7f" + b"\xff" * 7),
        msgpack.ExtType(0, b"\x80" + bytes(7)),
        msgpack.ExtType(0, b""),
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(0, 5),
        msgpack.Timestamp(2**40, 0),
        math.nan,
        math.inf,
        -math.inf,
        2**64 - 1,
        -(2**63),
        {1: 2},
        {None: 1},
        {"length": -1, "type": 9, "nsp": 1},
        b"\xc1" * 20,
    ]
)


def hostile_arguments(parser: str | None) -> st.SearchStrategy[list[Any]]:
    """Make arguments of an event out of what clients send, and of odd things; ``parser``: ``"msgpack"`` or ``None``."""
    leaves = ODD_JSON | NUMBERS.map(Attachment) if parser is None else ODD_MSGPACK
    keys = KEYS.filter("__proto__".__ne__)
    values = st.recursive(
        VALUES | leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    return st.lists(values, max_size=3)


def to_json(value: Any) -> str:
    """Write JSON, whatever it may be."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, Attachment):
        return json.dumps({"_placeholder": True, "num": value.number})
    if isinstance(value, list):
        return f"[{','.join(map(to_json, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{to_json(each)}' for key, each in value.items())}}}"
    return json.dumps(value)


def json_frames(head: str, args: list[Any]) -> list[str | bytes]:
    """Write the frames of a packet as a client may that is no JavaScript client; ``head``: type, ``%``, id."""
    attachments: list[bytes] = []

    def take_out(value: Any) -> Any:
        if isinstance(value, bytes):
            attachments.append(value)
            return Attachment(len(attachments) - 1)
        if isinstance(value, list):
            return [take_out(each) for each in value]
        if isinstance(value, dict):
            return {key: take_out(each) for key, each in value.items()}
        if isinstance(value, Attachment):
            attachments.append(b"odd")
        return value

    body = to_json(take_out(args))
    if not attachments:
        return ["4" + head.replace("%", "") + body]
    kind = {"2": "5", "3": "6"}[head[0]]
    return [f"4{kind}{len(attachments)}-{head[2:]}{body}", *attachments]


def msgpack_frames(head: str, args: list[Any]) -> list[str | bytes]:
    """Write the frame of a packet as a client may that is no JavaScript client."""
    id = {"id": int(head[2:])} if head[2:] else {}
    return [msgpack.packb({"type": int(head[0]), "nsp": "/", "data": args, **id})]


class Attacker:
    """A client that comes back whenever it is thrown out."""

    def __init__(self, url: str, parser: str | None, stack: contextlib.AsyncExitStack) -> None:
        self._url = url
        self._parser = parser
        self._stack = stack
        self._websocket: RawWebSocket | None = None
        self.thrown_out = 0

    async def send(self, event: Any, args: list[Any]) -> None:
        """Send an event, answer the question that the server may ask with the same, wait until it was served."""
        frames_of = json_frames if self._parser is None else msgpack_frames
        try:
            websocket = await self._connect()
            for frame in frames_of("2%1", [event, *args]):
                await websocket.send(frame)
            while True:
                packet = self._read(await websocket.receive())
                if packet[0] == "question":
                    for frame in frames_of(f"3%{packet[1]}", args):
                        await websocket.send(frame)
                elif packet[0] == "done":
                    return
        except (Closed, ConnectionError):
            self._websocket = None
            self.thrown_out += 1

    async def _connect(self) -> RawWebSocket:
        if self._websocket is None:
            raw = await self._stack.enter_async_context(raw_client(self._url))
            self._websocket, _ = await raw.open_websocket()
            await self._websocket.send("40" if self._parser is None else msgpack.packb({"type": 0, "nsp": "/"}))
            await self._websocket.receive()
        return self._websocket

    def _read(self, frame: str | bytes) -> tuple[str, Any]:
        """Tell a question with its id, and the answer to the event, from what else may come."""
        if self._parser is None:
            text = frame if isinstance(frame, str) else ""
            question = re.match(r'42(\d+)\["question"', text)
            return ("question", question[1]) if question else ("done" if text.startswith("43") else "", None)
        assert isinstance(frame, bytes)
        packet = msgpack.unpackb(frame, strict_map_key=False)
        if packet["type"] == 2 and packet["data"][0] == "question":
            return "question", packet["id"]
        return ("done" if packet["type"] == 3 else ""), None
