"""Plugins are found by the names that packages register."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import rtframework.plugins
from rtframework import StaticTokenAuth
from rtframework.exceptions import ConfigurationError, PluginNotFound
from rtframework.plugins import GROUPS, available, load
from rtframework_jwt import JWTAuth
from rtframework_msgpack import MsgpackSerializer

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

Install = Callable[[str, dict[str, dict[str, str]]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with entry points in front of all others, as pip would leave it on the disk."""

    def install(name: str, groups: dict[str, dict[str, str]]) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()), ""]
        (info / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{name}_module.py").write_text("class Plugin:\n    pass\n")
        monkeypatch.syspath_prepend(str(site))

    return install


@pytest.fixture
def shipped(install: Install) -> None:
    """The project's own entry points, installed or not."""
    project = tomllib.loads(_PYPROJECT.read_text())["project"]
    install(project["name"], project["entry-points"])


@pytest.mark.usefixtures("shipped")
def test_the_shipped_plugins_are_found() -> None:
    """A configuration file can say "jwt" or "msgpack"."""
    assert load("authenticators", "static") is StaticTokenAuth
    assert load("authenticators", "jwt") is JWTAuth
    assert load("serializers", "msgpack") is MsgpackSerializer
    for group in GROUPS:
        for name in available(group):
            assert callable(load(group, name))
    assert {"json", "msgpack"} <= set(available("serializers"))
    assert "memory" in available("adapters")


@pytest.mark.usefixtures("shipped")
def test_a_third_party_registers_the_same_way(install: Install) -> None:
    """Anybody's package can bring a serializer that programs then use by its name."""
    install("acme", {"rtframework.serializers": {"acme": "acme_module:Plugin"}})
    assert load("serializers", "acme").__name__ == "Plugin"
    assert "acme" in available("serializers")
    assert available("serializers") == sorted(set(available("serializers")))
    assert "acme" not in available("adapters")
    sys.modules.pop("acme_module")


@pytest.mark.usefixtures("shipped")
def test_an_unknown_name_says_which_are_there() -> None:
    """A slip in a configuration file is mended by reading the error."""
    with pytest.raises(PluginNotFound, match=r"'msgpak'.*json, msgpack"):
        load("serializers", "msgpak")


def test_an_empty_group_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the package is not installed at all the error does not end in nothing."""
    monkeypatch.setattr(rtframework.plugins, "entry_points", lambda group: [])
    with pytest.raises(PluginNotFound, match="installed: none"):
        load("adapters", "redis")


def test_an_unknown_group_is_a_mistake_in_the_program() -> None:
    """A misspelt group is not answered with an empty list."""
    for call in (lambda: available("serialisers"), lambda: load("serialisers", "json")):
        with pytest.raises(ConfigurationError, match="serializers"):
            call()


def test_a_name_that_two_packages_claim_is_refused(install: Install) -> None:
    """Which of two plugins runs is never left to the order of a search path."""
    install("one", {"rtframework.adapters": {"same": "one_module:Plugin"}})
    install("two", {"rtframework.adapters": {"same": "two_module:Plugin"}})
    with pytest.raises(ConfigurationError, match="one_module:Plugin and by two_module:Plugin"):
        load("adapters", "same")


def test_the_same_entry_found_twice_is_one(install: Install) -> None:
    """A package that is installed and also on the path, as in development, still works."""
    install("first", {"rtframework.adapters": {"mine": "first_module:Plugin"}})
    install("copy", {"rtframework.adapters": {"mine": "first_module:Plugin"}})
    assert load("adapters", "mine").__name__ == "Plugin"
    assert available("adapters").count("mine") == 1
    sys.modules.pop("first_module")


@pytest.mark.parametrize(
    ("value", "error"), [("no_such_module:Plugin", ImportError), ("rtframework.types:NoSuchName", AttributeError)]
)
def test_a_plugin_that_cannot_be_imported_says_which(install: Install, value: str, error: type[Exception]) -> None:
    """A plugin whose dependency is missing is named, and the real reason stays visible."""
    install("broken", {"rtframework.middleware": {"broken": value}})
    with pytest.raises(error) as caught:
        load("middleware", "broken")
    assert any("'broken' of rtframework.middleware" in note for note in caught.value.__notes__)
