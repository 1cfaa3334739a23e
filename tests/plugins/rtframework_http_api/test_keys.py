"""Keys: which are taken, and what they may do."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError
from rtframework_http_api import APIKey
from rtframework_http_api.keys import Keyring, keys_of
from tests.support.http_api import KEY, READER


@pytest.mark.parametrize(
    ("secret", "advice"),
    [
        ("short", "32 characters or more, not 5"),
        ("a" * 40, "random letters"),
        ("correct horse battery staple is no key", "without spaces"),
        ("schlüssel" * 4, "random letters"),
        (None, "a string, not of type NoneType"),
    ],
)
def test_a_key_that_could_be_guessed_is_refused(secret: Any, advice: str) -> None:
    """Somebody would find it by trying, since good keys are never kept waiting."""
    with pytest.raises(ConfigurationError, match=advice):
        APIKey(secret)


@pytest.mark.parametrize(
    ("scopes", "advice"),
    [(("write",), "not 'write'"), ((), "not none"), ("read", r"write scopes=\('read',\)")],
)
def test_scopes_that_are_none(scopes: Any, advice: str) -> None:
    """A misspelt scope would be found when a cron job is refused at night."""
    with pytest.raises(ConfigurationError, match=advice):
        APIKey(KEY, scopes=scopes)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ((None, None), "needs a key"),
        ((None, {}), "needs a key"),
        ((None, KEY), "secrets by name"),
        ((None, {"a": "short"}), "32 characters"),
    ],
)
def test_options_that_are_none(options: tuple[Any, Any], advice: str) -> None:
    """An API without a key would be open to everybody."""
    with pytest.raises(ConfigurationError, match=advice):
        keys_of(*options)


def test_each_secret_is_its_key() -> None:
    """A call would be another one's in the audit log, or may do what it must not."""
    keys = Keyring(keys_of(None, {"ci": KEY, "reader": APIKey(READER, scopes=("read",))}))
    assert (keys.find(KEY), keys.find(READER)) == ("ci", "reader")
    for wrong in ("", KEY[:-1], KEY + "0", KEY.upper(), "\udcff"):
        assert keys.find(wrong) is None
    assert [scope for scope in ("read", "emit", "kick", "history", "admin") if keys.allows("reader", scope)] == ["read"]
    assert all(keys.allows("ci", scope) for scope in ("read", "emit", "kick", "history", "admin"))
    assert Keyring(keys_of(KEY, None)).find(KEY) == "default"


def test_names_and_secrets_are_each_ones_own() -> None:
    """The audit log would name one of two, or nobody."""
    with pytest.raises(ConfigurationError, match="is another one's"):
        Keyring(keys_of(None, {"a": KEY, "b": KEY}))
    with pytest.raises(ConfigurationError, match="has a name"):
        Keyring(keys_of(None, {"": KEY}))


def test_neither_repr_nor_attributes_hold_a_secret() -> None:
    """A key would be in a log, or in a report of an error."""
    key = APIKey(KEY)
    keys = Keyring({"ci": key})
    assert KEY not in repr(key)
    assert KEY not in repr([getattr(keys, name) for name in Keyring.__slots__])
