"""An event on its way, and what answers it."""

from __future__ import annotations

import pytest

from rtframework.handlers.dependencies import SUPPLIES, TYPES, Scope
from rtframework.handlers.event import LIFECYCLE, Ack, Event
from tests.support.sockets import AnsweringSocket, event_packet


def test_printing_an_event_gives_nothing_away() -> None:
    """Logged events would fill logs with what people wrote."""
    assert repr(Event("login", ["password"])) == "<Event 'login' with 1 argument(s)>"


def test_an_event_can_be_renamed_and_still_be_answered() -> None:
    """Middleware that renames an event would leave the client without its answer."""
    packet = event_packet("old", 1, id=7)
    event = Event("old", [1], packet)
    event.name, event.args = "new", [2, 3]
    assert event.packet is packet
    assert packet.data == ["old", 1]
    with pytest.raises(AttributeError):
        event.packet = None  # type: ignore[misc]


@pytest.mark.parametrize("args", [(), (1,), (1, None, [2])])
def test_an_answer_has_the_arguments_of_the_call(args: tuple[object, ...]) -> None:
    """A client would get one list where it expects several arguments, or null where it expects none."""
    socket = AnsweringSocket()
    Ack(socket, event_packet("ask", id=0))(*args)
    assert socket.answers == [list(args)]


def test_the_first_answer_counts() -> None:
    """A handler that calls ``ack`` twice would answer a later question with an old answer."""
    socket = AnsweringSocket()
    ack = Ack(socket, event_packet("ask", id=3))
    assert ack.wanted
    ack("first")
    assert not ack.wanted
    ack("second")
    assert socket.answers == [["first"]]


def test_nobody_is_answered_who_has_not_asked() -> None:
    """A handler could not be used for events with and without an answer."""
    socket = AnsweringSocket()
    ack = Ack(socket, event_packet("tell"))
    assert not ack.wanted
    ack("unheard")
    assert socket.answers == []


def test_both_are_injected() -> None:
    """A handler that asks for ``ack: Ack`` or ``event: Event`` would be taken to expect them from the client."""
    assert TYPES[Ack] is SUPPLIES["ack"]
    assert TYPES[Event] is SUPPLIES["event"]
    # An argument that is called "event" is a common name for data; "ack" is reserved.
    assert (SUPPLIES["ack"].by_name, SUPPLIES["event"].by_name) == (True, False)


def test_the_event_that_middleware_has_changed_is_the_one_that_is_injected() -> None:
    """A handler would be given the client's words, whatever middleware has made of them."""
    changed = Event("new", [])
    scope = Scope(AnsweringSocket(), event_packet("old", 1), changed)
    assert SUPPLIES["event"].get(scope) is changed


def test_without_middleware_the_event_is_made_of_the_packet() -> None:
    """A handler could only ask for its event when the program has middleware."""
    packet = event_packet("say", "hi", id=1)
    event = SUPPLIES["event"].get(Scope(AnsweringSocket(), packet))
    assert (event.name, event.args, event.packet) == ("say", ["hi"], packet)


def test_a_connection_is_an_event_without_a_packet() -> None:
    """An exception handler that asks for the event would fail for a client that connects."""
    event = SUPPLIES["event"].get(Scope(AnsweringSocket()))
    assert (event.name, event.args, event.packet) == ("connection", [], None)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("connect", "connection"),
        ("connection", "connection"),
        ("disconnect", "disconnect"),
        ("disconnecting", "disconnecting"),
    ],
)
def test_lifecycle_events_have_their_names_in_node(written: str, meant: str) -> None:
    """Who comes from Node would register a handler that is never called."""
    assert LIFECYCLE[written] == meant
