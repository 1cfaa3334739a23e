"""The namespaces of one server: their table, what they share, and their life with an application."""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

from ..adapters.cluster_events import ClusterEvents
from ..adapters.memory_history import MemoryHistory
from ..adapters.memory_store import MemoryStore
from ..concurrency import TaskSet, is_cancelled
from ..counters import CONNECT_RATE, DISCARDED, INTERNAL_ERROR, INVALID_NAMESPACE, LIMITED_CONNECT, REFUSALS
from ..exceptions import AckTimeout, ClusterUnavailable, ConfigurationError, ConnectionRefused, RateLimited
from ..handlers.exception_handlers import ExceptionHandlers
from ..handlers.middleware import observing
from ..handlers.strict import OnBreach, on_breach, telling
from ..limits.guard import Guard
from ..limits.limit import NO_BUCKETS
from ..limits.rates import RateLimit
from ..limits.seats import Seats
from ..logs import Lazy, ThrottledLog, quote
from ..options import Idempotency, check_instance, check_memory
from ..protocols import KeepsValues
from ..types import EVERYBODY, AckResponses, DisconnectReason, Target
from .admission import code_of, refuse
from .announcements import Announcements
from .dynamic import DynamicNamespaces
from .kept_revocations import KeptRevocations
from .namespace import Namespace
from .own_rooms import EVERY_TOKEN, own_rooms, user_of
from .parent import ParentNamespace
from .patterns import Pattern, Question, is_template
from .renewals import Renewals
from .repeats import Repeats
from .revocations import REVOCATIONS, REVOKED, TOKEN_REVOKED, Revocation, Revocations
from .server_presence import ServerPresence
from .sightings import Sightings

if TYPE_CHECKING:
    from ..adapters.history import History
    from ..adapters.presence import Presence
    from ..counters import Counters
    from ..handlers.strict import Auditor
    from ..options import Limits, Recovery
    from ..protocols import (
        AdapterFactory,
        Authenticator,
        Backbone,
        Client,
        Engine,
        HistoryStore,
        KeyValueStore,
        Observer,
    )
    from ..server import Server
    from .announcements import Pending
    from .parent import Factory
    from .patterns import Predicate

log: Final = logging.getLogger("rtframework.server")

N = TypeVar("N", bound=Namespace)

_observer_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in an observer")

_unknown: Final = ThrottledLog(
    log,
    logging.WARNING,
    "refused a client that asks for the namespace %s: %s",
)

_LONGEST_GUESS: Final = 64
"""Characters of a name that is compared with those that there are."""

_LEARNING_TIMEOUT: Final = 1.0
"""Seconds that other servers have to tell which credentials are refused."""

_SHUTDOWN_TIMEOUT: Final = 1.5
"""Seconds that disconnect handlers have at shutdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server that its namespaces follow; see :class:`rtframework.Server`."""

    limits: Limits
    authenticator: Authenticator | None
    adapter_factory: AdapterFactory
    recovery: Recovery | None
    history: tuple[History, ...] = ()
    linger: float
    """Seconds that may pass before it is noticed that a client has gone."""
    ordered: bool
    validate_returns: bool
    clean_up: bool
    idempotency: Idempotency | None = None
    last_seen: float | None = None
    """Seconds for which it is remembered when a user was there last; ``None``: it is not."""
    devices: float | None = None
    """Seconds for which the devices of users are remembered; ``None``: they are not."""
    store: KeyValueStore | None = None
    """Keeps values; ``None``: the backbone does, or the memory of this process."""

    presence: tuple[Presence, ...] = ()

    def __post_init__(self) -> None:
        check_instance("idempotency", self.idempotency, Idempotency, "Idempotency(seconds=...)")
        check_memory("last_seen", self.last_seen)
        check_memory("devices", self.devices)

    @property
    def backbone(self) -> Backbone | None:
        """The factory of adapters, if it is to be started and stopped."""
        return self.adapter_factory if is_backbone(self.adapter_factory) else None


def is_backbone(factory: object) -> TypeGuard[Backbone]:
    """Tell whether a factory of adapters is a :class:`~rtframework.protocols.Backbone`."""
    return not isinstance(factory, type) and hasattr(factory, "node") and hasattr(factory, "health")


class Host:
    """Holds the namespaces of one server, and decides which one a client gets: the engine's application."""

    engine: Engine
    counts: Counters
    guard: Guard

    def __init__(self, server: Server, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self.exception_handlers = ExceptionHandlers()
        self.observers: list[Observer] = []
        self.auditor: Auditor | None = None
        """Checks what is emitted; ``None`` but in tests."""
        self.namespaces: dict[str, Namespace] = {}
        self.dynamic = DynamicNamespaces(self, clean_up=settings.clean_up)
        self.announcements = Announcements()
        self.cluster = ClusterEvents(self._why_down)
        self.memory_history = MemoryHistory() if settings.backbone is None else None
        """Keeps the history of rooms, unless the adapter or a program's own store does; ``None`` with a backbone."""
        self.started_at: float | None = None
        """Time at which the application that is served had started; ``None`` before, and when it stops."""
        self.started = False
        """True while an application is served: adapters made from now on have to be started."""
        most = settings.limits.max_connections_per_user
        self.seats = None if most is None else Seats(most)
        """The sockets of each user in each namespace, if they are limited."""
        self.revocations = Revocations()
        """The credentials that are not accepted any more."""
        self.renewals = Renewals(self)
        self.presence = ServerPresence(self, settings.presence) if settings.presence else None
        """Who is in rooms; ``None`` if nobody asks."""
        self.has_told_of_skipping = False
        """True once the log says that recovered clients pass middleware by."""
        self._store: KeyValueStore | None = settings.store
        self._repeats: Repeats | None = None
        self.sightings = Sightings(lambda: self.store, self.spawn, self._keep_at_once)
        """The times at which users and devices were there last."""
        self._observed_connect: Callable[..., Awaitable[str]] | None = None
        self._pending: list[Pending] = []
        self._tasks = TaskSet()
        self._learning = TaskSet()
        """What waits for the store, as long as it takes."""
        self._on_breach: OnBreach | None = None

    def bind(self, engine: Engine, counts: Counters, guard: Guard | None = None) -> None:
        """Emit through this engine, and count and limit together with it."""
        self.engine = engine
        self.counts = counts
        self.guard = Guard(RateLimit(), counts) if guard is None else guard

    # --- the table --------------------------------------------------------------------------------------------------

    def of(self, name: str | re.Pattern[str] | Predicate, factory: Factory | None) -> Namespace:
        """Return the namespace of that name, or the parent of many; make it if need be. See ``Server.of``."""
        if is_template(name) or isinstance(name, re.Pattern) or callable(name):
            return self._parent(name, factory)
        namespace = self.namespaces.get(name)
        if namespace is not None and factory is not None:
            raise ConfigurationError(f"the namespace {name} exists already")
        if namespace is None or namespace.parent is not None:
            namespace = self.dynamic.claim(name) if factory is None else None
        return self.add((factory or Namespace)(name)) if namespace is None else namespace

    @asynccontextmanager
    async def visit(self, name: str) -> AsyncIterator[Namespace | None]:
        """Keep the namespace of that name while in the block. See ``Server.visit``."""
        namespace = self.namespaces.get(name)
        if namespace is not None and namespace.parent is None:
            yield namespace
            return
        async with self.dynamic.visit(name) as child:
            yield child

    def _parent(self, key: str | re.Pattern[str] | Predicate, factory: Factory | None) -> ParentNamespace:
        parent = self.dynamic.parent(key)
        if parent is None:
            rule = Pattern(key) if isinstance(key, str) or not callable(key) else Question(key)
            parent = ParentNamespace(rule, factory or Namespace)
            self.dynamic.add_parent(key, parent)
        elif factory is not None and factory is not parent.factory:
            raise ConfigurationError(f"the namespaces {parent.name} have another factory already")
        return parent

    def add(self, namespace: N) -> N:
        """Add a namespace by its name. Raises ``ConfigurationError`` when there is one with handlers or clients."""
        name = namespace.name
        if is_template(name):
            raise ConfigurationError(f"for many namespaces give the class: of({name!r}, factory=...)")
        existing = self.namespaces.get(name)
        if existing is not None and (
            type(existing) is not Namespace or not existing._is_pristine or existing.parent is not None or len(existing)
        ):
            raise ConfigurationError(f"the namespace {name} exists already")
        namespace._bind(self, self)
        self.namespaces[name] = namespace
        pending = []
        if name != "/":
            try:
                pending = self.announce(namespace)
            except BaseException:
                del self.namespaces[name]
                if existing is not None:
                    self.namespaces[name] = existing
                raise
        if self.started:
            self.spawn(self._open(namespace, pending))
        return namespace

    def announce(self, namespace: Namespace) -> list[Pending]:
        """Tell the program of a new namespace. Return what is still to be awaited, unless :meth:`start` will do it."""
        pending = self.announcements.tell(namespace)
        if self.started:
            return pending
        self._pending.extend(pending)
        return []

    def observe(self, observer: Observer) -> None:
        """Let an observer see all clients and events from now on, in all namespaces."""
        self.observers.append(observer)
        self._observed_connect = observing(self.observers)
        for namespace in self.namespaces.values():
            namespace._compose()
        if self.started:
            observer.start()

    def audit(self, auditor: Auditor | None) -> None:
        """Check what is emitted in all namespaces from now on; ``None``: no longer."""
        self.auditor = auditor
        for namespace in (*self.namespaces.values(), *self.dynamic.parents):
            namespace._auditor = auditor

    # --- a client asks ----------------------------------------------------------------------------------------------

    def connect(self, client: Client, nsp: str, auth: Any) -> Coroutine[Any, Any, None]:
        """Let a client into a namespace, or refuse it."""
        observed = self._observed_connect
        if observed is None:
            return self._connect(client, nsp, auth)  # type: ignore[return-value]  # nobody asks what it returns
        return self._connect_observed(observed, client, nsp, auth)

    async def _connect_observed(
        self, observed: Callable[..., Awaitable[str]], client: Client, nsp: str, auth: Any
    ) -> None:
        is_decided = False

        async def connect() -> str:
            nonlocal is_decided
            is_decided = True
            return await self._connect(client, nsp, auth)

        try:
            await observed(client.handshake(nsp, auth), connect)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            _observer_failed(error=error, extra={"nsp": nsp})
            if not is_decided:  # the client must not wait in vain for it
                await self._connect(client, nsp, auth)

    async def _connect(self, client: Client, nsp: str, auth: Any) -> str:
        connects = self.guard.connects
        if connects is not None and client.buckets is None and not connects.is_per_address:
            client.buckets = NO_BUCKETS  # the first CONNECT: most connections have no other
        elif connects is not None:
            wait = connects.take(client, client.address)
            if wait:
                self.guard.hit(CONNECT_RATE, address=client.address)
                return self._refuse_for_now(client, nsp, wait)
        namespace = self.namespaces.get(nsp)
        if namespace is not None and namespace.parent is None:
            return await namespace._admission.connect(client, auth)
        try:
            return await self.dynamic.connect(client, nsp, auth)
        except ConnectionRefused as refused:
            refuse(self.engine, client, nsp, refused)
            outcome = INVALID_NAMESPACE if refused.data is None else INTERNAL_ERROR
            if outcome == INVALID_NAMESPACE:
                hint = Lazy(partial(self._hint_at, nsp))
                _unknown(quote(nsp), hint, extra={"address": client.handshake(nsp, None).address})
            self.counts.connects[outcome] += 1
            self.refused(client, nsp, refused)
            return outcome

    def _refuse_for_now(self, client: Client, nsp: str, wait: float) -> str:
        """Refuse a client that asks too often, without asking anybody."""
        limited = RateLimited(wait)
        refused = ConnectionRefused(limited.message, {"code": limited.code, "retry_after": limited.retry_after})
        refuse(self.engine, client, nsp, refused)
        self.counts.connects[LIMITED_CONNECT] += 1
        self.refused(client, nsp, refused)
        return LIMITED_CONNECT

    def refused(self, client: Client, nsp: str, refused: ConnectionRefused, user: Any = None) -> None:
        """Note that a client was refused, and close its connection after too many refusals."""
        guard, address = self.guard, client.address
        if guard.audit.is_on:
            guard.audit.write("refusal", address=address, user=user, nsp=nsp, code=code_of(refused))
        if guard.refusals is not None and guard.refusals.take(client, address):
            guard.hit(REFUSALS, address=address, user=user, nsp=nsp)
            client.conn.close(DisconnectReason.RATE_LIMITED)

    # --- credentials that are not accepted any more -----------------------------------------------------------------

    async def revoke(self, *revocations: Revocation) -> None:
        """Refuse credentials here and on the other servers; clients that have come by tokens which are taken back go.

        Raises ``ClusterUnavailable`` if the other servers are not told, or those that start later would not know.
        """
        for each in revocations:
            self.revocations.add(each)
            self._close_revoked(each)
        steps: list[Awaitable[None]] = []
        if self.settings.backbone is not None:
            told = [each.to_plain() for each in revocations]
            steps.append(self.namespaces["/"].adapter.server_side_emit([REVOKED, *told]))
        kept = self._kept_revocations()
        if kept is not None:
            steps.append(kept.add(*revocations))
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def forget_revoked(self, revocation: Revocation) -> None:
        """Forget the sessions that are kept for clients whose tokens are taken back."""
        if self.settings.recovery is None:
            return
        key = revocation.key
        for namespace in list(self.namespaces.values()):
            await namespace.adapter.forget_sessions(
                lambda session: bool(own_rooms(session.rooms)) if key == EVERY_TOKEN else key in session.rooms
            )

    def take_over(self, told: Iterable[object]) -> None:
        """Refuse the credentials that another server tells of."""
        for each in told:
            revocation = self.revocations.serve(each)
            if revocation is not None:
                self._close_revoked(revocation)

    def _close_revoked(self, revocation: Revocation) -> None:
        """Close the connections of clients that have come by a token which is taken back."""
        if revocation.code != TOKEN_REVOKED:  # the others are thrown out by an order of their own
            self._turn_away(user_of((revocation.key,)))
            return
        key = revocation.key
        target = EVERYBODY if key == EVERY_TOKEN else Target(frozenset((key,)))
        for namespace in list(self.namespaces.values()):
            for sid in namespace.adapter.sockets(target):
                socket = namespace._membership.sockets.get(sid)
                token = None if socket is None else socket._token
                if socket is not None and (token is not None or key != EVERY_TOKEN):
                    issued_at = None if token is None else token.issued_at
                    if self.revocations.find((key,), issued_at) is not None:
                        namespace._membership.revoke(socket)

    def _turn_away(self, user: str | None) -> None:
        """Let nobody wait for the lost tabs of a user who is thrown out."""
        for namespace in list(self.namespaces.values()):
            if user is not None and namespace._presence is not None:
                namespace._presence.turned_away(user)

    def _kept_revocations(self) -> KeptRevocations | None:
        """Return what is written down of them; ``None`` if no store outlives this server."""
        outlives = self.settings.store is not None or isinstance(self.settings.backbone, KeepsValues)
        return KeptRevocations(self.store) if outlives else None

    async def _read_revocations(self) -> None:
        """Refuse what is written down, from now on; if that takes long, from then on."""
        kept = self._kept_revocations()
        if kept is None:
            return
        try:
            async with asyncio.timeout(_LEARNING_TIMEOUT):
                found = await kept.all()
        except (ClusterUnavailable, TimeoutError):
            self._learning.spawn(self._wait_for_revocations(kept))
            return
        for each in found:
            self.revocations.add(each)

    async def _wait_for_revocations(self, kept: KeptRevocations) -> None:
        for each in await kept.wait_for_all():
            self.revocations.add(each)
            self._close_revoked(each)

    async def _learn_revocations(self) -> None:
        """Ask the other servers for what they were told before this one had started."""
        try:
            answers = await self.namespaces["/"].adapter.server_side_emit_with_ack([REVOCATIONS], _LEARNING_TIMEOUT)
        except AckTimeout as error:  # servers of Node do not answer
            answers = AckResponses(error.responses)
        except ClusterUnavailable:
            return  # the log says that the cluster is away
        for answer in answers.values():
            if isinstance(answer, list):
                self.take_over(answer)

    def _hint_at(self, nsp: str) -> str:
        """Say what a client may have meant that asked for a namespace in vain, and what would let it in."""
        if len(nsp) > _LONGEST_GUESS:
            return "io.of() makes namespaces, of that name or a pattern"
        close = difflib.get_close_matches(nsp, self.namespaces, 1)
        return f"{f'did you mean {close[0]!r}? ' if close else ''}io.of({quote(nsp)}) makes it"

    # --- values that are kept ---------------------------------------------------------------------------------------

    @property
    def store(self) -> KeyValueStore:
        """The store of this server, and of those that it is joined to."""
        if self._store is None:
            backbone = self.settings.backbone
            if backbone is not None and isinstance(backbone, KeepsValues):
                self._store = backbone.store
            else:
                self._store = MemoryStore()
                if backbone is not None:
                    log.warning("the adapter keeps no values: each server has its own, see Server(store=...)")
        return self._store

    def _keep_at_once(self, key: str, value: bytes, seconds: float) -> bool:
        """Keep a value if the store is in memory. Return ``False`` if it is not."""
        store = self.store
        if type(store) is not MemoryStore:
            return False
        store.table.set(key, value, seconds)
        return True

    @property
    def repeats(self) -> Repeats:
        """The events that are served once."""
        if self._repeats is None:
            settings = self.settings.idempotency or Idempotency()
            self._repeats = Repeats(self.store, settings, self.engine, self.counts, self.spawn)
        return self._repeats

    # --- background work --------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background; :meth:`close` waits for it, for a bounded time."""
        return self._tasks.spawn(work if self._on_breach is None else telling(work, self._on_breach))

    def emptied(self) -> None:
        """Keep a namespace that was given by name, though nobody is in it."""

    # --- with the application ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open all namespaces: the application starts. What the backbone raises is why it does not."""
        backbone = self.settings.backbone
        if backbone is not None:
            await backbone.start()
        if self.presence is not None:
            await self.presence.store.start()
        self.started = True
        self._on_breach = on_breach.get()
        self.dynamic.start()
        for observer in self.observers:
            observer.start()
        loop = asyncio.get_running_loop()
        self._tasks -= {task for task in self._tasks if task.get_loop() is not loop}
        starting = list(self.namespaces.values())
        while self._pending:
            await self._pending[0]()  # one that fails is heard of again at the next start
            del self._pending[0]
        for store in self._stores():
            await store.start()
        for namespace in starting:
            await namespace.adapter.start()
        if self.settings.authenticator is not None:
            await self._read_revocations()
            if backbone is not None:
                self.spawn(self._learn_revocations())
        self.started_at = time.time()

    async def _open(self, namespace: Namespace, pending: list[Pending]) -> None:
        try:
            for announce in pending:
                await announce()
            await namespace.adapter.start()
        except Exception:
            log.exception("a namespace cannot be opened", extra={"nsp": namespace.name})

    async def close(self) -> None:
        """Close all namespaces, once the disconnect handlers have ended or were cancelled."""
        await self._learning.cancel()
        await self._tasks.wait(_SHUTDOWN_TIMEOUT)
        await self.cluster.close(_SHUTDOWN_TIMEOUT)
        late = list(self._tasks)
        if late:
            extra = {"left_out": len(late) - 1}
            log.warning("disconnect handlers did not end in time and are cancelled: %d", len(late), extra=extra)
        for task in late:
            task.cancel()
        self.dynamic.stop()
        if self.presence is not None:
            await self.presence.close()
        for namespace in list(self.namespaces.values()):
            try:
                await namespace.adapter.close()
            except (Exception, asyncio.CancelledError) as error:  # the others are to be closed all the same
                if is_cancelled(error):
                    raise
                log.exception("an adapter failed to close", extra={"nsp": namespace.name})
        for store in self._stores():
            try:
                await store.close()
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                log.exception("a store of rooms' history failed to close")
        backbone = self.settings.backbone
        if backbone is not None:
            try:
                await backbone.stop()
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                log.exception("the backbone failed to stop")

    def _stores(self) -> Iterable[HistoryStore]:
        """Return where the history of rooms is kept, each once."""
        stores = [each.store for each in self.settings.history]
        found = [self.memory_history if each is None else each for each in stores]
        return {id(each): each for each in found if each is not None}.values()

    def stop(self) -> None:
        """Forget the children that were made for clients: the application has stopped."""
        for observer in self.observers:
            observer.stop()
        self.renewals.stop()
        self.sightings.stop()
        if self._repeats is not None:
            self._repeats.stop()
        self.dynamic.clear()
        self.cluster.reset()
        self.started = False

    @property
    def backbone(self) -> Backbone | None:
        """What joins the server to others, if anything does."""
        return self.settings.backbone

    def count(self) -> Counters:
        """Return the counters, with what the store has discarded so far."""
        if isinstance(self._store, MemoryStore):
            self.counts.repeats[DISCARDED] = self._store.discarded
        return self.counts

    def count_sockets(self) -> int:
        """Count the sockets of all namespaces."""
        return sum(len(namespace) for namespace in self.namespaces.values())

    def _why_down(self) -> str:
        return "" if self.backbone is None else self.backbone.health.reason
