"""The process that workers have in common, and the directory in which they meet."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtframework import ConfigurationError
from rtframework.workers.parent import Parent, directory_of, make_private, started_at, temporary, this_parent


def test_a_parent_is_known_by_its_number_and_its_start() -> None:
    """A broker would outlive its workers' parent, because another process has its number now."""
    parent = this_parent()
    assert (parent.pid, parent.is_alive) == (os.getppid(), True)
    assert not Parent(parent.pid, parent.started + "1").is_alive
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    its = Parent(child.pid, started_at(child.pid) or "")
    assert its.is_alive
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not its.is_alive  # though nobody has waited for it
    child.communicate()
    assert started_at(child.pid) is None


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="rtf", dir="/tmp") as folder:
        yield Path(folder)


def test_workers_of_one_parent_meet_where_only_their_user_is(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers would not find each other, or those of another program would be among them."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    one, two = directory_of(Parent(7, "1")), directory_of(Parent(7, "2"))
    assert one.parent == two.parent == short
    assert one != two
    make_private(one)
    make_private(one)
    assert one.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "nothing"))
    monkeypatch.setattr("tempfile.tempdir", str(short))
    assert directory_of(Parent(7, "1")) == one


def test_the_name_of_a_socket_is_not_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers could not start where temporary files are in a folder deep down, as on a Mac or in a test."""
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    assert temporary() == "/tmp"
    assert directory_of(Parent(7, "1")).parent == Path("/tmp")


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_directory_that_is_not_private_is_refused(tmp_path: Path, kind: str) -> None:
    """Another user could make one first, and read all that workers send to each other."""
    path = tmp_path / "group"
    if kind == "open":
        path.mkdir()
        path.chmod(0o770)
    elif kind == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "other")
    else:
        path.touch(mode=0o600)
    with pytest.raises(ConfigurationError, match="not this user's alone"):
        make_private(path)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user could make one first, and be the broker."""
    path = tmp_path / "group"
    make_private(path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="not this user's alone"):
        make_private(path)
