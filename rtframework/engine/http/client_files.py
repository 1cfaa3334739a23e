"""The JavaScript client's files, served beside the endpoint as Node's server does."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ...exceptions import ConfigurationError
from .codings import choose_coding

if TYPE_CHECKING:
    from os import PathLike

    from .origins import OriginPolicy

log: Final = logging.getLogger("rtframework.engine")

_BUNDLES: Final = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
NAMES: Final = (*_BUNDLES, *(f"{name}.map" for name in _BUNDLES))
"""The names of the files that are served; no others are, wherever they may be."""

_INSTALLED: Final = ("node_modules/socket.io-client/dist", "node_modules/socket.io/client-dist")
_BANNER: Final = re.compile(rb"Socket\.IO v([\w.+-]+)")


class ClientFiles:
    """Serves the files of a folder; kept in memory once they were asked for.

    ``source``: the folder, or ``True`` to look for an installed npm package, in the working directory and those above
    it. Raises ``ConfigurationError`` when a folder that is named holds no such file.
    """

    def __init__(self, source: bool | str | PathLike[str], origins: OriginPolicy) -> None:
        self._origins = origins
        self._folder = _find_installed(Path.cwd()) if isinstance(source, bool) else Path(source).resolve()
        if self._folder is None:
            log.warning("serve_client: neither %s nor %s is here or above", *_INSTALLED)
        elif not any((self._folder / name).is_file() for name in NAMES):
            raise ConfigurationError(f"serve_client: there is no {NAMES[0]} or the like in {self._folder}")
        self._etag = f'"{_version_of(self._folder)}"' if self._folder is not None else ""
        self._files: dict[str, tuple[bytes, bytes]] = {}

    def attach(self, app: web.Application, path: str) -> None:
        """Serve under a path, which ends with a slash."""
        for name in NAMES:
            app.router.add_get(path + name, self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        found = self._files.get(name)
        if found is None and self._folder is not None and name in NAMES:
            found = await asyncio.to_thread(_read, self._folder / name)
            if found is not None:
                self._files[name] = found
        if found is None:
            raise web.HTTPNotFound(text=f"404: {name} is not installed on this server; see its option serve_client\n")
        plain, zipped = found
        origin = request.headers.get("Origin")
        headers = self._origins.headers(origin, request.host) if self._origins.accepts(origin, request.host) else {}
        headers["Vary"] = "Accept-Encoding, Origin"
        headers["ETag"] = self._etag
        headers["Cache-Control"] = "public, max-age=0"
        if _matches(request.headers.getall("If-None-Match", ()), self._etag):
            return web.Response(status=304, headers=headers)
        kind = "json" if name.endswith(".map") else "javascript"
        headers["Content-Type"] = f"application/{kind}; charset=utf-8"
        if choose_coding(request.headers.getall("Accept-Encoding", ()), ("gzip",)) is None:
            return web.Response(body=plain, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=zipped, headers=headers)


def _find_installed(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        for place in _INSTALLED:
            if (folder / place / NAMES[0]).is_file():
                return folder / place
    return None


def _version_of(folder: Path) -> str:
    """Find the version of the npm package, or of the first bundle; else make a name for these files."""
    for package in (folder / "package.json", folder.parent / "package.json"):
        try:
            described = json.loads(package.read_bytes())
            if described["name"] in ("socket.io-client", "socket.io"):
                return _word(described["version"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    contents = [(folder / name).read_bytes() for name in NAMES if (folder / name).is_file()]
    banner = next((found for found in map(_BANNER.search, (content[:1000] for content in contents)) if found), None)
    return banner[1].decode() if banner is not None else hashlib.sha256(b"".join(contents)).hexdigest()[:20]


def _word(version: str) -> str:
    return re.sub(r"[^\w.+-]", "", version)


def _read(path: Path) -> tuple[bytes, bytes] | None:
    try:
        plain = path.read_bytes()
    except OSError:
        return None
    return plain, gzip.compress(plain, mtime=0)


def _matches(lines: list[str] | tuple[()], etag: str) -> bool:
    """Return whether an ``If-None-Match`` names what we have (RFC 9110, 13.1.2)."""
    return any(tag.strip().removeprefix("W/") in (etag, "*") for line in lines for tag in line.split(","))
