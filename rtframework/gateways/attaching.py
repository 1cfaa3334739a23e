"""The methods that attach a server to an application, for other protocols than Socket.IO."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Literal

from ..engine.http.mount import check_application
from ..exceptions import ConfigurationError
from .plain_websocket import PlainWebSocketGateway
from .stomp import StompGateway

if TYPE_CHECKING:
    from aiohttp import web

    from ..engine.gateway import Gateway
    from ..protocols import Application
    from .base import BaseGateway
    from .codec import WebSocketCodec
    from .readable import Rooms
    from .sockjs import Bind
    from .stomp_topics import Topics


class Attaching:
    """The methods that attach a server for other protocols; a base of :class:`~rtframework.Server`."""

    _app: web.Application | None = None
    """The application that the server was attached to, until that has stopped."""

    def attach_websocket(
        self,
        app: web.Application,
        path: str = "/ws",
        *,
        codec: WebSocketCodec | None = None,
        namespace: str = "/",
    ) -> None:
        """Serve plain websockets under a path of an application: clients that know nothing of Socket.IO.

        ``codec``: the wire, a :class:`~rtframework.WebSocketCodec`; without one it is the JSON protocol
        ``rtframework.v1``. ``namespace``: the namespace of its clients; those of the JSON protocol may ask for another
        one with ``?nsp=``.

        It may be called several times, with :meth:`~rtframework.Server.attach` or without. Raises
        :class:`~rtframework.ConfigurationError` for a path that is taken, for an application that runs already, and
        for another application than the one that the server is attached to.

        Example::

            io.attach(app)
            io.attach_websocket(app, "/ws")
        """
        PlainWebSocketGateway(*self._serve_beside(app, path), codec=codec, namespace=namespace).attach(app, path)

    def attach_sse(
        self,
        app: web.Application,
        path: str = "/events",
        *,
        rooms: Rooms | None = None,
        namespace: str = "/",
        heartbeat: float = 15.0,
        retry: float = 3.0,
        ack_timeout: float = 30.0,
        max_rooms: int = 50,
        padding: int = 0,
        arrays: bool = False,
        compress: bool = False,
    ) -> None:
        """Serve server-sent events under a path of an application: browsers' ``EventSource``, and ``curl -N``.

        ``rooms``: the rooms that clients may ask for with ``?room=``: their names, or a function ``(socket, asked)``,
        ``async`` or not, that returns those that the socket may read, or ``True`` for all of ``asked``. By default
        there are none. ``namespace``: the namespace of clients that ask for none with ``?nsp=``.
        ``heartbeat``: seconds between comments that keep proxies from closing a silent stream. ``retry``: seconds after
        which a client comes back whose stream has ended. ``ack_timeout``: seconds that a POST waits for the answer to
        its event. ``max_rooms``: rooms of one stream. ``padding``: bytes of a comment at the beginning, for proxies
        that hold back the first few thousand. ``arrays``: the data of an event are the array of its arguments, also of
        one that has a single argument. ``compress``: compress streams of clients that accept gzip, each event once for
        all of them.

        It may be called several times, with :meth:`~rtframework.Server.attach` or without. Raises
        :class:`~rtframework.ConfigurationError` for a path that is taken, for an application that runs already, and
        for another application than the one that the server is attached to.

        Example::

            io.attach(app)
            io.attach_sse(app, "/events", rooms=["scores"])
        """
        from .sse import SSEGateway  # here: programs without it do not load it

        SSEGateway(
            *self._serve_beside(app, path),
            rooms=rooms,
            namespace=namespace,
            heartbeat=heartbeat,
            retry=retry,
            ack_timeout=ack_timeout,
            max_rooms=max_rooms,
            padding=padding,
            arrays=arrays,
            compress=compress,
        ).attach(app, path)

    def attach_stomp(
        self, app: web.Application, path: str = "/stomp", *, topics: Topics = None, namespace: str = "/"
    ) -> None:
        """Serve STOMP over websockets under a path of an application: ``@stomp/stompjs``, and clients of Spring.

        ``topics``: the rooms that clients may subscribe to as ``/topic/<room>``, besides those that they are in: a
        template, ``"news:{id}"``, a list of them, or a function ``(socket, topic) -> bool | str | None``, async or not,
        whose string is the room that the topic stands for. By default none. ``namespace``: the namespace of its
        clients.

        It may be called several times, with :meth:`~rtframework.Server.attach` or without. Raises
        :class:`~rtframework.ConfigurationError` as :meth:`attach_websocket` does, and for ``topics`` of another kind.

        Example::

            io.attach(app)
            io.attach_stomp(app, "/stomp", topics="news:{id}")
        """
        StompGateway(*self._serve_beside(app, path), topics=topics, namespace=namespace).attach(app, path)

    def attach_sockjs(
        self,
        app: web.Application,
        path: str = "/sockjs",
        *,
        carries: Literal["websocket", "stomp"] = "websocket",
        codec: WebSocketCodec | None = None,
        topics: Topics = None,
        namespace: str = "/",
        heartbeat: float = 25.0,
        session_timeout: float = 5.0,
        response_limit: int = 131_072,
        websocket: bool = True,
        cookie_needed: bool = False,
        client_url: str | None = None,
        bind: Bind | None = None,
    ) -> None:
        """Serve SockJS under a path of an application: stock ``sockjs-client``, whatever its browser or proxy can.

        ``carries``: what its messages are: those of a plain websocket, in the form of ``codec``, as for
        :meth:`attach_websocket`, or ``"stomp"``, with ``topics``, as for :meth:`attach_stomp`; ``<path>/websocket`` is
        that, without SockJS's frames. ``namespace``: the namespace of its clients. ``heartbeat``: seconds between the
        frames that keep proxies from closing a silent connection. ``session_timeout``: seconds for which a session
        stays without a request that receives. ``response_limit``: bytes after which a streaming response ends and the
        client comes again. ``websocket``: ``False`` to have websockets refused. ``cookie_needed``: set the cookie
        ``JSESSIONID``, by which load balancers find the server of a session. ``client_url``: the URL of the script of
        ``sockjs-client``, of the version that pages have; with it the page is served that iframe transports need.
        ``bind``: a function of a request (``aiohttp.web.Request``); it returns what all requests of one session must
        have in common, beside their query and ``Authorization``: a session cookie, say.

        It may be called several times, with :meth:`~rtframework.Server.attach` or without. Raises
        :class:`~rtframework.ConfigurationError` for a path that is taken, for an application that runs already, and
        for another application than the one that the server is attached to.

        Example::

            io.attach(app)
            io.attach_sockjs(app, "/sockjs")
            io.attach_sockjs(app, "/stomp", carries="stomp", topics="news:{id}")
        """
        from .sockjs import SockJSGateway  # here: programs without it do not load it

        _check_carried(carries, codec, topics)
        parts = self._serve_beside(app, path)
        carried: BaseGateway
        if carries == "stomp":
            carried = StompGateway(*parts, topics=topics, namespace=namespace)
        else:
            carried = PlainWebSocketGateway(*parts, codec=codec, namespace=namespace)
        SockJSGateway(
            *parts,
            carried=carried,
            heartbeat=heartbeat,
            session_timeout=session_timeout,
            response_limit=response_limit,
            websocket=websocket,
            cookie_needed=cookie_needed,
            client_url=client_url,
            bind=bind,
        ).attach(app, path)

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

    def _serve_beside(self, app: web.Application, path: str = "") -> tuple[Application, Gateway]:
        """Start and stop with an application, and return what a gateway is made of; ``path``: where it will be.

        Raises ``ConfigurationError`` if the server is attached to another application.
        """
        check_application(app)
        self._check_app(app)
        self._run_with(app)
        if path:
            self._tell_backbone(path)
        return self._parts()

    def _tell_backbone(self, path: str) -> None:
        """Tell the backbone, if it wants to know, of a path under which the server is attached."""
        host: Any = self._parts()[0]
        mounted = getattr(host.settings.backbone, "mounted", None)
        if mounted is not None:
            mounted(path)

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


def _check_carried(carries: object, codec: object, topics: object) -> None:
    """Raise ``ConfigurationError`` for options of :meth:`Attaching.attach_sockjs` that do not belong together."""
    if carries not in ("websocket", "stomp"):
        raise ConfigurationError(f'carries is "websocket" or "stomp", not {carries!r}')
    if carries == "stomp" and codec is not None:
        raise ConfigurationError(
            'a codec is for plain messages, and STOMP has a form of its own: leave out codec, or carries="stomp"'
        )
    if carries == "websocket" and topics is not None:
        raise ConfigurationError(
            'topics are those of STOMP: attach_sockjs(app, path, carries="stomp", topics=…), or leave out topics'
        )
