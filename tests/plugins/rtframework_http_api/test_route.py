"""A call, and the namespaces that it finds."""

from __future__ import annotations

import pytest

from rtframework import Server
from rtframework_http_api.others import Others
from rtframework_http_api.problems import Problem
from rtframework_http_api.route import Call
from tests.conftest import Serve


def call_of(io: Server) -> Call:
    """Make a call."""
    return Call(io, Others(io, dict, lambda seconds: None), "ci", True, {})


async def test_namespaces_are_found_and_none_is_left_behind(serve: Serve) -> None:
    """Each call that names another tenant would leave a namespace, or be refused while nobody of it is there."""
    io = Server(cleanup_empty_child_namespaces=True)
    io.of("/admin")
    io.of("/chat/{tenant}")
    await serve(io)
    call = call_of(io)
    for name in ("/", "/admin", "/chat/1"):
        async with call.namespace(name) as found:
            assert (found.name, found is io.namespaces[name]) == (name, True)
            assert call.nsp == name
    assert set(io.namespaces) == {"/", "/admin"}


@pytest.mark.parametrize("name", ["/nope", "chat/1", "/chat/1,2", "/chat/{tenant}", "/chat/" + "x" * 1000])
async def test_a_name_that_is_none_says_which_there_are(serve: Serve, name: str) -> None:
    """An event to a misspelt namespace would be lost without a word."""
    io = Server()
    io.of("/chat/{tenant}")
    await serve(io)
    with pytest.raises(Problem, match=r"there are /, /chat/\{tenant\}") as raised:
        async with call_of(io).namespace(name):
            pass
    assert raised.value.code == "unknown_namespace"


async def test_before_the_start_nothing_is_called() -> None:
    """An event would be lost that is emitted before the server joins the others."""
    with pytest.raises(Problem) as raised:
        async with call_of(Server()).namespace("/"):
            pass
    assert (raised.value.code, raised.value.headers) == ("not_serving", {"Retry-After": "1"})
