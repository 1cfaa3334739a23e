"""The types of a contract by direction, and the arguments of acknowledgements."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from ..handlers.declarations import NOTHING

if TYPE_CHECKING:
    from .model import Contract


def types_of(contract: Contract) -> tuple[list[Any], list[Any]]:
    """Return all types that clients send, and all types that they get."""
    inputs: list[Any] = []
    outputs: list[Any] = []
    for namespace in contract.namespaces:
        for events, there, back in ((namespace.receives, inputs, outputs), (namespace.sends, outputs, inputs)):
            for event in events:
                for argument in event.arguments:
                    there.extend(argument.types)
                if event.returns is not NOTHING:
                    back.extend(kind for way in answers_of(event.returns) for kind in way or ())
    return inputs, outputs


def answers_of(returns: Any) -> Iterator[tuple[Any, ...] | None]:
    """Yield the possible arguments of an acknowledgement, as one tuple for each; ``None`` if they are unknown.

    As in the results of handlers, ``None`` is no argument, and a tuple is several.
    """
    members = get_args(returns) if get_origin(returns) in (Union, types.UnionType) else (returns,)
    single = [each for each in members if each not in (None, type(None)) and not _is_tuple(each)]
    for each in members:
        if each in (None, type(None)):
            yield ()
        elif _is_tuple(each):
            arguments = get_args(each)
            yield None if each is tuple or Ellipsis in arguments else arguments
    if Any in single:
        yield None
    elif single:
        yield (Union[tuple(single)],)  # noqa: UP007 - a union of any number of types


def _is_tuple(kind: Any) -> bool:
    return kind is tuple or get_origin(kind) is tuple
