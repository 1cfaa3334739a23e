"""Clients that are thrown out, and told why."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from ..exceptions import ClusterUnavailable, ConfigurationError
from ..types import Packet, PacketType

if TYPE_CHECKING:
    from ..types import Target
    from .operators import Audience

KICKED: Final = "kicked"
"""The event that tells a client that it is thrown out, and the code that refuses it when it comes back as it was."""

_COMES_BACK: Final = "$reconnect:"
"""Begins the reason of an order to other servers to close connections whose clients are to come back."""


def kicked(nsp: str, reason: str | None, reconnect: bool) -> Packet:
    """Make the event."""
    return Packet(PacketType.EVENT, nsp, [KICKED, {"reason": reason or "", "reconnect": reconnect}])


def coming_back(reason: str | None) -> str:
    """Return the reason of an order to close connections whose clients are to come back with fresh credentials."""
    return _COMES_BACK + (reason or "")


def read_reason(reason: str | None) -> tuple[str | None, bool]:
    """Return the reason that disconnect handlers hear, and whether :func:`coming_back` has made the order's."""
    if reason is None or not reason.startswith(_COMES_BACK):
        return reason, False
    return reason.removeprefix(_COMES_BACK) or None, True


def check_disconnect(close: object, reason: object) -> None:
    """Check the arguments of a disconnect. Raises ``ConfigurationError``, also for a reason in place of ``close``."""
    if isinstance(close, str):
        raise ConfigurationError(f"close is True or False, not {close!r}: write disconnect(reason={close!r})")
    check_reason(reason)


def check_reason(reason: object) -> None:
    """Check the reason of a disconnect. Raises ``ConfigurationError`` if it is given and no string, or empty."""
    if reason is not None and (not isinstance(reason, str) or not reason):
        raise ConfigurationError(f"reason is a string, not {reason!r}: what disconnect handlers hear")
    if reason is not None and read_reason(reason) != (reason, False):
        raise ConfigurationError(f"{reason!r} is no reason: what begins like that is an order between servers")


def credentials_unknown() -> ConfigurationError:
    """Make the error for a client without a user that is to come back."""
    return ConfigurationError(
        "reconnect=True asks for fresh credentials, and nobody knows those of this client: it has no user"
    )


async def kick(
    audience: Audience, target: Target, close: bool, reason: str | None, reconnect: bool, keys: Collection[str]
) -> None:
    """Throw out the sockets of all servers that a target selects.

    ``keys``: the rooms of the users or tokens whose credentials are refused from now on, if ``reconnect``. Raises
    :class:`~rtframework.ClusterUnavailable` when the others are not told; those of this server are thrown out then.
    """
    if reconnect and not keys:
        raise credentials_unknown()
    packet = kicked(audience.name, reason, reconnect)
    failed: ClusterUnavailable | None = None
    try:
        if reconnect:
            await audience._revoke(keys, KICKED)
        await audience.adapter.broadcast(packet, target)
    except ClusterUnavailable as error:
        failed = error
        if not error.local and not error.uncertain and not target.local:
            await audience.adapter.broadcast(packet, dataclasses.replace(target, local=True))
    await audience.adapter.disconnect_sockets(target, close or reconnect, coming_back(reason) if reconnect else reason)
    if failed is not None:
        raise failed
