"""Programs written for python-socketio, which run on its server and on ours: only what makes the server differs.

Each module has ``build(make_server)``, which registers handlers as python-socketio's documentation shows them, and
notes in ``seen`` what they were told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from rtframework.engine import AsyncServer


class MakeServer(Protocol):
    """``socketio.AsyncServer`` or ``rtframework.engine.AsyncServer``."""

    def __call__(self, **options: Any) -> AsyncServer:
        """A server with these options of python-socketio's. Its type stands for both: they have the same API."""


@dataclass
class Program:
    """A program that is ready to be served."""

    sio: AsyncServer
    seen: list[tuple[Any, ...]] = field(default_factory=list)

    def attach(self, app: Any) -> None:
        """Serve under the default path."""
        self.sio.attach(app)

    def of(self, what: str) -> list[tuple[Any, ...]]:
        """What was noted under this word so far."""
        return [tuple(rest) for word, *rest in self.seen if word == what]
