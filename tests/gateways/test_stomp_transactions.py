"""The transactions of a STOMP client."""

from __future__ import annotations

import pytest

from rtframework.gateways.stomp_frames import Frame, StompError
from rtframework.gateways.stomp_transactions import MAX_HELD, MAX_TRANSACTIONS, Transactions


def frame(size: int = 1) -> Frame:
    """Make a frame of a size."""
    return Frame("SEND", {}, b"", size)


def test_frames_come_back_in_order() -> None:
    """A transaction would be served in another order, or twice."""
    transactions = Transactions(100)
    one, two, three = frame(), frame(2), frame(3)
    transactions.begin("a")
    transactions.begin("b")
    transactions.hold("a", one)
    transactions.hold("b", two)
    transactions.hold("a", three)
    assert transactions.size == 6
    assert transactions.end("a") == [one, three]
    assert transactions.size == 2
    with pytest.raises(StompError, match="not begun"):
        transactions.end("a")
    transactions.clear()
    assert transactions.size == 0
    with pytest.raises(StompError, match="not begun"):
        transactions.hold("b", two)


def test_mistakes_are_refused() -> None:
    """A client would take for held what is lost."""
    transactions = Transactions(100)
    with pytest.raises(StompError, match="names"):
        transactions.begin("")
    transactions.begin("a")
    with pytest.raises(StompError, match="already"):
        transactions.begin("a")


def test_they_are_bounded() -> None:
    """A client that never commits would fill the memory."""
    transactions = Transactions(MAX_HELD)
    for number in range(MAX_TRANSACTIONS):
        transactions.begin(str(number))
    with pytest.raises(StompError, match=f"at most {MAX_TRANSACTIONS}"):
        transactions.begin("one more")
    with pytest.raises(StompError, match="max_http_buffer_size"):
        transactions.hold("0", frame(MAX_HELD + 1))
    for number in range(MAX_HELD):
        transactions.hold(str(number % 3), frame())
    with pytest.raises(StompError, match=f"at most {MAX_HELD}"):
        transactions.hold("0", frame(0))
