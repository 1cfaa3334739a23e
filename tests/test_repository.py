"""The repository as a whole: what must be in it and what must not."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = frozenset(
    {
        *("", ".cfg", ".css", ".html", ".js", ".json", ".md", ".mjs", ".py", ".svg", ".toml", ".yaml", ".yml"),
        *(".py-tpl", ".toml-tpl"),  # of a new project
    }
)
# Assembled, so that this file does not hold them itself.
REGISTRIES: Final = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
)
MACHINE_PATH: Final = re.compile(r"(?<![\w.\-}/])/(?:home|Users|root|work|tmp|opt|mnt)/[\w.]")
LOCK_FILES: Final = frozenset(
    {
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "poetry.lock",
        "uv.lock",
        "Pipfile.lock",
        "pdm.lock",
    }
)


def repository_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern is found, in the files that people write."""
    found = []
    for path in repository_files():
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if pattern.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def test_no_package_registry_is_named() -> None:
    """People behind a mirror of their own install from there, not from where we happened to."""
    assert lines_with(re.compile("|".join(map(re.escape, REGISTRIES)))) == []


def test_no_path_of_a_machine_is_named() -> None:
    """A path of the machine where something was written exists on no other."""
    assert lines_with(MACHINE_PATH) == []


def test_no_lock_file_is_kept() -> None:
    """A library is tested with what its users get; a lock file would also name a registry."""
    assert [path.name for path in repository_files() if path.name in LOCK_FILES] == []


@pytest.mark.parametrize("name", ["node_modules/", ".venv/", "package-lock.json"])
def test_what_is_installed_is_ignored(name: str) -> None:
    """One `git add .` would commit ten thousand files."""
    assert name in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


VERSION: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_changelog_speaks_of_this_version() -> None:
    """Who upgrades reads there what changes for them."""
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings, "CHANGELOG.md has no version heading"
    assert headings[0] in ("Unreleased", VERSION)


def test_the_code_does_not_repeat_the_version() -> None:
    """One of two places would be forgotten, and a release call itself by the name of the last one."""
    pattern = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.])|__version__")
    sources = [
        path for folder in ("rtframework", "plugins", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert len(sources) > 100
    assert [path.name for path in sources if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_the_pages_that_name_the_version_name_this_one() -> None:
    """People would look for what is missing, or repaired, in the list of another version."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"This is (\d+\.\d+\.\d+)", readme) in ([], [VERSION])
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d[\d.]*) \| yes \|$", security, re.MULTILINE) == [VERSION.rpartition(".")[0]]


@pytest.mark.parametrize(
    "package",
    ["rtframework", *(str(path.parent.relative_to(ROOT)) for path in sorted(ROOT.glob("plugins/*/__init__.py")))],
)
def test_packages_are_typed(package: str) -> None:
    """Without the marker, type checkers treat all of a package as untyped."""
    assert (ROOT / package / "py.typed").is_file()


def test_every_test_says_what_it_is_for() -> None:
    """A test without a reason is deleted, or kept, for no reason."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_folder_of_tests_is_a_package() -> None:
    """Two test files of one name in folders that are no packages shadow each other."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts}
    assert [folder.name for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


# The first release without a known advisory of what users install with the framework, and the last advisory before it;
# "0" where none is known. Last looked through in November 2026.
ADVISORIES: Final = {
    "aiohttp": ("3.14.5", "GHSA-2g87-pp6c-29x5, GHSA-5wr8-gcqf-gqf3"),
    "bcrypt": ("0", ""),
    "cryptography": ("50.0.0", "CVE-2026-69247; CVE-2026-69249 before 49, GHSA-537c-gmf6-5ccf before 48.0.1"),
    "hiredis": ("0", ""),
    "msgpack": ("1.2.1", "CVE-2026-57585"),
    "msgspec": ("0", ""),
    "opentelemetry-api": ("0", ""),
    "prometheus-client": ("0", ""),
    "pyjwt": ("2.14", "CVE-2024-53861, CVE-2026-32597, CVE-2026-48526, GHSA-ffc3-869f-jxw9"),
    "python-engineio": ("4.13.2", "CVE-2026-48802, CVE-2026-48809"),
    "python-socketio": ("5.16.2", "CVE-2026-48804"),
    "redis": ("4.5.5", "CVE-2023-28858, CVE-2023-28859"),
    "rtframework": ("0", ""),
    "uvloop": ("0", ""),
}
TEMPLATE: Final = ROOT / "rtframework/cli/template/pyproject.toml-tpl"


@pytest.mark.parametrize("path", [ROOT / "pyproject.toml", TEMPLATE], ids=["framework", "new project"])
def test_no_release_with_a_known_advisory_is_allowed(path: Path) -> None:
    """Somebody who upgrades the framework alone would keep a dependency that any client can bring down."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = [each for extra, names in optional.items() if extra != "test" for each in names]
    below = []
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        first, advisory = ADVISORIES[requirement.name.lower()]
        (least,) = [each.version for each in requirement.specifier if each.operator == ">="]
        if Version(least) < Version(first):
            below.append(f"{requirement}: {first} has the repair of {advisory}")
    assert below == []
