"""Finding the contract errors of strict mode that a program's handlers have raised, and that were only logged."""

from __future__ import annotations

import logging
from typing import Final

from ..exceptions import ContractError

_LOGGERS: Final = ("rtframework", "asyncio")
"""Loggers of the exceptions of handlers, and of tasks that are not awaited."""


class ContractErrors(logging.Handler):
    """A log handler that collects contract errors: every unhandled exception of a handler is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[ContractError] = []

    def start(self) -> None:
        """Start to watch the log."""
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)

    def stop(self) -> None:
        """Stop watching the log."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Collect the contract error of a log record, if it has one."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ContractError) and error not in self._found:
            self._found.append(error)

    def tell(self) -> None:
        """Raise the first error collected, and drop the others, which are likely to be the same."""
        if self._found:
            first, self._found = self._found[0], []
            raise first
