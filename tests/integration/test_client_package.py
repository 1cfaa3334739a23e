"""The package for JavaScript clients as npm packs it: what is in it, and its types."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import PACKAGE, has_vue
from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.react import MODULES
from tests.support.typescript import Compiler

SETTINGS: Final = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "module": "nodenext",
    "types": [],
}

PROGRAM: Final = """
import { connect, presence } from "@rtframework/client";
import type { Connection, Observable, RemoteSocket, Status } from "@rtframework/client";
import { serveWorker } from "@rtframework/client/worker";
import { io, Manager, type Socket } from "socket.io-client";

interface Heard { said: (text: string) => void }
interface Sent { say: (text: string, answer: (number: number) => void) => void; bye: () => void }

const inPage = connect<Heard, Sent>({
  hosts: ["https://a.example.org", "https://b.example.org"],
  transports: ["websocket"],
  withCredentials: true,
  getToken: async ({ reason, expiresIn }) => (reason === "refresh" && expiresIn ? "new" : null),
  onKicked: ({ reason, reconnect }) => console.log(reason.length, reconnect === true),
});
const stock: Socket<Heard, Sent> = inPage.socket;
stock.on("said", (text) => text.toUpperCase());

const inWorker: Connection<RemoteSocket<Heard, Sent>> = connect<Heard, Sent>({
  runIn: "shared-worker",
  session: "ada",
});
inWorker.socket
  .on("said", (text) => text.toUpperCase())
  .on("disconnect", (reason) => reason === "io server disconnect")
  .on("connect_error", (error) => error.data.code);
const number: number = await inWorker.socket.emitWithAck("say", "hello");
inWorker.socket.emit("say", "hello", (answer) => answer.toFixed());
inWorker.socket.volatile.emit("bye");
inWorker.socket.timeout(100).emit("say", "hello", (error: Error | null, answer: number) => answer);
const status: Observable<Status> = inWorker.status;
const stop: () => void = status.subscribe(({ state, runsIn }) => console.log(state, runsIn, number));
stop();

const members = presence<{ name: string }>(inWorker.socket, "den");
members.get().map(({ user, meta, tabs }) => `${user} ${meta.name.length} ${tabs.toFixed()}`);
presence(stock, "den");
presence(io(), "den");
serveWorker({ Manager });

// @ts-expect-error - no number
inWorker.socket.emit("say", 1);
// @ts-expect-error - no such event
inWorker.socket.on("sad", () => {});
// @ts-expect-error - no such place
connect({ runIn: "sharedworker" });
// @ts-expect-error - reconnecting is what the package does
connect({ reconnectionDelay: 1 });
// @ts-expect-error - seconds are a number
connect({ returnAfter: "1" });
"""

FRAMEWORKS: Final = """
import { usePresence, useStatus } from "@rtframework/client/react";
import { usePresence as useInVue } from "@rtframework/client/vue";
import { connect } from "@rtframework/client";
import { ref } from "vue";

const connection = connect();
const names: string[] = usePresence<{ name: string }>(connection.socket, "den").map(({ meta }) => meta.name);
const state: string = useStatus(connection).state;
const users: string[] = useInVue(connection.socket, ref("den")).value.map(({ user }) => user);
// @ts-expect-error - a room has a name
usePresence(connection.socket);
console.log(names, state, users);
"""


async def run(*command: str, cwd: Path) -> str:
    """Return what a command prints. Raise ``AssertionError`` if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the package is installed as npm packs it, beside all that the tests have."""
    project = tmp_path_factory.mktemp("project")
    asyncio.run(run("npm", "pack", "--silent", "--offline", "--pack-destination", str(project), cwd=PACKAGE))
    (archive,) = project.glob("*.tgz")
    modules = project / "node_modules"
    (modules / "@rtframework").mkdir(parents=True)
    for path in MODULES.iterdir():
        if not path.name.startswith("."):
            (modules / path.name).symlink_to(path)
    with tarfile.open(archive) as packed:
        packed.extractall(modules / "@rtframework", filter="data")
    (modules / "@rtframework" / "package").rename(modules / "@rtframework" / "client")
    (project / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return project


def test_what_is_packed(folder: Path) -> None:
    """Somebody would install a package without its types, its licence or a worker, or with our tests."""
    package = folder / "node_modules" / "@rtframework" / "client"
    found = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    sources = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("src/*.js")}
    types = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("types/*.d.ts")}
    assert found == {"LICENSE", "README.md", "package.json"} | sources | types
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    described = json.loads((package / "package.json").read_text())
    for entry in described["exports"].values():
        for path in [entry] if isinstance(entry, str) else entry.values():
            assert (package / path).is_file(), path
    assert {"dependencies", "scripts"} & set(described) == set()  # nothing is built, nothing is brought along
    assert described["peerDependenciesMeta"].keys() == {"react", "vue"}


def test_the_package_has_the_version_of_the_framework() -> None:
    """Nobody would know which client belongs to which server."""
    project = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert json.loads((PACKAGE / "package.json").read_text())["version"] == project[1]


async def test_the_types_of_a_program(folder: Path, tsc: Compiler) -> None:
    """A typo in the name of an event or an option would be found by a user instead of the compiler."""
    files = {"program.ts": PROGRAM}
    if has_vue():
        files["frameworks.ts"] = FRAMEWORKS
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    settings = {"compilerOptions": SETTINGS, "files": list(files)}
    (folder / "tsconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    assert await tsc.compile(folder) == []


async def test_the_package_has_the_types_that_it_says(folder: Path, tsc: Compiler) -> None:
    """The declarations are written by hand: without a check they would promise what the code does not do."""
    package = shutil.copytree(folder / "node_modules" / "@rtframework" / "client", folder / "checked")
    settings = json.loads((PACKAGE / "tsconfig.json").read_text())
    if not has_vue():
        settings["exclude"] = ["src/react.js", "src/vue.js", "types/react.d.ts", "types/vue.d.ts"]
    (package / "tsconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    assert await tsc.compile(package) == []


async def test_the_page_of_the_readme(serve: Serve, browser: Pages) -> None:
    """Somebody without a bundler would paste a page that does not find its modules, or whose worker does not."""
    (block,) = [block for block in read_page(PACKAGE / "README.md").blocks if block.info[:1] == ("html",)]
    hello: asyncio.Queue[Socket] = asyncio.Queue()
    io = Server(serve_client=MODULES / "socket.io-client" / "dist")

    @io.on("hello")
    async def said_hello(socket: Socket) -> None:
        hello.put_nowait(socket)

    pages = {"/": block.code, "/worker": block.code.replace("connect()", 'connect({ runIn: "worker" })')}

    async def page(request: web.Request) -> web.Response:
        text = f'<!doctype html><link rel="icon" href="data:,">{pages[request.path]}'
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    io.attach(app)
    app.router.add_static("/client", PACKAGE)
    for path in pages:
        app.router.add_get(path, page)
    server = await serve(app)
    for path in pages:
        await browser.open(server.url + path)
        async with asyncio.timeout(15):
            await hello.get()


NODE: Final = """
import { connect } from "@rtframework/client";

const connection = connect({ hosts: process.argv[2] });
console.log(await connection.socket.emitWithAck("echo", "hello"), connection.status.get().state);
connection.close(); // the last thing that keeps the process alive
"""


async def test_in_node(serve: Serve, folder: Path) -> None:
    """A page that is rendered on a server would end with an error; and a program in Node do without backup hosts."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, text: str) -> str:
        return text

    server = await serve(io)
    (folder / "in-node.js").write_text(NODE, encoding="utf-8")
    assert await run("node", "in-node.js", server.url, cwd=folder) == "hello connected\n"
