"""Checking the extensions of a server, and that what a factory returns is an adapter."""

from __future__ import annotations

import inspect
from typing import Any, Final
from weakref import WeakSet

from .. import protocols
from ..exceptions import ConfigurationError
from ..options import check_factory, check_object

_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "fetch_sockets": ("target", "timeout"),
    "disconnect_sockets": ("target", "close", "reason"),
    "restore_session": ("pid", "offset", "accept"),
}
"""The arguments of methods that had fewer before the first release."""

_checked: Final[WeakSet[type]] = WeakSet()


def check_extensions(auth: object, serializer: object, adapter: object, store: object = None) -> None:
    """Check the extensions that a server is given. Raises ``ConfigurationError``."""
    if auth is not None:
        check_object(
            "auth",
            auth,
            ("authenticate",),
            "auth=StaticTokenAuth({token: user}), or an object of your own with async def authenticate(handshake)",
        )
    if isinstance(serializer, str):
        raise ConfigurationError(
            f"serializer is an object, not a name: write serializer=load('serializers', {serializer!r})(), with load "
            "of rtframework.plugins"
        )
    if serializer is not None:
        check_object("serializer", serializer, ("encode", "decoder"), "serializer=JSONSerializer()")
    check_adapter_factory(adapter)
    if store is not None:
        check_object("store", store, ("get", "set", "add", "replace", "remove"), "store=MemoryStore()")


def check_adapter_factory(adapter: object) -> None:
    """Check the option ``adapter=`` of a server. Raises ``ConfigurationError`` and says what to write."""
    if isinstance(adapter, str) and "://" in adapter:  # the URL is not shown: it may have a password
        raise ConfigurationError("adapter is no URL: write adapter=RedisStreams(url), with that of rtframework_redis")
    check_factory("adapter", adapter, "broadcast")
    if isinstance(adapter, type) and hasattr(adapter, "stop") and hasattr(adapter, "health"):
        raise ConfigurationError(
            f"adapter is a connection to a cluster, not its class: write adapter={adapter.__name__}(...)"
        )


def check_adapter(adapter: Any) -> None:
    """Check the methods of an adapter, once for each class. Raises ``ConfigurationError`` and says what is missing."""
    kind = type(adapter)
    if kind in _checked:
        return
    names = [name for name, each in vars(protocols.Adapter).items() if inspect.isfunction(each) and name[0] != "_"]
    missing = [name for name in names if not callable(getattr(adapter, name, None))]
    if missing:
        raise ConfigurationError(
            f"{kind.__name__} is no adapter, it has no {', '.join(missing)}: derive it from rtframework.BaseAdapter"
        )
    for name, arguments in _ARGUMENTS.items():
        try:
            inspect.signature(getattr(adapter, name)).bind(*arguments)
        except TypeError:
            raise ConfigurationError(
                f"{kind.__name__}.{name} has to take ({', '.join(arguments)}), see rtframework.protocols.Adapter"
            ) from None
    _checked.add(kind)
