"""python-socketio's ``cors_allowed_origins``."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework.engine.python_socketio.cors import CorsRules


def request_of(origin: str | None, **headers: str) -> web.Request:
    """A request of a page to example.org."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request(
        "GET", "/", headers={"Host": "example.org", **({"Origin": origin} if origin else {}), **more}
    )


def rules(allowed: Any) -> CorsRules:
    """The rules of a program whose environ is its path."""
    return CorsRules(allowed, True, lambda request: {"path": request.path})


@pytest.mark.parametrize(
    ("allowed", "origin", "accepted"),
    [
        (None, "https://example.org", True),
        (None, "https://a.org", False),
        (None, None, True),
        ("*", "https://a.org", True),
        ([], "https://a.org", True),
        ("https://a.org", "https://a.org", True),
        ("https://a.org", "https://example.org", False),
        (["https://a.org", re.compile(r"https://\w\.net")], "https://b.net", True),
        (["https://a.org"], "https://b.net", False),
        (lambda origin: origin == "https://a.org", "https://a.org", True),
        (lambda origin: origin == "https://a.org", "https://b.org", False),
        (lambda origin, environ: environ["path"] == "/", "https://b.org", True),
        (lambda origin, environ: None, "https://b.org", False),
    ],
)
def test_who_may_connect(allowed: Any, origin: str | None, accepted: bool) -> None:
    """A program that is ported would let in everybody, or nobody."""
    assert rules(allowed).accepts_request(request_of(origin)) is accepted


def test_the_host_that_a_proxy_forwards_is_the_server_s_own() -> None:
    """Behind a proxy, the server's own pages would be refused."""
    assert rules(None).accepts_request(request_of("https://a.org", X_Forwarded_Host="a.org, b.org"))
    assert not rules(None).accepts_request(request_of("https://b.org", X_Forwarded_Host="a.org, b.org"))


def test_an_empty_list_turns_cors_off() -> None:
    """A proxy that sets the headers itself would have them twice."""
    assert rules([]).headers("https://a.org", "example.org") == {}
    assert rules("*").headers("https://a.org", "example.org")["Access-Control-Allow-Origin"] == "https://a.org"
