"""`rtframework new`: the project that it makes, used as its README says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
import pytest
from aiohttp import ClientSession
from playwright.async_api import Route, expect

from rtframework.cli.commands.new import TEMPLATE, check_name
from rtframework.cli.errors import Failure
from tests.support.chat import RECONNECTED_WITHIN, SERVER_DOWN
from tests.support.cli import COMMAND, environment, rtframework, running
from tests.support.preload import ROOT

if TYPE_CHECKING:
    from tests.conftest import ServeProgram
    from tests.support.browser import Pages
    from tests.support.js import JSClients

CLIENT: Final = ROOT / "tests/js/node_modules/socket.io-client/dist/socket.io.min.js"
LONGEST: Final = "a23456789-a23456789-a23456789-a23456789a"
SECRET: Final = "a secret of this test, and no other"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals like these")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project, called my-hello."""
    return make_project(tmp_path_factory.mktemp("new"), "my-hello")


def make_project(folder: Path, name: str) -> Path:
    """Make a project in a folder."""
    subprocess.run([*COMMAND, "new", name], cwd=folder, env=environment(), capture_output=True, check=True)
    return folder / name


def installed(project: Path, **more: str) -> dict[str, str]:
    """The environment in which a project is installed, and this tree with it."""
    env = environment(**more)
    return {**env, "PYTHONPATH": os.pathsep.join([str(project / "src"), env["PYTHONPATH"]])}


async def run_module(project: Path, *args: str, **more: str) -> tuple[int | None, str]:
    """Run ``python -m`` in a project; its exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *args),
        cwd=project,
        env=installed(project, **more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 50)
    return process.returncode, output.decode(errors="replace")


# --- what is made -----------------------------------------------------------------------------------------------------


async def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    """A newcomer would have a folder of files, and no idea what to type."""
    done = await rtframework("new", "my-hello", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        f"The project my-hello is in {tmp_path / 'my-hello'}. Next:",
        '  cd my-hello && pip install -e ".[test]"',
        "  pytest",
        "  rtframework run my_hello.dev:app --reload",
    ]
    readme = (tmp_path / "my-hello/README.md").read_text(encoding="utf-8")
    assert 'pip install -e ".[test]"\npytest\nrtframework run my_hello.dev:app --reload\n' in readme


def test_nothing_is_left_of_the_template(tmp_path: Path) -> None:
    """Files of the project would have names that nobody knows, or be missing."""
    project = make_project(tmp_path, "my-hello")
    files = sorted(path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file())
    assert files == [
        *(".dockerignore", ".gitignore", "Dockerfile", "README.md", "pyproject.toml"),
        *(f"src/my_hello/{name}.py" for name in ("__init__", "__main__", "app", "auth", "chat", "dev")),
        *("src/my_hello/page/index.html", "src/my_hello/page/main.js", "src/my_hello/settings.py", "tests/test_app.py"),
    ]
    for name in files:
        content = (project / name).read_text(encoding="utf-8")
        assert not re.search(r"project.name|-tpl|dot-", name + content), name


async def test_a_folder_that_is_there_can_be_used(tmp_path: Path) -> None:
    """Who has made a virtual environment and a repository first would have to move them."""
    folder = tmp_path / "my-hello"
    (folder / ".venv").mkdir(parents=True)
    (folder / ".git").mkdir()
    done = await rtframework("new", ".", cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert done.lines[1] == '  pip install -e ".[test]"'
    assert (folder / "src/my_hello/app.py").is_file()


@pytest.mark.parametrize("name", ["a", LONGEST])
async def test_the_code_is_clean(tmp_path: Path, name: str) -> None:
    """The first commit of a new project would fail in its own checks."""
    project = make_project(tmp_path, name)
    assert await run_module(project, "ruff", "check", "--no-cache") == (0, "All checks passed!\n")
    code, printed = await run_module(project, "ruff", "format", "--check", "--diff", "--no-cache")
    assert code == 0, printed


@pytest.mark.timeout(120)
async def test_the_types_are_right(project: Path) -> None:
    """A type checker would complain of code that nobody has touched."""
    path = os.pathsep.join(map(str, (project / "src", ROOT, ROOT / "plugins")))
    cache = str(ROOT / ".mypy_cache")  # there the framework is checked already
    code, printed = await run_module(project, "mypy", "--strict", "--cache-dir", cache, MYPYPATH=path)
    assert (code, printed) == (0, "Success: no issues found in 8 source files\n")


async def test_its_tests_pass(project: Path) -> None:
    """The second command of the README would fail."""
    code, printed = await run_module(project, "pytest", "-W", "error", "-p", "no:cacheprovider")
    assert code == 0, printed
    assert "13 passed" in printed


def test_what_it_depends_on_has_bounds(project: Path) -> None:
    """A new project would break one day because of a release that nobody had tried."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    theirs = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    series = ".".join(ours["project"]["version"].split(".")[:2])
    wanted = [
        *theirs["project"]["dependencies"],
        *theirs["project"]["optional-dependencies"]["test"],
        *theirs["build-system"]["requires"],
    ]
    assert f"rtframework>={series}," in wanted[0]
    assert [each for each in wanted if not re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", each)] == []
    # The framework is tested with these, so nothing else is promised here.
    tested = {*ours["project"]["dependencies"], *ours["dependency-groups"]["test"], *ours["build-system"]["requires"]}
    for each in wanted[1:]:
        name, lowest = re.split(r">=|,", each)[:2]
        assert any(other.startswith(f"{name}>={lowest}") for other in tested), each


def test_the_client_is_the_one_of_the_examples() -> None:
    """A browser would refuse a client whose digest is that of another version."""
    example = (ROOT / "examples/chat/web_page.py").read_text(encoding="utf-8")
    page = (TEMPLATE / "src/project_name/page/index.html").read_text(encoding="utf-8")
    (digest,) = re.findall(r"sha384-[\w/+]+", page)
    (version,) = re.findall(r"socket\.io/([\d.]+)/socket", page)
    assert digest in example
    assert f"/{version}/socket.io.min.js" in example


# --- what it does -----------------------------------------------------------------------------------------------------


async def test_a_client_signs_in(project: Path, js: JSClients) -> None:
    """The page could not talk to the server."""
    run = ("run", "my_hello.dev:app", "--port", "0")
    async with running(*run, cwd=project, env=installed(project)) as command, ClientSession() as http:
        url = (await command.see(r"http://\S+"))[0]
        async with http.post(f"{url}/sign-in", json={"name": "Ada"}) as response:
            auth = await response.json()
        ada = await js.connect(url, auth=auth)
        bob = await js.connect(url, auth=auth)
        said = await ada.emit_with_ack("say", {"text": "Hello!"})
        assert said["author"] == "Ada"
        assert await bob.wait_for("message") == [said]
        refused = await (await js.connect(url, wait=False, auth={"token": "made.up.x"})).refused()
        assert refused["data"] == {"code": "malformed"}
        refused = await (await js.connect(url, wait=False)).refused()
        assert refused["data"] == {"code": "missing"}


async def test_the_page(tmp_path: Path, browser: Pages) -> None:
    """The first thing that anybody sees would be an empty page."""
    project = make_project(tmp_path, "my-hello")
    index = project / "src/my_hello/page/index.html"
    # The digest is that of the CDN's version, not of the one that npm has.
    index.write_text(re.sub(r'integrity="[^"]*"', "", index.read_text(encoding="utf-8")), encoding="utf-8")
    run = ("run", "my_hello.dev:app", "--port", "0", "--reload")
    async with running(*run, cwd=project, env=installed(project)) as command:
        url = (await command.see(r"http://\S+"))[0]
        pages = []
        for name in ("Ada", "Bob"):
            page = await browser.open()
            await page.route("https://cdn.socket.io/**", from_cdn)
            await page.goto(url)
            await expect(page.locator("#say")).to_be_hidden()
            await page.locator("#name").fill(name)
            await page.locator("#name").press("Enter")
            await expect(page.locator("#status")).to_have_text(f"Connected as {name}")
            await expect(page.locator("#sign-in")).to_be_hidden()
            pages.append(page)
        await pages[0].locator("#text").fill("Anybody here?")
        await pages[0].locator("#text").press("Enter")
        for page in pages:
            await expect(page.locator("#messages li")).to_have_text(["Ada: Anybody here?"])
        await expect(pages[0]).to_have_title("my-hello (2)")
        await pages[0].locator("#text").fill(" ")
        await pages[0].locator("#text").press("Enter")
        await expect(pages[0].locator("#status")).to_contain_text("Not sent: ")
        browser.expect_errors(SERVER_DOWN)
        # A saved file starts the server again, with another secret.
        with (project / "src/my_hello/chat.py").open("a", encoding="utf-8") as file:
            file.write("# saved\n")
        await command.see(r"http://\S+", after=1)
        for page, name in zip(pages, ("Ada", "Bob"), strict=True):
            await expect(page.locator("#status")).to_have_text(f"Connected as {name}", timeout=RECONNECTED_WITHIN)
        await pages[1].locator("#text").fill("Still here.")
        await pages[1].locator("#text").press("Enter")
        for page in pages:
            await expect(page.locator("#messages li").last).to_have_text("Bob: Still here.")
            await page.close()
        assert await command.end() == 0


async def from_cdn(route: Route) -> None:
    """Answer for the CDN."""
    headers = {"Access-Control-Allow-Origin": "*"}
    await route.fulfill(path=CLIENT, content_type="text/javascript", headers=headers)


async def test_the_events_can_be_shown(project: Path) -> None:
    """The README names two commands that would find nothing."""
    done = await rtframework("routes", "my_hello.dev:io", cwd=project, env=installed(project))
    assert "on     say(draft: Draft) -> Message" in done.out
    done = await rtframework("typescript", "my_hello.dev:io", cwd=project, env=installed(project))
    assert (done.code, done.err) == (0, "")
    assert "message: (data: Message) => void;" in done.out


async def test_nothing_has_to_be_installed(project: Path) -> None:
    """Without a network, where no build backend can be fetched, nobody could look at what was made."""
    done = await rtframework("routes", "my_hello.dev:io", cwd=project / "src", env=environment())
    assert "on     say(draft: Draft) -> Message" in done.out


async def test_comments_of_types_are_markdown(project: Path) -> None:
    """The marks of Python's docstrings would stand in the comments of TypeScript."""
    done = await rtframework("typescript", "my_hello.dev:io", cwd=project, env=installed(project))
    assert "``" not in done.out
    assert "Each method `on_…` serves an event." in done.out


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"SECRET_KEY": ""}, "my_hello: SECRET_KEY is not set: it needs 32 bytes\n"),
        ({"SECRET_KEY": "short"}, "my_hello: SECRET_KEY is shorter than 32 bytes\n"),
    ],
)
async def test_production_without_a_secret_does_not_start(project: Path, env: dict[str, str], says: str) -> None:
    """Anybody could make tokens for a server whose secret is known, or none."""
    assert await run_module(project, "my_hello", **env) == (1, says)


async def test_production(project: Path, serve_program: ServeProgram, js: JSClients) -> None:
    """It would work on the developer's machine alone."""
    env = installed(project, SECRET_KEY=SECRET)
    server = await serve_program(Path("-m"), args=["my_hello"], env=env)
    async with ClientSession() as http, http.post(f"{server.url}/sign-in", json={"name": "Ada"}) as response:
        assert response.status == 404  # nobody gets a token for a name
    claims: dict[str, Any] = {"sub": "1", "name": "Ada", "aud": "my_hello", "exp": 2**40}
    ada = await js.connect(server.url, auth={"token": jwt.encode(claims, SECRET, algorithm="HS256")})
    assert (await ada.emit_with_ack("say", {"text": "Hi"}))["author"] == "Ada"
    forged = jwt.encode(claims, "x" * 32, algorithm="HS256")
    refused = await (await js.connect(server.url, wait=False, auth={"token": forged})).refused()
    assert refused["data"] == {"code": "bad_signature"}

    check = await run_check(project, server.port)
    assert check == 0, "the image's check of health fails"
    assert await server.stop() == 0, server.printed
    assert "Traceback" not in server.printed
    assert await run_check(project, server.port) == 1


async def run_check(project: Path, port: int) -> int | None:
    """Run the check of health that the image has; its exit code."""
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert found
    program, *args = json.loads(found[1])
    assert program == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable, *args, env={**os.environ, "PORT": str(port)}, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


def test_the_image_runs_as_nobody_in_particular(project: Path) -> None:
    """A hole in the program would be one in the machine; a shell in front of it would swallow SIGTERM."""
    lines = (project / "Dockerfile").read_text(encoding="utf-8").splitlines()
    user = next(line for line in lines if line.startswith("USER "))
    assert user.removeprefix("USER ").isdecimal()
    assert user != "USER 0"
    assert lines[-1] == 'CMD ["python", "-m", "my_hello"]'
    copied = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    let_in = (project / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((project / each).exists() and f"!{each}" in let_in for each in copied)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *(
            (name, "is no name for a project")
            for name in ("Hello", "1st", "a b", "_x", "a--b", "a-", "é", LONGEST + "x")
        ),
        *((name, "is a word of Python or one of its modules") for name in ("class", "json")),
        *((name, "is a package that the project needs") for name in ("rtframework", "tests", "pytest-asyncio")),
    ],
)
async def test_a_name_that_cannot_be_used(tmp_path: Path, name: str, says: str) -> None:
    """The project could not be imported, or would hide what it needs."""
    done = await rtframework("new", name, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f'rtframework new: "{name}" {says}' in done.complaint
    assert list(tmp_path.iterdir()) == []


def test_every_package_that_a_project_needs_is_refused_as_a_name() -> None:
    """Its own package would hide one that the framework imports: an error that nobody understands."""
    modules_of: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for each in distributions:
            modules_of.setdefault(each.lower().replace("-", "_"), set()).add(module)
    queue, needed = ["rtframework", "pytest", "pytest-asyncio"], set[str]()
    while queue:
        name = queue.pop().lower().replace("-", "_")
        if name in needed or (name != "rtframework" and name not in modules_of):  # there already, or for other systems
            continue
        needed |= {name, *modules_of.get(name, ())}
        required = [each for each in metadata.requires(name) or () if "extra ==" not in each]
        queue += [re.split(r"[^\w.-]", each)[0] for each in required]
    assert {"yarl", "jwt", "pluggy"} < needed
    accepted = []
    for name in sorted(each for each in needed if re.fullmatch("[a-z][a-z0-9_]*", each)):
        try:
            check_name(name)
        except Failure:
            continue
        accepted.append(name)
    assert accepted == []


async def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Somebody's work would be gone."""
    (tmp_path / "full").mkdir()
    for name in ("notes.txt", "server.py"):
        (tmp_path / "full" / name).write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name, says in (
        ("full", "full is not empty: there is notes.txt and 1 more"),
        ("file", "file is no folder"),
        ("nowhere", "nowhere is no folder"),
        ("file/hello", "file/hello: Not a directory"),
    ):
        done = await rtframework("new", name, cwd=tmp_path)
        assert (done.code, done.out) == (1, "")
        assert done.complaint == f"rtframework new: {says}"
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["notes.txt", "server.py"]
    assert (tmp_path / "file").read_text() == "mine"
