"""The place of a server in an application."""

from __future__ import annotations

import pytest
from aiohttp import web

from rtframework import ConfigurationError
from rtframework.engine.http.mount import check_mount


async def handle(request: web.Request) -> web.Response:
    """Answer."""
    return web.Response()


@pytest.mark.parametrize("path", ["/chat", "chat", "/chat/", "chat/"])
def test_a_path_is_taken_by_a_server_alone(path: str) -> None:
    """The second of two servers would never see a request; a page beside a server would be refused."""
    app = web.Application()
    app.router.add_get("/chat", handle)
    check_mount(app, path)
    app.router.add_route("*", "/chat/", handle)
    with pytest.raises(ConfigurationError, match="the path /chat of this application is taken"):
        check_mount(app, path)
    check_mount(app, "/chat/two")


def test_an_application_that_takes_no_routes() -> None:
    """aiohttp's own error says nothing of what to do."""
    app = web.Application()
    app.freeze()
    with pytest.raises(ConfigurationError, match=r"call io.attach\(app\) before web.run_app\(app\)"):
        check_mount(app, "/chat")
    with pytest.raises(ConfigurationError, match="attached to an aiohttp application, not"):
        check_mount("/chat", "/chat")
    with pytest.raises(ConfigurationError, match="the path is a string"):
        check_mount(web.Application(), None)
