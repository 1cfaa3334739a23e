"""Origins: which pages may connect, decided before anything else is done for them."""

from __future__ import annotations

import re

import pytest

from rtframework.engine.http.origins import OriginPolicy
from rtframework.options import Cors, Origins
from tests.conftest import Serve
from tests.engine import Witness, raw_client


def accepts(origin: str | None, host: str = "example.org", allowed: Origins = None) -> bool:
    return OriginPolicy(Cors(allowed)).accepts(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "example.org"),
        ("http://example.org", "example.org"),
        ("https://example.org", "example.org"),
        ("https://EXAMPLE.org", "example.ORG"),
        ("http://example.org:8080", "example.org:8080"),
        ("http://example.org", "example.org:80"),
        ("https://example.org", "example.org:443"),
        ("https://example.org:443", "example.org"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
def test_the_server_s_own_pages_may_connect(origin: str | None, host: str) -> None:
    """The simplest set-up, page and server on one host, would need a setting."""
    assert accepts(origin, host)
    assert OriginPolicy(Cors()).headers(origin, host) == {}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.org", "example.org"),
        ("https://example.org.evil.org", "example.org"),
        ("https://evil-example.org", "example.org"),
        ("https://sub.example.org", "example.org"),
        ("https://example.org", "sub.example.org"),
        ("https://example.org@evil.org", "example.org"),
        ("https://evil.org#example.org", "example.org"),
        ("https://evil.org/example.org", "example.org"),
        ("http://example.org:8080", "example.org"),
        ("http://example.org:8080", "example.org:9090"),
        ("null", "example.org"),
        ("", "example.org"),
        ("example.org", "example.org"),
        ("file://", "example.org"),
        ("file://example.org", "example.org"),
        ("chrome-extension://example.org", "example.org"),
        ("http://example.org:99999", "example.org"),
        ("http://example.org:x", "example.org"),
        ("http://[::1", "[::1]"),
        ("http://", ""),
        ("https://example.org", ""),
        ("https://evil.org", "evil.org:x"),
    ],
)
def test_other_pages_may_not(origin: str, host: str) -> None:
    """Any page that a user visits could act in the user's name, with the user's cookies."""
    assert not accepts(origin, host)
    assert OriginPolicy(Cors()).is_foreign(origin, host)


@pytest.mark.parametrize("origin", ["http://example.org", "https://example.org"])
def test_another_port_is_another_origin(origin: str) -> None:
    """Whoever serves the pages at port 80 of a host would have its users' sessions at port 8080."""
    assert not accepts(origin, "example.org:8080")


def test_a_list_of_origins() -> None:
    """The page at another host that the program wants could not connect, or more than it could."""
    for allowed in ("https://a.org", ["https://a.org"], ("https://b.org", "https://a.org/"), {"https://a.org"}):
        assert accepts("https://a.org", allowed=allowed)  # type: ignore[arg-type]
        assert accepts("https://example.org", allowed=allowed)  # type: ignore[arg-type]
        for foreign in ("http://a.org", "https://a.org:444", "https://a.org.evil.org", "https://xa.org", "null", ""):
            assert not accepts(foreign, allowed=allowed)  # type: ignore[arg-type]


def test_patterns_match_the_whole_origin() -> None:
    """A pattern for one's own sub-domains would let others in that only contain them."""
    pattern = re.compile(r"https://(\w+\.)?a\.org")
    several: list[str | re.Pattern[str]] = ["https://b.org", pattern]
    for allowed in (pattern, several):
        assert accepts("https://www.a.org", allowed=allowed)
        assert not accepts("https://www.a.org.evil.org", allowed=allowed)
        assert not accepts("https://evil.org/https://www.a.org", allowed=allowed)
        assert not accepts("https://a.org\n", allowed=allowed)


def test_a_function_decides_on_foreign_origins() -> None:
    """Origins that stand in a database could not be asked for."""
    asked: list[str] = []

    def tenants(origin: str) -> bool:
        asked.append(origin)
        return origin == "https://tenant.org"

    assert accepts("https://tenant.org", allowed=tenants)
    assert not accepts("https://evil.org", allowed=tenants)
    assert accepts(None, allowed=tenants)
    assert accepts("https://example.org", allowed=tenants)
    assert asked == ["https://tenant.org", "https://evil.org"]


def test_everybody_and_nobody() -> None:
    """``"*"`` is what public services and first experiments use, ``[]`` what the careful use."""
    for origin in ("https://evil.org", "null", "", None):
        assert accepts(origin, allowed="*")
        assert accepts(origin, allowed=["https://a.org", "*"])
    assert not accepts("https://evil.org", allowed=[])
    assert accepts("https://example.org", allowed=[])


def test_the_headers_name_the_origin_that_was_accepted() -> None:
    """Browsers would throw the answers away, or caches mix them."""
    policy = OriginPolicy(Cors("https://a.org"))
    assert policy.headers("https://a.org", "example.org") == {
        "Access-Control-Allow-Origin": "https://a.org",
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    assert policy.headers(None, "example.org") == {}
    assert "Access-Control-Allow-Credentials" not in OriginPolicy(Cors("*", credentials=False)).headers(
        "https://a.org", "example.org"
    )


async def test_a_foreign_page_is_refused_on_every_way_in(serve: Serve) -> None:
    """Browsers apply CORS to polling only: a websocket with the user's cookies would be open to any page."""
    witness = Witness()
    server = await serve(witness.io)
    foreign = {"Origin": "https://evil.org"}
    async with raw_client(server.url) as raw:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        }
        for method, transport, headers in (
            ("GET", "polling", foreign),
            ("POST", "polling", foreign),
            ("OPTIONS", "polling", foreign),
            ("GET", "websocket", {**foreign, **upgrade}),
        ):
            answer = await raw.request(method, query=raw.query(transport), headers=headers)
            assert (answer.status, answer.text) == (403, '{"code":4,"message":"Forbidden"}')
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert not witness.engine.connections
        # A session that exists is no help.
        await raw.handshake()
        for method, transport in (("GET", "polling"), ("POST", "polling"), ("GET", "websocket")):
            more = upgrade if transport == "websocket" else {}
            answer = await raw.request(method, query=raw.query(transport), headers={**foreign, **more})
            assert answer.status == 403
        assert (await raw.post("40")).text == "ok"


async def test_own_and_chosen_pages_connect(serve: Serve) -> None:
    """A page could not use the server that was set up for it."""
    witness = Witness(cors_allowed_origins=["https://a.org", re.compile(r"https://.*\.b\.org")])
    server = await serve(witness.io)
    for origin in ("https://a.org", "https://x.b.org"):
        async with raw_client(server.url) as raw:
            answer = await raw.request("GET", headers={"Origin": origin})
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert answer.headers["Vary"] == "Origin"
            # An error must be readable for the page, too.
            refused = await raw.request("GET", query={"EIO": "3", "transport": "polling"}, headers={"Origin": origin})
            assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (400, origin)
            websocket, _ = await raw.open_websocket(headers={"Origin": origin})
            await websocket.close()
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket(headers={"Origin": server.url})
        await websocket.send("40")
        await websocket.receive()
        assert witness.only.handshake.xdomain is False
        await websocket.close()


async def test_preflights_are_answered(serve: Serve) -> None:
    """Pages that send a header of their own, a token say, could not poll."""
    server = await serve(Witness(cors_allowed_origins="https://a.org").io)
    async with raw_client(server.url) as raw:
        answer = await raw.request(
            "OPTIONS",
            headers={
                "Origin": "https://a.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization, x-tenant",
            },
        )
        assert (answer.status, answer.text) == (204, "")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.org"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, x-tenant"
        without = await raw.request("OPTIONS")
        assert without.status == 204
        assert "Access-Control-Allow-Origin" not in without.headers
