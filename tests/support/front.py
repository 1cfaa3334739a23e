"""nginx, HAProxy and Caddy, with the configuration that a page of the docs shows."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.server import HOST, free_port

DEPLOYMENT: Final = ROOT / "docs" / "deployment"
WITHIN: Final = 15.0
"""Seconds for what takes part of one on a quiet machine."""

NGINX: Final = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{configuration}
}}
"""


def block_of(page: str, *info: str) -> str:
    """The one block of a page of ``docs/deployment`` that is marked with these words."""
    (code,) = [block.code for block in read_page(DEPLOYMENT / page).blocks if block.info == info]
    return code


def adapted(configuration: str, changes: Mapping[str, str]) -> str:
    """A configuration for this machine. Raises ``AssertionError`` for a text to replace that is not there."""
    for there, here in changes.items():
        assert there in configuration, there
        configuration = configuration.replace(there, here)
    return configuration


class Front:
    """A proxy that runs; ``url`` is what clients are told."""

    def __init__(self, command: Sequence[str], folder: Path, port: int) -> None:
        self._command = command
        self.folder = folder
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def printed(self) -> str:
        """What it wrote to its log."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    async def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        with (self.folder / "output.log").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        ended = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    assert not ended.done(), f"it ended at once:\n{self.printed}"
                    with contextlib.suppress(ConnectionRefusedError):
                        _, writer = await asyncio.open_connection(HOST, self.port)
                        writer.close()
                        return
                    await asyncio.sleep(0.02)
        finally:
            ended.cancel()

    async def hang_up(self) -> None:
        """SIGHUP, with which nginx loads its configuration again, and wait until it has told its workers."""
        assert self._process is not None
        workers = self._children()
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(WITHIN):
            while not self._children() - workers:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)

    def _children(self) -> set[str]:
        assert self._process is not None
        return set(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split())

    async def stop(self) -> None:
        """End it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(WITHIN):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def _running(command: Sequence[str], folder: Path, port: int) -> AsyncIterator[Front]:
    front = Front(command, folder, port)
    try:
        await front.start()
        yield front
    finally:
        await front.stop()


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, which ``tmp_path`` is not."""
    with tempfile.TemporaryDirectory(prefix="rtf-front-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def program(name: str) -> str | None:
    """Where a program is; Debian has some that are not on everybody's path."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


@contextlib.asynccontextmanager
async def nginx(configuration: str, changes: Mapping[str, str], *, user: str | None = None) -> AsyncIterator[Front]:
    """With what stands in its ``http``; ``user``: whose its workers are, if the tests are root's."""
    found = program("nginx")
    assert found
    port = free_port()
    secrets = [line for line in configuration.splitlines(keepends=True) if "ssl_certificate" in line]
    with open_folder() as folder:
        changes = {
            "listen 443 ssl;": f"listen {HOST}:{port};",
            **dict.fromkeys(secrets, ""),
            **({there: f"{folder}/access.log"} if (there := "/var/log/nginx/chat.log") in configuration else {}),
            **changes,
        }
        workers = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
        whose = f"user {workers.pw_name} {grp.getgrgid(workers.pw_gid).gr_name};" if os.geteuid() == 0 else ""
        text = NGINX.format(folder=folder, user=whose, configuration=adapted(configuration, changes))
        (folder / "nginx.conf").write_text(text)
        command = [found, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        async with _running(command, folder, port) as front:
            yield front


@contextlib.asynccontextmanager
async def haproxy(configuration: str, changes: Mapping[str, str]) -> AsyncIterator[Front]:
    """With the whole of its configuration; it logs to its output."""
    found = program("haproxy")
    assert found
    port = free_port()
    with open_folder() as folder:
        changes = {
            "bind :443 ssl crt /etc/haproxy/chat.example.org.pem": f"bind {HOST}:{port}",
            "log /dev/log local0": "log stdout format raw local0",
            "maxconn 40000": "maxconn 200",
            **changes,
        }
        (folder / "haproxy.cfg").write_text(adapted(configuration, changes))
        async with _running([found, "-db", "-f", str(folder / "haproxy.cfg")], folder, port) as front:
            yield front


@contextlib.asynccontextmanager
async def caddy(configuration: str, changes: Mapping[str, str]) -> AsyncIterator[Front]:
    """With its sites; ``caddy_reload`` reloads it."""
    found = program("caddy")
    assert found
    port = free_port()
    with open_folder() as folder:
        changes = {"chat.example.org {": f"http://{HOST}:{port} {{", **changes}
        options = f"{{\n    admin unix/{folder}/admin\n    auto_https off\n    grace_period 100ms\n}}\n"
        (folder / "Caddyfile").write_text(options + adapted(configuration, changes))
        command = [found, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
        async with _running(command, folder, port) as front:
            yield front


async def caddy_reload(front: Front) -> None:
    """Load the configuration again, with a change that matters to nobody."""
    file = front.folder / "Caddyfile"
    file.write_text(file.read_text() + ":0 {\n    respond hello\n}\n")
    process = await asyncio.create_subprocess_exec(
        program("caddy") or "caddy",
        *("reload", "--adapter", "caddyfile", "--config", str(file), "--address", f"unix/{front.folder}/admin"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
