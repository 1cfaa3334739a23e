"""Leases of servers, and who is awaited by a request."""

from __future__ import annotations

from typing import Final

import pytest

from rtframework import ClusterNode, DecodeError
from rtframework.cluster.leases import Lease, awaited, encode_lease, read_lease

A: Final = {"a": "1"}
AB: Final = {"a": "1", "b": "2"}


def test_a_lease_is_read_as_it_was_written() -> None:
    """Servers would describe others wrongly, or a new version not be understood by an old one."""
    lease = Lease(name="a", uid="1", host="h", pid=7, version="0.1", started=12.5, sockets=3)
    assert read_lease(encode_lease(lease)) == lease
    assert read_lease(b'{"name":"a","uid":"1","more":[]}') == Lease(name="a", uid="1")
    assert lease.describe(is_self=True) == ClusterNode("a", "h", 7, "0.1", 12.5, 3, True)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"name":"","uid":"1"}', b'{"name":"a","uid":7}', b"\xff"])
def test_rubbish_is_refused(value: bytes) -> None:
    """A key that somebody else has written would end every request."""
    with pytest.raises(DecodeError):
        read_lease(value)


@pytest.mark.parametrize(
    ("count", "serving", "alive", "left", "strangers", "expected"),
    [
        pytest.param(2, AB, AB, (), False, AB, id="all have names"),
        pytest.param(3, AB, AB, (), False, 3, id="a server of Node, too"),
        pytest.param(1, AB, AB, (), False, AB, id="one is connecting again at this moment"),
        pytest.param(0, AB, AB, (), False, AB, id="both are"),
        pytest.param(1, AB, A, (), False, A, id="one has gone"),
        pytest.param(1, AB, {"a": "1", "b": "3"}, (), False, A, id="one was started again, and serves something else"),
        pytest.param(2, AB, AB, {"2"}, False, A, id="one leaves at this moment"),
        pytest.param(1, A, A, (), True, 1, id="Node's instead of one that is connecting"),
        pytest.param(0, A, A, (), True, A, id="Node's has gone"),
        pytest.param(3, AB, AB, {"2"}, False, 2, id="one leaves beside a server of Node"),
        pytest.param(0, {}, AB, (), False, {}, id="nobody else serves this"),
        pytest.param(-1, {}, {}, (), False, {}, id="nobody is subscribed, not even this one"),
    ],
)
def test_who_is_awaited(
    count: int,
    serving: dict[str, str],
    alive: dict[str, str],
    left: set[str],
    strangers: bool,
    expected: dict[str, str] | int,
) -> None:
    """A request would end without the answer of a server that lives, or wait for one that is not there."""
    assert awaited(count, serving, alive, left, strangers=strangers) == expected
