"""A client of Socket.IO 2, on a connection that has nothing of Engine.IO."""

from __future__ import annotations

import pytest

from rtframework import Limits
from rtframework.engine.v3.client import Client3
from tests.support.stream import JSON, Doorman, Stream, handshake


def arrive(doorman: Doorman) -> Stream:
    """An old client whose session id is ``s``."""
    stream = Stream()
    stream.client = Client3(
        stream, handshake(), application=doorman, decoder=JSON.decoder(), limits=Limits(), session_id="s"
    )
    return stream


def client_of(stream: Stream) -> Client3:
    """The client of a stream."""
    assert isinstance(stream.client, Client3)
    return stream.client


async def test_it_joins_the_main_namespace_without_asking() -> None:
    """An old client would wait for ever for what it does not ask for."""
    doorman = Doorman()
    stream = arrive(doorman)
    work = client_of(stream).join()
    assert work is not None
    await work
    assert stream.sent == ["0"]
    assert doorman.asked == [("/", None)]


async def test_ids_are_those_that_the_client_computes() -> None:
    """``socket.id`` of an old client would be nobody's."""
    client = client_of(arrive(Doorman()))
    assert (client.new_id("/"), client.new_id("/admin")) == ("s", "/admin#s")


@pytest.mark.parametrize(
    ("packet", "asked"),
    [
        ("0/admin,", ("/admin", {})),
        ("0/admin?a=1&b=%26,", ("/admin", {"a": "1", "b": "&"})),
        ("0/admin?a=1&a=2&empty=,", ("/admin", {"a": "2", "empty": ""})),
    ],
)
async def test_the_query_of_a_namespace_is_its_auth(packet: str, asked: tuple[str, dict[str, str]]) -> None:
    """A token would be taken for a part of the name."""
    doorman = Doorman()
    stream = arrive(doorman)
    assert await stream.answers(packet) == ["0/admin,"]
    assert doorman.asked == [asked]
    stream.say('2/admin?a=1,["x"]')
    assert [each.data for each in doorman.only("/admin").packets] == [["x"]]


async def test_a_refusal_is_a_value_of_its_own() -> None:
    """The error event would be given an object that old programs do not know."""
    stream = arrive(Doorman())
    assert await stream.answers("0/closed,") == ['4/closed,{"code":1}']
    assert client_of(stream).refusal("/", "no") == "no"


async def test_an_endless_query_ends_the_connection() -> None:
    """One packet could keep the server busy."""
    stream = arrive(Doorman())
    stream.say("0/admin?" + "a=1&" * 1_001 + ",")
    assert stream.ends == ["parse error"]
