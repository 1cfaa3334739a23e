"""What a program keeps for a connection, and for how long."""

from __future__ import annotations

from typing import Any

import engineio
import pytest
from socketio import packet

from rtframework.engine.frames import EncodedFrames
from rtframework.engine.python_socketio.engineio_socket import EngineIOSocket, Environs
from rtframework.options import EngineOptions
from tests.support.stream import Stream


class Line(Stream):
    """A connection with a session id."""

    sid = "s"


class Request:
    """The request that opened the connection."""

    path = "/"

    def get_extra_info(self, name: str) -> None:
        """Nothing is known of it."""


class Home:
    """The server of one socket."""

    packet_class: Any = packet.Packet

    def __init__(self) -> None:
        self.options = EngineOptions()
        self.asked = 0
        self.line = Line()
        connection: Any = self.line
        request: Any = Request()
        self.socket = EngineIOSocket(self, connection, request)
        self.forgotten = 0

    def environ_of(self, request: Any, peer: Any = None) -> dict[str, Any]:
        self.asked += 1
        return {"path": request.path}

    def frames_of(self, pkt: Any) -> EncodedFrames:
        return EncodedFrames([bytes(pkt.data) if pkt.binary else pkt.encode()])

    def forget_if_over(self, socket: EngineIOSocket) -> None:
        self.forgotten += 1

    def room_for(self, outlets: Any) -> None:
        assert list(outlets) == [self.line]


class Resident:
    """A client in a namespace."""

    def __init__(self, nsp: str) -> None:
        self.nsp = nsp


def test_the_environ_is_always_the_same() -> None:
    """What a program puts into it when a client connects would be gone at the next event."""
    home = Home()
    home.socket.environ["user"] = "ada"
    assert home.socket.environ == {"path": "/", "user": "ada"}
    assert home.asked == 1
    environs = Environs({"s": home.socket})
    assert (len(environs), list(environs), environs["s"]["user"]) == (1, ["s"], "ada")
    with pytest.raises(KeyError):
        environs["nobody"]


def test_a_session_lives_as_long_as_somebody_is_in_its_namespace() -> None:
    """A disconnect handler would find no session; or the next client of a connection that of the one before."""
    socket = (home := Home()).socket
    one, two, other = Resident("/"), Resident("/"), Resident("/admin")
    for resident in (one, two, other):
        socket.move_in(resident)
    socket.session.update({"/": {"a": 1}, "/admin": {"b": 2}})
    socket.move_out(one)
    assert socket.session == {"/": {"a": 1}, "/admin": {"b": 2}}
    socket.move_out(two)
    assert socket.session == {"/admin": {"b": 2}}
    assert socket.inhabited
    socket.move_out(other)
    assert (socket.session, socket.inhabited, home.forgotten) == ({}, False, 3)


@pytest.mark.parametrize("send", [True, False])
async def test_what_is_sent_to_who_is_not_let_in_waits(send: bool) -> None:
    """A manager of python-socketio's would send events before CONNECT, or to who is refused."""
    home = Home()
    socket, line = home.socket, home.line
    socket.hold("/admin")
    message = engineio.packet.MESSAGE
    for data in ('2["a"]', '51-/admin,["b",{"_placeholder":true,"num":0}]', b"\x00", '2/admin,["c"]'):
        await socket.send(engineio.packet.Packet(message, data))
    assert line.sent == ['2["a"]']
    await socket.send(engineio.packet.Packet(message, '51-["d",{"_placeholder":true,"num":0}]'))
    await socket.send(engineio.packet.Packet(message, b"\x01"))
    assert line.sent[1:] == ['51-["d",{"_placeholder":true,"num":0}]', b"\x01"]
    socket.release("/admin", send=send)
    held = ['51-/admin,["b",{"_placeholder":true,"num":0}]', b"\x00", '2/admin,["c"]']
    assert line.sent[3:] == (held if send else [])
    socket.release("/admin", send=True)
