"""A connection that has nothing of Engine.IO, and an application that lets clients into namespaces on it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from rtframework import JSONSerializer, Limits, Packet, PacketType
from rtframework.engine.client import Client
from rtframework.engine.frames import EncodedFrames
from rtframework.protocols import Application, Frames
from rtframework.protocols import Client as AnyClient
from rtframework.types import Handshake

JSON = JSONSerializer()


def handshake() -> Handshake:
    """What a client is known by."""
    return Handshake(address="10.0.0.1")


class Stream:
    """A connection that is a list each way: it could as well be server-sent events and POSTs."""

    transport = "stream"
    protocol = 0
    has_dropped = False

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.held = 0
        self.is_open = True
        self.is_kept = False
        self.ends: list[str] = []
        self.dropped: list[tuple[str, int]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.client: Client | None = None

    def say(self, *messages: str | bytes) -> None:
        """Let messages come from the client; what they set off runs in tasks, in order."""
        assert self.client is not None
        for message in messages:
            if self.is_open:
                work = self.client.receive(message)
                if work is not None:
                    self._run(work)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def settle(self) -> None:
        """Wait until nothing that was set off runs any more."""
        while self.tasks:
            await asyncio.gather(*self.tasks)
        await asyncio.sleep(0)

    async def answers(self, *messages: str | bytes) -> list[str | bytes]:
        """Let messages come; what is sent for them."""
        self.say(*messages)
        await self.settle()
        sent, self.sent = self.sent, []
        return sent

    def end(self, reason: str) -> None:
        """End, as a connection does: once, and the client is told."""
        if self.is_open:
            self.is_open = False
            self.ends.append(reason)
            assert self.client is not None
            self.client.ended(reason)

    # --- what a client of Socket.IO needs of it ---------------------------------------------------------------------

    def hold(self, size: int) -> bool:
        self.held += size
        return True

    def release(self, size: int) -> None:
        self.held -= size

    def began(self) -> int:
        return 0

    def ended(self, weight: int) -> None:
        pass

    def fail_of_size(self) -> None:
        self.end("transport error")

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        if self.is_open:
            self.sent.extend(_messages(cast("EncodedFrames", frames)))

    def count_dropped(self, reason: str, packets: int) -> None:
        self.dropped.append((reason, packets))

    def close(self, reason: str) -> None:
        self.end(reason)

    def fail(self, reason: str) -> None:
        self.end(reason)

    def keep(self) -> None:
        self.is_kept = True


def _messages(frames: EncodedFrames) -> list[str | bytes]:
    """What the serializer had made, without Engine.IO's digit in front of it."""
    return [packet[1:] if isinstance(packet, str) else packet for packet in frames.packets]


class Member:
    """A receiver that keeps what it hears."""

    def __init__(self, nsp: str, fails: bool = False) -> None:
        self.nsp = nsp
        self.packets: list[Packet] = []
        self.reasons: list[str] = []
        self.fails = fails

    def _receive(self, packet: Packet) -> None:
        self.packets.append(packet)

    def _disconnected(self, reason: str) -> None:
        self.reasons.append(reason)
        if self.fails:
            raise RuntimeError("unforeseen")


class Doorman:
    """An application that lets clients into every namespace but ``/closed``, when its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[str, Any]] = []
        self.members: list[Member] = []

    async def connect(self, client: AnyClient, nsp: str, auth: Any) -> None:
        self.asked.append((nsp, auth))
        await self.gate.wait()
        if nsp == "/closed":
            answer = Packet(PacketType.CONNECT_ERROR, nsp, client.refusal(nsp, "no", {"code": 1}))
        elif nsp == "/broken":
            raise RuntimeError("unforeseen")
        else:
            member = Member(nsp, fails=nsp == "/fragile")
            if not client.enter(nsp, member):
                return
            self.members.append(member)
            answer = Packet(PacketType.CONNECT, nsp, client.greeting({"sid": f"sid of {nsp}"}))
        client.conn.send(EncodedFrames.of_messages(JSON.encode(answer)))

    def only(self, nsp: str) -> Member:
        """The one who came into a namespace."""
        (member,) = (each for each in self.members if each.nsp == nsp)
        return member


def arrive(application: Application, limits: Limits | None = None) -> Stream:
    """A client on a connection of its own."""
    stream = Stream()
    stream.client = Client(
        stream, handshake(), application=application, decoder=JSON.decoder(), limits=limits or Limits()
    )
    return stream
