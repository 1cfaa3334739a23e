"""Requests as browsers and clients write them, read in one piece without aiohttp's parser.

Only what can be read in one way is read here (RFC 9112, 3 and 5): a request and nothing behind it, of a session or a
handshake, with headers of plain ASCII that come once each, and a body whose length is told. A short body may come
later, as browsers send it. The reader says no to all else, and aiohttp's parser gets the same bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import HttpVersion11, hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr

if TYPE_CHECKING:
    from asyncio import Transport

    from .protocol import HttpProtocol

_LINE: Final = re.compile(rb"(GET|POST) ((/[\w./-]*)\?[\w.~&=*!-]*) HTTP/1\.1")
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_HOST: Final = re.compile(r"[\w.-]+(?::\d{1,5})?|\[[0-9A-Fa-f:]+\](?::\d{1,5})?", re.ASCII)
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(r"0|[1-9]\d{0,6}", re.ASCII)
LARGEST: Final = 8_190
"""Bytes of a head."""
MOST_HEADERS: Final = 60
_LATER: Final = 32_768
"""Bytes of a body that may come behind its head; each piece of it is copied, so a larger one is aiohttp's."""
_FOR_AIOHTTP: Final = frozenset(
    {
        "transfer-encoding",
        "expect",
        "content-encoding",
        "trailer",
        "te",
        "proxy-connection",  # which its parser takes for Connection
        "sec-websocket-key1",  # which it refuses
    }
)
"""Headers of requests that are left to aiohttp."""
_MOST_NAMES: Final = 1_000
"""Names that are kept: some 150 are in use."""
_LONGEST_NAME: Final = 64
_KNOWN: Final[dict[str, str]] = {name.lower(): name for name in vars(hdrs).values() if isinstance(name, istr)}
_KEPT_ALIVE: Final = frozenset({"keep-alive", "Keep-Alive", None})


class _Names(dict[str, str]):
    """Names of headers as clients write them, and as aiohttp's parser does."""

    def __missing__(self, written: str) -> str:
        """Make out a name. Raises ``ValueError`` if it is none, or for aiohttp to deal with."""
        if _NAME.fullmatch(written) is None or written.lower() in _FOR_AIOHTTP:
            raise ValueError("no name of a header that is read here")
        name = _KNOWN.get(written.lower(), written)
        if len(self) < _MOST_NAMES and len(written) < _LONGEST_NAME:
            self[written] = name
        return name


_names: Final = _Names()


class _Fields(NamedTuple):
    """The headers of a request, read and found to be plain."""

    headers: CIMultiDictProxy[str]
    total: int
    host: str
    length: int | None
    """Bytes of the body."""
    upgrades: bool
    """True if it asks for a websocket."""


_recent: Final[dict[bytes, _Fields]] = {}
"""Headers that were read lately: a client sends the same ones again, and so do many clients without cookies."""
_MOST_RECENT: Final = 256


class Body:
    """The body of a request, or what has come of it."""

    __slots__ = ("_data", "missing")

    def __init__(self, data: bytes, missing: int = 0) -> None:
        self._data = data
        self.missing = missing
        """Bytes that are still to come; negative when more has come."""

    @property
    def length(self) -> int:
        """Bytes of the whole."""
        return len(self._data) + self.missing

    def is_eof(self) -> bool:
        """Return whether all of it has come."""
        return self.missing <= 0

    def read_nowait(self) -> bytes:
        """Return what has come."""
        return self._data

    def feed(self, data: bytes) -> None:
        """Add what has come."""
        self._data += data
        self.missing -= len(data)


_NO_BODY: Final = Body(b"")


class CanonicalRequest:
    """What the engine uses of an ``aiohttp.web.Request``."""

    __slots__ = (
        "content",
        "head_size",
        "headers",
        "host",
        "method",
        "path",
        "protocol",
        "raw_path",
        "remote",
        "scheme",
    )

    keep_alive: Final = True
    version: Final = HttpVersion11
    task: Final = None

    def __init__(
        self,
        protocol: HttpProtocol,
        method: str,
        raw_path: str,
        path: str,
        headers: CIMultiDictProxy[str],
        host: str,
        content: Body,
        head_size: int,
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.headers = headers
        self.content = content
        self.head_size = head_size
        """Bytes of the URL and the headers."""
        self.host = host
        peer: Any = protocol.peername
        self.remote: str | None = (
            str(peer[0]) if isinstance(peer, list | tuple) else None if peer is None else str(peer)
        )
        """The client's address."""
        self.scheme = "http" if protocol.ssl_context is None else "https"

    @property
    def transport(self) -> Transport | None:
        """The connection, while there is one."""
        return self.protocol.transport

    @property
    def secure(self) -> bool:
        """True if it came over TLS."""
        return self.scheme == "https"

    def clone(self, *, remote: str, scheme: str | None = None, host: str | None = None) -> CanonicalRequest:
        """Copy it, with what a proxy says of the client."""
        copy = CanonicalRequest(
            self.protocol,
            self.method,
            self.raw_path,
            self.path,
            self.headers,
            self.host if host is None else host,
            self.content,
            self.head_size,
        )
        copy.remote = remote
        copy.scheme = self.scheme if scheme is None else scheme
        return copy


def read(
    data: bytes, protocol: HttpProtocol, largest: int = LARGEST, most_headers: int = MOST_HEADERS
) -> CanonicalRequest | None:
    """Read a request that has nothing behind it; ``None`` if it is for aiohttp to read.

    Its head is whole, of at most ``largest`` bytes; of a short body, some may be missing.
    """
    end = data.find(_END) + 4
    start = data.find(_CRLF) + 2
    if not start < end <= largest:
        return None
    found = _LINE.fullmatch(data, 0, start - 2)
    if found is None:
        return None
    block = data[start : end - 2]
    fields = _recent.get(block)
    if fields is None:
        fields = _fields_of(block)
        if fields is None:
            return None
        if len(_recent) >= _MOST_RECENT:
            _recent.clear()
        _recent[block] = fields
    if fields.total > most_headers:
        return None
    method, target, path = found.groups()
    if method == b"POST":
        if fields.length is None or fields.upgrades:
            return None
        missing = end + fields.length - len(data)
        if missing and not 0 < missing <= fields.length <= _LATER:
            return None
        body = Body(data[end:], missing)
    elif fields.length is not None or end != len(data):
        return None
    else:
        body = _NO_BODY
    return CanonicalRequest(
        protocol,
        method.decode(),
        target.decode(),
        path.decode(),
        fields.headers,
        fields.host,
        body,
        len(target) + len(block),
    )


def raw_headers(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of a request that was read, as the client has written them."""
    block = data[data.find(_CRLF) + 2 : data.find(_END)]
    names_and_values = (line.partition(b": ")[::2] for line in block.split(_CRLF))
    return tuple(names_and_values)


def _fields_of(block: bytes) -> _Fields | None:
    """Read the headers of a request; ``None`` if they are for aiohttp to read."""
    lines = block.decode("latin-1").split("\r\n")
    lines.pop()
    # Nothing but printable characters and whole ends of lines, and one space before each value:
    if len(block.translate(None, _PRINTABLE)) != 2 * len(lines) or b" \r\n" in block or b":  " in block:
        return None
    fields: dict[str, str] = {}
    try:
        for line in lines:
            name, value = line.split(": ", 1)
            fields[_names[name]] = value
    except ValueError:
        return None
    if len({*map(str.lower, fields)}) < len(lines):
        return None
    host, length = fields.get("Host"), fields.get("Content-Length")
    if host is None or _HOST.fullmatch(host) is None:
        return None
    if length is not None and _LENGTH.fullmatch(length) is None:
        return None
    upgrades = "Upgrade" in fields
    if upgrades:
        if fields["Upgrade"] != "websocket" or fields.get("Connection") != "Upgrade":
            return None
    elif fields.get("Connection") not in _KEPT_ALIVE:
        return None
    headers = CIMultiDictProxy(CIMultiDict(fields))
    return _Fields(headers, len(lines), host, None if length is None else int(length), upgrades)
