"""The small values that everything shares."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework.types import (
    EVERYBODY,
    RESERVED_EVENTS,
    AckResponses,
    ConnectionFailure,
    DisconnectReason,
    Handshake,
    Identity,
    Packet,
    PacketType,
    SocketDetails,
    Target,
    place_of,
)

SECRET = "a secret of the client"


def test_packet_types_have_the_numbers_of_the_protocol() -> None:
    """No client would understand the server (Socket.IO protocol v5, section "Packet encoding")."""
    assert [(each.name, int(each)) for each in PacketType] == [
        ("CONNECT", 0),
        ("DISCONNECT", 1),
        ("EVENT", 2),
        ("ACK", 3),
        ("CONNECT_ERROR", 4),
        ("BINARY_EVENT", 5),
        ("BINARY_ACK", 6),
    ]


def test_a_packet_is_for_the_main_namespace_and_carries_nothing_unless_it_says_so() -> None:
    """A serializer of a plugin would have to know what a packet leaves out."""
    packet = Packet(PacketType.DISCONNECT)
    assert (packet.nsp, packet.data, packet.id) == ("/", None, None)
    assert packet == Packet(1, "/")


def test_reserved_names_are_those_of_the_javascript_parser() -> None:
    """A server would refuse events that Node lets pass, or let a client pretend to be another one's disconnect."""
    assert set(RESERVED_EVENTS) == {
        *("connect", "connect_error", "disconnect", "disconnecting"),
        *("newListener", "removeListener"),
    }


@pytest.mark.parametrize(
    "reason",
    [
        "client namespace disconnect",
        "server namespace disconnect",
        "server shutting down",
        "ping timeout",
        "transport close",
        "transport error",
        "parse error",
        "forced close",
        "forced server close",
        "slow consumer",
    ],
)
def test_reasons_are_strings(reason: str) -> None:
    """``if reason == "ping timeout"``, which everybody writes who comes from Node, would never be true."""
    assert DisconnectReason(reason) == reason
    assert f"{DisconnectReason(reason)}" == reason


@pytest.mark.parametrize("field", ["auth", "headers", "query", "cookies"])
def test_a_handshake_in_a_log_gives_nothing_away(field: str) -> None:
    """Tokens of all clients would stand in the log of a program that writes down who comes."""
    given: dict[str, Any] = {field: {"token": SECRET}}
    handshake = Handshake(**given, url=f"/socket.io/?token={SECRET}", address="192.0.2.7")
    assert SECRET not in repr(handshake)
    assert "192.0.2.7" in repr(handshake)


@pytest.mark.parametrize("field", ["auth", "headers", "query", "cookies"])
def test_what_a_client_has_not_given_is_empty_and_stays_so(field: str) -> None:
    """One client's middleware could write into what all others are read from."""
    with pytest.raises(TypeError):
        getattr(Handshake(), field)["token"] = "x"
    assert dict(getattr(Handshake(), field)) == {}


def test_a_refused_request_in_a_log_gives_nothing_away() -> None:
    """The cookies of a request that was refused would stand in the log of a program that writes down refusals."""
    request = make_mocked_request("GET", f"/socket.io/?token={SECRET}", headers={"Cookie": SECRET})
    failure = ConnectionFailure(request, 3, "Bad request")
    assert SECRET not in repr(failure)
    assert "Bad request" in repr(failure)
    assert dict(failure.context) == {}


@pytest.mark.parametrize(
    "value",
    [
        Handshake(),
        Identity("42"),
        EVERYBODY,
        SocketDetails("s1", Handshake(), frozenset(), {}),
        AckResponses({}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shared_values_do_not_change(value: Any) -> None:
    """Whoever is given a handshake or a target could change it for everybody else who has it."""
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


def test_the_same_person_is_the_same_identity() -> None:
    """A session would be taken for somebody else's, because the token was read a second time."""
    assert Identity("42", roles=frozenset({"admin"})) == Identity("42", "", frozenset({"admin"}))
    assert Identity("42") != Identity("43")


def test_a_target_is_everybody_or_exactly_those_rooms() -> None:
    """``to([])`` would reach everybody instead of nobody."""
    assert EVERYBODY == Target() == Target(rooms=None)
    assert Target(rooms=frozenset()) != EVERYBODY
    assert (EVERYBODY.volatile, EVERYBODY.local, EVERYBODY.compress) == (False, False, True)
    assert pickle.loads(pickle.dumps(Target(frozenset({"a"}), local=True))) == Target(frozenset({"a"}), local=True)


def test_answers_of_several_sockets_are_a_mapping() -> None:
    """The answers could not be gone through as a dict's, and those that are missing would look like answers."""
    answers = AckResponses({"a": "yes", "b": None}, missing=("c",))
    assert dict(answers) == {"a": "yes", "b": None}
    assert [sid for sid, vote in answers.items() if vote == "yes"] == ["a"]
    assert (len(answers), "c" in answers, answers.get("c", "left")) == (2, False, "left")
    with pytest.raises(KeyError):
        answers["c"]
    assert not AckResponses({})


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("17", ("", 17, 0)),
        ("ab.17", ("ab.", 17, 0)),
        ("170-3", ("", 170, 3)),
        ("x", None),
        ("", None),
        ("1" * 64, None),
    ],
)
def test_ids_of_entries_are_compared_as_numbers(entry: str, place: Any) -> None:
    """The tenth event would come in front of the ninth."""
    assert place_of(entry) == place
