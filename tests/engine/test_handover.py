"""What the first line of a request says about the worker that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from aiohttp import web

from rtframework import Server
from rtframework.engine.handover import HERE, Neighbours, RequestLines, join_workers, neighbours_of
from rtframework.engine.ids import LETTERS, new_id_of

LINES = RequestLines(["/socket.io/", "/socket.io", "/chat/live"])


@pytest.mark.parametrize(
    ("target", "slot"),
    [
        ("/socket.io/?EIO=4&transport=polling&sid=Babc", 1),
        ("/socket.io?sid=-abc&EIO=4", 62),
        ("/socket.io/rest/of/it?sid=_", 63),
        ("/chat/live?t=1&sid=a0", 26),
        ("http://host:1/socket.io/?sid=Cabc", 2),
        ("/socket.io/?sid=Babc&x=1&sid=Cabc", 2),  # of each name, the last counts
        ("/socket.io/?name=J%C3%BCrgen+x&sid=9", 61),
        ("/socket.io/?EIO=4&transport=polling", HERE),
        ("/socket.io/?sid=", HERE),
        ("/socket.io/?sid=%42abc", HERE),
        ("/socket.io/?mysid=Babc", HERE),
        ("/socket.iox/?sid=Babc", HERE),
        ("/chat/?sid=Babc", HERE),
        ("/?sid=Babc", HERE),
        ("/socket.io/", HERE),
    ],
)
def test_the_slot_of_a_request(target: str, slot: int) -> None:
    """A request would go to a worker that does not know its session, or a page of the program to another process."""
    assert LINES.slot_of(target) == slot


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS /socket.io/?sid=B HTTP/1.1\r\n",  # answered by any worker
        b"GET /socket.io/ HTTP/1.1\r\nReferer: ?sid=B",
        b"get /socket.io/?sid=B HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /other HTTP/1.1\r\nReferer: /socket.io/?sid=B HTTP/1.1\r\n",
    ],
)
def test_what_is_no_such_request(line: bytes) -> None:
    """Bytes of something else would be taken for a session of another worker."""
    assert LINES.session(line) is None


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"POST /chat/live/000/abc/xhr HTTP/1.1\r\n", "abc"),
        (b"POST /socket.io/x/a%20b/xhr_send?t=1 HTTP/1.1\r\n", "a b"),
        (b"GET http://host:1/chat/live/1/abc/eventsource HTTP/1.1", "abc"),
        (b"GET /chat/live/1/abc/htmlfile?c=x", "abc"),
        (b"POST /chat/live/1/abc/xhr_streaming ", "abc"),
        (b"GET /chat/live/1/abc/websocket HTTP/1.1", None),  # a session by itself
        (b"OPTIONS /chat/live/1/abc/xhr HTTP/1.1", None),
        (b"POST /chat/live/1/a.c/xhr HTTP/1.1", None),
        (b"POST /chat/live/1/abc/xhr", None),  # there may be more of it
        (b"POST /other/1/abc/xhr HTTP/1.1", None),
        (b"POST /chat/live/xhr HTTP/1.1", None),
    ],
)
def test_the_session_that_a_client_has_named(line: bytes, key: str | None) -> None:
    """Each request of it would have to be parsed, and forwarded, by another worker than its own."""
    assert LINES.key_of(line) == key


def test_the_root_of_an_application_may_be_the_path() -> None:
    """A server at "/" would not find its sessions."""
    assert RequestLines(["/"]).slot_of("/?EIO=4&sid=B") == 1


def test_a_session_id_names_its_worker() -> None:
    """Each request of a session would be refused by its own worker."""
    for slot in range(64):
        sid = new_id_of(slot)
        assert len(sid) == 20
        assert sid.encode()[0] == LETTERS[slot]
        assert LINES.slot_of(f"/socket.io/?sid={sid}") == slot
    assert len({new_id_of(0) for _ in range(1_000)}) == 1_000


class Alone:
    """Neighbours that there are none of."""

    slot = 5

    def share(self, topic: str, *functions: object) -> Callable[[bytes], None]:
        """Tell nobody."""
        return lambda data: None


def test_servers_of_sub_applications_join_too() -> None:
    """A server further in would make session ids that name nobody."""
    app, inner, innermost = web.Application(), web.Application(), web.Application()
    one, other = Server(), Server()
    one.attach(app, "/socket.io")
    other.attach(innermost, "/live")
    inner.add_subapp("/in", innermost)
    app.add_subapp("/further", inner)
    assert neighbours_of(app) is None
    alone = cast("Neighbours", Alone())
    join_workers(app, alone)
    found = neighbours_of(app)
    assert found is not None
    neighbours, paths = found
    assert neighbours is alone
    assert {path.rstrip("/") for path in paths} == {"/socket.io", "/further/in/live"}
    for each in (one, other):
        assert cast("Any", each)._server.eio.generate_id()[0] == "F"
