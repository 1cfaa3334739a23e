"""The JSON Schemas of all types of a contract, for each direction."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, get_args, get_origin

from msgspec import inspect as kinds

from ..handlers.validation import is_pydantic, parts_of
from .json_schema import Direction, Schema, references, rename, unused, within
from .msgspec_schemas import MsgspecTypes, Named

_DIRECTIONS: Final[tuple[Direction, Direction]] = ("in", "out")


class Schemas:
    """The schemas of all types of a contract together, so that each type has one name everywhere.

    ``components``: the schemas of named types, by name. A type that is used in both directions and differs between
    them has two schemas: ``Message`` for data that clients get, ``MessageInput`` for data that they may send.
    ``reserved``: names not to use. ``differs``: tells whether the caller writes a schema without references in two
    ways, depending on the direction.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        reserved: Collection[str] = (),
        differs: Callable[[Schema], bool] = lambda schema: False,
    ) -> None:
        self._roots: dict[Direction, list[tuple[Any, Schema]]] = {"in": [], "out": []}
        self._named: dict[Direction, dict[str, Schema]] = {"in": {}, "out": {}}
        every = [*inputs, *outputs]
        self._read_msgspec([each for each in every if not is_pydantic(each)])
        self._read_pydantic([each for each in every if is_pydantic(each)])
        self._names = self._choose_names(inputs, outputs, reserved, differs)
        self.components: dict[str, Schema] = {}
        self.direction_of: dict[str, Direction] = {}
        """The direction of each component, by name."""
        for direction in _DIRECTIONS:
            for name, chosen in self._names[direction].items():
                schema = rename(self._named[direction][name], self._names[direction])
                self.components[chosen] = {**schema, "title": chosen}
                self.direction_of[chosen] = direction
        self.components = dict(sorted(self.components.items()))

    def of(self, kind: Any, direction: Direction) -> Schema:
        """Return the schema of one of the types, with references to ``components``."""
        schema = next(schema for known, schema in self._roots[direction] if known == kind)
        return rename(schema, self._names[direction])

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read_msgspec(self, types: Sequence[Any]) -> None:
        infos = [kinds.type_info(each) for each in types]
        named = {each.cls: each for info in infos for each in parts_of(info) if isinstance(each, Named)}
        names = _names_of(named)
        for direction in _DIRECTIONS:
            write = MsgspecTypes(names, direction)
            self._named[direction].update({names[each]: write.definition(info) for each, info in named.items()})
            self._roots[direction] += [(kind, write.schema(info)) for kind, info in zip(types, infos, strict=True)]

    def _read_pydantic(self, types: Sequence[Any]) -> None:
        if not types:
            return
        from .pydantic_schemas import read_models

        for direction in _DIRECTIONS:
            roots, named = read_models(types, direction)
            names = {name: self._free_name(name, schema, direction) for name, schema in named.items()}
            self._named[direction] |= {names[name]: rename(each, names) for name, each in named.items()}
            self._roots[direction] += [(kind, rename(root, names)) for kind, root in zip(types, roots, strict=True)]

    def _free_name(self, name: str, schema: Schema, direction: Direction) -> str:
        """Return a name that no other class has: pydantic and msgspec choose names separately, but share enums."""
        known = self._named[direction]
        while name in known and ("enum" not in schema or known[name].get("enum") != schema["enum"]):
            name += "_"
        return name

    # --- names ------------------------------------------------------------------------------------------------------

    def _choose_names(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        reserved: Collection[str],
        differs: Callable[[Schema], bool],
    ) -> dict[Direction, dict[str, str]]:
        used = {"in": self._reachable(inputs, "in"), "out": self._reachable(outputs, "out")}
        taken = set(reserved)
        names: dict[Direction, dict[str, str]] = {"in": {}, "out": {}}
        for name in sorted(used["in"] | used["out"]):
            chosen = unused(_identifier(name), taken)
            names["in"] |= {name: chosen} if name in used["in"] else {}
            names["out"] |= {name: chosen} if name in used["out"] else {}
        for name in sorted(used["in"] & used["out"] & self._differing(differs)):
            names["in"][name] = unused(f"{names['out'][name]}Input", taken)
        return names

    def _reachable(self, types: Sequence[Any], direction: Direction) -> set[str]:
        found: set[str] = set()
        waiting = [schema for kind, schema in self._roots[direction] if any(kind == each for each in types)]
        while waiting:
            for name in references(waiting.pop()):
                if name not in found:
                    found.add(name)
                    waiting.append(self._named[direction][name])
        return found

    def _differing(self, differs: Callable[[Schema], bool]) -> set[str]:
        coming, going = self._named["in"], self._named["out"]
        names = coming.keys() & going.keys()
        found = {name for name in names if coming[name] != going[name] or any(map(differs, within(coming[name])))}
        while more := {name for name in names - found if not found.isdisjoint(references(coming[name]))}:
            found |= more
        return found


def _names_of(classes: Iterable[Any]) -> dict[Any, str]:
    """Return a name for each class: its own, or with its module in front if several classes have the same name."""
    short = {each: _short_name(each) for each in classes}
    names: dict[Any, str] = {}
    taken: set[str] = set()
    for each, name in short.items():
        owner = get_origin(each) or each
        full = f"{owner.__module__}.{owner.__qualname__.rpartition('.')[0]}.{name}"
        names[each] = unused(_identifier(name if list(short.values()).count(name) == 1 else full), taken)
    return names


def _short_name(owner: Any) -> str:
    """Return the name of a class with its type arguments: ``PageInt`` for ``Page[int]``."""
    words = [getattr(each, "__name__", str(each)) for each in get_args(owner)]
    name: str = (get_origin(owner) or owner).__name__
    return name + "".join(word[:1].upper() + word[1:] for word in words)


def _identifier(name: str) -> str:
    """Return a name without the dots and brackets of modules and generics."""
    if name.isidentifier() and name.isascii() and not name.endswith("_"):
        return name
    words = re.split(r"[^A-Za-z0-9]+", name.replace("<locals>", ""))
    plain = "".join(word[:1].upper() + word[1:] for word in words)
    return plain if plain[:1].isalpha() else f"Type{plain}"
