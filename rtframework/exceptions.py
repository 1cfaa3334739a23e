"""Everything that rtframework raises on purpose.

::

    RTFrameworkError
    ├── ConfigurationError        a mistake in the program: a wrong handler signature, a name registered twice
    ├── PluginNotFound            no entry point of that name
    ├── ConnectionRefused         raise it to refuse a client: message and data reach its connect_error
    ├── ContractError             an emitted event does not fit its declaration; in strict mode, for tests
    ├── EventError                raise it in a handler: code, message and details reach the client's ack
    │   ├── InvalidPayload        the arguments do not fit the handler's signature
    │   └── RateLimited           the client sends more than a rate allows
    ├── InvalidReturn             the result of a handler does not fit its annotation (also a TypeError)
    ├── AckError                  an acknowledgement did not arrive
    │   ├── AckTimeout            … in time (also a TimeoutError)
    │   └── Disconnected          … because the client has left (also a ConnectionError)
    ├── FetchTimeout              a server did not describe its sockets in time (also a TimeoutError)
    ├── ClusterUnavailable        the message has not reached the other servers (also a ConnectionError)
    └── SerializationError
        ├── EncodeError           the data cannot be sent (also a ValueError)
        └── DecodeError           data of a client are not a valid packet (also a ValueError)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class RTFrameworkError(Exception):
    """The base class of all exceptions of rtframework."""


class ConfigurationError(RTFrameworkError, ValueError):
    """A mistake in the program: a wrong handler signature, a name registered twice, a reserved event name."""


class PluginNotFound(RTFrameworkError, LookupError):
    """No entry point of that group and name is installed."""


class ConnectionRefused(RTFrameworkError):
    """Raise this in an authenticator, a connect middleware or a connection handler to refuse the client.

    The JS client gets ``connect_error`` with ``err.message == message`` and ``err.data == data``.

    Example::

        raise ConnectionRefused("forbidden", {"code": 403})
    """

    def __init__(self, message: str = "Connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ContractError(RTFrameworkError):
    """An emitted event is not declared or does not fit its declaration; in strict mode, see ``Server``.

    ``nsp``: the namespace. ``path``: the place of the problem in the arguments, e.g. ``"$[0].text"``; ``None`` if it is
    not in an argument.
    """

    def __init__(self, event: str | int, problem: str, *, nsp: str = "/", path: str | None = None) -> None:
        super().__init__(f"emit({event!r}, ...) in {nsp}: {problem}")
        self.event = event
        self.nsp = nsp
        self.path = path


class EventError(RTFrameworkError):
    """Raise this in an event handler to refuse the event.

    The client's acknowledgement is ``{"error": {"code": code, "message": message, "details": details}}``. ``message``
    defaults to the code; ``details`` is left out if it is ``None``.

    Example::

        raise EventError("not_in_room", "Join the room first")
    """

    def __init__(self, code: str, message: str | None = None, details: Any = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.details = details

    def to_payload(self) -> dict[str, Any]:
        """Return the object that is sent as the client's acknowledgement."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


class InvalidPayload(EventError):
    """The arguments of an event do not fit its handler.

    The code is ``invalid_payload``; ``details`` is a list of problems, each with ``path`` and ``message``.
    """

    def __init__(self, message: str, details: Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__("invalid_payload", message, list(details) if details is not None else None)


class RateLimited(EventError):
    """A client sends more than a rate allows.

    The code is ``rate_limited``; ``details`` is ``{"retry_after": seconds}``. A handler may raise it, too, with the
    seconds that :meth:`RateLimiter.take` has returned.
    """

    def __init__(self, retry_after: float) -> None:
        # Rounded up: a client that waits so long is not to be refused again for a thousandth of a second.
        self.retry_after = math.ceil(retry_after * 1000) / 1000
        details = {"retry_after": self.retry_after}
        super().__init__("rate_limited", f"too many, try again in {self.retry_after:g} s", details)


class InvalidReturn(RTFrameworkError, TypeError):
    """The result of a handler does not fit its return annotation, see ``Server(validate_returns=True)``."""


class AckError(RTFrameworkError):
    """A requested acknowledgement did not arrive."""


class AckTimeout(AckError, TimeoutError):
    """An acknowledgement did not arrive within the time of ``timeout(seconds)``.

    For a broadcast, ``responses`` has the answers that did arrive, by socket id, and ``missing`` the ids of the sockets
    that did not answer.
    """

    def __init__(
        self,
        message: str = "operation has timed out",
        responses: Mapping[str, Any] | None = None,
        missing: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.responses: Mapping[str, Any] = responses if responses is not None else {}
        self.missing = tuple(missing)


class Disconnected(AckError, ConnectionError):
    """The client disconnected before it answered."""


class FetchTimeout(RTFrameworkError, TimeoutError):
    """Not all servers of the cluster have described their sockets in time.

    ``sockets`` has those that did arrive, ``missing`` the names of the servers that did not answer, ``"?"`` for each
    whose name is not known.
    """

    def __init__(
        self,
        message: str = "operation has timed out",
        sockets: Sequence[Any] = (),
        missing: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.sockets: list[Any] = list(sockets)
        self.missing = tuple(missing)


class ClusterUnavailable(RTFrameworkError, ConnectionError):
    """The message has not reached the other servers of the cluster, and will not.

    ``local``: true if this server's clients have got it, false if nobody has. ``uncertain``: true if it cannot be known
    whether the message was sent, because the connection to the broker ended, or stayed silent, after it was written;
    it is not sent again.
    """

    def __init__(
        self, message: str = "the cluster is unavailable", *, local: bool = False, uncertain: bool = False
    ) -> None:
        super().__init__(message)
        self.local = local
        self.uncertain = uncertain


class SerializationError(RTFrameworkError):
    """A packet could not be turned into frames, or frames into a packet."""


class EncodeError(SerializationError, ValueError):
    """The data cannot be encoded, e.g. NaN in JSON. Nothing was sent."""


class DecodeError(SerializationError, ValueError):
    """Data of a client are not a valid packet. The connection is closed with the reason "parse error"."""
