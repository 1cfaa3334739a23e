"""The names under which events are counted: none that a client has made up."""

from __future__ import annotations

from rtframework.counters import UNKNOWN
from rtframework.namespaces.labels import label_of
from tests.support.clients import FakeClient, make_host


async def test_only_events_with_a_handler_have_a_name_of_their_own() -> None:
    """A client could make a new series of metrics with each event that it sends, until the memory is full."""
    host = make_host()
    parent = host.of("/{name}", None)
    parent.on("of the parent")(lambda socket: None)
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    for client in (ada, bob):
        await client.connect("/x")
    child = host.namespaces["/x"]
    child.on("of the child")(lambda socket: None)
    child.on_any(lambda socket, event: None)
    socket = ada.socket("/x")
    socket.on("own")(lambda: None)
    for event in ("of the parent", "of the child", "own"):
        assert label_of(socket, event) == event
    assert label_of(bob.socket("/x"), "own") == UNKNOWN
    for event in ("made up", "", "connection", "disconnect"):
        assert label_of(socket, event) == UNKNOWN


async def test_the_label_of_an_integer_is_a_string() -> None:
    """Metrics would have two series for one event, or fail at a label that is no string."""
    host = make_host()
    ada = FakeClient(host, "ada")
    nsp = host.of("/x", None)
    nsp.on(1)(lambda socket: None)
    await ada.connect("/x")
    socket = ada.socket("/x")
    socket.on(2)(lambda: None)
    assert [label_of(socket, name) for name in (1, "1", 2, "2", 3, "3")] == ["1", "1", "2", "2", UNKNOWN, UNKNOWN]
