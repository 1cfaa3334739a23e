"""The keys of addresses."""

from __future__ import annotations

import pytest

from rtframework.limits.addresses import network_of


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
        ("unix", "unix"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_client_has_one_key(address: str | None, key: str) -> None:
    """Somebody with a /64 of IPv6, which every customer of a provider has, would have 2^64 limits."""
    assert network_of(address) == key
