"""The address of a server and how to connect to it: the options shared by all commands that connect to a server."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .errors import Exit, Failure
from .values import parse_object, parse_seconds

Transport = Literal["polling", "websocket"]
Protocol = Literal["socket.io", "websocket", "sse", "stomp"]
"""Socket.IO, the protocol of plain websockets, server-sent events, or STOMP."""

_DOORS: Final[Mapping[Protocol, tuple[str, str, tuple[str, ...]]]] = {
    "websocket": ("ws", "/ws", ("stomp", "sse")),
    "sse": ("sse", "/events", ("ws", "stomp", "sockjs", "auth")),
    "stomp": ("stomp", "/stomp", ("ws", "sse", "namespace")),
}
"""The option for each protocol but Socket.IO, the default path, and the options that it does not go with."""
_SOCKJS: Final = "/sockjs"
"""The default path of SockJS, which carries plain messages or STOMP."""


def _protocol_of(args: argparse.Namespace) -> Protocol:
    if args.sse:
        return "sse"
    if args.stomp and not args.ws:
        return "stomp"
    return "websocket" if args.ws or args.sockjs else "socket.io"


@dataclass(frozen=True)
class Endpoint:
    """A namespace of a server, with everything needed to connect to it."""

    url: str
    """Scheme, host, port and query."""
    path: str
    namespace: str
    headers: dict[str, str]
    auth: dict[str, Any] | None
    transports: tuple[Transport, ...]
    msgpack: bool
    insecure: bool
    timeout: float
    """Seconds that connecting may take."""
    verbose: bool
    protocol: Protocol = "socket.io"
    topics: tuple[str, ...] = ()
    """With STOMP: the rooms to read."""
    sockjs: bool = False
    """True if SockJS carries it."""

    @property
    def place(self) -> str:
        """Host and port, as the user has written them."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_secure(self) -> bool:
        """True if the connection uses TLS."""
        return self.url.startswith("https:")

    @property
    def resource(self) -> str:
        """The URL of the requests, without query."""
        if self.protocol in ("websocket", "stomp") and not self.sockjs:
            return f"{'wss' if self.is_secure else 'ws'}://{self.place}{self.path}"
        if self.protocol != "socket.io":
            return f"{urlsplit(self.url).scheme}://{self.place}{self.path}"
        return f"{urlsplit(self.url).scheme}://{self.place}{self.path}/"

    def query_url(self, more: Mapping[str, str], behind: str = "") -> str:
        """Return the URL with its path, what is ``behind`` that, and its query, with ``more`` in it."""
        parts = urlsplit(self.url)
        query = "&".join(each for each in (parts.query, urlencode(more)) if each)
        return urlunsplit((parts.scheme, parts.netloc, self.path + behind, query, ""))

    @classmethod
    def of(cls, args: argparse.Namespace) -> Endpoint:
        """Make an endpoint of the arguments of a command. Raises ``Failure``."""
        path = "/" + args.path.strip("/")
        text = args.url if "://" in args.url else f"http://{args.url}"
        try:
            parts = urlsplit(text)
            scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
            if scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError
        except ValueError:
            raise Failure(f"{args.url} is no URL of a server: write http://host:port", Exit.USAGE) from None
        namespace = parts.path.rstrip("/") or "/"
        protocol = _protocol_of(args)
        if protocol != "socket.io":
            name, default, refused = _DOORS[protocol]
            if args.sockjs and protocol == "websocket":
                name, default, refused = "sockjs", _SOCKJS, ("ws",)
            elif args.sockjs and protocol == "stomp":
                default = _SOCKJS
            for option in ("transport", "msgpack", *refused):
                if getattr(args, option):
                    raise Failure(f"--{option} cannot be used with --{name}", Exit.USAGE)
            path, namespace = (default if namespace == "/" else parts.path), "/"
        if getattr(args, "topic", None) and protocol != "stomp":
            raise Failure("--topic is for --stomp only", Exit.USAGE)
        # The path of the URL is the namespace, as in JavaScript's io(url).
        if args.namespace is not None:
            namespace = args.namespace if args.namespace.startswith("/") else f"/{args.namespace}"
        elif namespace == path:
            namespace = "/"
        query = parse_qsl(parts.query, keep_blank_values=True) + [_pair(each) for each in args.query]
        return cls(
            url=urlunsplit((scheme, parts.netloc, "", urlencode(query), "")),
            path=path,
            namespace=namespace,
            headers=dict(_header(each) for each in args.header),
            auth=None if args.auth is None else parse_object(args.auth, "--auth"),
            transports=(args.transport,) if args.transport else ("polling", "websocket"),
            msgpack=args.msgpack,
            insecure=args.insecure,
            timeout=args.connect_timeout,
            verbose=args.verbose,
            protocol=protocol,
            sockjs=args.sockjs,
            topics=tuple(getattr(args, "topic", None) or ()),
        )


def add_endpoint(parser: argparse.ArgumentParser, *, url: Literal["?"] | None = None) -> None:
    """Add the arguments that ``Endpoint.of`` reads to a command. ``url``: "?" if the command can do without one."""
    parser.add_argument(
        "url",
        metavar="URL",
        nargs=url,
        help="http, https, ws or wss; its path is the namespace, as with io(url) in JavaScript",
    )
    parser.add_argument(
        "--ws", action="store_true", help="by plain websocket; the path of the URL is that of the websockets, or /ws"
    )
    parser.add_argument(
        "--sse",
        action="store_true",
        help="by server-sent events; the path of the URL is that of the streams, or /events",
    )
    parser.add_argument(
        "--stomp", action="store_true", help="by STOMP; the path of the URL is that of the websockets, or /stomp"
    )
    parser.add_argument(
        "--sockjs",
        action="store_true",
        help="over SockJS, plain messages or, with --stomp, STOMP; the path of the URL is that of SockJS, or /sockjs",
    )
    group = parser.add_argument_group("connecting")
    group.add_argument("-n", "--namespace", metavar="NAME", help='default: the path of the URL, "/" without one')
    group.add_argument("--auth", metavar="JSON|@FILE", help="what the server's authentication gets: an object")
    group.add_argument("-H", "--header", metavar="'NAME: VALUE'", action="append", default=[], help="may be repeated")
    group.add_argument("--query", metavar="NAME=VALUE", action="append", default=[], help="may be repeated")
    group.add_argument("--path", default="/socket.io", help="where Socket.IO is on the server (default: %(default)s)")
    group.add_argument(
        "--transport", choices=("polling", "websocket"), help="this one only; default: polling, then websocket"
    )
    group.add_argument("--msgpack", action="store_true", help="the server uses socket.io-msgpack-parser")
    group.add_argument("--insecure", action="store_true", help="accept any certificate")
    group.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=10.0,
        help="time to be let in (default: %(default)g)",
    )
    group.add_argument("-v", "--verbose", action="store_true", help="show on stderr what goes over the line")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or any(each in text for each in "\r\n\0"):
        raise Failure(f"{text!r} is no header: write 'Name: value'", Exit.USAGE)
    return name.strip(), value.strip()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"{text!r} is no parameter of a query: write name=value", Exit.USAGE)
    return name, value
