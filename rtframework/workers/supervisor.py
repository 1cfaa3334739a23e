"""What a supervisor does with its workers, and when: decisions alone, without processes and without a clock.

There are as many *places* as workers are wanted, each with listeners of its own. A worker is one process in a place. A
place has two workers while one replaces the other.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final, TypeAlias

_HEALTHY: Final = 10.0
"""Seconds of serving after which the end of a worker is no repeated failure."""
_FIRST_PAUSE: Final = 0.5
"""Seconds before a worker that has failed twice is started again; twice as long after each further failure."""
_LONGEST_PAUSE: Final = 30.0
_SLOW: Final = 30.0
"""Seconds after which people are told of a worker that has not served yet."""
_TRACEBACK: Final = 2.0
"""Seconds that a worker which hangs has to print where it hangs."""


class State(enum.Enum):
    """The states of a worker."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"
    """It was told to end."""
    HANGING = "hanging"
    """It was aborted, because it was not heard of for too long."""


class Order(enum.Enum):
    """What a worker is told."""

    DRAIN = "drain"
    """Send your clients away over a time, and end."""
    END = "end"
    ABORT = "abort"
    """Print where you are, and end at once."""
    KILL = "kill"


@dataclass(slots=True, eq=False)
class Worker:
    """One process. ``number``: its own; ``place``: which listeners it has; ``replaces``: the one that it follows."""

    number: int
    place: int
    replaces: Worker | None = None
    state: State = State.STARTING
    heard: float = 0.0
    """Time at which it was last heard of, since it serves."""
    served: float = math.inf
    """Time from which it has served."""
    slow_at: float = math.inf
    """Time at which people are told that it has not served yet."""
    kill_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Start:
    """Start the process of a worker."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Tell:
    """Give a worker an order."""

    worker: Worker
    order: Order


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the people who run the server."""

    text: str
    worker: Worker | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """All places are served for the first time."""


Action: TypeAlias = Start | Tell | Say | Ready


class Supervisor:
    """Decides what becomes of workers. Each method takes an event and its time, and returns what is to be done now.

    ``places``: how many workers are wanted. ``timeout``: seconds without a sign of life after which a worker that
    serves is killed. ``patience``: seconds that a worker which was told to end has; ``drain``: seconds that it has
    besides if it is to send its clients away first. ``waits``: when the program cannot be started, wait for
    :meth:`replace` instead of giving up.
    """

    def __init__(
        self, places: int, *, timeout: float = 30.0, patience: float = 10.0, drain: float = 10.0, waits: bool = False
    ) -> None:
        self._places = places
        self._timeout = timeout
        self._patience = patience
        self._drain = drain
        self._waits = waits
        self._count = 0
        self.workers: list[Worker] = []
        self.exit_code: int | None = None
        """Set when all is over."""
        self._code = 0
        self._is_ending = False
        self._has_served = False
        self._is_ready = False
        self._failures = [0] * places
        self._again: dict[int, float] = {}
        """The times at which places without a worker get another one."""
        self._to_replace: list[int] = []
        """Places whose workers are still to be replaced, one after another."""
        self._is_replacing = False
        self._old = 0
        """Number of the last worker that is to be replaced: those after it are new."""

    @property
    def next_at(self) -> float:
        """The time at which :meth:`tick` is to be called, unless something happens before."""
        times = [self._timeout + each.heard for each in self.workers if each.state is State.SERVING]
        times += [min(each.kill_at, each.slow_at) for each in self.workers]
        return min([*times, *self._again.values()], default=math.inf)

    @property
    def unserved(self) -> set[int]:
        """Places whose listeners nobody accepts from, though there are workers that could take what comes."""
        served = {each.place for each in self.workers if each.state is State.SERVING}
        return set(range(self._places)) - served if served and not self._is_ending else set()

    # --- events -------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[Action]:
        """Start the first worker; the others follow when it serves, so that a mistake in the program shows once."""
        return self._start(0, now)

    def serving(self, worker: Worker, now: float) -> list[Action]:
        """Hear that a worker serves."""
        if worker.state is not State.STARTING:
            return []
        worker.state, worker.served, worker.heard, worker.slow_at = State.SERVING, now, now, math.inf
        actions: list[Action] = []
        if not self._has_served:
            self._has_served = True
            for place in range(1, self._places):
                actions += self._start(place, now)
        old, worker.replaces = worker.replaces, None
        if old is not None and old in self.workers:
            self._leave(old, now + self._drain)
            actions.append(Tell(old, Order.DRAIN))
        elif old is not None:
            actions += self._replace_next(now)
        if not self._is_ready and not self.unserved and len(self.workers) >= self._places:
            self._is_ready = True
            actions.append(Ready())
        return actions

    def heard(self, worker: Worker, now: float) -> list[Action]:
        """Hear a sign of life."""
        worker.heard = now
        return []

    def exited(self, worker: Worker, code: int, now: float) -> list[Action]:
        """Hear that a process has ended, with its exit code; negative for a signal."""
        self.workers.remove(worker)
        if self._is_ending:
            self._end_if_empty()
            return []
        if not self._has_served:
            return self.begin(now) if worker.state is State.LEAVING else self._give_up(code, now)
        if worker.state is State.LEAVING:
            if worker.served == math.inf and worker.replaces is None:  # there is a newer version: its place is empty
                return self._start(worker.place, now)
            return self._replace_next(now)
        if worker.replaces is not None and worker.replaces in self.workers:
            self._to_replace, self._is_replacing = [], False
            text = f"the new worker {{pid}} has ended ({_describe(code)}) before it served: the others stay as they are"
            return [Say(text, worker)]
        if any(each.place == worker.place and each.state is State.STARTING for each in self.workers):
            return []  # the one that replaces it
        actions = self._restart(worker, code, now)
        return actions + (self._replace_next(now) if worker.replaces is not None else [])

    def replace(self, now: float) -> list[Action]:
        """Replace all workers, one after another.

        Those that are being started end at once: they may be of the version before, or never serve.
        """
        if self._is_ending:
            return []
        starting = [each for each in self.workers if each.state is State.STARTING]
        for each in starting:
            self._leave(each, now)
        told: list[Action] = [Tell(each, Order.END) for each in starting]
        if not self._has_served:
            return told or ([] if self.workers else self.begin(now))
        self._failures = [0] * self._places
        for place in self._again:
            self._again[place] = now
        self._to_replace, self._old = list(range(self._places)), self._count
        return told if self._is_replacing else told + self._replace_next(now)

    def end(self, now: float) -> list[Action]:
        """End all workers at once."""
        self._is_ending = True
        self._again.clear()
        for each in self.workers:
            self._leave(each, now)
        self._end_if_empty()
        return [Tell(each, Order.END) for each in self.workers]

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        actions: list[Action] = []
        for each in self.workers:
            if each.kill_at <= now:
                each.kill_at = math.inf
                actions += [Say("worker {pid} does not end and is killed", each), Tell(each, Order.KILL)]
            elif each.slow_at <= now:
                each.slow_at = math.inf
                actions.append(Say(f"worker {{pid}} does not serve yet, {_SLOW:g} s after its start", each))
            elif each.state is State.SERVING and each.heard + self._timeout <= now:
                each.state, each.kill_at = State.HANGING, now + _TRACEBACK
                text = f"worker {{pid}} has hung for {self._timeout:g} s: it is killed, see where it is"
                actions += [Say(text, each), Tell(each, Order.ABORT)]
        for place in [place for place, at in self._again.items() if at <= now]:
            del self._again[place]
            actions += self._start(place, now)
        return actions

    # --- inside -------------------------------------------------------------------------------------------------------

    def _start(self, place: int, now: float, replaces: Worker | None = None) -> list[Action]:
        self._count += 1
        worker = Worker(self._count, place, replaces, slow_at=now + _SLOW)
        self.workers.append(worker)
        return [Start(worker)]

    def _leave(self, worker: Worker, since: float) -> None:
        worker.state, worker.kill_at = State.LEAVING, min(worker.kill_at, since + self._patience)
        worker.slow_at = math.inf

    def _restart(self, worker: Worker, code: int, now: float) -> list[Action]:
        place = worker.place
        if now - worker.served >= _HEALTHY:
            self._failures[place] = 0
        failures = self._failures[place]
        self._failures[place] += 1
        text = f"worker {{pid}} has ended ({_describe(code)}): another one is started"
        if not failures:
            return [Say(text, worker), *self._start(place, now)]
        pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
        self._again[place] = now + pause
        return [Say(f"{text} in {pause:g} s", worker)]

    def _replace_next(self, now: float) -> list[Action]:
        """Start a replacement for the next worker that is still an old one."""
        was_replacing, self._is_replacing = self._is_replacing, False
        while self._to_replace:
            place = self._to_replace.pop(0)
            here = (each for each in self.workers if each.place == place and each.state is State.SERVING)
            old = next(here, None)
            if old is not None and old.number <= self._old:
                self._is_replacing = True
                return self._start(place, now, old)
        return [Say("all workers were replaced")] if was_replacing else []

    def _give_up(self, code: int, now: float) -> list[Action]:
        if self._waits:
            return [Say(f"the program has ended ({_describe(code)}); save a file to try again")]
        self._code = code if code > 0 else 1
        said: list[Action] = [] if code > 0 else [Say(f"the program has ended ({_describe(code)}) before it served")]
        return said + self.end(now)

    def _end_if_empty(self) -> None:
        if not self.workers:
            self.exit_code = self._code


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
