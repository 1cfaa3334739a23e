"""Several servers that are one, with everything that they need: a Redis, two servers in Python, one in Node, a proxy.

::

    python examples/cluster/run.py        # then open http://127.0.0.1:8086 in two windows

Ctrl-C ends all of it. A server that ends by itself, or is killed, comes back after a few seconds.
"""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
HOST = "127.0.0.1"
PATIENCE = 20.0  # seconds for a program to start, or to end


class Failed(Exception):
    """Something that is needed does not start."""


class Program:
    """A process that is started again when it ends."""

    def __init__(self, name: str, command: list[str], is_ready: Callable[[], bool], env: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.is_ready = is_ready
        self.env = {**os.environ, **env}
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        # In a session of its own: Ctrl-C is for this program, which then ends the others one after the other.
        self.process = await asyncio.create_subprocess_exec(*self.command, env=self.env, start_new_session=True)
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.is_ready():
                    if self.process.returncode is not None:
                        raise Failed(f"{self.name} has ended with code {self.process.returncode}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Failed(f"{self.name} has not started within {PATIENCE:g} s") from None

    async def keep(self, pause: float) -> None:
        while True:
            code = await self.process.wait()
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            say(f"{self.name} has ended ({how}); it comes back in {pause:g} s")
            await asyncio.sleep(pause)
            with suppress(Failed):
                await self.start()
                say(f"{self.name} is back, pid {self.process.pid}")

    async def stop(self) -> None:
        if hasattr(self, "process") and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), PATIENCE)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


def say(text: str) -> None:
    print(text, flush=True)


def answers(place: int | Path) -> bool:
    """Whether somebody listens on a port, or on a Unix socket."""
    with socket.socket(socket.AF_INET if isinstance(place, int) else socket.AF_UNIX) as probe:
        return probe.connect_ex((HOST, place) if isinstance(place, int) else str(place)) == 0


def redis_program(folder: Path) -> Program:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise Failed("redis-server is missing: install it, or say where one runs: --redis redis://127.0.0.1:6379")
    path = folder / "redis.sock"
    command = [found, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    return Program("Redis", [*command, "--logfile", str(folder / "redis.log")], lambda: answers(path), {})


def server_programs(redis: str, port: int) -> list[Program]:
    common = {"REDIS": redis}
    programs = []
    for number in (1, 2):
        env = {**common, "NAME": f"python-{number}", "PORT": str(port + number)}
        programs.append(server_program(env, [sys.executable, "-u", str(HERE / "server.py")]))
    npm = next((folder for folder in NPM if (folder / "@socket.io/redis-streams-adapter").is_dir()), None)
    node = shutil.which("node")
    if node and npm:
        env = {**common, "NAME": "node", "PORT": str(port + 3), "NODE_PATH": str(npm)}
        programs.append(server_program(env, [node, str(HERE / "server.cjs")]))
    elif node:
        say("No server in Node: `npm install` in examples/cluster fetches what it needs.")
    else:
        say("No server in Node: there is no node on this machine.")
    return programs


def server_program(env: dict[str, str], command: list[str]) -> Program:
    port = int(env["PORT"])
    return Program(env["NAME"], command, lambda: answers(port), env)


async def run(port: int, redis: str | None, pause: float) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    kept = []
    async with AsyncExitStack() as stack:
        if redis is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
            program = redis_program(folder)
            stack.push_async_callback(program.stop)
            await program.start()
            kept.append(program)
            redis = f"unix://{folder / 'redis.sock'}"
            say(f"Redis      {redis}   pid {program.process.pid}")
        servers = server_programs(redis, port)
        taken = [each for each in range(port, port + 1 + len(servers)) if answers(each)]
        if taken:
            raise Failed(f"port {taken[0]} is in use: --port says another one (that and the next three are needed)")
        for server in servers:
            stack.push_async_callback(server.stop)
        await asyncio.gather(*(server.start() for server in servers))
        urls = [f"http://{HOST}:{server.env['PORT']}" for server in servers]
        command = [sys.executable, "-u", str(HERE / "proxy.py"), *urls]
        proxy = server_program({"NAME": "proxy", "PORT": str(port)}, command)
        stack.push_async_callback(proxy.stop)
        await proxy.start()

        for server, url in zip(servers, urls, strict=True):
            say(f"{server.name:<10} {url}   pid {server.process.pid}")
        say(f"proxy      http://{HOST}:{port}   <- open this one, in two windows")
        pid = servers[0].process.pid
        say(f"`kill -9 {pid}` ends a server at once, `kill {pid}` in good order. Ctrl-C ends everything.")
        keepers = [asyncio.ensure_future(server.keep(pause)) for server in (*kept, *servers, proxy)]
        await stopping.wait()
        say("Ending …")
        for keeper in keepers:
            keeper.cancel()
        await asyncio.wait(keepers)


def main() -> int:
    parser = argparse.ArgumentParser(description="Several Socket.IO servers that are one.")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8086")), help="of the proxy")
    parser.add_argument(
        "--redis", default=os.environ.get("REDIS") or None, help="URL of a Redis that runs; default: its own"
    )
    parser.add_argument("--pause", type=float, default=5.0, help="seconds until a server that has ended comes back")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.port, options.redis, options.pause))
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
