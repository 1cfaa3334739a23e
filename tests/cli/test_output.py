"""Where a command writes what it makes."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

import pytest

from rtframework.cli.errors import Exit, Failure
from rtframework.cli.output import add_output, hint_at_emits, prepare_stdout, write
from rtframework.contracts import Contract, EventContract, NamespaceContract
from tests.support.cli import rtframework
from tests.support.contract import PROGRAM


@pytest.mark.parametrize("command", ["typescript", "asyncapi"])
async def test_half_of_a_contract_is_told_of(program: Path, command: str) -> None:
    """An empty ``ServerToClientEvents`` would look as if the server had nothing to say."""
    server = program / "server.py"
    server.write_text(server.read_text(encoding="utf-8").replace('@io.emits("said", str)\n', ""), encoding="utf-8")
    done = await rtframework(command, "server:io", cwd=program)
    assert done.code == 0
    assert done.err.strip() == (
        "note: nothing says what the server emits in /: declare it with io.emits(event, *types)"
    )


async def test_a_file_that_is_not_up_to_date_is_told(program: Path) -> None:
    """A check in continuous integration would pass, and the page's types be those of last month."""
    command = ("typescript", "server:io", "-o", "events.ts")
    missing = await rtframework(*command, "--check", cwd=program)
    assert (missing.code, (program / "events.ts").exists()) == (1, False)
    await rtframework(*command, cwd=program)
    assert (await rtframework(*command, "--check", cwd=program)).code == 0
    (program / "server.py").write_text(PROGRAM.replace('"said", str', '"said", float'), encoding="utf-8")
    old = await rtframework(*command, "--check", cwd=program)
    assert old.code == 1
    assert "-  said: (data: string) => void;\n+  said: (data: number) => void;" in old.err
    assert old.err.splitlines()[-1] == (
        "rtframework typescript: events.ts is not up to date: run the same command without --check"
    )


# --- by itself --------------------------------------------------------------------------------------------------------


def options(*args: str) -> argparse.Namespace:
    """``--output`` and ``--check`` as they are given."""
    parser = argparse.ArgumentParser()
    add_output(parser)
    return parser.parse_args(args)


def test_without_a_file_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """There would be nothing to pipe into another program."""
    assert write(options(), "text\n") == Exit.DONE
    assert capsys.readouterr() == ("text\n", "")


def test_a_file_that_says_the_same_is_left_alone(tmp_path: Path) -> None:
    """Whatever watches the file, a bundler for instance, would start again for nothing."""
    file = tmp_path / "events.ts"
    assert write(options("-o", str(file)), "ü\n") == Exit.DONE
    assert file.read_bytes() == "ü\n".encode()
    os.utime(file, ns=(1, 1))
    assert write(options("-o", str(file)), "ü\n") == Exit.DONE
    assert file.stat().st_mtime_ns == 1
    assert write(options("-o", str(file)), "other\n") == Exit.DONE
    assert file.read_text() == "other\n"


def test_checking_writes_nothing(tmp_path: Path) -> None:
    """A check in continuous integration would repair what it is to complain of."""
    file = tmp_path / "events.ts"
    checking = options("-o", str(file), "--check")
    with pytest.raises(Failure, match=r"events\.ts is not up to date") as caught:
        write(checking, "new\n")
    assert not file.exists()
    assert caught.value.details.splitlines()[-1] == "+new"
    file.write_text("new\n")
    assert write(checking, "new\n") == Exit.DONE


def test_of_a_large_difference_the_beginning_is_shown(tmp_path: Path) -> None:
    """The line that says what to do would be scrolled away."""
    file = tmp_path / "events.ts"
    file.write_text("old\n" * 1_000)
    with pytest.raises(Failure) as caught:
        write(options("-o", str(file), "--check"), "new\n" * 1_000)
    assert len(caught.value.details.splitlines()) == 20


@pytest.mark.parametrize("name", ["nowhere/file", "."])
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    """A traceback would end the command."""
    with pytest.raises(Failure) as caught:
        write(options("-o", str(tmp_path / name)), "x")
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_file_of_another_kind_is_not_up_to_date(tmp_path: Path) -> None:
    """The name of a picture, given by mistake, would be answered with a traceback."""
    file = tmp_path / "events.ts"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Failure, match="is not up to date"):
        write(options("-o", str(file), "--check"), "x")


def test_a_check_needs_a_file() -> None:
    """A check would pass that has looked at nothing."""
    with pytest.raises(Failure, match="--check needs the file") as caught:
        write(options("--check"), "x")
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "written"),
    [("é", b"\\u00e9"), ("😀", b"\\ud83d\\ude00"), ("a\u2028b", b"a\\u2028b"), ("\ud800", b"\\ud800"), ("a", b"a")],
)
def test_what_an_encoding_lacks_is_written_as_in_json(
    text: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job without a locale a command would end in a traceback; and what it prints would be no JSON any more."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    prepare_stdout()
    sys.stdout.write(text)
    sys.stdout.flush()
    assert raw.getvalue() == written


def test_stdout_that_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager that closes stdout would have every command fail."""
    monkeypatch.setattr(sys, "stdout", None)
    prepare_stdout()
    print("nobody reads this")
    sys.stdout.close()


def test_only_half_of_a_contract_is_hinted_at(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that declares all it emits, or serves nothing, would be told to declare it."""
    said = (EventContract("said"),)
    hint_at_emits(
        Contract(
            (
                NamespaceContract("/", receives=said, sends=said),
                NamespaceContract("/empty"),
                NamespaceContract("/silent", receives=said),
            )
        )
    )
    assert capsys.readouterr().err == (
        "note: nothing says what the server emits in /silent: declare it with io.emits(event, *types)\n"
    )
