"""The processes of workers: started, heard of, given orders and waited for, as the supervisor decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .supervisor import Action, Order, Ready, Say, Start, Supervisor, Tell, Worker

SERVING: Final = b"s"
"""What a worker writes to its pipe when it serves."""
ALIVE: Final = b"."
"""What it writes from then on, again and again."""

_SIGNALS: Final = {
    Order.DRAIN: "SIGUSR1",
    Order.END: "SIGTERM",
    Order.ABORT: "SIGABRT",
    Order.KILL: "SIGKILL",
}


@dataclass(frozen=True, slots=True)
class Command:
    """The command line of a worker, and the descriptors that its process gets."""

    arguments: Sequence[str]
    descriptors: Sequence[int]


class Processes:
    """Runs workers until all is over.

    ``command``: called with the number of a place and the descriptor of the pipe that the worker writes to. ``say``:
    called with lines for people. ``on_ready``: called when all places are served for the first time. ``on_change``:
    called after everything that happens.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        command: Callable[[int, int], Command],
        *,
        say: Callable[[str], None],
        on_ready: Callable[[], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._supervisor = supervisor
        self._command = command
        self._say = say
        self._on_ready = on_ready
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[int] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._running: dict[int, Process] = {}
        """By the number of the worker."""
        self._pipes: dict[int, tuple[Worker, int]] = {}
        """By the number of the worker: what it writes to is read from this descriptor."""
        self._waiting: dict[int, list[Order]] = {}
        """Orders for workers whose process is about to be there."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Start the workers, and return the exit code when all is over. Nothing is left when it is cancelled."""
        try:
            self._do(self._supervisor.begin(self._loop.time()))
            return await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._done.cancel()
            for number in (*self._waiting, *self._running):
                self._tell(number, Order.KILL)
            await asyncio.gather(*self._tasks)

    def end(self) -> None:
        """End all workers."""
        self._do(self._supervisor.end(self._loop.time()))

    def kill(self) -> None:
        """Kill all workers, and do nothing else: this process is about to end."""
        for process in list(self._running.values()):
            _send(process, signal.SIGKILL)

    def replace(self) -> None:
        """Replace all workers, one after another."""
        self._do(self._supervisor.replace(self._loop.time()))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _do(self, actions: Sequence[Action]) -> None:
        if self._done.done():
            return
        for action in actions:
            if isinstance(action, Start):
                self._waiting[action.worker.number] = []
                task = asyncio.create_task(self._live(action.worker))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(action, Tell):
                self._tell(action.worker.number, action.order)
            elif isinstance(action, Say):
                with contextlib.suppress(OSError):  # nobody reads it: the terminal was closed
                    self._say(action.text if action.worker is None else self._with_pid(action.text, action.worker))
            elif isinstance(action, Ready):
                with contextlib.suppress(OSError):
                    self._on_ready()
        if self._supervisor.exit_code is not None and not self._done.done():
            self._done.set_result(self._supervisor.exit_code)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        at = self._supervisor.next_at
        if at < float("inf") and not self._done.done():
            self._timer = self._loop.call_at(at, self._tick)
        self._on_change()

    def _tick(self) -> None:
        # This process may have stood still itself, stopped in a terminal for example: workers have told that they live.
        for worker, reader in list(self._pipes.values()):
            self._hear(worker, reader)
        self._do(self._supervisor.tick(self._loop.time()))

    def _tell(self, number: int, order: Order) -> None:
        if number in self._waiting:
            self._waiting[number].append(order)
        elif number in self._running:
            _send(self._running[number], getattr(signal, _SIGNALS[order]))

    def _with_pid(self, text: str, worker: Worker) -> str:
        process = self._running.get(worker.number)
        return text.replace("{pid}", str(process.pid) if process is not None else "")

    async def _live(self, worker: Worker) -> None:
        """Start a process, hear what it tells, and wait for its end."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            try:
                command = self._command(worker.place, writer)
                descriptors = (*command.descriptors, writer)
                # Of a session of its own: Ctrl-C in a terminal is for the supervisor, which tells its workers.
                process = await create_subprocess_exec(*command.arguments, pass_fds=descriptors, start_new_session=True)
            finally:
                os.close(writer)
            self._running[worker.number] = process
            for order in self._waiting.pop(worker.number):
                self._tell(worker.number, order)
            self._loop.add_reader(reader, self._hear, worker, reader)
            self._pipes[worker.number] = worker, reader
            code = await process.wait()
            self._hear(worker, reader)  # what it wrote last
        except OSError as error:  # no memory, or no descriptor
            with contextlib.suppress(OSError):
                self._say(f"a worker cannot be started: {error}")
            self._waiting.pop(worker.number, None)
            code = 1
        finally:
            self._pipes.pop(worker.number, None)
            self._loop.remove_reader(reader)
            os.close(reader)
        actions = self._supervisor.exited(worker, code, self._loop.time())
        self._do(actions)
        self._running.pop(worker.number, None)

    def _hear(self, worker: Worker, reader: int) -> None:
        try:
            said = os.read(reader, 4096)
        except BlockingIOError:
            return
        if not said:
            self._loop.remove_reader(reader)
            return
        now = self._loop.time()
        if SERVING in said:
            self._do(self._supervisor.serving(worker, now))
        self._supervisor.heard(worker, now)


def _send(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
