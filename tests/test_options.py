"""Settings: mistakes are found when the server is made, not when the first client comes."""

from __future__ import annotations

import dataclasses
import re

import pytest

from rtframework import ConfigurationError, Cors, Limits, Server
from rtframework.options import EngineOptions

TIMES = ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_times_are_above_zero(name: str, value: float) -> None:
    """A server with ``ping_timeout=0`` would disconnect everybody."""
    with pytest.raises(ValueError, match=name):
        EngineOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout"])
def test_what_is_announced_is_finite(name: str) -> None:
    """A server that means "never ping" would answer every handshake with an internal server error."""
    with pytest.raises(ValueError, match=name):
        EngineOptions(**{name: float("inf")})  # type: ignore[arg-type]


@pytest.mark.parametrize("transports", [(), ("pooling",), ("polling", "webtransport"), tuple("websocket")])
def test_unknown_transports_are_refused(transports: tuple[str, ...]) -> None:
    """A misspelt transport would leave a server that nobody can reach."""
    with pytest.raises(ValueError, match="transports must name"):
        EngineOptions(transports=transports)
    with pytest.raises(ValueError, match="transports must name"):
        Server(transports=transports)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [-1, "1"])
def test_limits_make_sense(name: str, value: object) -> None:
    """A limit that was read from the environment as text would fail in the middle of the first message."""
    with pytest.raises((ValueError, TypeError), match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    """Somebody would change a setting of a running server and wonder why it has no effect."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Server().options.ping_interval = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().max_outbox = 1  # type: ignore[misc]


def test_the_server_passes_its_settings_on() -> None:
    """A documented argument of ``Server`` would have no effect."""
    pattern = re.compile(r"https://.*\.example\.org")
    io = Server(
        ping_interval=1.5,
        ping_timeout=0.5,
        connect_timeout=3,
        upgrade_timeout=4,
        max_http_buffer_size=5_000,
        transports=["websocket"],
        allow_upgrades=False,
        cors_allowed_origins=[pattern],
        cors_credentials=False,
        http_compression=False,
        limits=Limits(max_outbox=9, max_http_buffer_size=7),
    )
    assert io.options == EngineOptions(
        ping_interval=1.5,
        ping_timeout=0.5,
        connect_timeout=3,
        upgrade_timeout=4,
        transports=("websocket",),
        allow_upgrades=False,
        cors=Cors([pattern], credentials=False),
        http_compression=False,
        limits=Limits(max_outbox=9, max_http_buffer_size=5_000),
    )


def test_the_defaults_are_node_s() -> None:
    """Clients behind proxies with timeouts made for Node's 25 seconds would be cut off."""
    options = Server().options
    assert (options.ping_interval, options.ping_timeout, options.connect_timeout, options.upgrade_timeout) == (
        25,
        20,
        45,
        10,
    )
    assert options.limits.max_http_buffer_size == 1_000_000
    assert options.limits.max_attachments == 10
    assert options.cors.allowed_origins is None


def test_an_origin_that_is_no_text_is_refused() -> None:
    """A setting that matches nothing would lock all pages out, or fail at the first request."""
    with pytest.raises(ConfigurationError, match="cors_allowed_origins"):
        Server(cors_allowed_origins=[1])  # type: ignore[list-item]


def test_whole_numbers_may_be_floats() -> None:
    """``1e8`` is how programs for Node and python-socketio write it."""
    for server in (Server(max_http_buffer_size=1e8), Server(limits=Limits(max_http_buffer_size=1e8))):  # type: ignore[arg-type]
        size = server.options.limits.max_http_buffer_size
        assert size == 100_000_000
        assert type(size) is int
    with pytest.raises(ConfigurationError, match=r"an integer of at least 1, not 1\.5"):
        Server(max_http_buffer_size=1.5)
