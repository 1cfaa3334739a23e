"""Who hears of new namespaces."""

from __future__ import annotations

import pytest

from rtframework import ConfigurationError, Namespace, Server
from rtframework.namespaces.announcements import Announcements


async def test_plain_functions_hear_at_once_and_others_when_there_is_time() -> None:
    """A handler that is async would never be run, or one that is not would be run too late."""
    announcements = Announcements()
    log: list[str] = []

    @announcements.on
    def plain(namespace: Namespace) -> None:
        log.append(f"plain {namespace.name}")

    @announcements.on
    async def waits(namespace: Namespace) -> None:
        log.append(f"async {namespace.name}")

    pending = announcements.tell(Namespace("/x"))
    assert log == ["plain /x"]
    for each in pending:
        await each()
    assert log == ["plain /x", "async /x"]


def test_listeners_come_and_go() -> None:
    """``once`` and ``off`` would work with every event but this one, or seem to."""
    io = Server()
    log: list[str] = []

    def new(namespace: Namespace) -> None:
        log.append(namespace.name)

    for _ in range(2):
        io.on("new_namespace")(new)
    io.once("new_namespace")(lambda namespace: log.append("once"))
    assert io.listeners("new_namespace")[:2] == (new, new)
    io.of("/a")
    io.off("new_namespace", new)
    io.off("new_namespace", print)
    io.of("/b")
    io.off("new_namespace")
    io.of("/c")
    assert log == ["/a", "/a", "once", "/b"]
    assert io.listeners("new_namespace") == ()


def test_wrong_handlers_are_found_at_registration() -> None:
    """A wrong handler would refuse the first client of each namespace."""
    io = Server()
    with pytest.raises(ConfigurationError, match=r"must take \(namespace\)"):
        io.on("new_namespace")(lambda: None)
    for register in (io.of("/x").on, io.of("/x").once, io.of("/{x}").on):
        with pytest.raises(ConfigurationError, match="server tells"):
            register("new_namespace")(lambda namespace: None)


def test_a_namespace_that_is_given_by_name_is_told_of() -> None:
    """Plugins that add something to every namespace would miss those made by name."""
    io = Server()
    told: list[Namespace] = []

    @io.on("new_namespace")
    def new(namespace: Namespace) -> None:
        told.append(namespace)
        assert io.namespaces[namespace.name] is namespace

    @io.event
    def new_namespace(namespace: Namespace) -> None:
        told.append(namespace)

    x = io.of("/x")
    assert io.of("/x") is x
    assert told == [x, x]
    told.clear()
    y = io.register_namespace(Namespace("/y"))
    io.of("/z/{tenant}")
    one = io.of("/z/one")
    assert told == [y, y, one, one]


def test_a_namespace_whose_handler_fails_is_not_there() -> None:
    """A namespace without the guards that the handler adds would be open."""
    io = Server()

    @io.on("new_namespace")
    def fail(namespace: Namespace) -> None:
        raise RuntimeError("boom")

    chats = io.of("/{tenant}/chat")
    for name in ("/x", "/acme/chat"):
        with pytest.raises(RuntimeError, match="boom"):
            io.of(name)
        assert name not in io.namespaces
    assert not chats.children
