"""Requests that are read without aiohttp's parser: what is read, and what is left to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from aiohttp import web

from rtframework.engine.http import canonical
from rtframework.engine.http.canonical import read
from rtframework.engine.http.protocol import HttpProtocol
from tests.engine import Witness, eventually, wire
from tests.engine.http.test_direct import HANDSHAKE, join, open_session, run
from tests.support.both_ways import EMIT, PLAIN, SID, check_both, target

GET: Final = (
    b"GET /socket.io/?EIO=4&transport=polling&t=abc HTTP/1.1\r\n"
    b"Host: a.example:8000\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="140"\r\n'
    b"x-own: a, b\r\n"
    b"accept-encoding: gzip, deflate, br, zstd\r\n"
    b"Cookie: a=b\r\n"
    b"\r\n"
)
POST: Final = b"POST /socket.io/?sid=a HTTP/1.1\r\nHost: a\r\nContent-type: text/plain\r\nContent-Length: 2\r\n\r\n40"
PROTOCOL: Final = cast("HttpProtocol", SimpleNamespace(peername=("192.0.2.1", 5_000), ssl_context=None, transport=None))


def test_a_request_is_read_as_aiohttp_reads_it() -> None:
    """Programs see the headers of a handshake, and would have to look for another spelling of some."""
    found = read(GET, PROTOCOL)
    assert found is not None
    assert (found.method, found.path, found.raw_path) == (
        "GET",
        "/socket.io/",
        "/socket.io/?EIO=4&transport=polling&t=abc",
    )
    assert list(found.headers.items()) == [
        ("Host", "a.example:8000"),
        ("Connection", "keep-alive"),
        ("Sec-CH-UA", '"Chromium";v="140"'),
        ("x-own", "a, b"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Cookie", "a=b"),
    ]
    assert (found.host, found.remote, found.secure, found.content.read_nowait()) == (
        "a.example:8000",
        "192.0.2.1",
        False,
        b"",
    )
    assert found.head_size == len(GET) - len(b"GET  HTTP/1.1\r\n\r\n")


def test_a_body_is_read() -> None:
    """A POST would be empty."""
    found = read(POST, PROTOCOL)
    assert found is not None
    assert (found.method, found.content.read_nowait(), found.content.is_eof()) == ("POST", b"40", True)


@pytest.mark.parametrize("first", [b"", b"4"])
def test_a_body_that_is_on_its_way_is_awaited(first: bytes) -> None:
    """Browsers send it in a segment of its own."""
    found = read(POST[:-2] + first, PROTOCOL)
    assert found is not None
    body = found.content
    assert (body.is_eof(), body.missing, body.length) == (False, 2 - len(first), 2)
    body.feed(b"40"[len(first) :])
    assert (body.is_eof(), body.missing, body.length) == (True, 0, 2)
    assert body.read_nowait() == b"40"
    body.feed(b"G")
    assert (body.is_eof(), body.missing) == (True, -1)


def test_a_proxy_says_more_of_the_client() -> None:
    """Behind nginx, every client would have its address."""
    found = read(GET, PROTOCOL)
    assert found is not None
    copy = found.clone(remote="203.0.113.7", scheme="https", host="b")
    assert (copy.remote, copy.secure, copy.host, copy.raw_path) == ("203.0.113.7", True, "b", found.raw_path)
    assert found.clone(remote="203.0.113.7").host == found.host


LEFT: Final = {
    "nothing": b"",
    "a beginning": GET[:-1],
    "something behind it": GET + b"G",
    "two": GET + GET,
    "a body that is longer": POST + b"x",
    "a long body that is not whole": POST.replace(b": 2\r\n", b": 40000\r\n"),
    "a body without a length": POST.replace(b"Content-Length: 2\r\n", b""),
    "a GET with a length": GET.replace(b"Cookie: a=b", b"Content-Length: 0"),
    "a signed length": POST.replace(b": 2\r\n", b": +2\r\n"),
    "a length with a zero": POST.replace(b": 2\r\n", b": 02\r\n"),
    "a length of other digits": POST.replace(b": 2\r\n", b": \xb2\r\n"),
    "two lengths": POST.replace(b"Content-type: text/plain", b"content-length: 2"),
    "chunks": POST.replace(b"Content-type: text/plain", b"Transfer-Encoding: chunked"),
    "Expect": GET.replace(b"Cookie: a=b", b"Expect: 100-continue"),
    "a compressed body": POST.replace(b"Content-type: text/plain", b"Content-Encoding: gzip"),
    "no host": GET.replace(b"Host: a.example:8000\r\n", b""),
    "another host": GET.replace(b"a.example:8000", b"a/b"),
    "a header twice": GET.replace(b"Cookie: a=b", b"HOST: b"),
    "an unknown header twice": GET.replace(b"Cookie: a=b", b"X-Own: b"),
    "the end of the connection": GET.replace(b": keep-alive", b": close"),
    "the end of a proxy's connection": GET.replace(b"Cookie: a=b", b"Proxy-connection: close"),
    "an old websocket": GET.replace(b"Cookie: a=b", b"sec-websocket-key1: a"),
    "another upgrade": GET.replace(b"Cookie: a=b", b"Upgrade: h2c"),
    "an upgrade of a POST": POST.replace(b"Content-type: text/plain", b"Connection: Upgrade\r\nUpgrade: websocket"),
    "a folded header": GET.replace(b"Cookie: a=b", b"Cookie: a=b\r\n c=d"),
    "a bare LF": GET.replace(b"\r\nCookie", b"\nCookie"),
    "a bare CR": GET.replace(b"\r\nCookie", b"\rCookie"),
    "only LF": GET.replace(b"\r\n", b"\n"),
    "NUL": GET.replace(b"a=b", b"a=\0b"),
    "a tab": GET.replace(b"a=b", b"a=\tb"),
    "DEL": GET.replace(b"a=b", b"a=\x7fb"),
    "more than ASCII": GET.replace(b"a=b", b"a=\xc3\xa9"),
    "two spaces": GET.replace(b": a=b", b":  a=b"),
    "no space": GET.replace(b": a=b", b":a=b"),
    "a space at the end": GET.replace(b"a=b", b"a=b "),
    "an empty value": GET.replace(b": a=b", b": "),
    "a space in a name": GET.replace(b"Cookie:", b"Cookie :"),
    "an odd name": GET.replace(b"Cookie:", b"C(o):"),
    "no name": GET.replace(b"Cookie:", b":"),
    "no colon": GET.replace(b"Cookie: a=b", b"Cookie"),
    "another method": GET.replace(b"GET", b"PUT"),
    "a small method": GET.replace(b"GET", b"get"),
    "another version": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a whole URL": GET.replace(b" /socket", b" http://a/socket"),
    "no query": GET.replace(b"?EIO=4&transport=polling&t=abc", b""),
    "quoting": GET.replace(b"t=abc", b"t=%41"),
    "a fragment": GET.replace(b"t=abc", b"t=a#b"),
    "two spaces in the line": GET.replace(b"GET ", b"GET  "),
    "an empty line before it": b"\r\n" + GET,
    "a large head": GET.replace(b"a=b", b"a=" + b"b" * canonical.LARGEST),
    "many headers": GET.replace(b"Cookie: a=b\r\n", b"".join(b"X-%d: a\r\n" % each for each in range(60))),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_odd_is_left_to_aiohttp(case: str) -> None:
    """A server that reads a request otherwise than the proxy in front of it lets in what that keeps out."""
    assert LEFT[case] not in (GET, POST)
    assert read(LEFT[case], PROTOCOL) is None


@pytest.mark.parametrize("case", LEFT)
def test_what_is_odd_is_answered_as_by_aiohttp(case: str) -> None:
    """The same, over the whole server, behind a request that is not odd, and before another."""
    data = LEFT[case].replace(b"/socket.io/?sid=a", target(b"polling", SID))
    check_both([[(0, PLAIN[0]), (0, data), (0, PLAIN[1]), (1, PLAIN[1])]])


def test_names_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that make up names of headers would fill the memory."""
    names = canonical._Names()
    monkeypatch.setattr(canonical, "_names", names)
    monkeypatch.setattr(canonical, "_recent", {})
    for number in range(2_000):
        assert read(GET.replace(b"Cookie", b"X-%d" % number), PROTOCOL) is not None
    assert len(names) == canonical._MOST_NAMES
    assert read(GET.replace(b"Cookie", b"Y" * 5_000), PROTOCOL) is not None


def test_headers_are_kept_up_to_a_bound() -> None:
    """Cookies of all clients would stay in memory."""
    for number in range(1_000):
        assert read(GET.replace(b"a=b", b"a=%d" % number), PROTOCOL) is not None
    assert len(canonical._recent) <= canonical._MOST_RECENT
    first, second = (read(GET.replace(b"t=abc", b"t=%d" % number), PROTOCOL) for number in range(2))
    assert first is not None
    assert second is not None
    assert first.headers is second.headers
    assert first.raw_path != second.raw_path


def test_headers_that_were_read_do_not_make_a_request_whole() -> None:
    """The headers of one request would let through another."""
    assert read(POST, PROTOCOL) is not None
    assert read(POST.replace(b"POST", b"GET"), PROTOCOL) is None
    assert read(GET, PROTOCOL) is not None
    assert read(GET.replace(b"GET", b"POST"), PROTOCOL) is None
    assert read(GET, PROTOCOL, most_headers=3) is None


def test_a_request_over_tls_is_secure() -> None:
    """Programs that ask for it would turn everybody away."""
    protocol = cast("HttpProtocol", SimpleNamespace(peername=None, ssl_context=object(), transport=None))
    found = read(GET, protocol)
    assert found is not None
    assert (found.secure, found.remote) == (True, None)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What aiohttp's parser gets."""
    found: list[bytes] = []
    receive = web.RequestHandler.data_received

    def note(self: web.RequestHandler, data: bytes) -> None:
        found.append(data)
        receive(self, data)

    monkeypatch.setattr(web.RequestHandler, "data_received", note)
    return found


async def test_the_way_of_a_browser_needs_no_parser(parsed: list[bytes]) -> None:
    """Two fifths of what its arrival costs, and most of the memory of its connections."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1")
        await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
        await witness.io.emit("news", 1)
        assert await tcp.response() == (200, b'42["news",1]')
        assert parsed == []
        await tcp.send("GET /nowhere HTTP/1.1")
        assert (await tcp.response())[0] == 404
        assert len(parsed) == 1
        await join(tcp)
        assert len(parsed) == 1


async def test_a_connection_that_was_cut_in_a_head_is_left_to_the_parser(parsed: list[bytes]) -> None:
    """What looks like a request may be the rest of a header, of which a proxy knows."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await open_session(tcp)
        await tcp.more(b"GET /nowhere HTTP/1.1\r\nX-A: ")
        await eventually(lambda: parsed)
        await tcp.send(HANDSHAKE)
        assert (await tcp.response())[0] == 404
        assert len(witness.engine.connections) == 1


def test_a_poll_that_was_not_parsed_is_parsed_for_what_comes_behind_it() -> None:
    """Answers in another order would be taken for one another's."""
    steps = [(0, PLAIN[0]), (0, PLAIN[2]), (0, PLAIN[1]), (0, PLAIN[1]), (0, PLAIN[5]), (EMIT, b"a"), (0, PLAIN[5])]
    (found,) = check_both([steps])
    assert [answer[0] for answer in found["answers"][0][:-1]] == [b"200 OK"] * len(steps[:-1])


def test_large_polls_are_compressed() -> None:
    """What is not parsed by aiohttp is still compressed by it."""
    (found,) = check_both([[(0, PLAIN[0]), (0, PLAIN[2]), (1, PLAIN[1]), (1, PLAIN[1]), (EMIT, b"b" * 2_000)]])
    head: Any = dict(found["answers"][1][1][1])
    assert head[b"content-encoding"] == b"gzip"


async def test_the_program_s_limits_count(parsed: list[bytes]) -> None:
    """A limit of aiohttp's that the program sets would be passed over."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app, max_field_size=500, max_headers=3) as url, wire(url) as tcp, wire(url) as other:
        await tcp.send(HANDSHAKE, f"Cookie: a={'b' * 1_000}")
        assert (await tcp.response())[0] == 431
        await other.send(HANDSHAKE, *(f"X-{each}: a" for each in "abcd"))
        assert (await other.response())[0] == 400
        assert len(parsed) == 2
