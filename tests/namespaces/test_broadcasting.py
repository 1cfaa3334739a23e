"""What a server and a namespace select, asked of either."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Server, Target
from rtframework.namespaces.broadcasting import Broadcasting


@pytest.mark.parametrize("of", [lambda io: io, lambda io: io.of("/chat"), lambda io: io.of("/{x}")])
def test_selections_of_a_server_and_of_its_namespaces(of: Any) -> None:
    """What works with the server would not work with a namespace, or go to another one."""
    everybody: Broadcasting = of(Server())
    audience = everybody._everybody()._audience
    assert everybody.to("a", ["b"])._target == everybody.in_("a", "b")._target == Target(frozenset("ab"))
    assert everybody.except_("a")._target == Target(except_=frozenset("a"))
    assert everybody.volatile._target.volatile
    assert everybody.local._target.local
    assert not everybody.compress(False)._target.compress
    assert everybody.timeout(2)._timeout == 2
    user = everybody.user(42)
    assert (user._operator._audience, user.id, user.room) == (audience, "42", "$user:42")
