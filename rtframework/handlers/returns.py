"""Validation of the return values of handlers, for ``Server(validate_returns=True)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, InvalidReturn
from .event import DEFERRED
from .validation import Converter, Mismatch, check, converter_of

if TYPE_CHECKING:
    from ..types import Packet
    from .event import Event
    from .handler import Handler


class CheckedHandler:
    """A handler that validates its return values against its return annotation."""

    __slots__ = ("_converter", "_handler", "name", "ordered")

    is_async: Final = True

    def __init__(self, handler: Handler, converter: Converter) -> None:
        self._handler = handler
        self._converter = converter
        self.name = handler.name
        self.ordered = handler.ordered

    async def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        """Run the handler. Raises :class:`~rtframework.InvalidReturn` if its result does not fit its annotation."""
        result = await maybe_await(self._handler(socket, args, packet, event))
        if result is not DEFERRED:
            try:
                check(result, self._converter)
            except Mismatch as mismatch:
                problem = mismatch.problems[0]
                who = self._handler.signature.who
                raise InvalidReturn(f"{who} returned {problem['message']} at {problem['path']}") from None
        return result


def checked(handler: Handler) -> Handler | CheckedHandler:
    """Return the handler with validated results; the handler itself if it has no return annotation or takes ``ack``.

    Raises :class:`~rtframework.ConfigurationError` for an annotation that values cannot be validated against.
    """
    signature = handler.signature
    if signature.returns is Any or signature.takes_ack:
        return handler
    try:
        converter = converter_of(signature.returns)
    except (TypeError, NameError) as error:
        raise ConfigurationError(f"{signature.who}: what it returns cannot be checked: {error}") from error
    return CheckedHandler(handler, converter)
