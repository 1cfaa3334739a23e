"""What a fork of ``tests.support.preload`` does: be the program that was asked for, as an interpreter would run it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import os
import runpy
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from rtframework.cli import reloader
from rtframework.workers import processes

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_create_subprocess_exec: Final = asyncio.subprocess.create_subprocess_exec


def _die_with_parent() -> None:
    """Be killed when the process that forks ends, which it does with the one that asks; where this is Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def become(request: Mapping[str, Any], descriptors: Sequence[int], installed: Sequence[str]) -> None:
    """Run what is asked for as ``python`` would."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if request.get("group"):
        os.setpgid(0, 0)
        _die_with_parent()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    arguments = list(request["arguments"])
    flags = _flags(arguments)
    _open_streams(unbuffered="-u" in flags)
    if "-W" in flags or os.environ.get("PYTHONWARNINGS") == "error":
        sys.warnoptions[:] = ["error"]
        warnings.resetwarnings()
        warnings.simplefilter("error")
    start_here = partial(_start_here, installed)
    for module in (asyncio, asyncio.subprocess, processes, reloader):
        vars(module)["create_subprocess_exec"] = start_here
    _execute(arguments, installed)


def _flags(arguments: list[str]) -> set[str]:
    """Take the interpreter's options from the beginning of its arguments: ``-u``, and ``-W error``."""
    found = set()
    while arguments[0] in ("-u", "-W"):
        flag = arguments.pop(0)
        assert flag == "-u" or arguments.pop(0) == "error"
        found.add(flag)
    return found


def _open_streams(unbuffered: bool) -> None:
    """Open the standard streams as an interpreter does when it starts."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        binary = open(number, "wb" if number else "rb", 0 if number and unbuffered else -1, closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            binary,
            encoding or None,
            "backslashreplace" if number == 2 else errors or None,
            line_buffering=number == 2,
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _execute(arguments: Sequence[str], installed: Sequence[str]) -> None:
    named = [str(Path(each).resolve()) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    is_module = arguments[0] == "-m"
    sys.argv[:] = arguments[1:] if is_module else arguments
    sys.path[:] = [os.getcwd() if is_module else str(Path(sys.argv[0]).resolve().parent), *named, *installed]
    importlib.invalidate_caches()
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def run(act: Callable[[], None]) -> NoReturn:
    """Run what is asked for, and end as an interpreter does, in the order in which it does.

    What was imported before is left to the system: to free it object by object copies all of the memory that the fork
    shares, which takes four times as long as the fork. To look through it for garbage does, too: it stays frozen.
    """
    ours = set(sys.modules)
    vars(gc)["unfreeze"] = lambda: None  # what ``tune_gc`` does when it starts and when it ends
    try:
        act()
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException as error:  # noqa: BLE001 - as the interpreter
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    else:
        code = 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if threading.active_count() == 1:  # a daemon thread may still look at them
        for name in set(sys.modules) - ours:
            module = sys.modules.pop(name)
            if isinstance(module, ModuleType):
                vars(module).clear()
        gc.collect()  # what was never closed is heard of now
    if not _flush():
        code = 120
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


class _Child:
    """A process that a program in a fork has forked: as much of ``asyncio.subprocess.Process`` as programs use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._fd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._fd, self._end)

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Raises ``ProcessLookupError`` when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended.set_result(self.returncode)


async def _start_here(
    installed: Sequence[str],
    *command: str,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    start_new_session: bool = False,
    **others: Any,
) -> _Child | asyncio.subprocess.Process:
    """Start a program of this Python without an interpreter of its own, which would do all imports again.

    It runs where it is forked, within a callback of the parent's event loop: whatever is on the stack stays there,
    and no object of the parent's is freed, which would close what has its descriptor's number by then. What is asked
    for in another way, and other programs, are started as always.
    """
    arguments = list(command[1:])
    if command[0] != sys.executable or others or arguments[0] not in ("-u", "-m"):
        return await _create_subprocess_exec(
            *command, env=env, pass_fds=pass_fds, start_new_session=start_new_session, **others
        )
    _flush()
    # A signal that comes before the child has its own handlers would be the parent's.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *_SIGNALS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the parent's wait for processes, or for work
        pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return _Child(pid)
    gc.freeze()
    if start_new_session:
        os.setsid()
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    asyncio._set_running_loop(None)
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # what the parent removes when it ends
    for each in map(int, os.listdir("/proc/self/fd")):
        if each > 2 and each not in pass_fds:
            with contextlib.suppress(OSError):  # of the list itself
                os.close(each)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    _open_streams(unbuffered="-u" in _flags(arguments))
    run(partial(_execute, arguments, installed))


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _flush() -> bool:
    """Write what the streams of the program still hold; tell whether that was possible."""
    try:
        if not sys.stdout.closed:
            sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - as the interpreter
        print(f"Exception ignored in: {sys.stdout!r}\n{type(error).__name__}: {error}", file=sys.stderr)
        return False
    if not sys.stderr.closed:
        sys.stderr.flush()
    return True
