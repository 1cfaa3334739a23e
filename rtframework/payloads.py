"""Types of what goes over the wire: which can be one, and whether what a client would get fits one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from .conversion import BYTES, Mismatch, Model, is_pydantic


def check_type(kind: Any) -> None:
    """Raise ``TypeError`` or another error for what is no type, or one of which nobody knows how it is sent."""
    if isinstance(kind, str):
        raise TypeError(f"give the type itself, not its name {kind!r}")
    if is_pydantic(kind):
        Model(kind)
        return
    for info in parts_of(inspect.type_info(kind)):
        if isinstance(info, inspect.CustomType) and info.cls is not object:
            if is_pydantic(info.cls):
                raise TypeError(f"{info.cls!r} is a model of pydantic inside a type that is none")
            raise TypeError(f"nobody knows how {info.cls!r} is sent: declare what clients get of it, str for example")


def parts_of(info: inspect.Type) -> Iterator[inspect.Type]:
    """A type and all that it is made of, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            waiting.extend(reversed(each))
        elif isinstance(each, inspect.Type | inspect.Field) and id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, inspect.Type):
                yield each
            waiting.extend(getattr(each, name) for name in reversed(each.__struct_fields__))


def expect(value: Any, kind: Any) -> None:
    """Check a value, as it came over the wire, where the keys of objects are strings. Raises ``Mismatch``."""
    if is_pydantic(kind):
        Model(kind).convert(value)
        return
    try:
        msgspec.convert(value, kind, builtin_types=BYTES, str_keys=True)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise Mismatch([{"path": f"${where.rstrip('`')}", "message": message}]) from None
