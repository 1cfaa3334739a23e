"""Packets as STOMP messages."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import JSONSerializer, Packet, PacketType
from rtframework.gateways.packets import read
from rtframework.gateways.stomp_messages import Piece, code_of
from rtframework.gateways.stomp_subscriptions import CLIENT, Subscription
from tests.support.stomp import Got
from tests.support.stomp import read as read_frames


def piece(*data: Any, kind: PacketType = PacketType.EVENT, id: int | None = None, recovers: bool = False) -> Piece:
    """Make a piece of a packet."""
    serializer = JSONSerializer()
    (outgoing,) = read(serializer.encode(Packet(kind, "/", list(data), id)), serializer)
    return Piece(outgoing, 7, recovers=recovers)


def to(destination: str = "/topic/a", mode: str = "auto", version: str = "1.2") -> Subscription:
    """Make a subscription."""
    return Subscription("sub-0", destination, mode, 3, version, ("sub-0", destination))


def message(made: Piece, subscription: Subscription) -> Got:
    """Return what a subscription gets."""
    form = made.frames(subscription).form(None, lambda messages: None)
    (packet,) = form.packets
    (frame,) = read_frames(packet.encode() if isinstance(packet, str) else packet)
    return frame


def test_a_message_says_where_it_comes_from() -> None:
    """A page could not tell its rooms apart."""
    assert message(piece("chat: a\n", "hé"), to()) == Got(
        "MESSAGE",
        {
            "subscription": "sub-0",
            "destination": "/topic/a",
            "message-id": "7",
            "event": "chat: a\n",
            "content-type": "text/plain;charset=UTF-8",
            "content-length": "3",
        },
        "hé".encode(),
    )
    assert message(piece(5, b"\0"), to("/user/queue/*")).headers == {
        "subscription": "sub-0",
        "destination": "/user/queue/5",
        "message-id": "7",
        "event": "5",
        "content-type": "application/octet-stream",
        "content-length": "1",
    }


def test_a_message_that_asks_says_how_to_answer() -> None:
    """A server could not ask."""
    headers = message(piece("sure?", id=5), to(mode=CLIENT)).headers
    assert (headers["ack"], headers["message-id"], headers["reply-to"]) == ("3.7-5", "7-5", "/reply/5")
    headers = message(piece("sure?", id=5), to()).headers
    assert ("ack" in headers, headers["reply-to"]) == (False, "/reply/5")
    headers = message(piece("news"), to(mode=CLIENT)).headers
    assert (headers["ack"], headers["message-id"]) == ("3.7", "7")


def test_what_is_alike_is_made_once() -> None:
    """A broadcast would be encoded once for each client."""
    made = piece("news", {"a": 1})
    assert made.frames(to()) is made.frames(to())
    assert made.frames(to()) is not made.frames(to(version="1.1"))
    assert made.frames(to()).droppable
    assert not piece("news", id=1).frames(to()).droppable
    assert not piece("news").frames(to(), compress=False).compress
    for number in range(200):
        assert made.frames(to(f"/topic/{number}")).size > 50
    assert len(made._made) == 64


def test_an_offset_is_no_argument() -> None:
    """With connection state recovery each event would have one argument more."""
    made = piece("news", 1, "abcdefgh.12", recovers=True)
    assert message(made, to()).args == [1]
    assert message(made, to()).headers["offset"] == "abcdefgh.12"
    assert message(piece("news", 1, "1700000000000-0", recovers=True), to()).args == [1]
    assert message(piece("news", "a text", recovers=True), to()).args == ["a text"]
    assert message(piece("news", 1, "abcdefgh.12"), to()).args == [1, "abcdefgh.12"]


def test_an_answer_that_is_an_error_has_its_code() -> None:
    """A page would take a refusal for an answer."""
    assert piece({"error": {"code": "no"}}, kind=PacketType.ACK, id=1).error == "no"
    assert piece({"error": {"code": "no"}, "more": 1}, kind=PacketType.ACK, id=1).error == ""
    assert piece(1, kind=PacketType.ACK, id=1).error == ""


@pytest.mark.parametrize("args", [[], [1], [{}], [{"error": 1}], [{"error": {}}], [{"error": {"code": 1}}], [{}, {}]])
def test_what_is_no_error_has_no_code(args: list[Any]) -> None:
    """An answer would be taken for a refusal."""
    assert code_of(args) == ""
