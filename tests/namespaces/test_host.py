"""The namespaces of one server: their table, what they share, and their life with an application."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ClusterUnavailable,
    ConfigurationError,
    Event,
    MemoryAdapter,
    Namespace,
    Socket,
    StaticTokenAuth,
)
from rtframework.adapters.memory_store import MemoryStore
from rtframework.handlers.strict import Auditor
from rtframework.namespaces import host as host_module
from rtframework.namespaces.kept_revocations import KeptRevocations
from rtframework.namespaces.parent import ParentNamespace
from rtframework.protocols import CallNext
from rtframework.serializers import JSONSerializer
from rtframework.types import AckResponses, Handshake
from tests.support.clients import FakeClient, Gate, assert_nothing_left, held_clock, idle, make_host, turn
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.until import until


class Noted(MemoryAdapter):
    """An adapter that notes when it is opened and closed."""

    log: list[str]

    async def start(self) -> None:
        self.log.append(f"start {self.nsp}")

    async def close(self) -> None:
        self.log.append(f"close {self.nsp}")


def noting(log: list[str], base: type[Noted] = Noted) -> type[Noted]:
    """Return such an adapter with a log of the test's own."""
    return type("Adapter", (base,), {"log": log})


class Observing:
    """An observer that notes what it sees, and may fail."""

    def __init__(self, log: list[str], name: str = "", *, fails: str | None = None) -> None:
        self._log = log
        self._name = name
        self._fails = fails

    async def connect(self, handshake: Handshake, call_next: Any) -> str:
        """See a client that asks for a namespace."""
        if self._fails == "before":
            raise LookupError("a mistake of the observer")
        outcome: str = await call_next()
        if self._fails == "after":
            raise LookupError("a mistake of the observer")
        self._log.append(f"{self._name}{handshake.nsp} {outcome}")
        return outcome

    async def event(self, socket: Any, event: Event, call_next: CallNext) -> Any:
        """See an event."""
        self._log.append(f"{self._name}{socket.nsp} {event.name}")
        return await call_next()

    def start(self) -> None:
        """Note that the application starts."""
        self._log.append(f"{self._name}start")

    def stop(self) -> None:
        """Note that the application stops."""
        self._log.append(f"{self._name}stop")


# --- the table --------------------------------------------------------------------------------------------------------


def test_one_namespace_for_a_name() -> None:
    """Handlers would be registered with a namespace that no client ever enters."""
    host = make_host()
    x = host.of("/x", None)
    assert host.of("/x", None) is x
    assert type(x) is Namespace
    with pytest.raises(ConfigurationError, match="exists already"):
        host.of("/x", Namespace)
    made = host.of("/made", Namespace)
    assert list(host.namespaces.values()) == [host.of("/", None), x, made]
    for wrong in ("x", "/a,b", ""):
        with pytest.raises(ConfigurationError):
            host.of(wrong, None)
    assert set(host.namespaces) == {"/", "/x", "/made"}


def test_names_of_many_are_no_names() -> None:
    """A template that is taken for a name would be a namespace that no client can ask for."""
    host = make_host()
    for key in ("/{a}", re.compile("/a"), lambda name, auth: True):
        parent = host.of(key, None)
        assert isinstance(parent, ParentNamespace)
        assert host.of(key, None) is parent
    assert len(host.dynamic.parents) == 3
    assert set(host.namespaces) == {"/"}
    with pytest.raises(ConfigurationError, match="factory="):
        host.add(Namespace("/{a}"))


def test_a_namespace_takes_the_place_of_one_that_nobody_has_used() -> None:
    """``io.of("/x").emit`` above the class in a file would keep the class from being registered; or, with handlers,
    those would be lost without a word."""

    class Chat(Namespace):
        async def on_x(self, socket: Socket) -> None: ...

    host = make_host()
    host.of("/x", None)
    chat = host.add(Chat("/x"))
    assert host.of("/x", None) is chat
    with pytest.raises(ConfigurationError, match="exists already"):
        host.add(Namespace("/x"))
    host.of("/y", None).on("e")(lambda socket: None)
    with pytest.raises(ConfigurationError, match="exists already"):
        host.add(Namespace("/y"))
    with pytest.raises(ConfigurationError, match="belongs to a server already"):
        make_host().add(chat)


async def test_a_running_server_opens_what_is_added(caplog: pytest.LogCaptureFixture) -> None:
    """A namespace that a running program makes would have an adapter without a connection."""
    log: list[str] = []

    class Broken(Noted):
        async def start(self) -> None:
            if self.nsp == "/broken":
                raise OSError("no database")
            await super().start()

    host = make_host(adapter=noting(log, Broken))
    await host.start()

    @host.announcements.on
    async def new(namespace: Namespace) -> None:
        log.append(f"new {namespace.name}")

    host.of("/x", None)
    host.of("/broken", None)
    assert log == ["start /"]
    await idle(host)
    assert log == ["start /", "new /x", "start /x", "new /broken"]
    assert "a namespace cannot be opened" in caplog.text
    assert "/broken" in host.namespaces


# --- with the application ---------------------------------------------------------------------------------------------


async def test_start_and_close() -> None:
    """An adapter would be opened twice, or before the program has added its guards to a namespace."""
    log: list[str] = []
    host = make_host(adapter=noting(log))
    host.observe(Observing(log))

    @host.announcements.on
    async def new(namespace: Namespace) -> None:
        log.append(f"new {namespace.name}")

    host.of("/x", None)
    host.of("/{y}", None)
    for _ in range(2):
        await host.start()
        assert host.started
        await host.close()
        host.stop()
        assert not host.started
    once = ["start /", "start /x", "close /", "close /x", "stop"]
    assert log == ["start", "new /x", *once, "start", *once]


async def test_an_announcement_that_fails_is_made_again() -> None:
    """After a start that failed, a namespace would be open without the guards that a handler adds."""
    host = make_host()
    log: list[str] = []

    @host.announcements.on
    async def new(namespace: Namespace) -> None:
        log.append(namespace.name)
        if len(log) == 2:
            raise OSError("no database")

    for name in ("/a", "/b", "/c"):
        host.of(name, None)
    with pytest.raises(OSError, match="no database"):
        await host.start()
    host.stop()
    await host.start()
    assert log == ["/a", "/b", "/b", "/c"]


@pytest.mark.parametrize("error", [OSError("no database"), asyncio.CancelledError()], ids=["error", "cancelled inside"])
async def test_an_adapter_that_does_not_close_harms_no_other(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The connections of all other adapters would stay open."""
    log: list[str] = []

    class Broken(Noted):
        async def close(self) -> None:
            if self.nsp == "/":
                raise error
            await super().close()

    host = make_host(adapter=noting(log, Broken))
    host.of("/x", None)
    await host.start()
    await host.close()
    assert log[-1] == "close /x"
    assert "an adapter failed to close" in caplog.text


@NOT_ON_UVLOOP
async def test_what_runs_at_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    """A "disconnect" handler would be cut off in the middle of a write, or keep a process from ending."""
    log: list[str] = []
    host = make_host(adapter=noting(log))
    main = host.of("/", None)
    hanging = Gate()

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        if socket.id.startswith("quick"):
            await asyncio.sleep(1)
            host.spawn(second())
        else:
            try:
                await hanging.wait()
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

    async def second() -> None:
        await asyncio.sleep(0.4)
        log.append("second")

    async with held_clock() as clock:
        await host.start()
        for name in ("quick", *(f"hangs {number}" for number in range(50))):
            client = FakeClient(host, name)
            await client.connect()
            client.drop("server shutting down")
        closing = asyncio.create_task(host.close())
        await clock.advance(1.45)
        assert not closing.done()
        assert log == ["start /", "second"]
        await clock.advance(0.1)
        await closing
        await turn()
    assert log[2:] == ["close /", *["cancelled"] * 50]
    (line,) = [record.getMessage() for record in caplog.records if "did not end in time" in record.getMessage()]
    assert line.endswith(": 50")
    assert not host._tasks
    assert_nothing_left(host)


def test_a_second_loop_does_not_wait_for_tasks_of_the_first() -> None:
    """A server that is served again, in another event loop, would wait for tasks that can never run."""
    host = make_host()

    async def begin() -> asyncio.Task[None]:
        await host.start()
        return host.spawn(asyncio.Event().wait())  # type: ignore[arg-type]

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    task = first.run_until_complete(begin())
    assert host._tasks == {task}
    second.run_until_complete(host.start())
    assert not host._tasks
    task.cancel()
    first.run_until_complete(asyncio.wait({task}))
    for loop in (first, second):
        loop.close()


# --- observers --------------------------------------------------------------------------------------------------------


async def test_the_first_observer_is_the_outermost() -> None:
    """A trace would not contain the time that a metric takes, or miss those who are refused."""
    log: list[str] = []
    host = make_host()
    early = host.of("/early", None)
    host.observe(Observing(log, "a "))
    await host.start()
    host.observe(Observing(log, "b "))
    late = host.of("/late", None)
    for namespace in (early, late):
        namespace.on("x")(lambda socket: "answer")
    ada = FakeClient(host)
    for name in ("/early", "/late"):
        assert await ada.connect(name) == "connected"
        assert await ada.ask("x", nsp=name) == ["answer"]
    assert await ada.connect("/nowhere") == "invalid_namespace"
    host.stop()
    assert log == [
        "a start",
        "b start",
        *(f"{who} {name} {what}" for name in ("/early", "/late") for who, what in _seen(name)),
        "b /nowhere invalid_namespace",
        "a /nowhere invalid_namespace",
        "a stop",
        "b stop",
    ]


def _seen(name: str) -> list[tuple[str, str]]:
    """Clients are noted on the way out, events on the way in."""
    return [("b", "connected"), ("a", "connected"), ("a", "x"), ("b", "x")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nsp", ["/", "/nowhere"])
async def test_an_observer_that_fails_decides_nothing(when: str, nsp: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client would wait for ever, or be asked about twice."""
    host = make_host()
    host.observe(Observing([], fails=when))
    ada = FakeClient(host)
    outcome = await ada.connect(nsp)
    assert outcome == ("connected" if nsp == "/" else "invalid_namespace")
    assert [line[0] for line in ada.heard(nsp)] == ["connect" if nsp == "/" else "refused"]
    assert sum(host.counts.connects.values()) == 1
    assert "unhandled error in an observer" in caplog.text


async def test_clients_of_names_that_are_not_there() -> None:
    """A client would wait for ever for a namespace that does not exist."""
    host = make_host()
    ada = FakeClient(host)
    for name in ("/nowhere", "/a,b", "x", "/" * 1000):
        assert await ada.connect(name) == "invalid_namespace"
        assert ada.heard(name) == [("refused", {"message": "Invalid namespace"})]
    assert set(host.namespaces) == {"/"}


def test_strict_mode_holds_for_all_namespaces() -> None:
    """A test of a namespace that was made later, or of a parent, would not check anything."""
    host = make_host()
    x = host.of("/x", None)
    auditor = Auditor(JSONSerializer())
    host.audit(auditor)
    later, parent = host.of("/later", None), host.of("/p/{a}", None)
    child = host.of("/p/1", None)
    everybody = (host.of("/", None), x, later, parent, child)
    assert all(each._auditor is auditor for each in everybody)
    host.audit(None)
    assert all(each._auditor is None for each in everybody)


async def test_a_namespace_with_clients_is_not_replaced() -> None:
    """Clients would stay in a namespace that nobody emits to any more."""
    host = make_host()
    old = host.of("/a", None)
    assert await FakeClient(host).connect("/a") == "connected"
    with pytest.raises(ConfigurationError, match="/a exists already"):
        host.add(Namespace("/a"))
    assert host.namespaces["/a"] is old


def test_a_namespace_that_cannot_be_announced_changes_nothing() -> None:
    """The namespace that was there would vanish with the one that takes its place."""
    host = make_host()
    old = host.of("/a", None)

    def fail(namespace: Namespace) -> None:
        raise ValueError("no")

    host.announcements.on(fail)
    with pytest.raises(ValueError, match="no"):
        host.add(Namespace("/a"))
    assert host.namespaces["/a"] is old


# --- credentials that are not accepted any more -----------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["all", "some", "none"])
async def test_a_server_that_starts_asks_the_others(answers: str) -> None:
    """A server whose neighbours are silent would not start; or let in who was thrown out."""
    told = {"key": "$user:ada", "before": 4e9, "until": 4e9, "code": "kicked"}

    class Others(MemoryAdapter):
        async def server_side_emit_with_ack(self, args: Any, timeout: float) -> AckResponses:
            if answers == "none":
                raise ClusterUnavailable("down")
            found = {"one": [told, "rubbish"], "two": None}
            if answers == "some":
                raise AckTimeout(responses=found)
            return AckResponses(found)

    host = make_host(adapter=Others)
    await host._learn_revocations()
    assert (host.revocations.find(["$user:ada"], 0) == "kicked") == (answers != "none")


async def test_a_server_that_starts_reads_what_is_written_down() -> None:
    """Who was thrown out would be let in again after a restart of all servers."""
    store = MemoryStore()
    first = make_host(auth=StaticTokenAuth({}), store=store)
    await first.start()
    await first.revoke(first.revocations.make("$user:ada", "kicked", 4e9))
    await first.close()
    second = make_host(auth=StaticTokenAuth({}), store=store)
    await second.start()
    assert second.revocations.find(["$user:ada"], 0) == "kicked"
    await second.close()


async def test_a_server_starts_without_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis that is slow would keep all servers from starting; or let in who was thrown out, for ever."""
    monkeypatch.setattr(host_module, "_LEARNING_TIMEOUT", 0.0)
    there = asyncio.Event()

    class Slow(MemoryStore):
        async def get(self, key: str) -> bytes | None:
            await there.wait()
            return await super().get(key)

    store = Slow()
    host = make_host(auth=StaticTokenAuth({}), store=store)
    there.set()
    await KeptRevocations(store).add(host.revocations.make("$user:ada", "kicked", 4e9))
    there.clear()
    await host.start()
    assert host.revocations.find(["$user:ada"], 0) is None
    there.set()
    await until(lambda: host.revocations.find(["$user:ada"], 0) == "kicked")
    await host.close()
