"""The two versions of Engine.IO, as a handshake chooses between them."""

from __future__ import annotations

import pytest

from rtframework.engine.connection import Connection
from rtframework.engine.transports.polling import PollingTransport
from rtframework.engine.v3.connection import Connection3
from rtframework.engine.v3.transports import PollingTransport3
from rtframework.engine.v3.version import Version3
from rtframework.engine.versions import Version4
from tests.conftest import Serve
from tests.engine import Witness, raw_client


def test_each_version_has_its_parts() -> None:
    """A client would be spoken to in a version that it does not know."""
    new, old = Version4(), Version3()
    assert (new.connection, old.connection) == (Connection, Connection3)
    assert type(new.polling({})) is PollingTransport
    assert type(old.polling({})) is PollingTransport3
    assert (new.payload("0{}"), old.payload("0{}")) == ("0{}", "3:0{}")


def test_no_version_has_jsonp() -> None:
    """Any page could load a session as a script."""
    assert not Version3().serves({"transport": "polling", "j": "0"})
    assert Version3().serves({"transport": "websocket", "j": "0"})
    assert Version4().serves({"transport": "polling", "j": "0"})  # where it means nothing


@pytest.mark.parametrize(
    ("allowed", "query", "protocol"),
    [
        (True, {"EIO": "3"}, 3),
        (True, {}, 3),
        (True, {"EIO": "4"}, 4),
        (False, {"EIO": "4"}, 4),
        (False, {"EIO": "3"}, None),
        (False, {}, None),
        (True, {"EIO": "5"}, None),
    ],
)
async def test_the_handshake_chooses(serve: Serve, allowed: bool, query: dict[str, str], protocol: int | None) -> None:
    """Old clients would come in where they may not, or not where they may."""
    witness = Witness(allow_eio3=allowed)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET", query={**query, "transport": "polling"})
    assert answer.status == (400 if protocol is None else 200)
    assert [each.protocol for each in witness.engine.connections.values()] == ([protocol] if protocol else [])
