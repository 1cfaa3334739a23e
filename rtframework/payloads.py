"""Types of what goes over the wire: which can be one, and whether a value fits one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

_BYTES: Final = (bytes, bytearray, memoryview)


class Misfit(ValueError):
    """A value does not fit: ``message`` says why, ``path`` where, e.g. ``".room"``, ``"[2]"`` or ``""``."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def check_type(kind: Any) -> None:
    """Raise ``TypeError`` or ``NameError`` for what is no type, or one of which nobody knows how it is sent."""
    if isinstance(kind, str):
        raise TypeError(f"give the type itself, not its name {kind!r}")
    strange = [each for each in foreign(kind) if not is_model(each)]
    if strange:
        raise TypeError(f"nobody knows how {strange[0]!r} is sent: declare what clients get of it, str for example")
    if has_model(kind):
        from pydantic import TypeAdapter

        TypeAdapter(kind)


def foreign(kind: Any) -> Iterator[Any]:
    """The classes in a type that msgspec does not know."""
    for info in parts_of(inspect.type_info(kind)):
        if isinstance(info, inspect.CustomType) and info.cls is not object:
            yield info.cls


def has_model(kind: Any) -> bool:
    """Whether there is a pydantic model in a type, so that the whole of it is pydantic's."""
    return any(is_model(each) for each in foreign(kind))


def is_model(kind: Any) -> bool:
    """Whether it is a pydantic model; pydantic is not imported to know that."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


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


def convert(value: Any, kind: Any) -> Any:
    """A value, as it came over the wire, as an object of the type. Raises :class:`Misfit`."""
    if has_model(kind):
        return _convert_by_pydantic(value, kind)
    try:
        return msgspec.convert(value, kind, builtin_types=_BYTES, str_keys=True)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise Misfit(message, where.rstrip("`")) from None


def _convert_by_pydantic(value: Any, kind: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        text = msgspec.json.encode(value, enc_hook=_no_json)
    except TypeError:
        text = None
    try:
        adapter = TypeAdapter(kind)
        return adapter.validate_python(value) if text is None else adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first["loc"])
        raise Misfit(first["msg"], path) from None


def _no_json(value: Any) -> Any:
    raise TypeError
