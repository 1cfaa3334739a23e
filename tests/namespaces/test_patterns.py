"""Templates, expressions and functions that stand for many namespaces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import ConfigurationError, Namespace
from rtframework.namespaces.patterns import Pattern, Question, compile_template, is_namespace, is_template


@pytest.mark.parametrize(
    ("template", "name", "params"),
    [
        ("/chat/{tenant}", "/chat/acme", {"tenant": "acme"}),
        ("/chat/{tenant}", "/chat/", None),
        ("/chat/{tenant}", "/chat", None),
        ("/chat/{tenant}", "/chat/acme/more", None),
        ("/chat/{tenant}", "/x/chat/acme", None),
        ("/chat/{tenant}", "/chat/acme\n", {"tenant": "acme\n"}),
        ("/chat/{tenant}", "/chat/größe 1", {"tenant": "größe 1"}),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
        ("/{a}-{b}", "/1-2-3", {"a": "1-2", "b": "3"}),
        (r"/room/{id:\d+}", "/room/42", {"id": "42"}),
        (r"/room/{id:\d+}", "/room/x", None),
        (r"/room/{id:\d{2}}/x", "/room/42/x", {"id": "42"}),
        ("/{kind:a|b}!", "/b!", {"kind": "b"}),
        ("/file/{path:.+}", "/file/a/b", {"path": "a/b"}),
        ("/a.b/{x}", "/aXb/1", None),
    ],
)
def test_templates(template: str, name: str, params: dict[str, str] | None) -> None:
    """A tenant would be let into the namespace of another, or into none."""
    found = Pattern(template).match(name)
    assert (None if found is None else dict(found)) == params


@given(st.text("ab/{}:\\d+.*[]()|?,é \n", max_size=20).map("/".__add__))
def test_a_template_compiles_or_says_what_is_wrong(template: str) -> None:
    """A slip in a name would show as a traceback out of the framework."""
    try:
        expression = compile_template(template)
    except ConfigurationError as error:
        assert template in str(error) or repr(template) in str(error)  # noqa: PT017
    else:
        assert expression.fullmatch("/") is None or isinstance(Pattern(template).match("/"), Mapping)


@pytest.mark.parametrize(
    "template",
    ["/{", "/}", "/{}", "/{a", "/{a}}", "/{a b}", "/{1}", "/{a:}", "/{a:(}", "/{a}/{a}", "{a}", "chat/{a}", "/{a},b"],
)
def test_templates_that_make_no_sense(template: str) -> None:
    """A typing error would silently match nothing."""
    with pytest.raises(ConfigurationError):
        Pattern(template)


def test_an_expression_matches_the_whole_name() -> None:
    """``/admin-\\d+`` would open ``/x/admin-1/anything``, too."""
    pattern = Pattern(re.compile(r"/(?P<kind>a|b)-(\d+)(?P<more>!)?"))
    found = pattern.match("/a-1")
    assert found is not None
    assert dict(found) == {"kind": "a"}
    for name in ("/x/a-1", "/a-1/x", "/a-1\n", "/a-"):
        assert pattern.match(name) is None
    assert Pattern(re.compile(r"^/dynamic-\d+$")).match("/dynamic-101") == {}
    with pytest.raises(ConfigurationError, match="bytes"):
        Pattern(re.compile(b"/a"))  # type: ignore[arg-type]


def test_params_cannot_be_changed() -> None:
    """One handler could move a namespace to another tenant for all."""
    found = Pattern("/{a}").match("/1")
    with pytest.raises(TypeError):
        found["a"] = "2"  # type: ignore[index]


async def test_functions_decide() -> None:
    """A function that is not async, or an object that can be called, would be refused or taken for a yes."""

    async def is_async(name: str, auth: Mapping[str, Any]) -> bool:
        return name == "/yes"

    class Decides:
        async def __call__(self, name: str, auth: Mapping[str, Any]) -> bool:
            return bool(auth.get("ok"))

    for question, yes, no in (
        (Question(is_async), ("/yes", {}), ("/no", {})),
        (Question(lambda name, auth: name == "/yes"), ("/yes", {}), ("/no", {})),
        (Question(Decides()), ("/", {"ok": 1}), ("/", {})),
        (Question(lambda name, auth: None), None, ("/", {})),  # type: ignore[arg-type, return-value]
    ):
        assert yes is None or await question.ask(*yes) is True
        assert await question.ask(*no) is False


def test_functions_that_cannot_decide_are_found_at_once() -> None:
    """A function that was ported with its callback would refuse everybody, one client after another."""

    def from_node(name: str, auth: Any, next: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"from_node.*async def from_node"):
        Question(from_node)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="factory="):
        Question(Namespace)  # type: ignore[arg-type]


def test_names() -> None:
    """A name that no packet can carry would be made, and reach nobody."""
    assert is_namespace("/")
    assert is_namespace("/a/b c")
    for bad in ("", "a", "/a,b", None, b"/"):
        assert not is_namespace(bad)
    assert is_template("/{a}")
    assert not is_template("/a")
    assert not is_template(re.compile("/{a}"))
