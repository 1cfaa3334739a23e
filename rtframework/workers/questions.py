"""Questions to all workers, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from .wire import Answer


@dataclass(frozen=True, slots=True)
class Gathered:
    """What workers have answered, by name, and the names of those that have not, in time or before they left."""

    answers: dict[str, bytes]
    missing: tuple[str, ...] = ()


class _Question:
    def __init__(self, names: Iterable[str]) -> None:
        self.awaited = set(names)
        self.answers: dict[str, bytes] = {}
        self.gone: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.check()

    def check(self) -> None:
        if not self.awaited and not self.done.done():
            self.done.set_result(None)


class Questions:
    """The questions of one asker that are open."""

    def __init__(self) -> None:
        self._open: dict[int, _Question] = {}
        self._numbers = count(1)

    def ask(self, names: Iterable[str]) -> tuple[int, _Question]:
        """Open a question to workers. Return its number, and what :meth:`result` waits for."""
        id = next(self._numbers)
        question = self._open[id] = _Question(names)
        return id, question

    def answer(self, answer: Answer, name: str) -> None:
        """Take a worker's answer."""
        question = self._open.get(answer.id)
        if question is None or name not in question.awaited:
            return
        question.awaited.discard(name)
        if answer.data is not None:
            question.answers[name] = answer.data
        question.check()

    def gone(self, name: str) -> None:
        """Wait for a worker no longer."""
        for question in self._open.values():
            if name in question.awaited:
                question.awaited.discard(name)
                question.gone.append(name)
                question.check()

    async def result(self, id: int, question: _Question, timeout: float) -> Gathered:
        """Wait for the answers, for so many seconds at most."""
        try:
            await asyncio.wait([question.done], timeout=timeout)
        finally:
            del self._open[id]
        return Gathered(question.answers, (*question.gone, *sorted(question.awaited)))
