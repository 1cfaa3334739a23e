"""Everything that rtframework raises on purpose.

::

    RTFrameworkError
    ├── ConfigurationError        a mistake in the program: a wrong handler signature, a name registered twice
    ├── PluginNotFound            no entry point of that name
    ├── ConnectionRefused         raise it to refuse a client: message and data reach its connect_error
    ├── ContractError             what is emitted is not what was declared; in strict mode, for tests
    ├── EventError                raise it in a handler: code, message and details reach the client's ack
    │   └── InvalidPayload        the arguments do not fit the handler's signature
    ├── InvalidReturn             a handler returned something else than it says (also a TypeError)
    ├── AckError                  an acknowledgement did not come
    │   ├── AckTimeout            … in time (also a TimeoutError)
    │   └── Disconnected          … because the client has left (also a ConnectionError)
    └── SerializationError
        ├── EncodeError           the data cannot be sent (also a ValueError)
        └── DecodeError           what a client sent is no packet (also a ValueError)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class RTFrameworkError(Exception):
    """The root of the tree."""


class ConfigurationError(RTFrameworkError, ValueError):
    """The program is wrong: a handler's signature, a name registered twice, a reserved event name."""


class PluginNotFound(RTFrameworkError, LookupError):
    """No entry point of that group and name is installed."""


class ConnectionRefused(RTFrameworkError):
    """Raise it in an authenticator, a connect middleware or a connection handler to refuse the client.

    The JS client gets ``connect_error`` with ``err.message == message`` and ``err.data == data``.

    Example::

        raise ConnectionRefused("forbidden", {"code": 403})
    """

    def __init__(self, message: str = "Connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ContractError(RTFrameworkError):
    """An event is emitted that was not declared, or not as it was declared; in strict mode, see ``Server``.

    ``nsp``: the namespace; ``path``: where in the arguments the problem is, e.g. ``"$[0].text"``, if it is in there.
    """

    def __init__(self, event: str, problem: str, *, nsp: str = "/", path: str | None = None) -> None:
        super().__init__(f"emit({event!r}, ...) in {nsp}: {problem}")
        self.event = event
        self.nsp = nsp
        self.path = path


class EventError(RTFrameworkError):
    """Raise it in an event handler to refuse the event.

    The client's acknowledgement gets ``{"error": {"code": code, "message": message, "details": details}}``;
    ``details`` is left out when it is ``None``, ``message`` defaults to the code.

    Example::

        raise EventError("not_in_room", "Join the room first")
    """

    def __init__(self, code: str, message: str | None = None, details: Any = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.details = details

    def to_payload(self) -> dict[str, Any]:
        """The object that the client's acknowledgement gets."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


class InvalidPayload(EventError):
    """The arguments of an event do not fit its handler: code ``invalid_payload``, details a list of problems."""

    def __init__(self, message: str, details: Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__("invalid_payload", message, list(details) if details is not None else None)


class InvalidReturn(RTFrameworkError, TypeError):
    """A handler returned something else than its annotation says, see ``Server(validate_returns=True)``."""


class AckError(RTFrameworkError):
    """An acknowledgement that was waited for did not come."""


class AckTimeout(AckError, TimeoutError):
    """The time given by ``timeout(seconds)`` is over.

    ``responses`` holds what did come, by socket id, and ``missing`` the ids that did not answer, when several
    sockets were asked.
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
    """The client left before it answered."""


class SerializationError(RTFrameworkError):
    """A packet could not be turned into frames, or frames into a packet."""


class EncodeError(SerializationError, ValueError):
    """The data cannot be represented on the wire, e.g. NaN in JSON. Nothing was sent."""


class DecodeError(SerializationError, ValueError):
    """What a client sent is no packet. Its connection is closed with reason "parse error"."""
