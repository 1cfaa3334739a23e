"""What a function takes and returns: mistakes are found at registration."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pytest

from rtframework import Ack, ConfigurationError, Depends, Server, Socket
from rtframework.handlers.dependencies import IN_CONNECTION, IN_OUTGOING
from rtframework.handlers.handler import Handler
from rtframework.handlers.signatures import Parameter, Signature, Signatures, expect_socket, is_async, takes, wire_rest

if TYPE_CHECKING:
    from decimal import Decimal


class Message(msgspec.Struct):
    text: str


class Database:
    """Nothing that a client can send."""


def bind(function: Callable[..., Any], *args: Any) -> list[Any]:
    """What a handler's function is called with for these arguments."""
    return list(Handler("e", function, Signature.of("e", function)).bind(args))


def test_wrong_signatures_are_found_at_registration() -> None:
    """A mistake would show when the first client sends the event, at night."""

    def no_socket() -> None: ...
    def keyword(socket: object, *, needed: int) -> None: ...
    def keywords(socket: object, **more: int) -> None: ...
    def unknown(socket: object, message: Unheard) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def generator(socket: object) -> Any:
        yield 1

    async def asynchronous(socket: object) -> Any:
        yield 1

    def unsupported(socket: object, message: set[list[int]] | set[str]) -> None: ...

    for function, what in (
        (no_socket, "takes no socket"),
        (keyword, "cannot be filled"),
        (keywords, "cannot be filled"),
        (unknown, "'Unheard' of 'message' cannot be resolved"),
        (generator, "is a generator"),
        (asynchronous, "is a generator"),
        (unsupported, "cannot be checked"),
        ("text", "not callable"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            Signature.of("e", function)  # type: ignore[arg-type]


def test_keywords_with_defaults_are_left_alone() -> None:
    """A handler could not have settings of its own."""

    def handler(socket: object, a: int, *, loud: bool = False) -> None: ...

    assert bind(handler, 1) == [1]


def test_ack_parameters_are_checked() -> None:
    """A client's flag named "ack" would silently be something else than the handler expects."""
    io = Server()
    with pytest.raises(ConfigurationError, match="the callable that answers"):

        @io.on("x")
        async def data(socket: Socket, ack: bool) -> None: ...

    with pytest.raises(ConfigurationError, match="cannot be positional only"):

        @io.on("x")
        async def position(socket: Socket, ack: Ack, /) -> None: ...

    with pytest.raises(ConfigurationError, match="takes no socket"):

        @io.on("x")
        async def alone(ack: Ack) -> None: ...

    with pytest.raises(ConfigurationError, match="asks for 'ack', which an event that goes out does not have"):

        @io.on_any_outgoing
        async def outgoing(socket: Socket, event: str, ack: Ack) -> None: ...

    with pytest.raises(ConfigurationError, match="asks for 'ack', which a connection does not have"):

        @io.on("connection")
        async def connection(socket: Socket, *, ack: Ack) -> None: ...

    assert io.of("/")._is_pristine


# --- what is found out ------------------------------------------------------------------------------------------------


def of(function: Callable[..., Any], **options: Any) -> Signature:
    """The signature of a handler."""
    return Signature.of("e", function, **options)


def test_parameters_are_those_that_a_client_fills() -> None:
    """A contract would promise that clients send the server's database."""

    def handler(
        socket: Socket, text: str, message: Message, db: int = Depends(int), count: Any = 3, *rest: bytes
    ) -> None: ...

    signature = of(handler)
    assert signature.parameters == (
        Parameter("text", str, True),
        Parameter("message", Message, True),
        Parameter("count", Any, False),
        Parameter("rest", bytes, False, variadic=True),
    )
    assert (signature.least, signature.most) == (2, None)
    assert signature.plan is not None
    assert not signature.takes_ack


@pytest.mark.parametrize(
    ("function", "least", "most"),
    [
        (lambda socket: None, 0, 0),
        (lambda socket, a: None, 1, 1),
        (lambda socket, a, b=1: None, 1, 2),
        (lambda socket, *args: None, 0, None),
        (lambda socket, a, *args: None, 1, None),
        (lambda socket, a, b=1, *args: None, 1, None),
    ],
)
def test_how_many_arguments_it_takes(function: Callable[..., Any], least: int, most: int | None) -> None:
    """A client that sends too few, or too many, would cause a TypeError in the server's log."""
    signature = of(function)
    assert (signature.least, signature.most) == (least, most)
    assert signature.converters == []
    assert signature.plan is None


def test_nothing_is_checked_that_says_nothing() -> None:
    """Handlers without annotations would pay for each argument."""

    def partly(socket: Socket, a: Any, b: int) -> None: ...
    def of_rest(socket: Socket, a: Any, *more: int) -> None: ...
    def object_and_any(socket: Socket, a: object, b: Any) -> None: ...

    assert of(partly).converters == [None, int]
    assert (of(of_rest).converters, of(of_rest).rest) == ([None], int)
    assert of(object_and_any).converters == []


def test_none_is_a_type() -> None:
    """``value: None`` would let everything pass."""

    def handler(socket: Socket, value: None) -> None: ...

    assert of(handler).parameters == (Parameter("value", type(None), True),)


async def coroutine(socket: Socket) -> Message: ...  # type: ignore[empty-body]
def awaitable(socket: Socket) -> Awaitable[Message]: ...  # type: ignore[empty-body]
def coroutine_type(socket: Socket) -> Coroutine[Any, Any, Message]: ...  # type: ignore[empty-body]
def future(socket: Socket) -> asyncio.Future[Message]: ...  # type: ignore[empty-body]
def never(socket: Socket) -> NoReturn:
    raise ValueError


def nothing(socket: Socket) -> None: ...
def anything(socket: Socket) -> object: ...
def unseen(socket: Socket) -> Decimal: ...  # type: ignore[empty-body]
def unsaid(socket): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "returns"),
    [
        (coroutine, Message),
        (awaitable, Message),
        (coroutine_type, Message),
        (future, Message),
        (never, Any),
        (nothing, type(None)),
        (anything, Any),
        (unseen, Any),
        (unsaid, Any),
        (functools.wraps(coroutine)(lambda *args: None), Message),
    ],
)
def test_what_it_returns(function: Callable[..., Any], returns: Any) -> None:
    """The page's types would have a promise of the answer, or nothing where the handler says it."""
    assert of(function).returns is returns


class Asynchronous:
    async def __call__(self, socket: Socket) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [(coroutine, True), (awaitable, False), (Asynchronous(), True), (functools.partial(coroutine), True)],
)
def test_what_has_to_be_awaited(function: Callable[..., Any], expected: bool) -> None:
    """A handler would never run, but for a warning that nobody has awaited it."""
    assert is_async(function) is expected
    assert of(function).is_async is expected


def test_a_type_that_no_client_can_send_is_found_and_the_way_out_is_told() -> None:
    """``Depends`` was forgotten: all clients would be refused."""

    def handler(socket: Socket, db: Database) -> None: ...

    with pytest.raises(ConfigurationError, match=r"'db' cannot be checked: .*Database.*write `= Depends\(...\)`"):
        of(handler)


# --- the socket -------------------------------------------------------------------------------------------------------


def own_name(someone, text): ...  # type: ignore[no-untyped-def]
def own_class(me: Socket, text: str) -> None: ...
def any_object(socket: object) -> None: ...
def no_parameter() -> None: ...
def only_rest(*args: Any) -> None: ...
def by_keyword(*, socket: Socket) -> None: ...
def data_first(data: dict[str, int], more: int) -> None: ...
def server_first(io: Server) -> None: ...


@pytest.mark.parametrize("function", [own_name, own_class, any_object])
def test_the_first_parameter_is_the_sockets(function: Callable[..., Any]) -> None:
    """People would have to call it as we do."""
    expect_socket("the handler", function, takes("the handler", function))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_parameter, r"takes no socket: write `async def no_parameter\(socket, ...\)`"),
        (only_rest, "takes no socket"),
        (by_keyword, "takes no socket"),
        (server_first, "takes no socket"),
        (data_first, r"'data' is annotated as data: write `async def data_first\(socket: Socket, data: 'dict"),
    ],
)
def test_a_socket_that_was_forgotten(function: Callable[..., Any], said: str) -> None:
    """The first argument would be the socket, and all others one place off."""
    with pytest.raises(ConfigurationError, match=said):
        expect_socket("the handler", function, takes("the handler", function))


# --- functions that are given something by position -------------------------------------------------------------------


def test_the_rest_is_injected_or_has_a_default() -> None:
    """Middleware that asks for more than it is given would fail with the first client."""

    def bare(socket: Any, error: Any) -> None: ...
    def with_default(socket: Any, error: Any, more: int = 1) -> None: ...
    def injected(socket: Any, error: Any, io: Server, *, more: int = Depends(int)) -> None: ...
    def anything(*args: Any) -> None: ...

    leading = ("socket", "error")
    for function in (bare, with_default, anything):
        assert wire_rest("x", function, leading, IN_CONNECTION) is None
    assert wire_rest("x", injected, leading, IN_CONNECTION) is not None
    with pytest.raises(ConfigurationError, match="'server', which an event that goes out does not have"):
        wire_rest("x", injected, leading, IN_OUTGOING)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, r"x must take \(socket, error\), not \(\)"),
        (lambda socket: None, "must take"),
        (lambda socket, *, error: None, "must take"),
        (lambda socket, **error: None, "must take"),
        (lambda socket, error, more: None, "nothing fills 'more'; give it a default"),
        (lambda socket, error, *, more: None, "nothing fills 'more'"),
    ],
)
def test_what_nothing_fills_is_found(function: Callable[..., Any], said: str) -> None:
    """As above, and the message would not say what to write."""
    with pytest.raises(ConfigurationError, match=said):
        wire_rest("x", function, ("socket", "error"), IN_CONNECTION)


# --- closures ---------------------------------------------------------------------------------------------------------


def known() -> Signatures:
    """What a server keeps."""
    return weakref.WeakKeyDictionary()


def test_all_functions_of_one_def_have_one_signature() -> None:
    """Each client that connects would have the server read the same signature again."""
    signatures = known()

    def register(number: int) -> Callable[..., Any]:
        def handler(message: Message, more: int = 1) -> int:
            return number

        return handler

    first = Signature.of_closure("e", register(1), signatures)
    assert Signature.of_closure("e", register(2), signatures) is first
    assert len(signatures) == 1
    assert [each.name for each in first.parameters] == ["message", "more"]


def test_functions_that_read_the_same_are_not_the_same() -> None:
    """Two handlers on one line, or with other types under the same names, would be checked alike."""
    signatures = known()

    def register(kind: Any, default: Any) -> Callable[..., Any]:
        def handler(value: kind, more: Any = default) -> None: ...

        handler.__annotations__["value"] = kind
        return handler

    for kind, default in ((int, 1), (str, 1), (int, Depends(int)), (int, Depends(str))):
        function = register(kind, default)
        signature = Signature.of_closure("e", function, signatures)
        assert signature.parameters[0].type is kind
        assert (signature.plan is not None) is (default != 1)


def test_a_type_that_is_local_is_looked_up_each_time() -> None:
    """The second client's events would be checked against the first client's type."""
    signatures = known()
    for _ in range(2):

        class Local(msgspec.Struct):
            text: str

        def handler(value: Local) -> None: ...

        assert Signature.of_closure("e", handler, signatures).parameters[0].type is Local
    assert not signatures


@pytest.mark.parametrize("how", ["default", "provider", "nested"])
def test_what_belongs_to_one_socket_is_not_kept(how: str) -> None:
    """A client that has gone would stay in memory for as long as the server runs."""
    signatures = known()

    class Thing: ...

    def register(thing: Thing) -> Callable[..., Any]:
        def provider() -> Thing:
            return thing

        def nested(value: Any = Depends(provider)) -> Any:
            return value

        default = {"default": thing, "provider": Depends(provider), "nested": Depends(nested)}[how]

        def handler(value: Any = default) -> None: ...

        return handler

    def come_and_go() -> weakref.ref[Thing]:  # reading annotations leaves a copy of the locals with the frame
        thing = Thing()
        Signature.of_closure("e", register(thing), signatures)
        return weakref.ref(thing)

    gone = come_and_go()
    assert not signatures
    gc.collect()
    assert gone() is None


def test_a_method_or_a_decorated_function_is_no_closure() -> None:
    """The signature of one decorated handler would be that of all which the same decorator has made."""
    signatures = known()

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    def one(a: int) -> None: ...
    def two(a: str, b: str) -> None: ...

    found = [Signature.of_closure("e", logged(each), signatures).parameters for each in (one, two)]
    assert [len(each) for each in found] == [1, 2]
    assert not signatures
