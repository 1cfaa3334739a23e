"""The history of rooms in a SQLite file."""

from .history import SQLiteHistory

__all__ = ["SQLiteHistory"]
