"""Devices: what a client says of the one it runs on, and whether the server knows it."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..logs import ThrottledLog
from ..types import Device

if TYPE_CHECKING:
    from .sightings import Sightings

log: Final = logging.getLogger("rtframework.namespace")

_no_device: Final = ThrottledLog(
    log,
    logging.WARNING,
    "the device of a client is left out: auth.device is an object whose id has 16 to 128 letters, digits, or - _ . :",
    period=60.0,
)
_unknown: Final = ThrottledLog(
    log,
    logging.ERROR,
    "the store cannot be reached: what clients say decides which devices are new",
    period=60.0,
)

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{16,128}")

_LOOK_TIMEOUT: Final = 1.0
"""Seconds that a client waits to be let in until the store says whether its device is known."""


def read_device(auth: Mapping[str, Any]) -> Device | None:
    """Return the device that a client says it runs on, new unless it says when it was there; ``None`` without one."""
    told = auth.get("device")
    if told is None:
        return None
    id = told.get("id") if isinstance(told, dict) else None
    if not isinstance(id, str) or not _ID.fullmatch(id):
        _no_device()
        return None
    seen = _time(told.get("seen"))
    return Device(id, seen is None, seen, None)


async def look_at(device: Device, key: str, sightings: Sightings, seconds: float) -> Device:
    """Return a device with what the server knows of it, by its key, and note that it is here.

    ``seconds``: how long that is remembered. Without the store, what the client says decides.
    """
    try:
        async with asyncio.timeout(_LOOK_TIMEOUT):
            known = await sightings.find(key)
    except Exception as error:  # noqa: BLE001 - whatever a store raises, the client is let in
        _unknown(error=error)
        return device
    sightings.note(key, seconds)
    last_seen = None if known is None else datetime.fromtimestamp(known, UTC)
    return Device(device.id, known is None, device.seen, last_seen)


def _time(milliseconds: object) -> datetime | None:
    """Return a time that a client says; one that is yet to come is now, and what is no time is ``None``."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    if not 0 < milliseconds < math.inf:  # also for integers beyond all floats
        return None
    return datetime.fromtimestamp(min(milliseconds, time.time() * 1000) / 1000, UTC)
