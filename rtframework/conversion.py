"""What came from a client, checked against a type and made into a value of it; msgspec's types and pydantic's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

if TYPE_CHECKING:
    from pydantic import ValidationError

BYTES: Final = (bytes, bytearray, memoryview)
"""Types that stay as they are."""

Problem = dict[str, str]
"""``path``, as ``$.user.name``, and ``message``."""


class Mismatch(Exception):
    """A value does not fit: ``problems`` says where, and why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0]["message"])
        self.problems = problems


class Model:
    """A type that is pydantic's, or made of such: a model, a list of models, a union of them …

    Strict, as everything here, but with what JSON has for them: a ``datetime`` is a string.
    """

    __slots__ = ("_adapter",)

    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter

        self._adapter = TypeAdapter(annotation)

    def convert(self, value: Any) -> Any:
        """Check the value. Raises :class:`Mismatch`."""
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            refused = error
        try:
            text = json.dumps(value)
        except (TypeError, ValueError, RecursionError):  # e.g. bytes: nothing of JSON
            raise Mismatch(_problems(refused)) from None
        try:
            return self._adapter.validate_json(text, strict=True)
        except ValidationError as error:
            raise Mismatch(_problems(error)) from None

    def check(self, value: Any) -> None:
        """Check what goes out, as it will be on the wire. Raises :class:`Mismatch`."""
        from pydantic import ValidationError

        try:
            self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise Mismatch(_problems(error)) from None


Converter = Any
"""A type of msgspec's, or a :class:`Model`."""


def converter_of(annotation: Any) -> Converter:
    """What checks values of a type. Raises ``TypeError`` for a type that nobody could send a value of."""
    if is_pydantic(annotation):
        try:
            return Model(annotation)
        except Exception as error:
            raise TypeError(str(error).partition("\n")[0]) from error
    for info in _inside(msgspec.inspect.type_info(annotation), set()):
        if isinstance(info, msgspec.inspect.CustomType):
            name = getattr(info.cls, "__qualname__", repr(info.cls))
            if is_pydantic(info.cls):
                raise TypeError(f"{name} is a model of pydantic inside a type that is none")
            raise TypeError(f"{name} is nothing that a client can send")
    return annotation


def convert(value: Any, converter: Converter) -> Any:
    """The value as one of this type. Raises :class:`Mismatch`."""
    if isinstance(converter, Model):
        return converter.convert(value)
    try:
        return msgspec.convert(value, converter, builtin_types=BYTES)
    except msgspec.ValidationError as error:
        raise Mismatch([_problem(error)]) from None


def check(value: Any, converter: Converter) -> None:
    """Check a value of the program against a type, by what it will be on the wire. Raises :class:`Mismatch`."""
    if isinstance(converter, Model):
        converter.check(value)
        return
    try:
        plain = msgspec.to_builtins(value, builtin_types=BYTES, str_keys=True, enc_hook=plainly(None))
        msgspec.convert(plain, converter, builtin_types=BYTES, strict=True)
    except msgspec.ValidationError as error:
        raise Mismatch([_problem(error)]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise Mismatch([{"path": "$", "message": str(error)}]) from None


def is_pydantic(annotation: Any) -> bool:
    """Whether a type is pydantic's, or made of such by list, dict, union and the like."""
    if "pydantic" not in sys.modules:
        return False
    if isinstance(annotation, type) and hasattr(annotation, "__pydantic_core_schema__"):
        return True
    return any(is_pydantic(each) for each in get_args(annotation))


def plainly(enc_hook: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """A hook for serializers: pydantic's values as builtins, others by the program's hook, else ``TypeError``."""

    def hook(value: Any) -> Any:
        kind = type(value)
        if hasattr(kind, "__pydantic_core_schema__") and hasattr(kind, "model_dump"):
            return value.model_dump(mode="python", by_alias=True)
        if enc_hook is not None:
            return enc_hook(value)
        if kind.__module__.partition(".")[0] == "pydantic":  # AnyUrl, SecretStr …
            from pydantic_core import to_jsonable_python

            return to_jsonable_python(value)
        raise TypeError(f"objects of type {kind.__name__} are unsupported")

    return hook


def _problem(error: msgspec.ValidationError) -> Problem:
    message, _, where = str(error).partition(" - at `$")
    return {"path": f"${where.rstrip('`')}", "message": message}


def _problems(error: ValidationError) -> list[Problem]:
    return [
        {
            "path": "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in problem["loc"]),
            "message": problem["msg"],
        }
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _inside(info: Any, seen: set[int]) -> Iterator[msgspec.inspect.Type]:
    """A type and all types that it is made of."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.Type):
        yield info
    elif not isinstance(info, (msgspec.inspect.Field, tuple)):
        return
    parts = info if isinstance(info, tuple) else [getattr(info, name) for name in info.__struct_fields__]
    for part in parts:
        yield from _inside(part, seen)
