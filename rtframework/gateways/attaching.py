"""The methods that attach a server to an application, for other protocols than Socket.IO."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ..exceptions import ConfigurationError

if TYPE_CHECKING:
    from aiohttp import web

    from ..engine.gateway import Gateway
    from ..protocols import Application


class Attaching:
    """The methods that attach a server for other protocols; a base of :class:`~rtframework.Server`."""

    _app: web.Application | None = None
    """The application that the server was attached to, until that has stopped."""

    # --- what a server has ------------------------------------------------------------------------------------------

    def _parts(self) -> tuple[Application, Gateway]:
        """Return what a gateway is made of: the framework and the engine."""
        raise NotImplementedError

    async def _start(self, app: web.Application) -> None:
        raise NotImplementedError

    async def _stop(self, app: web.Application) -> None:
        raise NotImplementedError

    def _until_cleaned_up(self, app: web.Application) -> AsyncIterator[None]:
        raise NotImplementedError

    # --- inside -----------------------------------------------------------------------------------------------------

    def _serve_beside(self, app: web.Application) -> tuple[Application, Gateway]:
        """Start and stop with an application, and return what a gateway is made of.

        Raises ``ConfigurationError`` if the server is attached to another application.
        """
        self._check_app(app)
        self._run_with(app)
        return self._parts()

    def _check_app(self, app: web.Application) -> None:
        if self._app is not None and self._app is not app:
            raise ConfigurationError(
                "this server is attached to another application already: one server serves one application at a time"
            )

    def _run_with(self, app: web.Application) -> None:
        """Start and stop with an application, whatever else is attached to it."""
        self._app = app
        if self._start not in app.on_startup:
            _, engine = self._parts()
            app.on_startup.append(self._start)
            engine.eio.run_with(app)
            app.on_shutdown.append(self._stop)
            app.cleanup_ctx.append(self._until_cleaned_up)
