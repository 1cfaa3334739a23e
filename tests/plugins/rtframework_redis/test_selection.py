"""Selections of a program that is no server."""

from __future__ import annotations

import msgspec
import pytest

from rtframework import ConfigurationError, EncodeError
from rtframework.types import EVERYBODY, Target
from rtframework_redis.publication import Publication, StreamMessage
from rtframework_redis.selection import Encoding, Selection


class Selected(Selection["Selected"]):
    """What a test looks at."""

    def _select(self, nsp: str, target: Target) -> Selected:
        return Selected(self._encoding, nsp, target)

    @property
    def target(self) -> Target:
        """The sockets that are selected."""
        return self._target


ENCODING = Encoding.of("streams", "socket.io", None, 100)
EVERY = Selected(ENCODING)


def data_of(message: Publication | None) -> object:
    """Decode the data of an entry."""
    assert isinstance(message, StreamMessage)
    return msgspec.json.decode(message.data)


def test_each_step_makes_a_new_selection() -> None:
    """A selection that a program keeps would grow with each use."""
    red = EVERY.to("red")
    assert red.in_("blue", ["green"]).target == Target(frozenset(["red", "blue", "green"]))
    assert red.except_(["muted"]).volatile.compress(False).target == Target(
        frozenset(["red"]), frozenset(["muted"]), volatile=True, compress=False
    )
    assert (red.target, EVERY.target) == (Target(frozenset(["red"])), EVERYBODY)


def test_nobody_is_nobody() -> None:
    """An empty list of friends would mean everybody: on the wire, no rooms are all sockets."""
    nobody = EVERY.to([])
    assert nobody._event("e", ()) is None
    assert nobody._move(("red",), join=True) is None
    assert nobody._disconnection(False, None) is None
    with pytest.raises(ConfigurationError):
        nobody._event("connect", ())


def test_what_is_sent() -> None:
    """Servers would do something else than what was called."""
    everybody: dict[str, object] = {"rooms": [], "except": [], "flags": {}}
    assert data_of(EVERY._event("e", (1,))) == {"packet": {"type": 2, "data": ["e", 1]}, "opts": everybody}
    for join, kind in ((True, 4), (False, 5)):
        moved = EVERY._move(("red", ["blue"]), join=join)
        assert isinstance(moved, StreamMessage)
        assert (moved.kind, data_of(moved)) == (kind, {"opts": everybody, "rooms": ["red", "blue"]})
    assert data_of(EVERY._disconnection(True, None)) == {"opts": everybody, "close": True}
    assert data_of(EVERY._of("/chat")._disconnection(False, "why")) == {
        "opts": everybody,
        "close": False,
        "x": {"reason": "why"},
    }
    assert data_of(EVERY._server_side("e", ())) == {"packet": ["e"]}


def test_a_message_that_is_too_large_is_refused() -> None:
    """One picture could stop the readers of all servers."""
    with pytest.raises(EncodeError, match="more than max_message=100"):
        EVERY._event("e", ("x" * 100,))
    with pytest.raises(EncodeError, match="more than max_message=100"):
        Selected(Encoding.of("pubsub", "socket.io", None, 100))._event("e", ("x" * 100,))


@pytest.mark.parametrize("name", ["", "chat", "/a,b", "/a\n", None])
def test_names_of_namespaces_are_checked(name: str) -> None:
    """A worker would emit for ever to a namespace that cannot exist."""
    with pytest.raises(ConfigurationError):
        EVERY._of(name)
