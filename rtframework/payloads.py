"""Types of what goes over the wire: which can be one, and whether what a client would get fits one."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from .conversion import Mismatch, Model, Shape, is_pydantic, parts_of


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


def expect(value: Any, kind: Any, given: Any) -> None:
    """Check a value, as it came over the wire, where the keys of objects are strings. Raises ``Mismatch``.

    ``given``: what it was made of. Models of pydantic may be sent in another way than they are read: by other aliases,
    with computed fields, without excluded ones.
    """
    if is_pydantic(kind):
        model = Model(kind)
        try:
            model.convert(value)
        except Mismatch:
            if not model.sends(given):
                raise
        return
    Shape(kind, keyed=True, classes=()).convert(value)
