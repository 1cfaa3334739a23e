"""A json module and packet classes of the program's own."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgpack
from socketio import msgpack_packet, packet

from tests.programs import MakeServer, Program


class DateJSON:
    """JSON that knows dates, in both directions."""

    @staticmethod
    def dumps(data: Any, **options: Any) -> str:
        """Dates as objects."""
        return json.dumps(data, default=lambda date: {"date": date.isoformat()}, **options)

    @staticmethod
    def loads(text: str) -> Any:
        """Objects as dates."""

        def found(value: dict[str, Any]) -> Any:
            return datetime.date.fromisoformat(value["date"]) if value.keys() == {"date"} else value

        return json.loads(text, object_hook=found)


class UpperPacket(packet.Packet):  # type: ignore[misc]  # socketio is not typed
    """A packet class of a program: events that the server emits are marked."""

    def encode(self) -> Any:
        """As JSON, with the mark."""
        if self.packet_type in (packet.EVENT, packet.BINARY_EVENT):
            event, *args = self.data
            self.data: Any = [event, "marked", *args]
        return super().encode()


def build(make_server: MakeServer, **options: Any) -> Program:
    """Events come back, and a date is sent."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def echo(sid: str, *args: Any) -> tuple[Any, ...]:
        seen.append(("echo", *args))
        await sio.emit("echoed", args, to=sid)
        return args

    return program


def ext_hook(code: int, data: bytes) -> Any:
    """Extension 42 is a complex number."""
    return complex(data.decode()) if code == 42 else msgpack.ExtType(code, data)


def to_ext(value: Any) -> Any:
    """The other way."""
    if isinstance(value, complex):
        return msgpack.ExtType(42, str(value).encode())
    raise TypeError(f"{type(value).__name__} cannot be sent")


ComplexPacket: Any = msgpack_packet.MsgPackPacket.configure(dumps_default=to_ext, ext_hook=ext_hook)
