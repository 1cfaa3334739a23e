"""What becomes of workers: every event that can happen to them, without a process."""

from __future__ import annotations

import math

from rtframework.workers.supervisor import Order, Ready, Say, Start, State, Supervisor, Tell, Worker


class Fleet:
    """A supervisor, what it has said, and a clock."""

    def __init__(self, places: int = 2, *, waits: bool = False) -> None:
        self.supervisor = Supervisor(places, timeout=30, patience=5, drain=10, waits=waits)
        self.now = 100.0
        self.said: list[str] = []
        self.ready = 0
        self.started: list[Worker] = []
        self.told: list[tuple[int, Order]] = []
        self.do(self.supervisor.begin(self.now))

    def do(self, actions: object) -> None:
        """Write down what is to be done."""
        assert isinstance(actions, list)
        for action in actions:
            if isinstance(action, Start):
                self.started.append(action.worker)
            elif isinstance(action, Tell):
                self.told.append((action.worker.number, action.order))
            elif isinstance(action, Say):
                self.said.append(action.text)
            elif isinstance(action, Ready):
                self.ready += 1

    def serve(self, number: int) -> None:
        """Let a worker serve."""
        self.do(self.supervisor.serving(self.worker(number), self.now))

    def exit(self, number: int, code: int = 0) -> None:
        """Let a process end."""
        self.do(self.supervisor.exited(self.worker(number), code, self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, as far as the supervisor wants to be called."""
        end = self.now + seconds
        while self.supervisor.next_at <= end:
            self.now = max(self.now, self.supervisor.next_at)
            for each in self.supervisor.workers:
                if each.number not in self.silent:
                    self.supervisor.heard(each, self.now)
            self.do(self.supervisor.tick(self.now))
        self.now = end

    silent: frozenset[int] = frozenset()
    """Workers of which nothing is heard."""

    def worker(self, number: int) -> Worker:
        """One that lives."""
        return next(each for each in self.supervisor.workers if each.number == number)

    @property
    def serving(self) -> dict[int, int]:
        """Workers that serve, and their places."""
        return {each.number: each.place for each in self.supervisor.workers if each.state is State.SERVING}


def served(places: int = 2, *, waits: bool = False) -> Fleet:
    """A fleet that serves, and has done so for a while."""
    fleet = Fleet(places, waits=waits)
    fleet.serve(1)
    for number in range(2, places + 1):
        fleet.serve(number)
    fleet.wait(20)
    return fleet


def test_the_first_worker_shows_if_the_program_can_be_started() -> None:
    """A mistake in the program would be printed once for each core."""
    fleet = Fleet(3)
    assert [each.number for each in fleet.started] == [1]
    assert fleet.supervisor.unserved == set()
    fleet.serve(1)
    assert [each.place for each in fleet.started] == [0, 1, 2]
    assert (fleet.ready, fleet.supervisor.unserved) == (0, {1, 2})
    fleet.serve(3)
    fleet.serve(2)
    assert (fleet.ready, fleet.supervisor.unserved, fleet.said) == (1, set(), [])


def test_a_program_that_cannot_be_started_ends_the_supervisor() -> None:
    """It would be tried for ever, and a deployment would look as if it were about to come."""
    fleet = Fleet()
    fleet.exit(1, 2)
    assert (fleet.supervisor.exit_code, fleet.said) == (2, [])
    fleet = Fleet()
    fleet.exit(1, -9)
    assert (fleet.supervisor.exit_code, fleet.said) == (1, ["the program has ended (signal 9) before it served"])


def test_a_worker_that_dies_gets_a_successor_at_once() -> None:
    """A core would be idle from then on."""
    fleet = served()
    fleet.exit(1, -9)
    assert fleet.said == ["worker {pid} has ended (signal 9): another one is started"]
    assert (fleet.started[-1].number, fleet.started[-1].place, fleet.supervisor.unserved) == (3, 0, {0})
    fleet.serve(3)
    assert (fleet.serving, fleet.ready) == ({2: 1, 3: 0}, 1)


def test_one_that_dies_again_and_again_is_started_less_and_less_often() -> None:
    """A worker that dies at its first event would take a core for its starts alone, and fill the log."""
    fleet = served()
    pauses = []
    number = 1
    for _ in range(9):
        fleet.exit(number, 1)
        before = fleet.now
        while fleet.started[-1].number == number or fleet.started[-1] not in fleet.supervisor.workers:
            fleet.wait(0.25)
        pauses.append(fleet.now - before)
        number = fleet.started[-1].number
        fleet.serve(number)
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert fleet.said[1] == "worker {pid} has ended (exit code 1): another one is started in 0.5 s"
    fleet.wait(11)
    fleet.exit(number, 1)
    assert fleet.started[-1].number == number + 1, "it has served for a while: at once"


def test_workers_are_replaced_one_after_another() -> None:
    """A new version would mean seconds in which nobody is served, or all clients come back in one moment."""
    fleet = served()
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert [(each.number, each.place) for each in fleet.started[2:]] == [(3, 0)]
    assert (fleet.told, fleet.serving) == ([], {1: 0, 2: 1})
    fleet.serve(3)
    assert fleet.told == [(1, Order.DRAIN)]
    assert len(fleet.started) == 3, "the next one waits until this one has gone"
    fleet.exit(1)
    assert [(each.number, each.place) for each in fleet.started[3:]] == [(4, 1)]
    fleet.serve(4)
    fleet.exit(2)
    assert (fleet.told, fleet.serving) == ([(1, Order.DRAIN), (2, Order.DRAIN)], {3: 0, 4: 1})
    assert (fleet.said, fleet.ready) == (["all workers were replaced"], 1)
    assert fleet.supervisor.next_at == fleet.now + 30


def test_a_new_version_that_cannot_be_started_replaces_nobody() -> None:
    """A mistake in a new version would take down the old one."""
    fleet = served()
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.exit(3, 1)
    assert fleet.said == ["the new worker {pid} has ended (exit code 1) before it served: the others stay as they are"]
    fleet.wait(100)
    assert (fleet.serving, fleet.told, len(fleet.started)) == ({1: 0, 2: 1}, [], 3)
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert fleet.started[-1].number == 4, "it can be tried again"


def test_one_that_dies_while_it_is_replaced_is_replaced_all_the_same() -> None:
    """The replacement would stop half way, with old code in some workers and new code in others."""
    fleet = served()
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.exit(1, -9)
    assert len(fleet.started) == 3, "its successor is on the way"
    fleet.serve(3)
    assert fleet.started[-1].place == 1
    fleet.exit(4, 1)
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.exit(3, -9)
    assert [(each.number, each.place) for each in fleet.started[4:]] == [(5, 0)]
    fleet.exit(5, 1)
    assert [each.place for each in fleet.started[5:]] == [0, 1], "it is tried again, and the others are replaced"


def test_a_second_new_version_replaces_all_once_more() -> None:
    """Some workers would go on with the version before."""
    fleet = served()
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.serve(3)
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert len(fleet.started) == 3
    fleet.exit(1)
    for number in (4, 5):
        old = fleet.worker(number).replaces
        assert old is not None
        fleet.serve(number)
        fleet.exit(old.number)
    assert fleet.serving == {4: 0, 5: 1}
    assert fleet.said == ["all workers were replaced"]


def test_a_worker_that_hangs_is_aborted_then_killed_and_replaced() -> None:
    """Its clients would wait for ever, and new ones be sent to it."""
    fleet = served()
    fleet.do(fleet.supervisor.heard(fleet.worker(1), fleet.now))
    fleet.silent = frozenset({1})
    fleet.wait(30)
    assert fleet.told == [(1, Order.ABORT)]
    assert fleet.supervisor.unserved == {0}
    fleet.wait(2)
    assert fleet.told == [(1, Order.ABORT), (1, Order.KILL)]
    fleet.exit(1, -9)
    assert fleet.started[-1].place == 0
    assert fleet.said[0] == "worker {pid} has hung for 30 s: it is killed, see where it is"


def test_one_that_takes_long_to_start_does_not_hang() -> None:
    """A program that reads much at its start could not be served at all."""
    fleet = Fleet()
    fleet.silent = frozenset({1})
    fleet.wait(1000)
    assert fleet.told == []
    assert fleet.said == ["worker {pid} does not serve yet, 30 s after its start"]
    assert fleet.supervisor.next_at == math.inf


def test_a_new_version_that_never_serves_is_given_up_for_the_next() -> None:
    """A program that waits for ever when it starts could not be mended: nothing would be started any more."""
    fleet = served()
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.wait(100)
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert fleet.told == [(3, Order.END)]
    assert len(fleet.started) == 3, "one after another"
    fleet.exit(3, -15)
    assert [(each.number, each.place) for each in fleet.started[3:]] == [(4, 0)]
    fleet.serve(4)
    fleet.exit(1)
    fleet.serve(5)
    fleet.exit(2)
    assert fleet.serving == {4: 0, 5: 1}
    assert fleet.said[-1] == "all workers were replaced"


def test_a_successor_that_never_serves_is_given_up_for_a_new_version() -> None:
    """Its place would stay empty, or have the version before."""
    fleet = served()
    fleet.exit(2, -9)
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert fleet.told == [(3, Order.END)]
    assert [(each.number, each.place) for each in fleet.started[2:]] == [(3, 1), (4, 0)]
    fleet.exit(3, -15)
    assert [(each.number, each.place) for each in fleet.started[4:]] == [(5, 1)]
    fleet.serve(5)
    fleet.serve(4)
    fleet.exit(1)
    assert fleet.serving == {4: 0, 5: 1}
    assert fleet.said[-1] == "all workers were replaced"


def test_all_are_told_to_end_at_once() -> None:
    """The end would take as many times as long as there are workers."""
    fleet = served()
    fleet.exit(2, 1)  # its successor starts
    fleet.do(fleet.supervisor.end(fleet.now))
    assert fleet.told == [(1, Order.END), (3, Order.END)]
    assert fleet.supervisor.unserved == set()
    fleet.wait(4)
    fleet.exit(1)
    assert fleet.supervisor.workers
    fleet.wait(1)
    assert fleet.told[-1] == (3, Order.KILL)
    fleet.exit(3, -9)
    assert (fleet.supervisor.exit_code, len(fleet.started)) == (0, 3)
    assert fleet.supervisor.replace(fleet.now) == []


def test_the_end_is_not_held_up_by_one_that_drains() -> None:
    """Ctrl-C would do nothing for the time of a drain."""
    fleet = served(1)
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.serve(2)
    fleet.do(fleet.supervisor.end(fleet.now))
    assert fleet.told == [(1, Order.DRAIN), (1, Order.END), (2, Order.END)]
    fleet.wait(5)
    assert fleet.told[-2:] == [(1, Order.KILL), (2, Order.KILL)]


def test_one_that_does_not_end_after_its_drain_is_killed() -> None:
    """A handler that never ends would hold up a new version for ever."""
    fleet = served(1)
    fleet.do(fleet.supervisor.replace(fleet.now))
    fleet.serve(2)
    fleet.wait(14.9)
    assert fleet.told == [(1, Order.DRAIN)]
    fleet.wait(0.1)
    assert fleet.told == [(1, Order.DRAIN), (1, Order.KILL)]


def test_in_development_a_mistake_is_waited_for() -> None:
    """One would have to start the command again after each mistake."""
    fleet = Fleet(waits=True)
    fleet.exit(1, 1)
    assert fleet.said == ["the program has ended (exit code 1); save a file to try again"]
    assert fleet.supervisor.exit_code is None
    fleet.do(fleet.supervisor.replace(fleet.now))
    assert fleet.started[-1].number == 2
    fleet.do(fleet.supervisor.replace(fleet.now))  # once more, while it starts
    assert fleet.told == [(2, Order.END)]
    fleet.exit(2)
    fleet.serve(3)
    fleet.serve(4)
    assert fleet.ready == 1
    fleet = Fleet(waits=True)
    fleet.exit(1, 1)
    fleet.do(fleet.supervisor.end(fleet.now))
    assert fleet.supervisor.exit_code == 0
