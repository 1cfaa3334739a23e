"""Plans for injecting values into the parameters of a function, made once, at registration.

A function without injected parameters has no plan and no overhead.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple, get_origin

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, RTFrameworkError
from .annotations import where
from .dependencies import SUPPLIES, TYPES, VARIABLE, Dependency, Place, Provider, Scope, Supply, wanted_by

Overrides = Mapping[Provider, Provider]

_KEYWORD: Final = sys.maxsize
"""The position of a parameter that is passed by keyword."""


class _Kind(Enum):
    SUPPLY = auto()
    CALL = auto()
    """A plain function or a class: its result is the value, whatever it is, unless it is a coroutine."""
    AWAIT = auto()
    """An ``async`` function: the value is what it returns when it is awaited."""
    CONTEXT = auto()
    ASYNC_CONTEXT = auto()


class _Step(NamedTuple):
    kind: _Kind
    name: str
    """The provider's name in messages."""
    call: Callable[..., Any]
    args: tuple[int, ...]
    """Numbers of the steps whose values are the positional arguments."""
    kwargs: tuple[tuple[str, int], ...]
    """Names of the keyword arguments, each with the number of the step that gives its value."""
    key: Hashable
    """The key under which the value is shared; ``None`` if it is for one parameter only."""


class _Want(NamedTuple):
    """A parameter, and the dependency or server's value that fills it."""

    name: str
    position: int
    wanted: Dependency | Supply


class DependencyPlan:
    """The steps that compute the injected arguments of a function.

    Raises :class:`~rtframework.ConfigurationError` if an argument cannot be computed.
    """

    __slots__ = ("_cleans_up", "_fills", "_inserts", "_place", "_steps", "_wants", "_who", "is_plain", "providers")

    def __init__(self, who: str, place: Place, wants: Sequence[_Want], overrides: Overrides | None = None) -> None:
        self._who = who
        self._place = place
        self._wants = wants
        wiring = _Wiring(who, place, overrides or {})
        self._fills = tuple((name, position, wiring.step(wanted, ())) for name, position, wanted in wants)
        """For each injected parameter: its name, its position, and the number of the step that gives its value."""
        self._steps = tuple(wiring.steps)
        """The steps in the order of execution, each after those that it needs."""
        self.providers = tuple(wiring.providers)
        """The providers, each once."""
        self._inserts = any(each.position < _KEYWORD for each in wants)
        self._cleans_up = any(step.kind in (_Kind.CONTEXT, _Kind.ASYNC_CONTEXT) for step in self._steps)
        self.is_plain = all(step.kind is _Kind.SUPPLY for step in self._steps)
        """True if no provider has to be called, awaited or cleaned up."""

    def asks_for(self, name: str) -> bool:
        """Tell whether the function itself has a parameter for this value of the server's, e.g. ``"ack"``."""
        return any(each.wanted is SUPPLIES[name] for each in self._wants)

    def call(self, function: Callable[..., Any], leading: Sequence[Any], args: Sequence[Any], values: list[Any]) -> Any:
        """Call the function with the given arguments and the injected ones.

        ``values``: the value of each step. Returns what the function returns.
        """
        if not self._inserts:
            return function(*leading, *args, **{name: values[step] for name, _, step in self._fills})
        positional = list(args)
        keywords = {}
        for name, position, step in self._fills:
            if position <= len(positional):
                positional.insert(position, values[step])
            else:
                keywords[name] = values[step]
        return function(*leading, *positional, **keywords)

    def apply(self, scope: Scope, function: Callable[..., Any], leading: Sequence[Any], args: Sequence[Any]) -> Any:
        """Call the function with injected values. Return its result, or an awaitable of it unless the plan is plain."""
        if self.is_plain:
            return self.call(function, leading, args, [step.call(scope) for step in self._steps])
        return self.run(scope, lambda plan, values: plan.call(function, leading, args, values))

    async def run(self, scope: Scope, use: Callable[[DependencyPlan, list[Any]], Any]) -> Any:
        """Call the providers, then ``use(plan, values)``, then clean up. Return the result of ``use``."""
        overrides = scope.caller.server.dependency_overrides
        plan = DependencyPlan(self._who, self._place, self._wants, overrides) if overrides else self
        if not plan._cleans_up:
            return await maybe_await(use(plan, await plan._values(scope, None)))
        async with AsyncExitStack() as stack:
            return await maybe_await(use(plan, await plan._values(scope, stack)))

    def share(self, values: Sequence[Any], found: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``found`` and these values together, for the middleware and handlers further in."""
        shared = dict(found)
        for step, value in zip(self._steps, values, strict=True):
            if step.key is not None:
                shared[step.key] = value
        return shared

    async def _values(self, scope: Scope, stack: AsyncExitStack | None) -> list[Any]:
        values: list[Any] = []
        found = scope.found
        for step in self._steps:
            if step.kind is _Kind.SUPPLY:
                values.append(step.call(scope))
            elif step.key is not None and step.key in found:
                values.append(found[step.key])
            else:
                try:
                    values.append(await _call_provider(step, values, stack))
                except RTFrameworkError:
                    raise  # a refusal, which is for the client
                except Exception as error:
                    error.add_note(f"raised by the provider {step.name} of {self._who}")
                    raise
        return values


async def _provide(step: _Step, values: list[Any], stack: AsyncExitStack | None) -> Any:
    """Call a provider with the values of earlier steps. Return its value; ``stack`` takes the clean-up."""
    value = step.call(*[values[each] for each in step.args], **{name: values[each] for name, each in step.kwargs})
    if step.kind is _Kind.CALL:
        # Not everything with __await__ is to be awaited: a Task, or a connection that opens when it is awaited.
        return await value if isinstance(value, Coroutine) else value
    if step.kind is _Kind.AWAIT:
        return await maybe_await(value)
    assert stack is not None
    if step.kind is _Kind.CONTEXT:
        entered = value.__enter__()
        stack.push(partial(_leave, value))
    else:
        entered = await value.__aenter__()
        stack.push_async_exit(partial(_leave_async, value))
    return entered


_call_provider: Callable[[_Step, list[Any], AsyncExitStack | None], Awaitable[Any]] = _provide
"""Calls a provider: :func:`time_providers` replaces it, so that nothing has to be asked at each call."""


def time_providers(tell: Callable[[str, float], None]) -> None:
    """Call ``tell(name, seconds)`` after each call of a provider, in the whole process: for development."""
    global _call_provider

    async def timed(step: _Step, values: list[Any], stack: AsyncExitStack | None) -> Any:
        start = time.perf_counter()
        try:
            return await _provide(step, values, stack)
        finally:
            tell(step.name, time.perf_counter() - start)

    _call_provider = timed


# A provider that is a generator may catch the exception that it cleans up after. The exception must still reach the
# providers around it and the client, so the result of __exit__ is not returned.


def _leave(manager: AbstractContextManager[Any], *raised: Any) -> None:
    manager.__exit__(*raised)


async def _leave_async(manager: AbstractAsyncContextManager[Any], *raised: Any) -> None:
    await manager.__aexit__(*raised)


def wire(
    who: str, function: Callable[..., Any], place: Place, parameters: Sequence[inspect.Parameter]
) -> tuple[list[inspect.Parameter], DependencyPlan | None]:
    """Split the parameters of a function into those that are not injected, and a plan for those that are.

    The plan is ``None`` if none are. ``who``: the function's name in error messages. Raises
    :class:`~rtframework.ConfigurationError`.
    """
    others: list[inspect.Parameter] = []
    wants: list[_Want] = []
    last = -1
    for position, parameter in enumerate(parameters):
        wanted = wanted_by(function, parameter, who, place)
        if wanted is None:
            others.append(parameter)
            last = position
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f"{who}: {parameter.name!r} is filled by the server: it cannot be positional only")
        else:
            by_name = parameter.kind is inspect.Parameter.KEYWORD_ONLY
            wants.append(_Want(parameter.name, _KEYWORD if by_name else position, wanted))
    # Parameters after the last one that is passed by position can be passed by keyword.
    wants = [each if each.position < last else each._replace(position=_KEYWORD) for each in wants]
    return others, DependencyPlan(who, place, wants) if wants else None


class _Wiring:
    """Builder of the steps of one plan."""

    def __init__(self, who: str, place: Place, overrides: Overrides) -> None:
        self._who = who
        self._place = place
        self._overrides = overrides
        self._known: dict[Hashable, int] = {}
        self.steps: list[_Step] = []
        self.providers: list[Provider] = []

    def step(self, wanted: Dependency | Supply, path: tuple[Provider, ...]) -> int:
        """Return the number of the step for a dependency, adding the step if it is new.

        ``path``: the chain of providers that need it.
        """
        if isinstance(wanted, Supply):
            return self._supply(wanted, path)
        provider = wanted.provider
        assert provider is not None
        key = _key(provider) if wanted.use_cache else None
        if key is not None and key in self._known:
            return self._known[key]
        step = self._provide(self._in_place_of(provider), key, path)
        if key is not None:
            self._known[key] = step
        return step

    def _in_place_of(self, provider: Provider) -> Provider:
        try:
            return self._overrides.get(provider, provider)
        except TypeError:  # not hashable, so it cannot be a key of the overrides
            return provider

    def _supply(self, wanted: Supply, path: tuple[Provider, ...]) -> int:
        if wanted.name not in self._place.supplies:
            needs = f"the provider {where(path[-1])} needs" if path else "it asks for"
            raise ConfigurationError(f"{self._who}: {needs} {wanted.name!r}, which {self._place.name} does not have")
        if wanted.name not in self._known:
            self._known[wanted.name] = self._add(_Step(_Kind.SUPPLY, wanted.name, wanted.get, (), (), None))
        return self._known[wanted.name]

    def _provide(self, provider: Provider, key: Hashable, path: tuple[Provider, ...]) -> int:
        name = where(provider)
        path = (*path, provider)
        if any(_key(each) == _key(provider) for each in path[:-1]):  # by key: different providers may share a name
            names = " -> ".join(where(each) for each in path)
            raise ConfigurationError(f"{self._who}: {names}: providers that need each other")
        args: list[int] = []
        kwargs: list[tuple[str, int]] = []
        function = get_origin(provider) or provider  # Repository[User] is called as Repository
        for parameter in _parameters(function):
            wanted = wanted_by(function, parameter, f"{self._who}: the provider {name}", self._place)
            if wanted is not None:
                step = self.step(wanted, path)
                if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                    args.append(step)
                else:
                    kwargs.append((parameter.name, step))
            elif parameter.default is inspect.Parameter.empty and parameter.kind not in VARIABLE:
                raise ConfigurationError(
                    f"{self._who}: nothing fills {parameter.name!r} of the provider {name}: give it a default, "
                    f"`= Depends(...)`, or the annotation of something that there is ({', '.join(self._there())})"
                )
        self.providers.append(provider)
        kind, call = _kind_of(provider)
        return self._add(_Step(kind, name, call, tuple(args), tuple(kwargs), key))

    def _there(self) -> list[str]:
        return [kind.__name__ for kind, each in TYPES.items() if each.name in self._place.supplies]

    def _add(self, step: _Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1


def _key(provider: Provider) -> Hashable:
    try:
        hash(provider)
    except TypeError:
        return id(provider)
    return provider


def _parameters(provider: Provider) -> Sequence[inspect.Parameter]:
    try:
        return tuple(inspect.signature(provider).parameters.values())
    except ValueError:  # a class written in C has no signature
        return ()


def _kind_of(provider: Provider) -> tuple[_Kind, Callable[..., Any]]:
    call = provider if inspect.isroutine(provider) or isinstance(provider, type) else type(provider).__call__
    for each in (provider, call):
        if inspect.isasyncgenfunction(each):
            return _Kind.ASYNC_CONTEXT, asynccontextmanager(provider)
        if inspect.isgeneratorfunction(each):
            return _Kind.CONTEXT, contextmanager(provider)
        if inspect.iscoroutinefunction(each):
            return _Kind.AWAIT, provider
        decorated = inspect.unwrap(each)
        if inspect.isasyncgenfunction(decorated):
            return _Kind.ASYNC_CONTEXT, partial(_call_decorated, provider)
        if inspect.isgeneratorfunction(decorated):
            return _Kind.CONTEXT, partial(_call_decorated, provider)
        if inspect.iscoroutinefunction(decorated):
            return _Kind.AWAIT, provider
    return _Kind.CALL, provider


def _call_decorated(provider: Provider, *args: Any, **kwargs: Any) -> Any:
    """Call a generator function that a decorator has wrapped in a plain one, and return a context manager."""
    made = provider(*args, **kwargs)
    if inspect.isasyncgen(made):
        return asynccontextmanager(lambda: made)()
    if inspect.isgenerator(made):
        return contextmanager(lambda: made)()
    return nullcontext(made)  # the decorator returns something other than a generator
