"""Addresses: all that redis-py's URLs and clients can say, and no password in a message."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.credentials import UsernamePasswordCredentialProvider

from rtframework.exceptions import ConfigurationError
from rtframework_redis.address import Address, without_password


@pytest.mark.parametrize(
    ("url", "shown", "expected"),
    [
        ("redis://", "redis://localhost:6379/0", {"host": "localhost", "port": 6379, "db": 0}),
        (
            "redis://app:s%40cret@example.org:7000/3",
            "redis://app@example.org:7000/3",
            {"host": "example.org", "port": 7000, "db": 3, "username": "app", "password": "s@cret"},
        ),
        ("redis://:secret@h?db=2", "redis://h:6379/2", {"username": "", "password": "secret", "db": 2}),
        ("redis://[::1]:7000", "redis://[::1]:7000/0", {"host": "::1"}),
        ("unix:///run/redis.sock?db=4", "unix:///run/redis.sock?db=4", {"path": "/run/redis.sock", "db": 4}),
        ("redis://h?protocol=2&client_name=me", "redis://h:6379/0", {"protocol": 2, "client_name": "me"}),
        ("redis://h?socket_connect_timeout=0.5&socket_timeout=3", "redis://h:6379/0", {"connect_timeout": 0.5}),
        ("redis://h?max_connections=3&health_check_interval=5", "redis://h:6379/0", {"tls": None}),
    ],
)
def test_urls(url: str, shown: str, expected: dict[str, Any]) -> None:
    """A URL that works with redis-py would not work here."""
    address = Address.from_url(url)
    assert str(address) == shown
    assert {name: getattr(address, name) for name in expected} == expected


def test_tls_is_as_redis_py_has_it() -> None:
    """A connection would not be encrypted, or be encrypted with anybody."""
    address = Address.from_url("rediss://h")
    assert str(address) == "rediss://h:6379/0"
    assert address.tls is not None
    assert (address.tls.verify_mode, address.tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    lax = Address.from_url("rediss://h?ssl_cert_reqs=none").tls
    assert lax is not None
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://app:secret@h/0",
        "redis://app:secret@h:port/0",
        "redis://app:secret@h/0?ssl_ca_certs=x",
        "redis://app:secret@h?db=x",
        "rediss://app:secret@h?ssl_ca_certs=/does/not/exist",
        "rediss://app:secret@h?ssl_cert_reqs=maybe",
        "redis://app:sec:ret@h/0?nonsense=secret",
    ],
)
def test_a_wrong_url_is_named_without_its_password(url: str) -> None:
    """The password would stand in logs, or nobody would know which URL is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        Address.from_url(url)
    assert "://app@h" in str(caught.value)
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_text_that_is_no_url_is_not_shown() -> None:
    """Somebody who passes the password alone would read it in a log."""
    assert without_password("secret") == "the URL"
    assert without_password("redis://u:p@s@h/0?password=x") == "redis://u@h/0"


async def test_settings_of_a_client() -> None:
    """Programs that have a client of redis-py would have to say everything twice."""
    options = {socket.TCP_KEEPIDLE: 7}
    client = Redis(host="h", port=7, db=3, username="u", password="secret", socket_keepalive_options=options)
    address = Address.from_client(client)
    assert str(address) == "redis://u@h:7/3"
    assert address.keepalive_options == options
    assert await address.credentials() == ("u", "secret")
    assert "secret" not in repr(address)
    assert Address.from_client(Redis(unix_socket_path="/run/redis.sock")).place == "/run/redis.sock"
    assert Address.from_client(Redis.from_url("rediss://h")).tls is not None


@pytest.mark.parametrize(("user", "expected"), [("u", ("u", "secret")), (None, ("", "secret"))])
async def test_credentials_are_asked_for(user: str | None, expected: tuple[str, str]) -> None:
    """Passwords that change, as those of cloud providers do, would be those of the start."""
    provider = UsernamePasswordCredentialProvider(user, "secret")
    address = Address.from_client(Redis(credential_provider=provider))
    assert await address.credentials() == expected
