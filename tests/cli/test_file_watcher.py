"""Which files are watched."""

from __future__ import annotations

import os
from pathlib import Path

from rtframework.cli.file_watcher import difference, take_snapshot


def write(path: Path, text: str = "") -> Path:
    """A file, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_programs_own_files_are_watched(tmp_path: Path) -> None:
    """A save would change nothing; or every download into a virtual environment would start the program again."""
    own = [write(tmp_path / name) for name in ("server.py", "package/__init__.py", "package/inner/rooms.py")]
    for name in (
        "page.html",
        ".hidden/a.py",
        "venv/lib/a.py",
        "node_modules/a/a.py",
        "__pycache__/a.py",
        "lib/site-packages/a.py",
    ):
        write(tmp_path / name)
    write(tmp_path / "venv/pyvenv.cfg")
    assert sorted(take_snapshot([tmp_path])) == sorted(map(str, own))


def test_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    """Some editors mark a file that is open by such a link: the command would end."""
    (tmp_path / ".#server.py").symlink_to("nobody@nowhere.1234")
    (tmp_path / "again").symlink_to(tmp_path)
    assert take_snapshot([tmp_path, tmp_path / "gone"]) == {}


def test_what_came_went_and_changed(tmp_path: Path) -> None:
    """A file that is new or gone changes what a program does, too."""
    stays, goes, changes = (write(tmp_path / f"{name}.py") for name in ("stays", "goes", "changes"))
    before = take_snapshot([tmp_path])
    goes.unlink()
    os.utime(changes, ns=(1, 1))
    comes = write(tmp_path / "comes.py")
    found = difference(before, take_snapshot([tmp_path]))
    assert found == sorted(map(str, (goes, changes, comes)))
    assert str(stays) not in found
