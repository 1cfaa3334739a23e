"""`rtframework completion`: what the shells make of its script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, environment

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
    (["emit", "--re"], ["--redis"]),
    (["emit", "--redis", "redis://x", "--adapter", ""], ["pubsub", "streams"]),
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
