"""The JavaScript client's files, without npm; with the real ones see ``integration/test_handshake_options.py``."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from rtframework import ConfigurationError
from rtframework.engine.http.client_files import ClientFiles, _version_of
from rtframework.engine.http.origins import OriginPolicy
from rtframework.options import Cors
from tests.conftest import Serve

BUNDLE = b"/*! Socket.IO v4.8.1 */ code"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one bundle."""
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "socket.io.js").write_bytes(BUNDLE)
    return dist


@pytest.mark.parametrize(
    ("name", "content", "version"),
    [
        ("../package.json", json.dumps({"name": "socket.io-client", "version": "4.0.1"}), "4.0.1"),
        ("package.json", json.dumps({"name": "socket.io", "version": '4"\r\n'}), "4"),
        ("package.json", json.dumps({"name": "my-app", "version": "1.0.0"}), "4.8.1"),
        ("package.json", "not json", "4.8.1"),
        ("package.json", "[]", "4.8.1"),
    ],
)
def test_the_version_tells_browsers_what_they_have(folder: Path, name: str, content: str, version: str) -> None:
    """Visitors would go on with the client of last year."""
    (folder / name).write_text(content)
    assert _version_of(folder) == version


def test_files_of_no_version_are_told_apart(folder: Path) -> None:
    """A bundle of a program's own would never be loaded again when it changes."""
    bundle = folder / "socket.io.js"
    bundle.write_bytes(b"one")
    one = _version_of(folder)
    bundle.write_bytes(b"two")
    assert one != _version_of(folder)


def test_a_folder_without_the_client_is_a_mistake(tmp_path: Path) -> None:
    """A typing error would be found by the first visitor."""
    with pytest.raises(ConfigurationError, match=r"there is no socket\.io\.js"):
        ClientFiles(tmp_path, OriginPolicy(Cors()))


async def test_what_is_not_installed_is_said(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sets this up would search for a 404 that says nothing."""
    monkeypatch.chdir(tmp_path)
    app = web.Application()
    with caplog.at_level(logging.WARNING):
        ClientFiles(True, OriginPolicy(Cors())).attach(app, "/socket.io/")
    assert "node_modules/socket.io-client/dist" in caplog.text
    server = await serve(app)
    async with ClientSession() as session, session.get(f"{server.url}/socket.io/socket.io.js") as response:
        assert response.status == 404
        assert "is not installed" in await response.text()


async def test_pages_of_other_hosts_may_load_it(serve: Serve, folder: Path) -> None:
    """A module of the client could not be imported by a page that may connect."""
    app = web.Application()
    ClientFiles(folder, OriginPolicy(Cors("https://a.org"))).attach(app, "/")
    server = await serve(app)
    async with ClientSession() as session:
        for origin, allowed in (("https://a.org", "https://a.org"), ("https://b.org", None)):
            async with session.get(f"{server.url}/socket.io.js", headers={"Origin": origin}) as response:
                assert await response.read() == BUNDLE
                assert response.headers["ETag"] == '"4.8.1"'
                assert response.headers.get("Access-Control-Allow-Origin") == allowed
