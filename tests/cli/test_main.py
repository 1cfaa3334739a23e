"""`rtframework`: its commands, and what is common to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtframework.cli.main import COMMANDS, load_command
from tests.support.cli import COMMAND, environment, rtframework


async def test_help_names_the_commands() -> None:
    """Nobody would know what there is."""
    done = await rtframework("--help", cold=True)
    assert done.code == 0
    for name, summary in COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in done.lines), name


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_is_there_at_once(argument: str) -> None:
    """Who looks around would wait half a second each time for a server that is not asked for."""
    command = [sys.executable, "-X", "importtime", "-m", "rtframework", argument]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rtframework.cli.main" in imported
    assert (
        imported & {"aiohttp", "asyncio", "msgspec", "socketio", "rtframework.server", "rtframework.contracts"} == set()
    )


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_command_has_help_with_an_example(name: str) -> None:
    """Options alone do not say what to type."""
    done = await rtframework(name, "--help")
    assert done.code == 0
    assert f"rtframework {name} " in done.out.partition("\n\n")[2]
    typed = [line for line in done.lines if line.lstrip().startswith("rtframework ")]
    assert [line for line in typed if "()" in line and "()'" not in line] == []  # no shell would take it


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_module_of_its_own(name: str) -> None:
    """Who adds one would have to know all the others."""
    command = load_command(name)
    assert callable(command.add_arguments)
    assert callable(command.run)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("ruotes", "x"), 'rtframework: there is no command "ruotes"; did you mean "routes"?'),
        (("nothing",), 'rtframework: there is no command "nothing"'),
        (("--nothing",), "rtframework: there is no option --nothing before the command"),
        (("routes",), "rtframework routes: the following arguments are required: MODULE:NAME"),
        (("emit",), "rtframework emit: the following arguments are required: URL, EVENT"),
        (("listen",), "rtframework listen: the following arguments are required: URL"),
        (("routes", "x:y", "--jsno"), "rtframework routes: unrecognized arguments: --jsno"),
    ],
)
async def test_a_mistake_is_answered_in_two_lines(args: tuple[str, ...], says: str) -> None:
    """The mistake would drown in a screen of options."""
    done = await rtframework(*args, cold=True)
    assert (done.code, done.out) == (2, "")
    where = says.partition(":")[0]
    assert done.err.splitlines() == [says, f"See {where} --help"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
async def test_every_character_can_be_printed(tmp_path: Path, encoding: str) -> None:
    """In a job or a container without a locale, a command would end in a traceback."""
    (tmp_path / "server.py").write_text('import rtframework\nio = rtframework.Server()\nio.emits("é😀")', "utf-8")
    done = await rtframework("typescript", "server:io", cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert (done.code, done.err) == (0, "")
    assert ('"\\u00e9\\ud83d\\ude00": () => void;' if encoding == "ascii" else '"é😀": () => void;') in done.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("where", "code", "says"),
    [
        ("> /dev/full", 1, "rtframework completion: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written(where: str, code: int, says: str) -> None:
    """A full disk, or a service manager that closes stdout, would be answered with a traceback."""
    command = f'"{sys.executable}" -m rtframework completion bash {where}'
    done = subprocess.run(["/bin/sh", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, says)


async def test_without_a_command_there_is_help() -> None:
    """Somebody who looks around would be told off."""
    done = await rtframework(cold=True)
    assert done.code == 2
    assert "routes" in done.out


async def test_the_version() -> None:
    """Nobody could say in a report what is installed."""
    done = await rtframework("--version", cold=True)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("rtframework ")


# --- completion -------------------------------------------------------------------------------------------------------

CASES = [
    (["ro"], ["routes"]),
    (["run", "--reload"], ["--reload", "--reload-dir"]),
    (["run", "--loop", "u"], ["uvloop"]),
    (["run", "--loop", "=", "u"], ["uvloop"]),
    (["run", "se"], ["server.py", "services"]),
    (["run", "--reload-dir", "se"], ["services"]),
    (["run", "--path", "se"], ["server.js", "server.py", "services"]),
    (["emit", "http://x", "event", "--transport", ""], ["polling", "websocket"]),
    (["emit", "http://x", "event", "--auth", "@ser"], ["@server.js", "@server.py", "@services"]),
    (["emit", "http://x", "event", "--auth", "@", "ser"], ["@server.js", "@server.py", "@services"]),
    (["emit", "http://x", "event", "--auth", "=@", "server.j"], ["@server.js"]),
    (["emit", "http://x", "event", "--transport", "="], ["polling", "websocket"]),
    (["emit", "http://x", "event", "--timeout", ""], []),
    (["completion", ""], ["bash", "fish", "zsh"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has files to complete, and the scripts."""
    tmp_path = tmp_path_factory.mktemp("shells")
    for name in ("server.py", "server.js"):
        (tmp_path / name).touch()
    (tmp_path / "services").mkdir()
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run([*COMMAND, "completion", shell], env=environment(), capture_output=True, check=True)
        (tmp_path / f".{shell}").write_bytes(done.stdout)
    return tmp_path


def in_bash(folder: Path, script: str) -> list[str]:
    """What a script prints in a real bash."""
    bash = shutil.which("bash")
    assert bash is not None
    command = [bash, "--norc", "-c", f"source .bash\n{script}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr.replace("bash: line", "") == "" or "compopt" in done.stderr
    return done.stdout.splitlines()


def test_bash_completes(folder: Path) -> None:
    """Long options are typed wrong, or looked up each time."""
    for words, expected in CASES:
        listed = " ".join(f"'{word}'" for word in ["rtframework", *words])
        script = f"COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _rtframework; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        assert sorted(line for line in in_bash(folder, script) if line) == expected, words


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals like this")
@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("rtframework compl\t", "rtframework completion "),
        ("rtframework run server\t", "rtframework run server.py"),
        ("rtframework run x --shut\t", "rtframework run x --shutdown-timeout "),
        ("rtframework emit x y --auth @server.j\t", "rtframework emit x y --auth @server.js "),
        ("rtframework emit x y --auth=@server.j\t", "rtframework emit x y --auth=@server.js "),
        ("rtframework emit x y --auth @my\t", "rtframework emit x y --auth @my\\ token.json "),
        ("rtframework emit x y --transport=web\t", "rtframework emit x y --transport=websocket "),
    ],
)
def test_bash_completes_what_is_typed(folder: Path, typed: str, becomes: str) -> None:
    """The function would be right, and the shell would call it with other words."""
    import pty
    import select

    (folder / "my token.json").write_text("{}")
    (folder / "rc").write_text("PS1='$ '\nbind 'set enable-bracketed-paste off'\n. .bash\n")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", "rc", "-i"],
        cwd=folder, stdin=child, stdout=child, stderr=child, start_new_session=True,
        env={**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"},
    )  # fmt: skip
    os.close(child)
    try:
        os.write(parent, typed.encode())
        shown = ""
        while becomes not in shown:
            readable, _, _ = select.select([parent], [], [], 10)
            assert readable, f"{becomes!r} is not in {shown!r}"
            shown += os.read(parent, 4096).decode()
    finally:
        process.kill()
        process.wait()
        os.close(parent)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(folder: Path, shell: str) -> None:
    """One option with a quote in its help would break completion as a whole."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([found, "-n", f".{shell}"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes(folder: Path) -> None:
    """As with bash."""
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish")
    for words, expected in CASES:
        if "=" in words or "=@" in words or words[-2:-1] == ["@"]:  # bash takes words apart there
            continue
        line = " ".join(["rtframework", *words])
        script = f'source .fish; complete -C "{line}"'
        done = subprocess.run([fish, "-N", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
        found = {each.partition("\t")[0].rstrip("/") for each in done.stdout.splitlines()}
        # Where files of one kind are wanted, fish names the others, too, after them.
        assert found == set(expected) or (words[:2] == ["run", "se"] and found > set(expected)), words
