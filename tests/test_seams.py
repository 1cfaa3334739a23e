"""The seams of python-socketio and python-engineio: methods of theirs that the engine overrides or relies on.

They may change with any release, the private ones without notice. Each row is one, with the signature that the engine
was written for; when a row fails after an upgrade, read the new method before changing the row.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

import rtframework.engine

SEAMS: Final = {
    "socketio.async_server.AsyncServer.__init__": (
        "(self, client_manager=None, logger=False, json=None, async_handlers=True, namespaces=None, **kwargs)"
    ),
    "socketio.async_server.AsyncServer._engineio_server_class": "(self)",
    "socketio.async_server.AsyncServer.attach": "(self, app, socketio_path='socket.io')",
    "engineio.base_server.BaseServer.__init__": (
        "(self, async_mode=None, ping_interval=25, ping_timeout=20, max_http_buffer_size=1000000, "
        "allow_upgrades=True, http_compression=True, compression_threshold=1024, cookie=None, "
        "cors_allowed_origins=None, cors_credentials=True, logger=False, json=None, async_handlers=True, "
        "monitor_clients=None, transports=None, **kwargs)"
    ),
    "engineio.async_server.AsyncServer.attach": "(self, app, engineio_path='engine.io')",
    "engineio.async_server.AsyncServer.handle_request": "(self, *args, **kwargs)",
    "engineio.async_server.AsyncServer.shutdown": "(self)",
}


def resolve(name: str) -> Any:
    """The object of a dotted name: the longest part that is a module is imported."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def overrides() -> Iterator[tuple[str, str]]:
    """Every method of the engine that replaces one of the libraries': its name, and the name of what it replaces."""
    for info in pkgutil.iter_modules(rtframework.engine.__path__):
        module = importlib.import_module(f"{rtframework.engine.__name__}.{info.name}")
        for cls in vars(module).values():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__:
                continue
            upstream = [base for base in cls.__mro__[1:] if base.__module__.split(".")[0] in ("socketio", "engineio")]
            for name, value in vars(cls).items():
                if not inspect.isroutine(value):
                    continue
                base = next((base for base in upstream if name in vars(base)), None)
                if base is not None:
                    yield f"{cls.__qualname__}.{name}", f"{base.__module__}.{base.__qualname__}.{name}"


@pytest.mark.parametrize("name", SEAMS)
def test_a_seam_is_as_it_was(name: str) -> None:
    """An override with another signature fails while serving a client, if not in silence."""
    try:
        found = resolve(name)
    except AttributeError:
        pytest.fail(f"the seam {name} is gone: see what took its place, then adapt the engine and this table")
    signature = str(inspect.signature(found))
    assert signature == SEAMS[name], f"the seam {name} has changed: adapt the engine, then this table"


def test_every_override_has_a_row() -> None:
    """A seam that nobody watches breaks with the next release of the library."""
    unwatched = [f"{ours} overrides {theirs}" for ours, theirs in overrides() if theirs not in SEAMS]
    assert not unwatched, "add to the table: " + "; ".join(unwatched)
