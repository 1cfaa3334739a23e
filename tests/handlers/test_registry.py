"""Who listens to what: order, removal, one time only, and what a child has of its parent."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtframework.exceptions import ConfigurationError, EventError
from rtframework.handlers.event import Ack
from rtframework.handlers.group import HandlerGroup
from rtframework.handlers.handler import Handler
from rtframework.handlers.registry import HandlerRegistry
from rtframework.handlers.returns import CheckedHandler
from tests.support.sockets import AnsweringSocket, event_packet
from tests.support.thorough import examples


def a(socket: object) -> None: ...
def b(socket: object) -> None: ...
def c(socket: object) -> None: ...
def catch(socket: object, event: str, *args: Any) -> None: ...
def catch_too(socket: object, event: str, *args: Any) -> None: ...


async def serve(registry: HandlerRegistry, event: str, *args: Any) -> Any:
    """What the handlers of an event give."""
    handler = registry.handlers[event]
    result = handler(AnsweringSocket(), list(args), event_packet(event, *args))
    return await result if handler.is_async else result


def functions(handlers: Iterable[Any]) -> list[Any]:
    """What the handlers call."""
    return [each.function for each in handlers]


def test_an_empty_registry_is_false() -> None:
    """An event would go through the handlers of a socket that has none."""
    registry = HandlerRegistry()
    assert not registry
    adding: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
        (lambda: registry.on("e", a), lambda: registry.off("e", a)),
        (lambda: registry.on("disconnect", a), lambda: registry.off("disconnect", a)),
        (lambda: registry.on_any(catch), lambda: registry.off_any(catch)),
        (lambda: registry.on_any_outgoing(catch), lambda: registry.off_any_outgoing(catch)),
    ]
    for add, remove in adding:
        add()
        assert registry
        remove()
        assert not registry


def test_one_handler_is_itself_and_several_are_a_group() -> None:
    """Most events have one handler: they would pay for what few need."""
    registry = HandlerRegistry()
    assert registry.on("e", a) is a
    assert isinstance(registry.handlers["e"], Handler)
    registry.on("e", b)
    group = registry.handlers["e"]
    assert isinstance(group, HandlerGroup)
    assert registry.of("e") == (a, b)
    registry.off("e", a)
    assert isinstance(registry.handlers["e"], Handler)
    registry.off("e", None)
    assert "e" not in registry.handlers
    assert registry.of("e") == ()


def test_an_integer_and_its_string_are_one_event() -> None:
    """What ``on("1")`` registers would not be called for the 1 that a client sends, or not be removed."""
    registry = HandlerRegistry()
    registry.on(1, a)
    assert registry.handlers[1] is registry.handlers["1"]
    assert not registry.handlers.keys() & {"01", 1.5}
    registry.on("1", b)
    assert isinstance(registry.handlers[1], HandlerGroup)
    assert registry.handlers[1] is registry.handlers["1"]
    assert registry.of(1) == registry.of("1") == (a, b)
    assert [each.name for each in registry.by_event()["1"]] == [1, "1"]
    registry.off("1", a)
    registry.off(1, b)
    assert registry.handlers == {}
    assert not registry


def test_members_of_enums_are_found_by_their_values() -> None:
    """A handler for a member would be registered under the member's name in Python, or the lifecycle's never run."""

    class Word(str, enum.Enum):  # noqa: UP042 - programs still write it so
        SAY = "say"
        CONNECT = "connect"

    class Kind(enum.IntEnum):
        SAY = 1

    registry = HandlerRegistry()
    for member, name in ((Word.SAY, "say"), (Word.CONNECT, "connection"), (Kind.SAY, 1)):
        registry.on(member, a)
        assert registry.of(name) == registry.of(member) == (a,)
        registry.off(member, None)
        assert registry.of(name) == ()
    assert not registry


async def test_an_integer_is_once_and_inherited() -> None:
    """A handler of a parent, or for one time, would be found by one of the two names alone."""
    parent, child = HandlerRegistry(), HandlerRegistry()
    child.inherit(parent)
    parent.on(1, a, once=True)
    child.on("1", b)
    assert child.of(1) == (a, b)
    await serve(child, "1")
    assert child.of(1) == (b,)
    assert parent.handlers == {}
    parent.on(-5, a)
    child.settle(ordered=True)
    assert child.handlers[-5].ordered is child.handlers["-5"].ordered is True


def test_off_takes_the_one_that_was_added_last() -> None:
    """A component that registers the same function as another one, and leaves, would leave both deaf."""
    registry = HandlerRegistry()
    for function in (a, b, a):
        registry.on("e", function)
    registry.off("e", a)
    assert registry.of("e") == (a, b)
    registry.off("e", c)  # nobody
    assert registry.of("e") == (a, b)


def test_bound_methods_are_found_again() -> None:
    """``off("e", self.method)`` would never remove anything: each access makes another object."""

    class Component:
        def method(self, socket: object) -> None: ...

    registry = HandlerRegistry()
    one, other = Component(), Component()
    registry.on("e", one.method)
    registry.off("e", other.method)
    assert registry.of("e") == (one.method,)
    registry.off("e", one.method)
    assert registry.of("e") == ()


@pytest.mark.parametrize("event", ["connect", "connection"])
def test_both_names_of_a_connection_are_one(event: str) -> None:
    """``off("connect")`` would leave what was registered for "connection"."""
    registry = HandlerRegistry()
    registry.on(event, a)
    assert registry.of("connect") == registry.of("connection") == (a,)
    assert functions(registry.lifecycle["connection"]) == [a]
    registry.off("connect", None)
    assert not registry


@pytest.mark.parametrize("event", ["connect_error", "newListener", "removeListener", "", "new_namespace"])
def test_nobody_listens_to_what_is_reserved(event: str) -> None:
    """A handler would be registered that nothing ever calls."""
    with pytest.raises(ConfigurationError):
        HandlerRegistry().on(event, a)


def test_a_socket_has_come_already() -> None:
    """A handler of one socket for "connection" would wait for what has happened."""
    registry = HandlerRegistry(of_socket=True)
    with pytest.raises(ConfigurationError, match="is connected already"):
        registry.on("connect", lambda: None)
    registry.on("disconnect", lambda reason: None)
    registry.on("new_namespace", lambda: None)  # an event like any other, there
    assert len(registry.by_event()) == 1


async def test_handlers_of_a_socket_are_not_given_it() -> None:
    """A closure, which has the socket already, would have to take it once more."""
    registry = HandlerRegistry(of_socket=True)
    registry.on("add", lambda x, y: x + y)
    assert await serve(registry, "add", 2, 3) == 5


def test_by_event_is_a_view_that_nobody_writes_to() -> None:
    """A plugin could register something past the checks."""
    registry = HandlerRegistry()
    view = registry.by_event()
    registry.on("e", a)
    assert functions(view["e"]) == [a]
    with pytest.raises(TypeError):
        view["f"] = ()  # type: ignore[index]


# --- one time only ----------------------------------------------------------------------------------------------------


async def test_once_is_once() -> None:
    """A handler for one time would run again, or never."""
    registry = HandlerRegistry()
    calls: list[int] = []

    def count(socket: object, number: int) -> None:
        calls.append(number)

    registry.on("e", count, once=True)
    with pytest.raises(EventError):  # what does not fit does not use it up
        await serve(registry, "e", "no number")
    handler = registry.handlers["e"]
    await serve(registry, "e", 1)
    assert "e" not in registry.handlers
    handler(AnsweringSocket(), [2])  # an event that was on its way meanwhile
    assert calls == [1]


def test_a_lifecycle_handler_for_one_time_is_taken_once() -> None:
    """As above, for those who come and go."""
    registry = HandlerRegistry()
    registry.on("connection", a, once=True)
    registry.on("connection", b)
    assert functions(registry.take("connection")) == [a, b]
    assert functions(registry.take("connection")) == [b]
    assert registry.take("disconnect") == ()


def test_one_time_is_one_time_for_parent_and_children() -> None:
    """A handler of many namespaces for one time would run once in each."""
    parent, one, two = HandlerRegistry(), HandlerRegistry(), HandlerRegistry()
    one.inherit(parent)
    two.inherit(parent)
    parent.on("connection", a, once=True)
    assert functions(one.take("connection")) == [a]
    assert functions(two.take("connection")) == []
    assert functions(parent.take("connection")) == []


# --- catch-alls -------------------------------------------------------------------------------------------------------


def test_the_first_catch_all_may_be_put_before_all_others() -> None:
    """A logger that has to see everything first would depend on when it was registered."""
    registry = HandlerRegistry()
    registry.on_any(catch)
    registry.on_any(catch_too, first=True)
    assert functions(registry.catch_all) == [catch_too, catch]
    registry.on_any_outgoing(catch)
    registry.on_any_outgoing(catch_too, first=True)
    assert functions(registry.outgoing) == [catch_too, catch]


def test_who_sends_is_told_when_catch_alls_for_it_change() -> None:
    """Each emit would have to look whether somebody watches."""
    told: list[int] = []
    registry = HandlerRegistry(on_outgoing=lambda: told.append(len(registry.outgoing)))
    registry.on_any(catch)
    assert told == []
    registry.on_any_outgoing(catch)
    registry.off_any_outgoing(None)
    assert told == [1, 0]


def test_a_catch_all_that_answers_is_known() -> None:
    """Events without a handler would be refused as unknown, though a catch-all answers them."""
    registry = HandlerRegistry()
    registry.on_any(catch)
    assert not registry.answering

    async def answers(socket: object, event: str, *args: Any, ack: Ack) -> None: ...

    registry.on_any(answers)
    assert registry.answering
    registry.off_any(answers)
    assert not registry.answering


@pytest.mark.parametrize("outgoing", [False, True])
def test_a_catch_all_takes_the_events_name(outgoing: bool) -> None:
    """It would be registered, and see nothing."""
    registry = HandlerRegistry()
    add = registry.on_any_outgoing if outgoing else registry.on_any
    with pytest.raises(ConfigurationError, match="given the event's name and its arguments"):
        add(a)


async def test_a_catch_all_changes_nothing_for_the_event(caplog: pytest.LogCaptureFixture) -> None:
    """A logger with a mistake would refuse events, or answer them; one that waits would hold them up."""
    registry = HandlerRegistry()
    seen: list[Any] = []
    gate = asyncio.Event()

    def answers(socket: object, event: str, *args: Any) -> str:
        seen.append((event, args))
        return "no answer"

    def fails(socket: object, event: str, *args: Any) -> None:
        raise ValueError("in a logger")

    async def waits(socket: object, event: str, *args: Any) -> None:
        await gate.wait()
        seen.append("waited")

    def takes_one(socket: object, event: str, number: int) -> None:
        seen.append(number)

    for function in (answers, fails, waits, takes_one):
        registry.on_any(function)

    async def handler() -> None:
        seen.append("handler")
        gate.set()

    caplog.set_level(logging.DEBUG, "rtframework.socket")
    await registry.watch(registry.catch_all, AnsweringSocket(), event_packet("e", "text"), handler)
    assert seen == [("e", ("text",)), "handler", "waited"]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "unhandled error in a catch-all, for 'e'"),
        ("DEBUG", "a catch-all did not take 'e': 'any event': Expected `int`, got `str` at $[1]"),
    ]


# --- order and checks that are said later -----------------------------------------------------------------------------


def test_the_servers_word_on_order_counts_for_those_who_have_none() -> None:
    """A handler that was registered before the option was known would run out of turn."""
    registry = HandlerRegistry()
    registry.on("unsaid", a)
    registry.on("not in turn", a, ordered=False)
    registry.settle(ordered=True)
    registry.on("later", a)
    assert {name: handler.ordered for name, handler in registry.handlers.items()} == {
        "unsaid": True,
        "not in turn": False,
        "later": True,
    }


def test_a_registry_that_has_its_own_word_keeps_it() -> None:
    """A namespace could not say something else than the server."""
    registry = HandlerRegistry(ordered=False)
    registry.on("e", a)
    registry.settle(ordered=True)
    assert registry.handlers["e"].ordered is False


def test_answers_are_checked_once_that_is_known() -> None:
    """Handlers from before ``attach`` would not be checked."""

    def says(socket: object) -> int:
        return 1

    registry = HandlerRegistry()
    registry.on("e", says)
    registry.settle(ordered=False, validates=True)
    registry.on("f", says)
    registry.on("f", a)
    assert isinstance(registry.handlers["e"], CheckedHandler)
    group = registry.handlers["f"]
    assert isinstance(group, HandlerGroup)
    assert [type(each) for each in group.handlers] == [CheckedHandler, CheckedHandler]


async def test_handlers_of_namespace_and_socket_are_one() -> None:
    """An event that both listen to would have two answers."""
    registry = HandlerRegistry()
    of_socket = HandlerRegistry(of_socket=True, signatures=registry.signatures)
    registry.on("e", lambda socket: None)
    registry.on("e", lambda socket: None)
    of_socket.on("e", lambda: "mine")
    together = registry.together(registry.handlers["e"], of_socket.handlers["e"])
    assert len(together.handlers) == 3
    assert await together(AnsweringSocket(), [], event_packet("e")) == "mine"


# --- parents and children, against a model ----------------------------------------------------------------------------

FUNCTIONS = [a, b, c]
EVENTS = ["e", "f", "disconnect"]


class Families(RuleBasedStateMachine):
    """A child has what its parent has at any moment, before what is its own; removing takes from the own ones only."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = HandlerRegistry()
        self.children: list[HandlerRegistry] = []
        self.of_parent: dict[str, list[Any]] = {name: [] for name in EVENTS}
        self.own: list[dict[str, list[Any]]] = []

    @rule(before=st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from(FUNCTIONS)), max_size=2))
    def a_child_is_made(self, before: list[tuple[str, Any]]) -> None:
        if len(self.children) == 3:
            return
        child = HandlerRegistry()
        own: dict[str, list[Any]] = {name: [] for name in EVENTS}
        for event, function in before:
            child.on(event, function)
            own[event].append(function)
        child.inherit(self.parent)
        self.children.append(child)
        self.own.append(own)

    @rule()
    def a_child_goes(self) -> None:
        if self.children:
            child = self.children.pop()
            self.own.pop()
            self.parent.disown(child)
            before = {name: child.of(name) for name in EVENTS}
            self.parent.on("e", a)
            self.of_parent["e"].append(a)
            assert {name: child.of(name) for name in EVENTS} == before

    def _of(self, number: int) -> tuple[HandlerRegistry, dict[str, list[Any]]]:
        if number >= len(self.children):
            return self.parent, self.of_parent
        return self.children[number], self.own[number]

    @rule(number=st.integers(0, 3), event=st.sampled_from(EVENTS), function=st.sampled_from(FUNCTIONS))
    def on(self, number: int, event: str, function: Any) -> None:
        registry, model = self._of(number)
        registry.on(event, function)
        model[event].append(function)

    @rule(number=st.integers(0, 3), event=st.sampled_from(EVENTS), function=st.sampled_from([*FUNCTIONS, None]))
    def off(self, number: int, event: str, function: Any) -> None:
        registry, model = self._of(number)
        registry.off(event, function)
        if function is None:
            model[event].clear()
        elif function in model[event]:
            position = len(model[event]) - 1 - model[event][::-1].index(function)
            del model[event][position]

    @invariant()
    def each_has_what_the_model_says(self) -> None:
        for event in EVENTS:
            assert list(self.parent.of(event)) == self.of_parent[event]
            for child, own in zip(self.children, self.own, strict=True):
                assert list(child.of(event)) == self.of_parent[event] + own[event]
                if event != "disconnect":
                    assert (event in child.handlers) is bool(child.of(event))


TestFamilies = Families.TestCase
TestFamilies.settings = settings(max_examples=examples(200), stateful_step_count=30)


def test_catch_alls_of_a_child_come_after_its_parents() -> None:
    """A namespace's own logger would see events that the common one has not seen."""
    parent, child = HandlerRegistry(), HandlerRegistry()
    child.on_any(catch)
    child.inherit(parent)
    parent.on_any(catch_too)
    assert functions(child.catch_all) == [catch_too, catch]
    child.on_any(a_third := lambda socket, event, *args: None, first=True)
    assert functions(child.catch_all) == [catch_too, a_third, catch]
    child.off_any(None)
    assert functions(child.catch_all) == [catch_too]
    assert functions(parent.catch_all) == [catch_too]
