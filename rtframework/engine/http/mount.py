"""The place of a server in an application: checked before its routes are added."""

from __future__ import annotations

from aiohttp import web

from ...exceptions import ConfigurationError


def check_mount(app: object, path: object) -> None:
    """Check that a server can be attached to an application at a path. Raises ``ConfigurationError``."""
    check_application(app)
    assert isinstance(app, web.Application)
    if not isinstance(path, str):
        raise ConfigurationError(f"the path is a string such as '/socket.io', not {path!r}")
    plain = "/" + path.strip("/")
    for resource in app.router.resources():
        if (resource.canonical.rstrip("/") or "/") == plain and any(route.method == "*" for route in resource):
            raise ConfigurationError(
                f"the path {plain} of this application is taken: give each server a path, io.attach(app, '/chat.io')"
            )


def check_application(app: object) -> None:
    """Check that an application takes more routes. Raises ``ConfigurationError``."""
    if not isinstance(app, web.Application):
        raise ConfigurationError(f"a server is attached to an aiohttp application, not {app!r}: io.attach(app, path)")
    if app.frozen:
        raise ConfigurationError(
            "this application runs already and takes no more routes: call io.attach(app) before web.run_app(app), "
            "and before app.add_subapp() for a sub-application"
        )
