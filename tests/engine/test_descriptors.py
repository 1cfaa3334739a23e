"""File descriptors: how many are kept, and what is logged when there are none."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework.engine.descriptors import highest_number, number_of, quieten


@pytest.mark.parametrize(
    ("soft", "highest"), [(200, 168), (1_024, 922), (1_000_000, 999_744), (resource.RLIM_INFINITY, None)]
)
def test_some_descriptors_are_kept(soft: int, highest: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal, a log file and a query of the database would need one that is not there."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    assert highest_number() == highest


def test_a_request_without_a_socket_has_no_number() -> None:
    """Requests of tests, and those whose client has gone, would fail."""
    transport: Any = type("Transport", (), {"get_extra_info": lambda self, name: None})()
    assert number_of(make_mocked_request("GET", "/", transport=transport)) == -1


@pytest.mark.usefixtures("throttled")
async def test_accept_errors_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred tracebacks a second would fill the disk while no connection can be accepted."""
    loop = asyncio.new_event_loop()
    try:
        quieten(loop)
        for _ in range(100):
            message = "socket.accept() out of system resource"
            loop.call_exception_handler({"message": message, "exception": OSError(24, "Too many open files")})
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "ulimit -n" in caplog.text
        loop.call_exception_handler({"message": "something else"})
        assert caplog.records[1].name == "asyncio"
    finally:
        loop.close()


async def test_a_program_s_own_handler_stays() -> None:
    """A program that reports errors of the loop would hear of none any more."""
    loop = asyncio.new_event_loop()
    try:
        heard: list[Any] = []
        loop.set_exception_handler(lambda loop, context: heard.append(context))
        quieten(loop)
        loop.call_exception_handler({"message": "socket.accept() out of system resource"})
        assert len(heard) == 1
    finally:
        loop.close()
