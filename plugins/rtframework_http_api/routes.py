"""All routes of the API, in the order of the document. A new subject is a module with ``ROUTES``, and a line here."""

from __future__ import annotations

from typing import Final

from . import emitting, kicking, serving, sockets
from .route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *emitting.ROUTES,
    *kicking.ROUTES,
    *sockets.ROUTES,
    *serving.ROUTES,
)
"""Presence and history go after ``sockets``."""
