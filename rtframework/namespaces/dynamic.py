"""Child namespaces: made when the first client asks, bounded in number, cleaned up when empty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import is_cancelled
from ..exceptions import ConnectionRefused
from ..logs import ThrottledLog
from .admission import INTERNAL
from .patterns import NO_PARAMS, Pattern, Predicate, Question, is_namespace

if TYPE_CHECKING:
    import re

    from ..protocols import Client
    from .announcements import Pending
    from .host import Host
    from .namespace import Namespace
    from .parent import ParentNamespace

log: Final = logging.getLogger("rtframework.namespace")

_undecided: Final = ThrottledLog(log, logging.ERROR, "%s failed to decide about a namespace")
_not_made: Final = ThrottledLog(log, logging.ERROR, "a namespace cannot be made")
_not_opened: Final = ThrottledLog(log, logging.ERROR, "a namespace cannot be opened")
_not_closed: Final = ThrottledLog(log, logging.ERROR, "an adapter failed to close")
_full: Final = ThrottledLog(
    log, logging.WARNING, "there are %d dynamic namespaces with clients: those who ask for another are refused"
)

_INVALID: Final = ("Invalid namespace",)


class _Child:
    """Keeps a child for its sockets, for clients that are connecting or may be recovered, and for running handlers."""

    def __init__(self, registry: DynamicNamespaces, host: Host, namespace: Namespace, parent: ParentNamespace) -> None:
        self.namespace = namespace
        self.parent = parent
        self.opening: asyncio.Task[None] | None = None
        self.waiting: asyncio.TimerHandle | None = None
        """The timer that ends the wait for clients that may come back."""
        self.pinned = False
        """True if the program has asked for it by name: it may hold it, so it is kept."""
        self._registry = registry
        self._host = host
        self._needed = 0

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the child, and keep it until that is done."""
        self._needed += 1
        task = self._host.spawn(work)
        task.add_done_callback(self._done)
        return task

    def emptied(self) -> None:
        """Retire it when its last socket has left, unless it is needed."""
        if not self._needed:
            self._registry.retire(self)

    def hold(self) -> None:
        """Keep it until :meth:`release`."""
        self._needed += 1
        self.wait_no_longer()

    def release(self) -> None:
        """End what :meth:`hold` began."""
        self._needed -= 1
        if not self._needed and not len(self.namespace):
            self._registry.retire(self)

    def wait_no_longer(self) -> None:
        """Cancel the wait for clients that may come back."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _done(self, task: asyncio.Task[None]) -> None:
        self.release()


class DynamicNamespaces:
    """The parents of one server and the children they have.

    Children appear in the server's table of namespaces, and vanish from it. Every step that decides is synchronous, so
    that two clients that ask at the same moment find one child.
    """

    def __init__(self, host: Host, *, clean_up: bool) -> None:
        self._host = host
        self._namespaces = host.namespaces
        self._clean_up = clean_up
        self._parents: dict[Any, ParentNamespace] = {}
        self._children: dict[str, _Child] = {}
        self._idle: dict[str, _Child] = {}
        """Children that are not needed, the longest idle first."""
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._pinned = 0
        self._stopped = False

    # --- what the program asks --------------------------------------------------------------------------------------

    def parent(self, key: str | re.Pattern[str] | Predicate) -> ParentNamespace | None:
        """Return the parent of that template, expression or function."""
        return self._parents.get(key)

    def add_parent(self, key: str | re.Pattern[str] | Predicate, parent: ParentNamespace) -> None:
        """Add a parent: clients may ask for its children from now on."""
        parent._bind(self._host, self._host)
        self._parents[key] = parent

    @property
    def parents(self) -> tuple[ParentNamespace, ...]:
        """The parents, in the order of registration."""
        return tuple(self._parents.values())

    def claim(self, name: str) -> Namespace | None:
        """Return the child of that name, and keep it from now on; ``None`` when no pattern matches the name."""
        child = self._children.get(name)
        if child is None:
            if not is_namespace(name):
                return None
            for parent in self._parents.values():
                params = parent.rule.match(name) if isinstance(parent.rule, Pattern) else None
                if params is not None:
                    child = self._make(parent, name, params)
                    break
            else:
                return None
        if not child.pinned:
            child.pinned = True
            self._pinned += 1
            self._idle.pop(name, None)
            child.wait_no_longer()
        return child.namespace

    @asynccontextmanager
    async def visit(self, name: str) -> AsyncIterator[Namespace | None]:
        """Keep the child of that name while in the block, made if need be; ``None`` when no pattern matches the name.

        It is one of those that are cleaned up when they are empty, as if a client had asked for it.
        """
        child = self._children.get(name) or self._make_for_visit(name)
        if child is None:
            yield None
            return
        child.hold()
        self._idle.pop(name, None)
        try:
            if child.opening is not None:
                await asyncio.wait({child.opening})
            yield child.namespace if self._children.get(name) is child else None
        finally:
            child.release()

    def _make_for_visit(self, name: str) -> _Child | None:
        if not is_namespace(name) or len(name) > self._host.settings.limits.max_namespace_name:
            return None
        for parent in self._parents.values():
            params = parent.rule.match(name) if isinstance(parent.rule, Pattern) else None
            if params is not None:
                return self._make(parent, name, params) if self._make_room() else None
        return None

    # --- what a client asks -----------------------------------------------------------------------------------------

    async def connect(self, client: Client, name: str, auth: Any) -> str:
        """Let a client into a child, made if need be. Raises ``ConnectionRefused`` when no parent has that name."""
        await self._find(client, name, auth if isinstance(auth, dict) else {})
        child = self._children.get(name)
        if child is None:  # the program has made it meanwhile
            return await self._namespaces[name]._admission.connect(client, auth)
        child.hold()
        self._idle.pop(name, None)
        try:
            if child.opening is not None:
                await asyncio.wait({child.opening})
                if self._children.get(name) is not child:
                    raise ConnectionRefused(INTERNAL.message, INTERNAL.data)
            return await child.namespace._admission.connect(client, auth)
        finally:
            child.release()

    async def _find(self, client: Client, name: str, auth: Mapping[str, Any]) -> None:
        """Make sure that there is a namespace of that name which this client may have. Raises ``ConnectionRefused``."""
        known = self._children.get(name)
        if known is not None and isinstance(known.parent.rule, Pattern):
            return
        if not is_namespace(name) or len(name) > self._host.settings.limits.max_namespace_name:
            raise ConnectionRefused(*_INVALID)
        for parent in list(self._parents.values()) if known is None else [known.parent]:
            params: Mapping[str, str] | None = NO_PARAMS
            if isinstance(parent.rule, Pattern):
                params = parent.rule.match(name)
            elif not await self._ask(parent.rule, name, auth):
                params = None
            if params is None:
                continue
            there = self._namespaces.get(name)  # somebody else may have made it while a function was asked
            if there is None:
                if not client.conn.is_open:
                    break
                self._make_for_client(parent, name, params)
            elif there.parent is not None and there.parent is not parent:
                await self._find(client, name, auth)  # its own parent is the one to ask
            return
        raise ConnectionRefused(*_INVALID)

    async def _ask(self, question: Question, name: str, auth: Mapping[str, Any]) -> bool:
        """Ask the function of a parent; one that fails or takes too long has said no."""
        try:
            async with asyncio.timeout(self._host.settings.limits.namespace_timeout):
                return await question.ask(name, auth)
        except ConnectionRefused:
            return False
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            _undecided(question.label, error=error, key=question.label, extra={"nsp": name})
            return False

    # --- making and cleaning up -------------------------------------------------------------------------------------

    def _make_for_client(self, parent: ParentNamespace, name: str, params: Mapping[str, str]) -> None:
        if not self._make_room():
            raise ConnectionRefused(*_INVALID)
        try:
            self._make(parent, name, params)
        except Exception as error:
            _not_made(error=error, key=parent.name, extra={"nsp": name})
            raise ConnectionRefused(INTERNAL.message, INTERNAL.data) from error

    def _make_room(self) -> bool:
        limit = self._host.settings.limits.max_dynamic_namespaces
        if len(self._children) - self._pinned < limit:
            return True
        if not self._idle:
            _full(limit, extra={"limit": limit})
            return False
        self._close(next(iter(self._idle.values())))
        return True

    def _make(self, parent: ParentNamespace, name: str, params: Mapping[str, str]) -> _Child:
        namespace = parent.make_child(name)
        child = _Child(self, self._host, namespace, parent)
        namespace._bind(self._host, child)
        namespace._inherit(parent)
        namespace.params = params
        self._children[name] = child
        self._namespaces[name] = namespace
        parent.add_child(namespace)
        try:
            pending = self._host.announce(namespace)
        except BaseException:
            self._forget(child)
            raise
        if self._host.started:
            child.opening = child.spawn(self._open(child, pending))
        return child

    async def _open(self, child: _Child, pending: list[Pending]) -> None:
        name = child.namespace.name
        give_up = self._forget
        try:
            async with asyncio.timeout(self._host.settings.limits.namespace_timeout):
                if name in self._closing:  # one adapter at a time for a name
                    await asyncio.wait({self._closing[name]})
                for announce in pending:
                    await announce()
                give_up = self._close  # from here on the adapter has something to close
                await child.namespace.adapter.start()
        except (Exception, asyncio.CancelledError) as error:
            give_up(child)
            if is_cancelled(error):
                raise
            _not_opened(error=error, key=child.parent.name, extra={"nsp": name})
        finally:
            child.opening = None

    def retire(self, child: _Child) -> None:
        """Clean up a child that is not needed any more, once no client can come back to a session in it."""
        name = child.namespace.name
        child.wait_no_longer()
        if child.pinned or self._stopped or self._children.get(name) is not child:
            return
        seconds = child.namespace.adapter.session_time()
        if seconds:
            child.waiting = asyncio.get_running_loop().call_later(seconds, self.retire, child)
        elif self._clean_up:
            self._close(child)
        else:
            self._idle[name] = child

    def start(self) -> None:
        """Begin to clean up: the server serves an application, maybe not its first."""
        self._stopped = False

    def stop(self) -> None:
        """Clean up nothing any more: the server closes what is left."""
        self._stopped = True
        for child in self._children.values():
            child.wait_no_longer()

    def clear(self) -> None:
        """Forget the children, except those that the program holds."""
        for child in list(self._children.values()):
            child.opening = None
            if not child.pinned:
                self._forget(child)
        self._closing.clear()

    def _close(self, child: _Child) -> None:
        if self._stopped:
            return
        self._forget(child)
        name = child.namespace.name
        self._closing[name] = task = self._host.spawn(self._shut(child.namespace))
        task.add_done_callback(partial(self._closed, name))

    def _closed(self, name: str, task: asyncio.Task[None]) -> None:
        if self._closing.get(name) is task:
            del self._closing[name]

    async def _shut(self, namespace: Namespace) -> None:
        try:
            await namespace.adapter.close()
        except Exception as error:  # noqa: BLE001 - logged
            _not_closed(error=error, key=namespace.label, extra={"nsp": namespace.name})

    def _forget(self, child: _Child) -> None:
        name = child.namespace.name
        del self._children[name], self._namespaces[name]
        self._idle.pop(name, None)
        self._pinned -= child.pinned
        child.wait_no_longer()
        child.parent.remove_child(child.namespace)
