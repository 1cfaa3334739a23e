"""Tickets: what lets a client in that can send neither headers nor an ``auth``, for a few seconds and once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..authenticators import MAX_TOKEN_LENGTH, TokenDetails, refusal, tell_of_token
from ..concurrency import maybe_await
from ..exceptions import ConfigurationError
from ..types import Identity
from .event_stream import EventId

if TYPE_CHECKING:
    from ..protocols import Authenticator
    from ..types import Handshake

_SHORTEST_SECRET: Final = 16
_MOST_USED: Final = 100_000
"""Tickets that are remembered as used. Beyond, the oldest are forgotten, and good again until they expire."""
_DAY: Final = 86_400.0


class _Content(msgspec.Struct, array_like=True):
    """What is signed."""

    id: str | int
    issued_at: float
    nonce: str
    name: str | None = None
    """``None`` if the user was given by its id alone."""
    roles: list[str] = []
    claims: dict[str, Any] = {}


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Content).decode


class Tickets:
    """Makes tickets, and lets clients in by them: ``EventSource`` sends no headers, so its URL has ``?ticket=``.

    URLs end up in logs. So a ticket is good for ``seconds``, and once; a stream that was opened with it may be resumed
    for ``resume`` seconds: the ids of its events prove that it is the same. The server and its gateways do not log
    tickets. ``secret``: 16 bytes or more, the same on all servers. ``auth``: asked about clients without a ticket.
    ``load``: makes the user of its id, ``async`` or not; without it, it is what was given to :meth:`make`.

    "Once" counts for each process: with several, a ticket is good once in each. A client is refused with the code
    ``missing``, ``malformed``, ``bad_signature``, ``expired`` or ``used``. Raises
    :class:`~rtframework.ConfigurationError` for a secret that is too short.

    Example::

        tickets = Tickets(os.environ["TICKET_SECRET"])
        io = Server(auth=tickets)

        async def ticket(request: web.Request) -> web.Response:
            return web.json_response({"ticket": tickets.make(request["user_id"])})
    """

    __slots__ = ("_auth", "_clock", "_key", "_load", "_resume", "_seconds", "_used")

    def __init__(
        self,
        secret: str | bytes,
        *,
        seconds: float = 30.0,
        resume: float = _DAY,
        auth: Authenticator | None = None,
        load: Callable[[Any], Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        key = secret.encode() if isinstance(secret, str) else secret
        if not isinstance(key, bytes) or len(key) < _SHORTEST_SECRET:
            raise ConfigurationError(
                f"the secret of Tickets has {_SHORTEST_SECRET} bytes or more: python -c 'import secrets; "
                "print(secrets.token_urlsafe(32))' makes one"
            )
        self._key = hashlib.blake2b(key, person=b"rtf tickets").digest()
        self._seconds = seconds
        self._resume = resume
        self._auth = auth
        self._load = load
        self._clock = clock
        self._used: dict[str, float] = {}
        """The time at which tickets expire that were used, by their nonce, in the order of use."""

    def __repr__(self) -> str:
        return f"Tickets(<secret>, seconds={self._seconds!r}, resume={self._resume!r})"

    def make(self, user: str | int | Identity) -> str:
        """Make a ticket for a user: its id, or an :class:`~rtframework.Identity`.

        Raises :class:`~rtframework.ConfigurationError` for another object: give its id, and ``Tickets(load=...)``.
        """
        content: _Content
        nonce, now = secrets.token_urlsafe(9), round(self._clock(), 3)
        if isinstance(user, Identity):
            content = _Content(user.id, now, nonce, user.name, sorted(user.roles), dict(user.claims))
        elif isinstance(user, str | int) and not isinstance(user, bool):
            content = _Content(user, now, nonce)
        else:
            raise ConfigurationError(f"a ticket is made for the id of a user or an Identity, not for {user!r}")
        body = _to_text(_encode(content))
        return f"{body}.{self._sign(b'ticket', body)}"

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the user of the client's ticket. Raises :class:`~rtframework.ConnectionRefused`."""
        ticket = handshake.query.get("ticket")
        if not ticket:
            if self._auth is not None:
                return await self._auth.authenticate(handshake)
            raise refusal("missing", "A ticket is required")
        content, body = self._read(ticket)
        proof = self._sign(b"resume", body)
        self._admit(content, proof, handshake)
        tell_of_token(TokenDetails(id=content.nonce, issued_at=content.issued_at, proof=proof))
        if self._load is not None:
            user = await maybe_await(self._load(content.id))
            if user is None:
                raise refusal("unknown_user", "The ticket is good, but its user is not known")
            return user
        if content.name is None:
            return content.id
        return Identity(str(content.id), content.name, frozenset(content.roles), content.claims)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _read(self, ticket: str) -> tuple[_Content, str]:
        body, _, signature = ticket.partition(".")
        if len(ticket) > MAX_TOKEN_LENGTH or not ticket.isascii() or not body or not signature:
            raise refusal("malformed", "The ticket is malformed")
        if not hmac.compare_digest(signature, self._sign(b"ticket", body)):
            raise refusal("bad_signature", "The ticket's signature is wrong")
        try:
            return _decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))), body
        except (ValueError, msgspec.MsgspecError):  # signed by an earlier version
            raise refusal("malformed", "The ticket is malformed") from None

    def _admit(self, content: _Content, proof: str, handshake: Handshake) -> None:
        """Take a ticket that is good: for the first time, or for a stream that was opened with it."""
        now = self._clock()
        age = now - content.issued_at
        query = handshake.query
        told = handshake.headers.get("Last-Event-ID", "") or query.get("lastEventId", "") or query.get("since", "")
        last_id = EventId.parse(told)
        if last_id is not None and age < self._resume and hmac.compare_digest(last_id.ticket, proof):
            return
        if not -self._seconds <= age < self._seconds:  # the clock of another server may be ahead
            raise refusal("expired", "The ticket has expired")
        if content.nonce in self._used:
            raise refusal("used", "The ticket has been used")
        used = self._used
        while used and (len(used) >= _MOST_USED or next(iter(used.values())) <= now):
            del used[next(iter(used))]
        used[content.nonce] = content.issued_at + self._seconds

    def _sign(self, purpose: bytes, body: str) -> str:
        return _to_text(hmac.digest(self._key, purpose + b"\0" + body.encode(), "sha256")[:18])


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
