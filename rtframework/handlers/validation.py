"""What came from a client, checked against a type and made into a value of it; msgspec's types and pydantic's."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from pydantic import ValidationError

BYTES: Final = (bytes, bytearray, memoryview)
"""Types that stay as they are."""

MOST: Final = 100
"""Problems of one argument that are told one by one: a client can send a value that has any number of them."""
_LONGEST: Final = 100
"""Characters of a client's key that are told in a path."""

_AT: Final = re.compile(r"(.*) - at (`key` in )?`\$([^`]*)`", re.DOTALL)
"""What msgspec says, and where; greedy, because what it says may quote the client."""

_PLAIN: Final = (
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
    pathlib.PurePath,
)
"""Types that pydantic writes as strings, and msgspec does not know."""

Problem = dict[str, str]
"""``path``, as ``$.user.name``, and ``message``."""


class Mismatch(Exception):
    """A value does not fit: ``problems`` says where, and why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0]["message"])
        self.problems = problems


class Conversion:
    """What makes a value of a type where msgspec alone does not."""

    __slots__ = ()

    def convert(self, value: Any) -> Any:
        """Check the value. Raises :class:`Mismatch`."""
        raise NotImplementedError


class Model(Conversion):
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
            text = json.dumps(value, default=_iso)
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

    def sends(self, value: Any) -> bool:
        """Whether it is a value of this type, whose fields are what the type says: so it is sent as its schema says."""
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError

        try:
            self._adapter.dump_python(self._adapter.validate_python(value, strict=True), warnings="error")
        except (ValidationError, PydanticSerializationError):
            return False
        return True


class Shape(Conversion):
    """A type of msgspec's that needs something besides what msgspec does by itself.

    ``keyed``: it has dicts whose keys are no strings, as ``dict[int, str]``; on the wire they are.
    ``classes``: it has dataclasses with defaults. msgspec leaves a default to the class where the client has left the
    field out: the object would read as complete, but be sent on without it.
    """

    __slots__ = ("_fields", "_keyed", "annotation")

    def __init__(self, annotation: Any, *, keyed: bool, classes: Sequence[msgspec.inspect.DataclassType]) -> None:
        self.annotation = annotation
        self._keyed = keyed
        self._fields = {info.cls: [(each.name, each.default) for each in info.fields] for info in classes}

    def convert(self, value: Any) -> Any:
        """Check the value. Raises :class:`Mismatch`."""
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
    """Return a converter for values of a type. Raises ``TypeError`` when no client can send such a value."""
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
    """The value as one of this type. Raises :class:`Mismatch`."""
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
    """Check a value of the program against a type, by what it will be on the wire. Raises :class:`Mismatch`."""
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
    """Return whether a type is pydantic's, or made of such by list, dict, union and the like."""
    if "pydantic" not in sys.modules:
        return False
    if isinstance(annotation, type) and hasattr(annotation, "__pydantic_core_schema__"):
        return True
    return any(is_pydantic(each) for each in get_args(annotation))


def parts_of(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """A type and all that it is made of, each once."""
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
    """A hook for serializers: pydantic's values as builtins, others by the program's hook, else ``TypeError``."""

    def hook(value: Any) -> Any:
        kind = type(value)
        if hasattr(kind, "__pydantic_core_schema__") and hasattr(kind, "model_dump"):
            return value.model_dump(mode="python", by_alias=True)
        if enc_hook is not None:
            return enc_hook(value)
        if kind.__module__.partition(".")[0] == "pydantic":  # AnyUrl, SecretStr
            from pydantic_core import to_jsonable_python

            return to_jsonable_python(value)
        if "pydantic" in sys.modules and isinstance(value, _PLAIN):  # what else is in fields of models
            return str(value)
        raise TypeError(f"objects of type {kind.__name__} are unsupported")

    return hook


def _iso(value: Any) -> str:
    """The dates of msgpack, beside which there may be what is a string there, too."""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError


def _problem(error: msgspec.ValidationError) -> Problem:
    """Make a problem of an error of msgspec."""
    text = str(error)
    found = _AT.fullmatch(text)
    if found is None:
        return {"path": "$", "message": text}
    message, is_key, path = found.groups()
    return {"path": f"${path}", "message": f"{message} as a key" if is_key else message}


def _problems(error: ValidationError) -> list[Problem]:
    count = error.error_count()
    if count > MOST:  # listing them takes longer than finding them, and the list is longer than the value
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
