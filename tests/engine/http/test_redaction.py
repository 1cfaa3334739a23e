"""Secrets in URLs: access logs do not show them."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework.engine.http.redaction import hide_secrets


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/events", "/events"),
        ("/events?room=a", "/events?room=a"),
        ("/events?ticket=x", "/events?ticket=***"),
        ("/events?room=a&ticket=x&ticket=y&b=1", "/events?room=a&ticket=***&ticket=***&b=1"),
        ("/events?%74icket=x&SID=y", "/events?ticket=***&SID=***"),
        ("/events?myticket=x", "/events?myticket=x"),
        ("/sockjs/000/abc/xhr", "/sockjs/000/***/xhr"),
        ("/sockjs/000/abc/xhr_send?token=x&t=1", "/sockjs/000/***/xhr_send?token=***&t=1"),
        ("/sockjs/000/abc/htmlfile?c=x", "/sockjs/000/***/htmlfile?c=x"),
        ("/sockjs/000/abc/websocket", "/sockjs/000/abc/websocket"),
        ("/sockjs/info?t=1", "/sockjs/info?t=1"),
        ("/ws?token=a%26b&c=d", "/ws?token=***&c=d"),
    ],
)
def test_secrets_are_hidden(path: str, shown: str) -> None:
    """Whoever reads an access log could come in."""
    request = make_mocked_request("GET", path)
    hide_secrets(request)
    assert request.path_qs == shown
    assert request.raw_path == path
