"""The page on front ends: what it says about tokens and about proxies that change the host."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Final

import jwt
import pytest

from rtframework import Server, Socket
from rtframework_jwt import JWTAuth
from tests.conftest import Serve
from tests.support.contract import TypeScript
from tests.support.front import block_of
from tests.support.raw import raw_client

PAGE: Final = "../how-to/front-ends.md"
KEY: Final = secrets.token_urlsafe(32)

SIGN_IN: Final = """
const tokens = JSON.parse(process.argv[2]);
export const newToken = async () => tokens.shift();
export const showSignIn = (message) => {
  console.log(JSON.stringify(["sign in", message]));
  process.exit(0);
};
"""
WELCOME: Final = """
socket.on("welcome", (id) => {
  console.log(JSON.stringify(["connected", id]));
  process.exit(0);
});
"""


def token(expires_in: float) -> str:
    """A token of somebody, which expires in so many seconds."""
    return jwt.encode({"sub": "ada", "name": "Ada", "exp": int(time.time() + expires_in)}, KEY, algorithm="HS256")


@pytest.mark.parametrize(
    ("lifetimes", "ends"),
    [
        ((60,), ["connected", "ada"]),
        ((-60, 60), ["connected", "ada"]),
        ((-60, -60, 60), ["sign in", "The token has expired"]),
    ],
    ids=["good", "refreshed", "always expired"],
)
async def test_a_token_is_refreshed(
    lifetimes: tuple[float, ...], ends: list[str], serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """People would be thrown out each hour, or a page ask for tokens in an endless circle."""
    io = Server(auth=JWTAuth(key=KEY, algorithms=["HS256"]))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("welcome", socket.user.id)

    server = await serve(io)
    page = block_of(PAGE, "js", "token")
    assert '"https://chat.example.org"' in page
    folder = TypeScript(tmp_path_factory.mktemp("page"))
    folder.write("sign-in.js", SIGN_IN)
    folder.write("socket.js", page.replace('"https://chat.example.org"', json.dumps(server.url)))
    folder.write("main.js", 'import { socket } from "./socket.js";\n' + WELCOME)
    printed = await folder.run("main.js", json.dumps([token(each) for each in lifetimes]))
    assert json.loads(printed) == ends


@pytest.mark.parametrize(
    ("host", "named", "status"),
    [
        ("localhost:5173", None, 200),  # changeOrigin: false
        ("localhost:8080", None, 403),  # changeOrigin: true
        ("localhost:8080", ["http://localhost:5173"], 200),
    ],
)
async def test_what_change_origin_changes(host: str, named: list[str] | None, status: int, serve: Serve) -> None:
    """A page would be refused in development, and the option that is blamed be the wrong one."""
    server = await serve(Server(cors_allowed_origins=named))
    headers = {"Origin": "http://localhost:5173", "Host": host}
    async with raw_client(server.url) as raw, asyncio.timeout(5):
        answer = await raw.request("GET", query={"EIO": "4", "transport": "polling"}, headers=headers)
        assert answer.status == status
