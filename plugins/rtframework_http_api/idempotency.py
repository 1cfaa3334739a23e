"""Calls that are made once, however often they are asked for: the header ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from .answers import Answer, answer_of_problem
from .problems import Problem

MOST: Final = 10_000
"""Answers that are kept, the latest."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of all answers that are kept."""
LARGEST: Final = 64 * 1024
"""Bytes of an answer beyond which only the fact is kept."""
SECONDS: Final = 3600.0
"""Time for which an answer is kept."""
LONGEST_KEY: Final = 255


@dataclass(slots=True)
class _Call:
    fingerprint: bytes
    until: float
    done: asyncio.Task[Answer]
    size: int = 0


class Idempotency:
    """The answers to calls with an ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header), in this process.

    A call that has had no effect is not kept: a second one with its key is made.
    """

    __slots__ = ("_calls", "_clock", "_size")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls: dict[Hashable, _Call] = {}
        self._clock = clock
        self._size = 0

    def __len__(self) -> int:
        return len(self._calls)

    async def once(
        self, key: Hashable, fingerprint: bytes, make: Callable[[], asyncio.Task[Answer]]
    ) -> tuple[Answer, bool]:
        """Make a call, or return the answer to one with the same key, and ``True`` then.

        ``fingerprint``: of what is called with which body; another one under the same key raises :class:`Problem`. A
        call that still runs is waited for.
        """
        self._forget_old()
        known = self._calls.get(key)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise Problem(
                    "idempotency_key_reused",
                    "a call with this Idempotency-Key had another path or body: take a new key for another call",
                )
            return await _result(known.done), True
        if len(self._calls) >= MOST:
            self._forget(next(iter(self._calls)))
        call = self._calls[key] = _Call(fingerprint, self._clock() + SECONDS, make())
        call.done.add_done_callback(lambda task: self._settle(key, call))
        return await _result(call.done), False

    def _settle(self, key: Hashable, call: _Call) -> None:
        """Keep the answer, or forget a call that has had no effect."""
        if self._calls.get(key) is not call:
            return
        task = call.done
        if task.cancelled() or task.exception() is not None or not task.result().made:
            self._forget(key)
            return
        answer = task.result()
        if len(answer.body) > LARGEST:
            call.done = asyncio.ensure_future(_too_large())
        else:
            call.size = len(answer.body)
        self._size += call.size
        while self._size > MOST_BYTES:
            self._forget(next(iter(self._calls)))

    def _forget_old(self) -> None:
        now = self._clock()
        while self._calls:
            first = next(iter(self._calls))
            if self._calls[first].until > now:
                return
            self._forget(first)

    def _forget(self, key: Hashable) -> None:
        self._size -= self._calls.pop(key).size


async def _result(call: Awaitable[Answer]) -> Answer:
    """Wait for a call without cancelling it: who has asked may go before it is done."""
    return await asyncio.shield(call)


async def _too_large() -> Answer:
    return answer_of_problem(
        Problem("answer_not_kept", "the call was made once; its answer was too large to be kept for a second time")
    )


def check_key(text: str | None) -> str | None:
    """Check the header and return it. Raises :class:`Problem`."""
    if text is not None and (not text or len(text) > LONGEST_KEY or not text.isascii() or not text.isprintable()):
        detail = f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters: a random UUID, for example"
        raise Problem("invalid_idempotency_key", detail)
    return text
