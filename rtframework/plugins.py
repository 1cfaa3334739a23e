"""Loading plugins by name, so that a configuration can select them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from .exceptions import ConfigurationError, PluginNotFound

GROUPS: Final = ("authenticators", "serializers", "adapters", "middleware")
"""The kinds of plugins; a package registers a plugin in the entry point group ``rtframework.<kind>``."""


def available(group: str) -> list[str]:
    """Return the names installed in a group, sorted.

    ``group``: one of :data:`GROUPS`. Raises :class:`~rtframework.ConfigurationError` for another.

    Example::

        available("serializers")    # ["json", "msgpack"]
    """
    return sorted({entry.name for entry in _entries(group)})


def load(group: str, name: str) -> Any:
    """Import the class or factory that is installed under a name in a group, and return it without calling it.

    Raises :class:`~rtframework.PluginNotFound`, with the names that are installed, and
    :class:`~rtframework.ConfigurationError` for an unknown group or a name that two packages claim. Exceptions of the
    plugin's import are not caught.

    Example::

        io = Server(serializer=load("serializers", config["serializer"])())
    """
    # The same installation may be found twice, through two entries of sys.path.
    found = {entry.value: entry for entry in _entries(group) if entry.name == name}
    if not found:
        names = ", ".join(available(group)) or "none"
        raise PluginNotFound(f"no plugin {name!r} in rtframework.{group}; installed: {names}")
    if len(found) > 1:
        raise ConfigurationError(f"rtframework.{group}: {name!r} is claimed by {' and by '.join(sorted(found))}")
    (entry,) = found.values()
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        error.add_note(f"while loading the plugin {name!r} of rtframework.{group} ({entry.value})")
        raise


def _entries(group: str) -> list[EntryPoint]:
    if group not in GROUPS:
        raise ConfigurationError(f"{group!r} is no kind of plugin; there are {', '.join(GROUPS)}")
    return list(entry_points(group=f"rtframework.{group}"))
