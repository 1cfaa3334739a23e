"""Events that are served once: each is claimed before its handler runs, and its answer kept for its repeats."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..concurrency import maybe_await
from ..counters import ANSWERED, FORGOTTEN, NOT_KEPT, NOT_SAVED, UNAVAILABLE, WAITED
from ..exceptions import EncodeError, EventError, InvalidPayload, RateLimited
from ..handlers.event import DEFERRED
from ..handlers.kept_answers import encode_answer, encode_error, is_answer, read_answer
from ..logs import ThrottledLog
from ..packets import to_ack

if TYPE_CHECKING:
    from ..counters import Counters
    from ..options import Idempotency
    from ..protocols import Engine, KeyValueStore

log: Final = logging.getLogger("rtframework.socket")

_unavailable: Final = ThrottledLog(
    log,
    logging.ERROR,
    "the store cannot be reached: events for idempotent handlers are left unanswered, so that clients send them again",
    period=60.0,
)
_not_saved: Final = ThrottledLog(
    log,
    logging.ERROR,
    "an answer cannot be saved: it is tried again, and until then another server may serve the event again",
    period=60.0,
)
_not_kept: Final = ThrottledLog(
    log, logging.WARNING, "the answer of %r is too large to be kept, or cannot be: repeats get an error in its place"
)
_forgotten: Final = ThrottledLog(
    log,
    logging.WARNING,
    "a client sends more ids than are remembered: its oldest are forgotten, see Idempotency.max_ids",
    period=60.0,
)
_one_connection: Final = ThrottledLog(
    log,
    logging.WARNING,
    "ids of events are known for one connection only: the server has neither users nor connection state recovery, and "
    "the client sends no device",
    period=3600.0,
)

CLAIM: Final = 15.0
"""Seconds after which another server may serve an event whose server has not been heard of."""
RENEW: Final = 5.0
"""Seconds between two renewals of the claims of handlers that run."""
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 1.0
"""Seconds between two looks at an event that another server serves: from the first to the second."""
_SWEEP: Final = 64
"""Clients that are looked at, at most, for each one that sends an id."""


class Asking(Protocol):
    """The socket of an event."""

    @property
    def connected(self) -> bool:
        """True while there is anybody to answer."""


class _Client:
    """The events of one client, or user, that are remembered: times of their answers by key, in their order."""

    __slots__ = ("keys", "used")

    def __init__(self) -> None:
        self.keys: OrderedDict[str, float] = OrderedDict()
        self.used = 0.0


class Repeats:
    """The events of one server that are served once.

    An event's key has its scope in it, which tells whose event it is: no client can reach another's. ``spawn``: runs
    something in the background.
    """

    def __init__(
        self,
        store: KeyValueStore,
        settings: Idempotency,
        engine: Engine,
        counts: Counters,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._settings = settings
        self._engine = engine
        self._counts = counts.repeats
        self._spawn = spawn
        self._name = secrets.token_bytes(9)
        self._numbers = 0
        self._running: dict[str, asyncio.Future[bytes | None]] = {}
        """By key: done, with the answer, when the handler is; ``None``: the event may be served again."""
        self._claims: dict[str, bytes] = {}
        self._unsaved: dict[str, tuple[bytes, bytes, float]] = {}
        """By key: the claim, the answer that is to take its place, and the time at which it is too old."""
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        """By scope, the one that was used last at the end."""
        self._timer: asyncio.TimerHandle | None = None

    async def serve(
        self,
        socket: Asking,
        scope: str,
        event: Iterable[str],
        call: Callable[[], Any],
        refused: Callable[[], RateLimited | None],
    ) -> Any:
        """Call a handler, or answer as it has done before.

        ``event``: texts that name the event, its handler and its id. ``refused``: returns an error for an event beyond
        a rate; asked for an event that is not known to be a repeat.
        """
        key = key_of(scope, event)
        while (running := self._running.get(key)) is not None:
            self._counts[WAITED] += 1
            await asyncio.wait((running,))
            kept = running.result()
            if kept is not None:
                return self._repeat(kept)
        if key in self._unsaved:
            return self._repeat(self._unsaved[key][1])
        done = self._running[key] = asyncio.get_running_loop().create_future()
        kept = None
        try:
            limited = refused()
            claim = self._new_claim()
            try:
                if limited is None:
                    found = await self._claim(socket, key, claim)
                else:
                    found = await self._store.get(key) or b""
            except Exception as error:  # noqa: BLE001 - whatever a store raises, the client is to try again
                self._counts[UNAVAILABLE] += 1
                _unavailable(error=error)
                return DEFERRED
            if found is not None and is_answer(found):
                kept = found
                return self._repeat(kept)
            if limited is not None:
                raise limited
            if found is not None:  # the client has gone, and another server serves its event
                return DEFERRED
            kept, result = await self._run(scope, event, key, claim, call)
            if isinstance(result, EventError):
                raise result
            return result
        finally:
            del self._running[key]
            done.set_result(kept)

    def stop(self) -> None:
        """Stop: nothing runs any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._claims.clear()
        self._unsaved.clear()
        self._clients.clear()

    # --- one event ----------------------------------------------------------------------------------------------------

    async def _claim(self, socket: Asking, key: str, claim: bytes) -> bytes | None:
        """Claim an event for this server, waiting while another one has it.

        Return ``None`` when it is claimed, its answer if there is one, or another server's claim if the client left.
        """
        pause = _FIRST_LOOK
        while True:
            found = await self._store.add(key, claim, CLAIM)
            if found is None or is_answer(found) or not socket.connected:
                return found
            if pause == _FIRST_LOOK:
                self._counts[WAITED] += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)

    async def _run(
        self, scope: str, event: Iterable[str], key: str, claim: bytes, call: Callable[[], Any]
    ) -> tuple[bytes, Any]:
        """Run a handler. Return its answer as it is kept, and its result, or the ``EventError`` that it has raised."""
        self._claims[key] = claim
        self._arm()
        try:
            try:
                result = await maybe_await(call())
                kept = self._encode(event, result)
            except (RateLimited, InvalidPayload):  # nothing was done
                raise
            except EventError as error:
                result = error
                kept = self._encode(event, error)
        except BaseException:
            del self._claims[key]
            self._spawn(self._release(key, claim))
            raise
        del self._claims[key]
        self._unsaved[key] = claim, kept, asyncio.get_running_loop().time() + self._settings.seconds
        try:
            await self._save(key)
        except Exception as error:  # noqa: BLE001 - the handler has run: its client gets the answer all the same
            self._counts[NOT_SAVED] += 1
            _not_saved(error=error)
            self._arm()
        self._remember(scope, key)
        return kept, result

    def _encode(self, event: Iterable[str], result: Any) -> bytes:
        plain = self._engine.plain
        try:
            if isinstance(result, EventError):
                details = None if result.details is None else plain([result.details])[0]
                kept = encode_error(result, details)
            else:
                kept = encode_answer(plain(to_ack(result)))
            if len(kept) <= self._settings.max_answer_bytes:
                return kept
        except EncodeError:
            pass  # the answer itself will say so in the log
        self._counts[NOT_KEPT] += 1
        name = next(iter(event))
        _not_kept(name, key=name, extra={"event": name})
        return encode_error(EventError("answer_not_kept", "The event was served, its answer was not kept"), None)

    def _repeat(self, kept: bytes) -> Any:
        self._counts[ANSWERED] += 1
        return read_answer(kept)

    def _new_claim(self) -> bytes:
        self._numbers += 1
        return b"c%b%d" % (self._name, self._numbers)

    # --- the store ----------------------------------------------------------------------------------------------------

    async def _save(self, key: str) -> None:
        claim, kept, _ = self._unsaved[key]
        if not await self._store.replace(key, claim, kept, self._settings.seconds):
            await self._store.add(key, kept, self._settings.seconds)
        self._unsaved.pop(key, None)

    async def _release(self, key: str, claim: bytes | None = None) -> None:
        try:
            await self._store.remove(key, claim)
        except Exception as error:  # noqa: BLE001 - then it ends by itself
            _unavailable(error=error)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RENEW, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._claims or self._unsaved:
            self._spawn(self._renew())

    async def _renew(self) -> None:
        """Renew the claims of handlers that run, and save the answers that could not be saved."""
        try:
            for key, claim in list(self._claims.items()):
                await self._store.replace(key, claim, claim, CLAIM)
            for key in list(self._unsaved):
                if key not in self._unsaved or key in self._running:
                    continue
                if self._unsaved[key][2] < asyncio.get_running_loop().time():
                    del self._unsaved[key]
                else:
                    await self._save(key)
        except Exception as error:  # noqa: BLE001 - it is tried again
            _not_saved(error=error)
        if self._claims or self._unsaved:
            self._arm()

    # --- how much of one client ---------------------------------------------------------------------------------------

    def _remember(self, scope: str, key: str) -> None:
        """Note that a client has one more answer that is kept, and have its oldest forgotten beyond the bound."""
        now = asyncio.get_running_loop().time()
        ended = now - self._settings.seconds
        client = self._clients.pop(scope, None) or _Client()
        self._clients[scope] = client
        client.used = client.keys[key] = now
        for _ in range(_SWEEP):
            oldest = next(iter(client.keys))
            if client.keys[oldest] > ended:
                break
            del client.keys[oldest]
        if len(client.keys) > self._settings.max_ids:
            oldest = next(iter(client.keys))
            del client.keys[oldest]
            self._counts[FORGOTTEN] += 1
            _forgotten()
            self._spawn(self._release(oldest))
        for _ in range(_SWEEP):
            first = next(iter(self._clients))
            if self._clients[first].used > ended:
                break
            del self._clients[first]


def tell_of_one_connection() -> None:
    """Say, now and then, that the ids of a client are known for its connection only."""
    _one_connection()


def key_of(scope: str, event: Iterable[str]) -> str:
    """Return the key of an event in the store: no two events have the same one, and no client can choose one."""
    digest = hashlib.sha256()
    for text in (scope, *event):
        data = text.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return f"once:{digest.hexdigest()}"
