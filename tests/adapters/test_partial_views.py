"""Programs that look at the sockets of one of several workers, as if these were all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rtframework import Server
from rtframework.adapters.partial_views import warn_while

OTHERS = [True]


@pytest.fixture(autouse=True)
def workers() -> Iterator[None]:
    """One of several workers."""
    OTHERS[:] = [True]
    warn_while(lambda: OTHERS[0])
    yield
    warn_while(None)


READS: dict[str, Any] = {
    "the main namespace": lambda io: io.sockets,
    "a namespace": lambda io: io.of("/chat").sockets,
    "a parent": lambda io: io.of("/{name}").sockets,
    "a number": lambda io: len(io.of("/chat")),
}


@pytest.mark.parametrize("read", READS.values(), ids=list(READS))
def test_it_is_said_once(read: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A program that was made for one process would count, or greet, a part of its people, and nobody know why."""
    io = Server()
    for _ in range(3):
        read(io)
    (record,) = caplog.records
    assert "test_partial_views.py:" in record.message
    assert "await fetch_sockets() has those of all" in record.message


def test_nothing_is_said_without_reason(caplog: pytest.LogCaptureFixture) -> None:
    """A warning that is wrong is not read the next time."""
    io = Server()
    repr(io.of("/chat"))
    io.stats()
    OTHERS[0] = False
    assert not io.sockets
    warn_while(None)
    assert not io.sockets
    assert caplog.records == []
