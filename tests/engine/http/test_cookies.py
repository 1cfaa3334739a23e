"""Cookies: what a browser sends is what an authenticator sees."""

from __future__ import annotations

import pytest

from rtframework.engine.http.cookies import Cookies


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1; b=2;c=3 ; d = 4", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("token=ab=cd==; theme=", {"token": "ab=cd==", "theme": ""}),
        ('q="1 2"; w="', {"q": "1 2", "w": '"'}),
        ("a=1; a=2", {"a": "1"}),
        ("junk; =nameless; ;; a=1", {"a": "1"}),
        ("a=%20é", {"a": "%20é"}),
    ],
)
def test_cookies_of_a_header(header: str, cookies: dict[str, str]) -> None:
    """A user who is signed in by a cookie would be refused, or be somebody else."""
    found = Cookies(header)
    assert dict(found) == cookies
    assert len(found) == len(cookies)
    assert "nothing" not in found
    assert found.get("nothing") is None
