"""What ``ClusterAdapter`` sends, as the classic adapter's requests and answers, and back."""

from __future__ import annotations

import pytest

from rtframework.cluster.classic_messages import answer_of, message_of, request_of, response_of
from rtframework.cluster.classic_wire import (
    Request,
    Response,
    Selection,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    request_channel,
)
from rtframework.cluster.messages import (
    Answer,
    Broadcast,
    ClientCount,
    DisconnectSockets,
    EventPacket,
    FetchedSockets,
    FetchSockets,
    Message,
    Options,
    ServerSideEmit,
    SocketRecord,
    SocketsRooms,
)
from tests.support.cluster_peer import ask_node, sent

UID = "f" * 16
OPTS = Options(["r1"], ["r2"])

REQUESTS = [
    Message(3, Broadcast(EventPacket(2, ["q", b"x"], "/"), "aa", Options(["r"], [], {"timeout": 5})), UID, "/"),
    Message(4, SocketsRooms(OPTS, ["a", "b"]), UID, "/"),
    Message(5, SocketsRooms(OPTS, ["a"]), UID, "/"),
    Message(6, DisconnectSockets(OPTS, True), UID, "/"),
    Message(6, DisconnectSockets(OPTS, False, {"reason": "banned"}), UID, "/"),
    Message(7, FetchSockets(OPTS, "aa"), UID, "/"),
    Message(9, ServerSideEmit(packet=["sync", {"a": [1, None]}]), UID, "/"),
    Message(9, ServerSideEmit("aa", ["sync", b"x"]), UID, "/"),
]

ANSWERS = [
    Message(8, FetchedSockets("aa", [SocketRecord("sid", {"url": "/"}, ["sid"], {"n": 1})]), UID, "/"),
    Message(8, FetchedSockets("aa", [SocketRecord("sid", {}, ["sid"], {"bytes": b"x"})]), UID, "/"),
    Message(10, Answer("aa", {"deep": [b"x"]}), UID, "/"),
    Message(10, Answer("aa", None), UID, "/"),
    Message(11, ClientCount("aa", 0), UID, "/"),
]


@pytest.mark.parametrize("message", REQUESTS)
def test_requests_come_back(message: Message) -> None:
    """Servers would ask each other something else than was meant."""
    assert message_of(decode_request(encode_request(request_of(message))), "/") == message


@pytest.mark.parametrize("message", ANSWERS)
def test_answers_come_back(message: Message) -> None:
    """Requests would run into their time limits, or get the answers of others."""
    assert answer_of(decode_response(encode_response(response_of(message))), "/") == message


def test_an_acknowledgement_says_whose_it_is() -> None:
    """A vote would not tell who has voted."""
    message = Message(12, Answer("aa", "yes", {"sid": "s", "args": ["yes", 1]}), UID, "/")
    found = answer_of(decode_response(encode_response(response_of(message))), "/")
    assert found is not None
    assert isinstance(found.data, Answer)
    assert (found.uid, found.data.packet) == (UID, "yes")
    assert found.data.x == {"uid": UID, "sid": "s", "args": ["yes", 1]}


def test_answers_of_node_name_no_server() -> None:
    """Requests to Node's servers would never end: their answers have no name."""
    found = {
        name: [answer_of(decode_response(each.payload), "/") for each in sent(f"classic answer {name}")]
        for name in ("fetch", "server_side", "ask", "rooms")
    }
    (fetched,) = found["fetch"]
    assert fetched is not None
    assert isinstance(fetched.data, FetchedSockets)
    assert (fetched.uid, fetched.data.requestId, fetched.data.sockets[0].id) == ("", "aa", "sid1")
    assert found["server_side"] == [Message(10, Answer("aa", "answer"), "", "/")]
    assert found["ask"] == [Message(11, ClientCount("aa", 2), "", "/"), Message(12, Answer("aa", "yes", {}), "", "/")]
    assert found["rooms"] == [None]
    assert answer_of(Response("aa", 6), "/") == Message(10, Answer("aa", None), "", "/")


def test_what_only_the_classic_adapter_has_is_no_message() -> None:
    """An old server's request would be taken for another one."""
    for request in (
        Request(0, "u", "aa", rooms=[]),
        Request(1, "u", "aa"),
        Request(2, "u", "aa", sid="s", room="r"),
        Request(2, "u", "aa", opts=Selection()),
        Request(5, "u", opts=Selection()),
        Request(6, "u"),
        Request(7, "u", "aa", Selection()),
        Request(99, "u", "aa", Selection()),
    ):
        assert message_of(request, "/") is None
    with pytest.raises(ValueError, match="no request"):
        request_of(Message(8, FetchedSockets("aa", []), UID, "/"))
    with pytest.raises(ValueError, match="no answer"):
        response_of(Message(7, FetchSockets(OPTS, "aa"), UID, "/"))


def test_node_understands_our_requests() -> None:
    """Node's servers would do nothing, and answer nothing."""
    questions = [
        {"adapter": "classic", "channel": request_channel("/"), "payload": encode_request(request_of(each)).hex()}
        for each in REQUESTS
    ]
    seen = ask_node(pubsub=[{**each, "nsp": "/"} for each in questions])["pubsub"]
    shown = {"rooms": ["r1"], "except": ["r2"], "flags": {"$undefined": True}}
    packet = {"type": 2, "data": ["q", {"$hex": "78"}], "nsp": "/"}
    flags = {"$undefined": True}
    assert seen == [
        [{"ask": packet, "opts": {"rooms": ["r"], "except": [], "flags": flags}}],
        [{"join": ["a", "b"], "opts": shown}],
        [{"leave": ["a"], "opts": shown}],
        [{"disconnect": True, "opts": shown}],
        [{"disconnect": False, "opts": shown}],
        [{"fetch": shown}],
        [{"serverSideEmit": ["sync", {"a": [1, None]}]}],
        [{"serverSideEmit": ["sync", {"$hex": "78"}]}],
    ]
