"""Mistakes that programs make in calls, each with an error that says what to write instead.

Most are habits from python-socketio or Node. Type checkers report them as well: the signatures do not allow them.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, Final, TypeVar, cast

from ..exceptions import ConfigurationError

M = TypeVar("M", bound=Callable[..., Any])

_INSTEAD: Final = {
    "call": "await socket.emit_with_ack(event, ...)",
    "send": 'await {self}.emit("message", ...)',
    "enter_room": "await socket.join(room)",
    "leave_room": "await socket.leave(room)",
    "close_room": "await io.in_(room).sockets_leave(room)",
    "rooms": "socket.rooms",
    "session": "socket.data, a dict",
    "get_session": "socket.data, a dict",
    "save_session": "socket.data, a dict",
    "environ": "socket.handshake",
    "get_environ": "socket.handshake",
    "request": "socket.handshake",
    "auth": "socket.handshake.auth",
    "sid": "socket.id",
    "transport": "socket.transport",
    "disconnect": "await socket.disconnect(), or await io.to(sid).disconnect_sockets()",
    "start_background_task": "asyncio.create_task(...)",
    "sleep": "await asyncio.sleep(...)",
    "eio": "io.engine",
    "listen": "io.attach(app), and web.run_app(app)",
    "run": "io.attach(app), and web.run_app(app)",
    "addListener": "{self}.on(event)",
    "removeListener": "{self}.off(event, handler)",
    "removeAllListeners": "{self}.off(event)",
}
"""Attributes that python-socketio or Node has, and this framework has not: what to write instead."""

_NODE: Final = (
    "emitWithAck",
    "fetchSockets",
    "socketsJoin",
    "socketsLeave",
    "disconnectSockets",
    "serverSideEmit",
    "serverSideEmitWithAck",
    "onAny",
    "offAny",
    "prependAny",
    "listenersAny",
    "onAnyOutgoing",
    "offAnyOutgoing",
    "prependAnyOutgoing",
    "listenersAnyOutgoing",
)
"""Names of Node's that are written in snake_case here."""

_KEYWORDS: Final = {
    "room": "io.to({!r}).{call}",
    "to": "io.to({!r}).{call}",
    "sid": "io.to({!r}).{call}",
    "skip_sid": "io.except_({!r}).{call}, or socket.broadcast.{call}",
    "include_self": "socket.broadcast.{call}",
    "broadcast": "socket.broadcast.{call}",
    "namespace": "io.of({!r}).{call}",
    "ack": "answer = await socket.emit_with_ack(event, ...)",
    "callback": "answer = await socket.emit_with_ack(event, ...)",
    "timeout": "socket.timeout({!r}).emit_with_ack(event, ...)",
    "ignore_queue": "io.local.{call}",
    "volatile": "socket.volatile.{call}",
    "compress": "socket.compress({!r}).{call}",
}
"""Keywords that python-socketio's ``emit`` and its like have: what to write instead, with the keyword's value."""

_OPTIONS: Final = {
    "async_handlers": "write ordered=True for async_handlers=False",
    "async_mode": "leave it out, this server is for aiohttp",
    "client_manager": "write adapter=..., a factory of adapters",
    "compression_threshold": "write http_compression_threshold=...",
    "engineio_logger": 'write logging.getLogger("rtframework").setLevel(...)',
    "json": "write serializer=...",
    "logger": 'write logging.getLogger("rtframework").setLevel(...)',
    "monitor_clients": "leave it out, clients are always watched",
    "namespaces": "write io.of(name) for each",
    "path": "write io.attach(app, path)",
    "always_connect": "write socket.accept() in a connection handler",
    "socketio_path": "write io.attach(app, path)",
}
"""Options of python-socketio's server, or of Node's: what to do instead."""


def _snake_case(name: str) -> str:
    """Turn ``pingInterval`` into ``ping_interval``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class Elsewhere:
    """An attribute that python-socketio or Node has: reading it raises ``AttributeError``, with advice.

    A class with ``__getattr__`` would have the same effect, and slow down its other attributes.
    """

    def __init__(self, name: str, instead: str) -> None:
        self._name = name
        self._instead = instead
        self.__doc__ = f"Not here: write {instead}."

    def __get__(self, instance: Advising | None, owner: type[Advising]) -> Any:
        name = self._name
        snake = _snake_case(name)
        instead = self._instead.format(self=owner._spoken_of_as)
        if instead == snake:
            if not hasattr(owner, snake):
                raise AttributeError(f"{owner.__name__!r} object has no attribute {name!r}", name=name, obj=instance)
            instead = f"{owner._spoken_of_as}.{snake}"
        raise AttributeError(f"{owner.__name__} has no {name!r}: write {instead}", name=name, obj=instance)


class Advising:
    """Base of classes that answer an attribute of python-socketio's or Node's with the name of their own."""

    __slots__ = ()

    _spoken_of_as: ClassVar[str] = "io"
    """The object's name in messages."""

    def __dir__(self) -> list[str]:
        """List the attributes without those that are elsewhere: for completion in a shell."""
        kind = type(self)
        names = object.__dir__(self)
        return [name for name in names if not isinstance(inspect.getattr_static(kind, name, None), Elsewhere)]


for _name, _written in (*_INSTEAD.items(), *((name, _snake_case(name)) for name in _NODE)):
    setattr(Advising, _name, Elsewhere(_name, _written))  # in a loop: type checkers are to know nothing of them


def unknown_keywords(call: str, unknown: Mapping[str, object]) -> TypeError:
    """Make the error for keywords that ``emit`` and its like do not have. ``call``: the method's name."""
    name, value = next(iter(unknown.items()))
    if value is None and name in ("room", "to", "sid", "namespace", "skip_sid", "callback"):
        return TypeError(f"{call}() has no {name}=: leave it out where it would be None")
    instead = _KEYWORDS.get(name, f'{call}(event, {{{{"{name}": ...}}}}), because what is sent follows the name')
    return TypeError(f"{call}() has no {name}=: write {instead.format(value, call=f'{call}(event, ...)')}")


def given_options(method: M) -> M:
    """Check the keywords of a method that has options. The method that is decorated keeps its signature.

    It raises ``TypeError`` for options that python-socketio or Node has, or that are misspelt.
    """
    known = [name for name in inspect.signature(method).parameters if name != "self"]

    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        for name in kwargs.keys() - set(known):
            call = type(self).__name__ if method.__name__ == "__init__" else method.__name__
            similar = [_snake_case(name), *difflib.get_close_matches(name, known, n=1)]
            instead = [f"write {each}=..." for each in similar if each in known]
            fallback = f"it has {', '.join(known)}"
            raise TypeError(f"{call}() has no {name}=: {_OPTIONS.get(name) or next(iter(instead), fallback)}")
        return method(self, *args, **kwargs)

    return cast("M", checked)


def given_a_name(method: M) -> M:
    """Check the arguments of a decorator that needs an event's name, such as ``@io.on("message")``.

    The method that is decorated keeps its signature. It raises :class:`~rtframework.ConfigurationError` without
    parentheses, and ``TypeError`` for arguments that it does not have.
    """
    name = method.__name__
    known = set(inspect.signature(method).parameters) - {"self"}

    @wraps(method)
    def checked(self: Advising, *args: Any, **kwargs: Any) -> Any:
        decorator = f"{self._spoken_of_as}.{name}"
        event = args[0] if args else kwargs.get("event")
        if callable(event):
            named = getattr(event, "__name__", "message")
            raise ConfigurationError(f'@{decorator} needs the name of the event: write @{decorator}("{named}")')
        if event is None:
            raise TypeError(f'{decorator}() needs the name of the event: write @{decorator}("message")')
        if len(args) > 1 or "handler" in kwargs:
            raise TypeError(
                f"{decorator}() is given the name alone: write @{decorator}({event!r}) above the function, "
                f"or {decorator}({event!r})(function)"
            )
        for keyword in kwargs.keys() - known:
            if keyword == "namespace":
                raise TypeError(f"{decorator}() has no namespace=: write @io.of({kwargs[keyword]!r}).{name}({event!r})")
            raise TypeError(f"{decorator}() has no {keyword}=: it has {', '.join(sorted(known))}")
        return method(self, *args, **kwargs)

    return cast("M", checked)


def given_a_function(method: M) -> M:
    """Check the argument of a decorator that is written without parentheses, such as ``@io.event``.

    The method that is decorated keeps its signature. It raises :class:`~rtframework.ConfigurationError`.
    """
    name = method.__name__

    @wraps(method)
    def checked(self: Advising, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return method(self, args[0])
        decorator = f"{self._spoken_of_as}.{name}"
        instead = f"@{decorator} above the function, without parentheses"
        if "namespace" in kwargs:
            instead = f"@io.of({kwargs['namespace']!r}).{name}"
        elif args and isinstance(args[0], str | int) and name == "event":
            instead = f"@{self._spoken_of_as}.on({args[0]!r}), or {instead}"
        elif len(args) == 1 and not kwargs:
            raise ConfigurationError(f"{decorator} takes a function, not {args[0]!r}: write {instead}")
        raise ConfigurationError(f"{decorator} is given a function and nothing else: write {instead}")

    return cast("M", checked)
