"""Settings of a server, frozen: they are given once and never change."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import warnings
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from .exceptions import ConfigurationError
from .limits.rates import RateLimit
from .types import identity_of

if TYPE_CHECKING:
    from aiohttp import web

Origins: TypeAlias = str | re.Pattern[str] | Sequence[str | re.Pattern[str]] | Callable[[str], bool] | None
"""The origins of other hosts whose pages may connect.

``None``: only pages of the server's own host. ``"*"``: all. A string, a pattern (matched as a whole), or several of
them; or a function of the origin that tells whether it may connect. Requests without an ``Origin`` header pass,
because they do not come from a page of another host.
"""

AllowRequest: TypeAlias = "Callable[[web.Request], bool | Awaitable[bool]]"
"""A function, async or not, that tells whether a request may open a connection.

It may also raise ``ConnectionRefused(message)``.
"""

TrustedProxies: TypeAlias = (
    int
    | str
    | IPv4Address
    | IPv6Address
    | IPv4Network
    | IPv6Network
    | Sequence[str | IPv4Address | IPv6Address | IPv4Network | IPv6Network]
    | None
)
"""The proxies whose headers are trusted for a client's address.

``None``: none. A number: there are always this many proxies in front of the server. Addresses and networks, such as
``"10.0.0.0/8"``: the proxies' addresses; ``"unix"``: every peer on a Unix socket is a proxy.
"""

ProxyHeaders: TypeAlias = Literal["x-forwarded", "forwarded"]
"""The headers that the proxies write: ``X-Forwarded-For``, ``-Proto`` and ``-Host``, or ``Forwarded`` (RFC 7239)."""

SameSite: TypeAlias = Literal["strict", "lax", "none"]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token in a header (RFC 9110, section 5.6.2)."""
_ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]+")
"""The value of a cookie's attribute (RFC 6265, section 4.1.1)."""


LONGEST_WAIT: Final = 3600.0
"""Seconds beyond which a time is taken for milliseconds, Node's unit."""
_DAY: Final = 86_400.0
"""Seconds that a client may be away, see :class:`Recovery`."""


def _check_seconds(name: str, value: object, most: float = LONGEST_WAIT) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number of seconds above zero, not {value!r}")
    if value > most:
        raise ConfigurationError(_too_long(name, value, most))


def check_memory(name: str, value: object) -> None:
    """Check a time of up to ten years, or ``None``. Raises :class:`~rtframework.ConfigurationError`."""
    if value is not None:
        _check_seconds(name, value, 3650 * _DAY)


def whole_number(name: str, value: object, *, least: int) -> int:
    """Return a count as an integer: ``1e8`` is one, too. Raises :class:`~rtframework.ConfigurationError`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"{name} must be an integer of at least {least}, not {value!r}")
    return value


def problem_of_origin(origin: object) -> str | None:
    """Say why something given as an origin would match no page, and what to write; ``None`` if it may match one.

    Browsers send scheme, host and port in lower case, without the scheme's own port (RFC 6454, section 6.2).
    """
    if isinstance(origin, re.Pattern):
        return None if isinstance(origin.pattern, str) else f"{origin!r} is a pattern of bytes: write one of a string"
    if isinstance(origin, bytes):
        return f"{origin!r} is bytes: write {origin.decode(errors='replace')!r}"
    if not isinstance(origin, str):
        return f'{origin!r} is neither a string nor a pattern: write "https://app.example.org", or "*" for all pages'
    if origin in ("*", "null"):
        return None
    if not origin:
        return "an empty string is no origin: leave it out, or write None"
    given = f"{origin!r} matches no page"
    if len(origin.replace(",", " ").split()) > 1:
        return f"{given}: write a list, {origin.replace(',', ' ').split()}"
    if "*" in origin:
        whole = origin if "://" in origin else f"https://{origin}"
        pattern = re.escape(whole).replace(r"\*", "[^/:]+")
        return f'{given}: "*" stands for all pages, and only alone. Write a pattern, re.compile(r"{pattern}")'
    if "://" not in origin:
        return f'{given}: an origin has a scheme. Write "{_scheme_for(origin)}://{origin}"'
    return _problem_of_url(origin, given)


def _scheme_for(host: str) -> str:
    return "http" if re.match(r"localhost\b|127\.|\[|0\.0\.0\.0|\d+\.\d+\.\d+\.\d+", host) else "https"


def _problem_of_url(origin: str, given: str) -> str | None:
    if not origin.isascii():
        scheme, _, host = origin.partition("://")
        try:
            right = f"{scheme}://{host.encode('idna').decode()}"
        except UnicodeError:
            return f"{given}: browsers send its name in ASCII"
        return f'{given}: browsers send its name in ASCII. Write "{right}"'
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError as error:
        return f"{given}: {error}"
    if parts.scheme.lower() not in ("http", "https"):
        return None  # the origins of apps: file://, capacitor://localhost, chrome-extension://...
    if not parts.hostname:
        return f'{given}: it names no host. Write "https://app.example.org"'
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    number = "" if port is None or port == {"http": 80, "https": 443}[parts.scheme] else f":{port}"
    right = f"{parts.scheme}://{host}{number}"
    if origin.rstrip("/") != right:
        return f'{given}: browsers send scheme, host and port, in lower case, without the default port. Write "{right}"'
    return None


def _check_origins(origins: object) -> None:
    """Check the origins of :class:`Cors`. Raises ``ConfigurationError``."""
    if origins is None or (callable(origins) and not isinstance(origins, type)):
        return
    problem: str | None
    if isinstance(origins, bool):
        problem = 'True is no origin: write "*" for all pages' if origins else "False is no origin: leave it out"
    elif isinstance(origins, Collection) and not isinstance(origins, str | bytes | bytearray | Mapping):
        problem = next(filter(None, map(problem_of_origin, origins)), None)
    else:
        problem = problem_of_origin(origins)
    if problem is not None:
        raise ConfigurationError(f"cors_allowed_origins: {problem}")


def allows_any(origins: object) -> bool:
    """Tell whether origins, as :class:`Cors` has them, are those of all pages."""
    return origins == "*" or (isinstance(origins, Collection) and not isinstance(origins, str) and "*" in origins)


def check_object(option: str, value: object, methods: tuple[str, ...], instead: str) -> None:
    """Check that an option is an object with these methods, not its class. ``instead``: what to write.

    The value is not in the message: it may be a secret. Raises :class:`~rtframework.ConfigurationError`.
    """
    if isinstance(value, type) and not any(
        isinstance(inspect.getattr_static(value, each, None), classmethod | staticmethod) for each in methods
    ):
        name = value.__name__
        raise ConfigurationError(f"{option} is an object, not a class: write {option}={name}(...), not {option}={name}")
    for each in methods:
        if not callable(getattr(value, each, None)):
            raise ConfigurationError(f"{option} is a {_kind(value)}, which has no {each}(): write {instead}")


def check_factory(option: str, value: object, method: str) -> None:
    """Check that an option can be called to make an object with a method.

    Raises :class:`~rtframework.ConfigurationError`.
    """
    if callable(value):
        return
    kind = _kind(value)
    if hasattr(value, method):
        raise ConfigurationError(f"{option} is called for each namespace: write {option}={kind}, not {option}={kind}()")
    raise ConfigurationError(
        f"{option} is a class or a function, not a {kind}: write {option}=MemoryAdapter, or for a plugin "
        f'{option}=load("{option}s", name), with load of rtframework.plugins'
    )


def check_instance(option: str, value: object, kind: type, example: str) -> None:
    """Check that an option is ``None`` or of a class. Raises :class:`~rtframework.ConfigurationError`."""
    if value is None or isinstance(value, kind):
        return
    if value is False:
        raise ConfigurationError(f"{option} is off by default: leave it out, or write {option}=None, not False")
    raise ConfigurationError(f"{option} is a {kind.__name__}, not {value!r}: write {option}={example}")


def check_timeout(name: str, seconds: float | None) -> None:
    """Check a time to wait; ``None``: without a limit. Raises :class:`~rtframework.ConfigurationError`."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float):
        raise ConfigurationError(f"{name} is a number of seconds, not {seconds!r}")
    if seconds > LONGEST_WAIT:
        raise ConfigurationError(_too_long(name, seconds, LONGEST_WAIT))


def cookie_of(cookie: object) -> Cookie | None:
    """Return the cookie that the option ``cookie`` means. Raises :class:`~rtframework.ConfigurationError`."""
    if isinstance(cookie, bool):
        return Cookie() if cookie else None
    if isinstance(cookie, str):
        return Cookie(cookie)
    check_instance("cookie", cookie, Cookie, 'Cookie(name="io")')
    return cookie if isinstance(cookie, Cookie) else None


def _too_long(name: str, seconds: float, most: float) -> str:
    return f"{name} is in seconds, at most {most:g}: write {seconds / 1000:g} for {seconds:g} milliseconds"


def _kind(value: object) -> str:
    return type(value).__name__


def warn_of_unknown(call: str, unknown: Mapping[str, object], function: Callable[..., Any]) -> None:
    """Warn that a function ignores keywords, with the ones that may have been meant."""
    parameters = inspect.signature(function).parameters
    known = [name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD]
    for name in unknown:
        meant = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {meant[0]}=?" if meant else "leave it out"
        warnings.warn(f"{call}() has no {name}= and ignores it: {hint}", stacklevel=3)


SlowConsumer: TypeAlias = Literal["disconnect", "drop_oldest", "wait"]


@dataclass(frozen=True, slots=True)
class Deflate:
    """Per-message compression of websockets (RFC 7692), for clients that offer it.

    ``threshold``: bytes from which a message is compressed. ``level``: zlib's level, 1 to 9. A broadcast is compressed
    once for all its receivers, so no context is kept from one message to the next. Compression costs CPU time, and
    memory for compressed messages of clients: leave it off unless bandwidth is scarce. Raises
    :class:`~rtframework.ConfigurationError`.
    """

    threshold: int = 1024
    level: int = 6

    def __post_init__(self) -> None:
        if self.threshold < 0 or not 1 <= self.level <= 9:
            raise ConfigurationError("Deflate: threshold is 0 or more bytes, level is 1 to 9")


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie with the session id, for proxies that send all requests of one session to one server.

    ``max_age``: seconds that browsers keep the cookie; ``None``: until they are closed. ``path=None`` and
    ``same_site=None`` leave the attribute out. See RFC 6265 for the attributes. Raises
    :class:`~rtframework.ConfigurationError`.
    """

    name: str = "io"
    path: str | None = "/"
    http_only: bool = True
    same_site: SameSite | None = "lax"
    max_age: int | None = None
    domain: str | None = None
    secure: bool = False
    partitioned: bool = False

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.name):
            raise ConfigurationError(f"Cookie: {self.name!r} is no name for a cookie")
        for name in ("path", "domain"):
            value = getattr(self, name)
            if value is not None and not _ATTRIBUTE.fullmatch(value):
                raise ConfigurationError(f"Cookie: {name} cannot be {value!r}")
        if self.same_site not in (*get_args(SameSite), None):
            raise ConfigurationError(f"Cookie: same_site is one of {get_args(SameSite)}, not {self.same_site!r}")
        if self.max_age is not None and (not isinstance(self.max_age, int) or isinstance(self.max_age, bool)):
            raise ConfigurationError(f"Cookie: max_age is a whole number of seconds, not {self.max_age!r}")
        if (self.same_site == "none" or self.partitioned) and not self.secure:
            raise ConfigurationError('Cookie: browsers take same_site="none" and partitioned with secure=True only')


@dataclass(frozen=True, slots=True)
class Cors:
    """Access of pages from other hosts: the origins that may connect, and the CORS headers for browsers.

    ``credentials``: allow them to send cookies. ``methods``, ``allowed_headers`` and ``max_age`` (seconds) are for
    preflight requests; without ``allowed_headers`` a page may send all headers that it asks for. ``exposed_headers``:
    response headers that its scripts may read. Raises :class:`~rtframework.ConfigurationError`.
    """

    allowed_origins: Origins = None
    credentials: bool = True
    methods: Sequence[str] = ("GET", "POST", "OPTIONS")
    allowed_headers: Sequence[str] | None = None
    exposed_headers: Sequence[str] = ()
    max_age: int | None = 600

    def __post_init__(self) -> None:
        _check_origins(self.allowed_origins)
        for name in ("methods", "allowed_headers", "exposed_headers"):
            words = getattr(self, name)
            if isinstance(words, str) or not all(_TOKEN.fullmatch(word) for word in words or ()):
                raise ConfigurationError(f"Cors: {name} is a sequence of names, not {words!r}")
        if self.max_age is not None and (not isinstance(self.max_age, int) or self.max_age < 0):
            raise ConfigurationError(f"Cors: max_age is a whole number of seconds, not {self.max_age!r}")


def cors_of(cors: Cors | None, allowed_origins: Origins, credentials: bool | None) -> Cors:
    """Return the option ``cors`` of a server with its short forms in it. Warn if all pages may send cookies."""
    cors = cors or Cors()
    if allowed_origins is not None:
        cors = replace(cors, allowed_origins=allowed_origins)
    if credentials is not None:
        cors = replace(cors, credentials=credentials)
    if cors.credentials and allows_any(cors.allowed_origins):
        warnings.warn(
            'cors_allowed_origins="*" lets every page that a user visits connect with the cookies of that user: name '
            'your pages, as in cors_allowed_origins=["https://app.example"], or, if no cookie lets anybody in, write '
            "cors_credentials=False",
            stacklevel=4,
        )
    return cors


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the resources that one client may use. Ordinary clients do not reach the defaults.

    Raises :class:`~rtframework.ConfigurationError` for an invalid value.
    """

    max_http_buffer_size: int = 1_000_000
    """Bytes of one websocket message or one POST body. Beyond: the connection is closed ("transport error")."""

    max_connect_size: int = 16_384
    """Bytes of a CONNECT packet, ``auth`` included, and of every message before the client is in a namespace. Beyond:
    the connection is closed ("transport error", or "parse error" for a further namespace)."""

    max_inbox: int | None = None
    """Bytes of memory that the messages of one connection may take, from their arrival until their handlers have ended.
    ``None``: four times ``max_http_buffer_size``. Beyond: the connection is not read until a handler ends. A single
    message larger than the limit is still accepted if nothing else is being handled."""

    max_inbound: int = 268_435_456
    """Bytes of memory that the messages of all connections together may take. Beyond: large messages wait, those of the
    connections that hold most first, and after ``body_timeout`` their connection is closed ("transport error")."""

    max_items: int = 1_000_000
    """Values in one message, nested ones included, if it is longer than 32 KB. Beyond: "parse error"."""

    max_outbox: int = 1_048_576
    """Bytes that may wait to be sent to one client, the websocket's write buffer included. Beyond: see
    ``slow_consumer``. A single packet larger than the limit is still accepted if nothing else waits."""

    slow_consumer: SlowConsumer = "disconnect"
    """The action for a client beyond ``max_outbox``. ``"disconnect"``: it is disconnected, with the reason "slow
    consumer". ``"drop_oldest"``: the oldest events that wait for it are dropped, but never acknowledgements or events
    that request one. ``"wait"``: ``await emit(...)`` waits until there is room again, at most
    ``slow_consumer_timeout``; concurrent emits can still fill four times the limit, then the client is disconnected."""

    slow_consumer_timeout: float = 20.0
    """Seconds that ``await emit(...)`` waits for one client, with ``slow_consumer="wait"``. Beyond: the client is
    disconnected ("slow consumer")."""

    max_attachments: int = 10
    """Binary attachments of one packet, for the server's default serializer; a serializer given as
    ``serializer=JSONSerializer(max_attachments=...)`` has its own limit. Beyond: "parse error"."""

    max_namespaces: int = 100
    """Namespaces that one connection may be in. Beyond: the connection is closed ("forced server close")."""

    max_dynamic_namespaces: int = 10_000
    """Namespaces made for clients, see ``Server.of``, that may exist at once. Beyond: of the empty ones, the one that
    has been empty the longest is closed; if none is empty, clients are refused ("Invalid namespace")."""

    max_namespace_name: int = 256
    """Characters of the name of a namespace made for clients. Beyond: "Invalid namespace"."""

    namespace_timeout: float = 10.0
    """Seconds that a function given to ``Server.of`` has to decide, and a new namespace to start. Beyond: the client
    is refused."""

    max_rooms: int = 10_000
    """Rooms that one socket may be in, including its own. Beyond: ``join`` raises ``EventError("too_many_rooms")``."""

    max_room_name: int = 1_024
    """Characters of a room's name. Beyond: ``join`` raises ``EventError("room_name_too_long")``."""

    max_event_name: int = 1_024
    """Characters of the name of an event that a client sends; of an integer, digits and sign. Beyond: "parse error"."""

    max_pending_events: int = 1_000
    """Event handlers of one connection that may run at once. Beyond: the connection is not read until one ends."""

    max_unconnected: int = 10_000
    """Connections of all clients together that are in no namespace yet. Beyond: of the address that has the most of
    them, the oldest is closed ("forced server close")."""

    max_connections: int | None = None
    """Connections of all clients together. Beyond: handshakes are answered with 503 and ``Retry-After``. ``None``: no
    number; they are answered so while hardly any file descriptor is free (``ulimit -n``)."""

    max_connections_per_address: int | None = None
    """Connections of one address, of IPv6 of its /64. Beyond: handshakes are answered with 429 and ``Retry-After``.
    ``None``: no limit."""

    max_connections_per_user: int | None = None
    """Connections of one user (what the authenticator returned) to one namespace. Beyond: the client is refused
    ("too_many_connections"). ``None``: no limit."""

    body_timeout: float = 30.0
    """Seconds in which the body of a POST must arrive; a client that sends at least ``least_rate`` has more. Beyond:
    408, and the session is closed ("transport error")."""

    least_rate: int = 1_000
    """Bytes a second that a client must send to count as alive while a long message is on its way: it can answer no
    ping before the message's end."""

    max_head_size: int = 16_384
    """Bytes of a handshake's URL and headers together; of the URL, and of each header, of every request to the
    application that is run. Beyond: 431, and the TCP connection is closed."""

    head_timeout: float = 10.0
    """Seconds in which URL and headers of a request must arrive, from their first byte. Beyond: 408, and the TCP
    connection is closed. For all requests to the application that is run."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.default is None:
                continue
            if each.name == "slow_consumer":
                if value not in get_args(SlowConsumer):
                    raise ConfigurationError(f"slow_consumer is one of {get_args(SlowConsumer)}, not {value!r}")
            elif each.name.endswith("_timeout"):
                _check_seconds(each.name, value)
            elif value is not None or each.name != "max_inbox":
                least = 0 if each.name == "max_attachments" else 1
                object.__setattr__(self, each.name, whole_number(each.name, value, least=least))

    @property
    def inbox(self) -> int:
        """Bytes of memory that the messages of one connection may take: ``max_inbox``, or its default."""
        return 4 * self.max_http_buffer_size if self.max_inbox is None else self.max_inbox


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The engine's settings, in seconds and bytes. :class:`rtframework.Server` describes each.

    Raises :class:`~rtframework.ConfigurationError`.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    connect_timeout: float = 45.0
    upgrade_timeout: float = 10.0
    transports: tuple[str, ...] = ("polling", "websocket")
    allow_upgrades: bool = True
    allow_eio3: bool = False
    cors: Cors = field(default_factory=Cors)
    require_origin: bool = False
    allow_request: AllowRequest | None = None
    cookie: Cookie | None = None
    trusted_proxies: TrustedProxies = None
    proxy_headers: ProxyHeaders = "x-forwarded"
    serve_client: bool | str | PathLike[str] = False
    per_message_deflate: Deflate | None = None
    websocket_protocols: tuple[str, ...] | None = None
    http_compression: bool = True
    http_compression_threshold: int = 1024
    limits: Limits = field(default_factory=Limits)
    rate_limit: RateLimit = field(default_factory=RateLimit)

    def __post_init__(self) -> None:
        for name in ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"):
            _check_seconds(name, getattr(self, name))
        unknown = [name for name in self.transports if name not in ("polling", "websocket")]
        if unknown or not self.transports:
            raise ConfigurationError(f'transports must name "polling", "websocket" or both, not {self.transports!r}')
        if self.proxy_headers not in get_args(ProxyHeaders):
            raise ConfigurationError(f"proxy_headers is one of {get_args(ProxyHeaders)}, not {self.proxy_headers!r}")
        threshold = self.http_compression_threshold
        if not isinstance(threshold, int) or threshold < 0:
            raise ConfigurationError(f"http_compression_threshold is a number of characters, not {threshold!r}")


@dataclass(frozen=True, slots=True)
class Recovery:
    """Settings of connection state recovery: ``Server(connection_state_recovery=Recovery())``.

    Each bound is for one namespace. Packets beyond a bound are never lost silently: a client that has missed one is not
    recovered, and ``recovered`` is false on both sides. Raises :class:`~rtframework.ConfigurationError`.

    Example::

        io = Server(connection_state_recovery=Recovery(max_disconnection_duration=60))
    """

    max_disconnection_duration: float = 120.0
    """Seconds that a client may be away, at most a day."""

    skip_middlewares: bool | None = None
    """Do not run connect middleware for a client that is recovered. The authenticator always runs. ``None`` is
    ``True`` with one warning in the log when the first client passes middleware by: middleware that decides who may
    connect needs ``False``."""

    max_sessions: int = 50_000
    """Disconnected clients whose state is kept. Beyond: the ones that left first are forgotten."""

    max_packets: int = 50_000
    """Packets kept for clients that may have missed them. Beyond: the oldest are discarded."""

    max_bytes: int = 33_554_432
    """Bytes of these packets, as on a websocket. The process uses about twice as many, plus 0.5 KB for each packet."""

    identity: Callable[[Any], Any] = identity_of
    """``(user) -> key``: a client is recovered only if the user that the authenticator returns now has the same key as
    before. By default the key is ``user.id``, or the user itself if it has no ``id``."""

    def __post_init__(self) -> None:
        _check_seconds("max_disconnection_duration", self.max_disconnection_duration, _DAY)
        for name in ("max_sessions", "max_packets", "max_bytes"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=1))

    def is_same(self, one: Any, other: Any) -> bool:
        """Tell whether two results of the authenticator are the same user."""
        return bool(self.identity(one) == self.identity(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Settings of handlers that serve an event once: ``Server(idempotency=Idempotency())``.

    Answers are kept in the server's store. Raises :class:`~rtframework.ConfigurationError`.

    Example::

        io = Server(idempotency=Idempotency(seconds=3600))
    """

    seconds: float = 600.0
    """Seconds for which an event counts as served, from its answer on, at most 30 days."""

    max_ids: int = 1000
    """Events of one client, or of one user, that are remembered. Beyond: the oldest are forgotten."""

    max_answer_bytes: int = 16_384
    """Bytes of an answer that is kept. Beyond: a repeat is answered with the error ``answer_not_kept``."""

    def __post_init__(self) -> None:
        _check_seconds("seconds", self.seconds, 30 * _DAY)
        for name in ("max_ids", "max_answer_bytes"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=1))
