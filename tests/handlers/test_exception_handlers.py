"""What a client is told of an exception: the most specific handler that has an answer, from the inside out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtframework.exceptions import ConfigurationError, ContractError, EventError
from rtframework.handlers.event import Event
from rtframework.handlers.exception_handlers import ExceptionHandlers
from tests.support.sockets import AnsweringSocket, event_packet


def answering(value: Any) -> Callable[..., Any]:
    """A handler with this answer."""

    def handler(socket: object, error: Exception) -> Any:
        return value

    return handler


async def explain(handlers: ExceptionHandlers, error: BaseException) -> Any:
    """What becomes of an error."""
    return await handlers.explain(AnsweringSocket(), error, event_packet("e"))


async def test_nobody_has_an_answer() -> None:
    """An error would be swallowed where the program has no handler for it."""
    handlers = ExceptionHandlers()
    assert not handlers
    assert await explain(handlers, ValueError("x")) is None
    handlers.add(KeyError, answering("key"))
    assert handlers
    assert await explain(handlers, ValueError("x")) is None


async def test_the_most_specific_counts() -> None:
    """A handler of all exceptions that stands first would hide every other one."""
    handlers = ExceptionHandlers()
    handlers.add(Exception, answering("any"))
    handlers.add(LookupError, answering("lookup"))
    assert await explain(handlers, KeyError("x")) == "lookup"
    assert await explain(handlers, ValueError("x")) == "any"
    handlers.add(KeyError, answering("key"))
    assert await explain(handlers, KeyError("x")) == "key"


async def test_who_has_no_answer_leaves_it_to_the_next() -> None:
    """A handler that only logs would have to know what the others answer."""
    heard: list[str] = []
    outer = ExceptionHandlers()
    outer.add(Exception, answering("outer"))
    inner = ExceptionHandlers(outer)

    @inner_handler(inner, KeyError)
    async def only_log(socket: object, error: Exception) -> None:
        heard.append(type(error).__name__)

    inner.add(LookupError, answering(None))
    assert await explain(inner, KeyError("x")) == "outer"
    assert heard == ["KeyError"]


def inner_handler(handlers: ExceptionHandlers, kind: type[Exception]) -> Callable[[Any], Any]:
    """As a decorator."""
    return lambda function: handlers.add(kind, function)


async def test_a_namespace_comes_before_the_server() -> None:
    """A namespace could not say something else than the server does, of a more general exception."""
    server = ExceptionHandlers()
    server.add(KeyError, answering("the server, of a KeyError"))
    namespace = ExceptionHandlers(server)
    assert namespace  # the server's count, too
    namespace.add(Exception, answering("the namespace, of any"))
    assert await explain(namespace, KeyError("x")) == "the namespace, of any"
    assert await explain(server, KeyError("x")) == "the server, of a KeyError"


@pytest.mark.parametrize("answer", ["", 0, False, [], EventError("no")])
async def test_every_answer_but_none_is_one(answer: Any) -> None:
    """An empty answer would be taken for none, and the client be told of an internal error."""
    handlers = ExceptionHandlers()
    handlers.add(ValueError, answering(answer))
    assert await explain(handlers, ValueError("x")) is answer


async def test_it_is_given_socket_and_error_and_may_ask_for_more() -> None:
    """A handler could not say which event has failed."""
    handlers = ExceptionHandlers()
    error = ValueError("x")
    socket = AnsweringSocket()

    @inner_handler(handlers, ValueError)
    async def told(given: object, raised: Exception, *, event: Event) -> Any:
        return given is socket and raised is error and event.name

    assert await handlers.explain(socket, error, event_packet("save", 1)) == "save"
    assert await handlers.explain(socket, error, None) == "connection"


async def test_what_a_handler_raises_comes_out() -> None:
    """A mistake in an exception handler would be taken for an answer, or for none."""
    handlers = ExceptionHandlers()

    @inner_handler(handlers, ValueError)
    def broken(socket: object, error: Exception) -> Any:
        raise RuntimeError("in the handler")

    with pytest.raises(RuntimeError, match="in the handler"):
        await explain(handlers, ValueError("x"))


async def test_a_handler_of_everything_does_not_hide_a_breach_of_contract() -> None:
    """Strict mode would find nothing in a program that answers for every exception."""
    handlers = ExceptionHandlers()
    handlers.add(Exception, answering("all is well"))
    assert await explain(handlers, ContractError("said", "not declared")) is None
    handlers.add(ContractError, answering("told"))
    assert await explain(handlers, ContractError("said", "not declared")) == "told"


@pytest.mark.parametrize("kind", [BaseException, KeyboardInterrupt, int, "ValueError", ValueError("x"), None])
def test_it_is_for_a_class_of_exceptions(kind: Any) -> None:
    """A handler would never be called, or Ctrl-C be answered to a client."""
    with pytest.raises(ConfigurationError, match="is for a class of exceptions"):
        ExceptionHandlers().for_kind(kind, "io")


def test_one_for_each_class() -> None:
    """Of two handlers one would be forgotten without a word."""
    handlers = ExceptionHandlers()
    first = answering(1)
    assert handlers.add(ValueError, first) is first
    with pytest.raises(ConfigurationError, match="ValueError has an exception handler already"):
        handlers.add(ValueError, answering(2))
    assert handlers.functions == {ValueError: first}


def test_signatures_are_checked_at_registration() -> None:
    """A handler that cannot be called would itself be the error, at night."""
    handlers = ExceptionHandlers()
    for function in (lambda: None, lambda socket: None, lambda socket, error, *, needed: None):
        with pytest.raises(ConfigurationError, match=r"must take \(socket, error\)"):
            handlers.add(ValueError, function)
    assert handlers.functions == {}
    handlers.add(ValueError, lambda *args: None)
