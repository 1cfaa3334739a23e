"""The audit log: who came in, who was refused, thrown out or limited, and by whom."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..exceptions import ConfigurationError
from ..logs import ThrottledLog, printable, quote
from ..types import identity_of
from .addresses import network_of
from .rate_limiter import RateLimiter
from .rates import Rate

log: Final = logging.getLogger("rtframework.audit")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a function of on_audit")

AuditKind: TypeAlias = Literal["login", "refusal", "kick", "limit", "admin", "ban", "api"]

OF_ADDRESS: Final = Rate(1, burst=10)
"""Lines of one kind for one address."""
OF_KIND: Final = Rate(20, burst=100)
"""Lines of one kind in all."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something for the audit log, as the functions of ``io.on_audit`` get it. It never holds a token.

    ``kind``: ``"login"``: a client with a user was let into a namespace. ``"refusal"``: one was refused, or a request
    was. ``"kick"``: the server has disconnected one. ``"limit"``: one is beyond a limit. ``"admin"``: a command was
    given in the Admin UI. ``"ban"``: an address was banned, or a ban was lifted. ``"api"``: a call was made over HTTP
    (``rtframework_http_api``); ``user`` is the name of its key.
    """

    kind: AuditKind
    address: str | None = None
    """The client's IP address."""
    user: str | None = None
    """The user's key: its ``id`` or ``name``, a string or a number itself, or else the name of its class."""
    nsp: str | None = None
    sid: str | None = None
    """The socket's id, which is public."""
    code: str | None = None
    """The reason of a refusal, as the client was told it: a code or a message; of a kick, as the program gave it. The
    command, or the call; the time of a ban."""
    limit: str | None = None
    """The limit that was reached, as ``Stats.limited`` names it."""

    @property
    def network(self) -> str:
        """The key by which addresses are counted: IPv4 as it is, IPv6 as its /64."""
        return network_of(self.address)


AuditListener: TypeAlias = Callable[[AuditEntry], Any]


class Audit:
    """The audit log of one server: a record for each entry, and functions of the program that get it.

    Records are limited in their rate, by kind and address; the functions get every entry. Nothing is done while the
    logger is off for INFO and no function listens.
    """

    __slots__ = ("_left_out", "_listeners", "_of_address", "_of_kind")

    def __init__(self) -> None:
        self._listeners: list[AuditListener] = []
        self._of_address = RateLimiter(OF_ADDRESS)
        self._of_kind = RateLimiter(OF_KIND)
        self._left_out: dict[str, int] = {}

    @property
    def is_on(self) -> bool:
        """True if anybody would hear of an entry."""
        return bool(self._listeners) or log.isEnabledFor(logging.INFO)

    def hear(self, listener: AuditListener) -> None:
        """Call a function for each entry from now on."""
        if not callable(listener):
            raise ConfigurationError(f"on_audit takes a function, not {listener!r}: write @io.on_audit above it")
        if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__):
            raise ConfigurationError(
                "a function of on_audit is called at once and cannot wait: "
                "make it a plain function, and let that start a task"
            )
        self._listeners.append(listener)

    def write(self, kind: AuditKind, *, address: str | None, user: Any = None, **details: str | None) -> None:
        """Write an entry. ``user``: what the authenticator returned. ``details``: further fields of the entry."""
        if self.is_on:
            self.add(AuditEntry(kind, address, name_of(user), **details))

    def add(self, entry: AuditEntry) -> None:
        """Write an entry that is made already."""
        for listener in self._listeners:
            try:
                listener(entry)
            except Exception as error:  # noqa: BLE001 - logged; the client is none the worse for it
                _failed(error=error)
        if log.isEnabledFor(logging.INFO):
            self._log(entry)

    def _log(self, entry: AuditEntry) -> None:
        kind = entry.kind
        if self._of_address.take((kind, entry.network)) or self._of_kind.take(kind):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        left_out = self._left_out.pop(kind, 0)
        extra = {
            "kind": kind,
            "address": entry.address,
            "user": entry.user,
            "nsp": entry.nsp,
            "sid": entry.sid,
            "code": entry.code,
            "limit": entry.limit,
            "left_out": left_out,
        }
        extra = {
            name: printable(value) if isinstance(value, str) else value
            for name, value in extra.items()
            if value is not None
        }
        shown = " ".join(f"{name}={quote(value)}" for name, value in extra.items() if name not in ("kind", "left_out"))
        more = f" ({left_out} more since the last such line)" if left_out else ""
        log.info("%s %s%s", kind, shown, more, extra=extra)


def name_of(user: Any) -> str | None:
    """Return what the audit log calls a user: nothing that may hold a token."""
    if user is None:
        return None
    key = identity_of(user)
    for each in (key, getattr(user, "name", None)):
        if isinstance(each, str | int):
            return str(each)
    return type(user).__name__
