"""Breaches of contract that handlers have committed: errors of strict mode that the program has only logged."""

from __future__ import annotations

import logging
from typing import Final

from ..exceptions import ContractError

_LOGGERS: Final = ("rtframework", "asyncio")
"""Who logs what a handler raises, and what a task raises that nobody awaits."""


class ContractErrors(logging.Handler):
    """Finds them in the log, where every error of a handler ends that nobody answers for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[ContractError] = []

    def start(self) -> None:
        """Look at the log from now on."""
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)

    def stop(self) -> None:
        """… and no longer."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """A line was logged."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ContractError) and error not in self._found:
            self._found.append(error)

    def tell(self) -> None:
        """Raise the first of those that nobody has been told of; the others are likely to be the same."""
        if self._found:
            first, self._found = self._found[0], []
            raise first
