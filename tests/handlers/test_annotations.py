"""What annotations mean, wherever the names in them come from."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest

from rtframework.handlers.annotations import (
    UNRESOLVED,
    annotation_of,
    is_data,
    means_the_same_everywhere,
    name_of,
    resolve,
    where,
)

if TYPE_CHECKING:
    from decimal import Decimal


class Message(msgspec.Struct):
    text: str


class Model(pydantic.BaseModel):
    text: str


class Database:
    """Nothing that a client can send."""


def annotated(function: Callable[..., Any]) -> Any:
    """The annotation of the first parameter."""
    return annotation_of(function, next(iter(inspect.signature(function).parameters.values())))


def test_names_of_the_module_are_found() -> None:
    """With ``from __future__ import annotations``, which most programs have, no handler could be checked."""

    def handler(message: Message) -> None: ...

    assert annotated(handler) is Message


def test_names_that_are_local_to_the_registration_are_found() -> None:
    """Types that are defined in a function, as in a factory of an application, would be unknown."""

    class Local(msgspec.Struct):
        text: str

    def handler(message: Local) -> None: ...

    (parameter,) = inspect.signature(handler).parameters.values()
    assert annotation_of(handler, parameter) is Local


def test_names_that_only_the_type_checker_imports_are_unresolved() -> None:
    """A name that is not there at run time would end the program where nobody needs it."""

    def handler(amount: Decimal) -> None: ...

    assert annotated(handler) is UNRESOLVED
    with pytest.raises(NameError):
        resolve(handler, "Decimal")


def test_an_annotation_that_is_no_string_is_itself() -> None:
    """Programs without the future import would be read in another way."""

    def handler(message: Any) -> None: ...

    handler.__annotations__["message"] = Message
    assert annotated(handler) is Message
    assert annotated(lambda message: None) is inspect.Parameter.empty


class Chat:
    def method(self, message: Message) -> None: ...

    def __call__(self, message: Message) -> None: ...


def decorated(message: Message) -> None: ...


@functools.wraps(decorated)
def wrapper(*args: Any) -> None: ...


@pytest.mark.parametrize(
    "function",
    [Chat().method, functools.partial(functools.partial(decorated)), wrapper, Chat()],
    ids=["method", "partial", "decorated", "object"],
)
def test_every_kind_of_function_has_its_own_names(function: Callable[..., Any]) -> None:
    """The names of a handler would be looked for in the module of its decorator, or nowhere."""
    assert annotated(function) is Message


def test_what_is_inherited_from_another_module_has_the_names_of_that_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class-based handler whose base is in a library would find none of the library's names."""
    library = types.ModuleType("library_of_handlers")
    monkeypatch.setitem(sys.modules, library.__name__, library)
    exec(  # a module of its own, which has a name that this one lacks
        "from __future__ import annotations\n"
        "class Theirs: ...\n"
        "class Base:\n"
        "    def __init__(self, theirs: Theirs = None): ...\n"
        "    def __call__(self, theirs: Theirs): ...\n",
        vars(library),
    )
    base: Any = vars(library)["Base"]
    Derived: Any = type("Derived", (base,), {"__module__": __name__})
    assert annotated(Derived()) is vars(library)["Theirs"]
    assert annotated(Derived) is vars(library)["Theirs"]


def test_what_is_local_does_not_mean_the_same_everywhere() -> None:
    """The signature of one socket's handler would be used for another one whose types have the same names."""

    class Local(msgspec.Struct):
        text: str

    def handler(one: Message, other: Local, third: Decimal) -> None: ...

    assert isinstance(handler, types.FunctionType)
    assert means_the_same_everywhere(handler, "Message")
    assert means_the_same_everywhere(handler, Message)
    assert not means_the_same_everywhere(handler, "Local")
    assert not means_the_same_everywhere(handler, "Decimal")


def test_a_local_name_that_hides_one_of_the_module() -> None:
    """As above: the name is there in both places, and means something else."""
    Message = int

    def handler(one: Message) -> None: ...  # type: ignore[valid-type]

    assert isinstance(handler, types.FunctionType)
    assert not means_the_same_everywhere(handler, "Message")
    assert Message is int


@pytest.mark.parametrize(
    "annotation",
    [int, str, bytes, list[Message], dict[str, int], Message, Model, int | None, type(None) | Model, list[Any]],
    ids=str,
)
def test_what_a_client_could_send_is_data(annotation: Any) -> None:
    """A handler that forgets its socket would be given the socket in place of the first argument."""
    assert is_data(annotation)


@pytest.mark.parametrize(
    "annotation",
    [Any, object, inspect.Parameter.empty, None, UNRESOLVED, Database, Database | None, "Message"],
    ids=str,
)
def test_what_no_client_can_send_is_none(annotation: Any) -> None:
    """A handler's socket, or its database, would be expected from the client."""
    assert not is_data(annotation)


def test_errors_call_a_function_by_its_place() -> None:
    """Nobody would find the handler that an error is about among those of the same name."""
    assert where(decorated) == f"{__name__}.decorated"
    assert where(Chat.method) == where(Chat().method) == f"{__name__}.Chat.method"
    assert where(functools.partial(functools.partial(decorated), 1)) == where(decorated)
    assert where(wrapper) == f"{__name__}.decorated"
    assert where(Chat()) == f"{__name__}.Chat"
    assert where(Chat) == f"{__name__}.Chat"


def test_everything_has_a_name() -> None:
    """An error about a callable object would be an AttributeError."""
    assert name_of(decorated) == "decorated"
    assert name_of(Chat()) == "Chat"
    assert name_of(functools.partial(decorated)) == "partial"
