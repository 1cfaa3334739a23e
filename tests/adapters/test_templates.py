"""Names with parameters in them: what they match, and what is said of those that are wrong."""

from __future__ import annotations

import re

import pytest

from rtframework import ConfigurationError
from rtframework.adapters.templates import compile_template, split_template


def test_the_parts_of_a_template() -> None:
    """A room or a namespace would be taken for another one."""
    assert list(split_template(r"/a.b/{id:\d{2}}{rest}")) == [("", "/a.b/"), ("id", r"\d{2}"), ("rest", "")]
    assert list(split_template("plain")) == [("", "plain")]
    assert list(split_template("")) == []


def test_what_a_template_matches() -> None:
    """A parameter would take what belongs to the next one, or a dot stand for any character."""
    pattern = compile_template(r"a.{one}:{two:\d+}", "[^:]+")
    found = pattern.fullmatch("a.b:12")
    assert found is not None
    assert found.groupdict() == {"one": "b", "two": "12"}
    for other in ("axb:12", "a.b:c", "a.:12"):
        assert pattern.fullmatch(other) is None
    assert compile_template("{all}", ".+", re.DOTALL).fullmatch("a\nb")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("a}", "closed that was not opened"),
        ("a{b", "opened and not closed"),
        ("{1}", "a parameter is"),
        ("{a:}", "a parameter is"),
        ("{a}{a}", "redefinition"),
        ("{a:(}", "unterminated"),
    ],
)
def test_a_wrong_template(template: str, complaint: str) -> None:
    """A mistake would show when the first client comes, as an error of the module re."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        compile_template(template, ".+")
    assert repr(template) in str(caught.value)
