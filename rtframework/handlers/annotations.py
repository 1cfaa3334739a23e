"""The meaning of a function's annotations, wherever the names in them are defined."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Final

import msgspec

UNCHECKED: Final = (Any, object, inspect.Parameter.empty)
"""Annotations that allow any value."""


class _Unresolved(enum.Enum):
    UNRESOLVED = enum.auto()


UNRESOLVED: Final = _Unresolved.UNRESOLVED
"""Placeholder for an annotation that names something undefined."""


def annotation_of(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the annotation of a parameter; ``UNRESOLVED`` if it names something undefined."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return resolve(function, parameter.annotation)
    except Exception:  # noqa: BLE001 - evaluating undefined names can raise anything
        return UNRESOLVED


def resolve(function: Callable[..., Any], annotation: str) -> Any:
    """Evaluate an annotation that is a string. Raises whatever its evaluation raises."""
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    if inspect.ismethod(target):
        target = target.__func__
    names = _names_around(target)
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    # Types may be local variables of the function that registers the handler.
    return eval(annotation, names, dict(frame.f_locals) if frame is not None else None)


def _names_around(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the global names of the module in which a function was written."""
    own = getattr(function, "__globals__", None)
    if own is not None:
        return dict(own)
    names = dict(vars(sys.modules[function.__module__]))
    # The method that a call runs may be inherited from another module.
    is_class = isinstance(function, type)
    for name in ("__new__", "__init__") if is_class else ("__call__",):
        method = getattr(function if is_class else type(function), name)
        names.update(getattr(inspect.unwrap(method), "__globals__", {}))
    return names


def means_the_same_everywhere(function: types.FunctionType, annotation: Any) -> bool:
    """Tell whether an annotation uses no local name of the function that registers the handler."""
    if not isinstance(annotation, str):
        return True
    try:
        return bool(eval(annotation, function.__globals__) == resolve(function, annotation))
    except Exception:  # noqa: BLE001 - evaluating undefined names can raise anything
        return False


def is_data(annotation: Any) -> bool:
    """Tell whether an annotation is a type that a client can send."""
    if annotation in UNCHECKED or annotation is None or annotation is UNRESOLVED:
        return False
    try:
        info = msgspec.inspect.type_info(annotation)
    except (TypeError, NameError):
        return False
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return not any(
        isinstance(kind, msgspec.inspect.CustomType) and not hasattr(kind.cls, "__pydantic_core_schema__")
        for kind in kinds
    )


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of a callable object."""
    return getattr(function, "__name__", type(function).__name__)


def where(function: Callable[..., Any]) -> str:
    """Return the name of a function for error messages: its module and its qualified name."""
    while isinstance(function, functools.partial):
        function = function.func
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', name_of(function))}"
