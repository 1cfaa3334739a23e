"""All routes of the API, in the order of the document. A new subject is a module with ``ROUTES``, and a line here."""

from __future__ import annotations

from typing import Final

from . import emitting, history, kicking, presence, serving, sockets
from .route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *emitting.ROUTES,
    *kicking.ROUTES,
    *sockets.ROUTES,
    *presence.ROUTES,
    *history.ROUTES,
    *serving.ROUTES,
)
