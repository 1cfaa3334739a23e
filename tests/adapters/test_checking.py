"""Checking an adapter where it is made."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError, MemoryAdapter, Server
from rtframework.adapters.checking import check_adapter
from rtframework.types import SocketDetails


def test_a_method_that_is_missing_is_named() -> None:
    """An adapter without a method would serve clients until the method is needed."""

    class Half:
        def add(self, sid: str, rooms: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Half is no adapter, it has no remove, .*broadcast.*BaseAdapter"):
        Server(adapter=lambda nsp, emitter: Half())  # type: ignore[arg-type, return-value]


def test_a_parameter_that_is_missing_is_named() -> None:
    """An adapter that was written before there was a cluster would fail when somebody is banned."""

    class Old(MemoryAdapter):
        async def fetch_sockets(self, target: Any) -> list[SocketDetails]:  # type: ignore[override]
            return []

    with pytest.raises(ConfigurationError, match=r"Old.fetch_sockets has to take \(target, timeout\)"):
        Server(adapter=Old)  # type: ignore[arg-type]


def test_what_takes_more_is_taken() -> None:
    """A wrapper that passes everything on would be refused."""

    class Wide(MemoryAdapter):
        async def disconnect_sockets(self, *args: Any, **options: Any) -> None: ...

    adapter = Server(adapter=Wide).of("/").adapter
    for _ in range(2):
        check_adapter(adapter)
