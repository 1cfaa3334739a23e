"""The query of a request."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework.engine.http.query import query_of


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/?EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}),
        ("/?a=1&a=2", {"a": "2"}),
        ("/?a=1&a=%32", {"a": "2"}),
        ("/?a&b=", {"a": "", "b": ""}),
        ("/?a=%26&b=1", {"a": "&", "b": "1"}),
        ("/?a=x+y", {"a": "x y"}),
        ("/?t=a=b", {"t": "a=b"}),
    ],
)
def test_queries_are_read_as_others_read_them(path: str, query: dict[str, str]) -> None:
    """A token in the query would be another one than the client has sent."""
    found = query_of(make_mocked_request("GET", path))
    assert {name: found[name] for name in query} == query
