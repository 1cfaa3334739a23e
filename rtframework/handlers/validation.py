"""Validation and conversion of a client's data by the types of msgspec and pydantic."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pathlib
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from pydantic import ValidationError

BYTES: Final = (bytes, bytearray, memoryview)
"""Types of binary data, which are not converted."""

MOST: Final = 100
"""Problems of one argument that are listed one by one; a client can send a value with any number of them."""
_LONGEST: Final = 100
"""Characters of a client's key that are shown in a path."""

_AT: Final = re.compile(r"(.*) - at (`key` in )?`\$([^`]*)`", re.DOTALL)
"""A message of msgspec: the problem and its path. Greedy, because the problem may quote the client."""

_PLAIN: Final = (
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
    pathlib.PurePath,
)
"""Types that pydantic encodes as strings and msgspec does not support."""

_BUILTINS: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes.__bytes__,
}
"""Types whose subclasses msgspec does not encode, each with the way to a plain value."""

Problem = dict[str, str]
"""A dict with ``path``, e.g. ``$.user.name``, and ``message``."""


class Mismatch(Exception):
    """A value does not fit its type; ``problems`` lists where and why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0]["message"])
        self.problems = problems


class Conversion:
    """A converter for a type that msgspec alone cannot convert."""

    __slots__ = ()

    def convert(self, value: Any) -> Any:
        """Validate a value and convert it to the type. Raises :class:`Mismatch`."""
        raise NotImplementedError


class Model(Conversion):
    """A converter for a type of pydantic's or a type made of such: a model, a list or a union of models …

    Validation is strict, but takes the JSON form of a value: a string for a ``datetime``.
    """

    __slots__ = ("_adapter",)

    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter

        self._adapter = TypeAdapter(annotation)

    def convert(self, value: Any) -> Any:
        """Validate a value and convert it to the type. Raises :class:`Mismatch`."""
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            refused = error
        try:
            text = json.dumps(value, default=_iso)
        except (TypeError, ValueError, RecursionError):  # not JSON, e.g. bytes
            raise Mismatch(_problems(refused)) from None
        try:
            return self._adapter.validate_json(text, strict=True)
        except ValidationError as error:
            raise Mismatch(_problems(error)) from None

    def check(self, value: Any) -> None:
        """Validate a value of the program. Raises :class:`Mismatch`."""
        from pydantic import ValidationError

        try:
            self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise Mismatch(_problems(error)) from None

    def sends(self, value: Any) -> bool:
        """Tell whether a value and its fields are of this type, so that it is sent as the type's schema says."""
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError

        try:
            self._adapter.dump_python(self._adapter.validate_python(value, strict=True), warnings="error")
        except (ValidationError, PydanticSerializationError):
            return False
        return True


class Shape(Conversion):
    """A converter for a type of msgspec's that needs more than ``msgspec.convert``.

    ``keyed``: the type has dicts with keys that are not strings, e.g. ``dict[int, str]``; on the wire keys are strings.
    ``classes``: the dataclasses in the type, if they have defaults. For a field that the client has left out, msgspec
    leaves the default in the class; the converter sets it on the object, which would be sent on without it.
    """

    __slots__ = ("_fields", "_keyed", "annotation")

    def __init__(self, annotation: Any, *, keyed: bool, classes: Sequence[msgspec.inspect.DataclassType]) -> None:
        self.annotation = annotation
        self._keyed = keyed
        self._fields = {info.cls: [(each.name, each.default) for each in info.fields] for info in classes}

    def convert(self, value: Any) -> Any:
        """Validate a value and convert it to the type. Raises :class:`Mismatch`."""
        converted = _convert(value, self.annotation, str_keys=self._keyed)
        waiting = [converted] if self._fields else []
        while waiting:
            each = waiting.pop()
            fields = self._fields.get(type(each))
            if fields is not None:
                own = getattr(each, "__dict__", None)
                for name, default in fields:
                    if own is not None and default is not msgspec.NODEFAULT:
                        own.setdefault(name, default)
                    waiting.append(getattr(each, name))
            elif isinstance(each, dict):
                waiting.extend(each.values())
            elif isinstance(each, list | tuple | set | frozenset):
                waiting.extend(each)
            elif isinstance(each, msgspec.Struct):
                waiting.extend(getattr(each, name) for name in each.__struct_fields__)
        return converted


Converter = Any
"""A type of msgspec's, or a :class:`Conversion`."""


def converter_of(annotation: Any) -> Converter:
    """Return a converter for a type. Raises ``TypeError`` if a client cannot send values of it."""
    if is_pydantic(annotation):
        try:
            return Model(annotation)
        except Exception as error:
            raise TypeError(str(error).partition("\n")[0]) from error
    classes: list[msgspec.inspect.DataclassType] = []
    keyed = False
    for info in parts_of(msgspec.inspect.type_info(annotation)):
        if isinstance(info, msgspec.inspect.CustomType):
            name = getattr(info.cls, "__qualname__", repr(info.cls))
            if is_pydantic(info.cls):
                raise TypeError(f"{name} is a model of pydantic inside a type that is none")
            raise TypeError(f"{name} is nothing that a client can send")
        if isinstance(info, msgspec.inspect.DataclassType):
            classes.append(info)
        if isinstance(info, msgspec.inspect.DictType):
            keyed = keyed or not isinstance(info.key_type, msgspec.inspect.StrType | msgspec.inspect.AnyType)
    if not any(each.default is not msgspec.NODEFAULT for info in classes for each in info.fields):
        classes = []
    return Shape(annotation, keyed=keyed, classes=classes) if keyed or classes else annotation


def convert(value: Any, converter: Converter) -> Any:
    """Validate a value and convert it. Raises :class:`Mismatch`."""
    if isinstance(converter, Conversion):
        return converter.convert(value)
    return _convert(value, converter)


def _convert(value: Any, annotation: Any, *, str_keys: bool = False) -> Any:
    try:
        return msgspec.convert(value, annotation, builtin_types=BYTES, str_keys=str_keys)
    except msgspec.ValidationError as error:
        raise Mismatch([_problem(error)]) from None
    except RecursionError:
        raise Mismatch([{"path": "$", "message": "Nested too deeply"}]) from None


def check(value: Any, converter: Converter) -> None:
    """Validate a value of the program in the form that is sent. Raises :class:`Mismatch`."""
    if isinstance(converter, Model):
        converter.check(value)
        return
    if isinstance(converter, Shape):
        converter = converter.annotation
    try:
        plain = msgspec.to_builtins(value, builtin_types=BYTES, str_keys=True, enc_hook=plainly(None))
        msgspec.convert(plain, converter, builtin_types=BYTES, str_keys=True)
    except msgspec.ValidationError as error:
        raise Mismatch([_problem(error)]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise Mismatch([{"path": "$", "message": str(error)}]) from None


def is_pydantic(annotation: Any) -> bool:
    """Tell whether a type is pydantic's, or a list, dict, union … of such."""
    if "pydantic" not in sys.modules:
        return False
    if isinstance(annotation, type) and hasattr(annotation, "__pydantic_core_schema__"):
        return True
    return any(is_pydantic(each) for each in get_args(annotation))


def parts_of(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """Yield a type and all types that it contains, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            waiting.extend(reversed(each))
        elif isinstance(each, msgspec.inspect.Type | msgspec.inspect.Field) and id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, msgspec.inspect.Type):
                yield each
            waiting.extend(getattr(each, name) for name in reversed(each.__struct_fields__))


def plainly(enc_hook: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Make an ``enc_hook`` for serializers that turns values into builtins.

    It takes subclasses of ``str``, ``int``, ``float`` and ``bytes``, models and values of pydantic, and whatever the
    program's ``enc_hook`` takes; then mappings and sequences of any kind. Others raise ``TypeError``.
    """

    def hook(value: Any) -> Any:
        kind = type(value)
        for builtin, convert in _BUILTINS.items():
            if isinstance(value, builtin):
                return convert(value)
        if kind is MappingProxyType:
            return dict(value)
        if hasattr(kind, "__pydantic_core_schema__") and hasattr(kind, "model_dump"):
            return value.model_dump(mode="python", by_alias=True)
        if isinstance(value, Mapping | Sequence) and not isinstance(value, memoryview):
            return convert_collection(value)
        if enc_hook is not None and not isinstance(value, Coroutine):  # str() would take one that was not awaited
            return enc_hook(value)
        if kind.__module__.partition(".")[0] == "pydantic":  # AnyUrl, SecretStr
            from pydantic_core import to_jsonable_python

            return to_jsonable_python(value)
        if "pydantic" in sys.modules and isinstance(value, _PLAIN):  # what else is in fields of models
            return str(value)
        raise TypeError(f"objects of type {kind.__name__} are unsupported")

    def convert_collection(value: Mapping[Any, Any] | Sequence[Any]) -> Any:
        if enc_hook is not None:
            try:
                return enc_hook(value)
            except (TypeError, NotImplementedError):
                pass  # the program does not know it either
        return dict(value) if isinstance(value, Mapping) else list(value)

    return hook


def _iso(value: Any) -> str:
    """Encode a ``datetime`` as JSON has it: msgpack has its own type for dates, JSON has strings."""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError


def _problem(error: msgspec.ValidationError) -> Problem:
    """Turn an error of msgspec into a problem."""
    text = str(error)
    found = _AT.fullmatch(text)
    if found is None:
        return {"path": "$", "message": text}
    message, is_key, path = found.groups()
    return {"path": f"${path}", "message": f"{message} as a key" if is_key else message}


def _problems(error: ValidationError) -> list[Problem]:
    count = error.error_count()
    if count > MOST:  # listing them takes longer than finding them, and the list is larger than the value
        return [{"path": "$", "message": f"{count} values do not fit"}]
    return [
        {"path": "$" + "".join(map(_part_of_path, problem["loc"])), "message": problem["msg"]}
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _part_of_path(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if len(part) <= _LONGEST else f".{part[:_LONGEST]}…"


def check_type(kind: Any) -> None:
    """Raise ``TypeError`` or another error for an object that is not a type, or a type that cannot be sent."""
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
    """Validate a value as received, with strings as the keys of objects. Raises ``Mismatch``.

    ``given``: the value before it was encoded. Models of pydantic may be encoded in another form than they are decoded
    from: with other aliases, with computed fields, without excluded fields.
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
