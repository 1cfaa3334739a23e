"""What the Admin UI is shown of the program's data."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Any

import pytest

from rtframework.admin.serialization import plain
from rtframework.serializers import JSONSerializer
from rtframework.types import Packet, PacketType


class Text(str):
    """A string that is not quite one."""

    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-(2**60), str(-(2**60))),
        (1.5, 1.5),
        (float("inf"), "inf"),
        ("é", "é"),
        (Text("a"), "a"),
        ("\udfff", "?"),
        ("x" * 1001, "x" * 1000 + "…"),
        (b"123", "<3 bytes>"),
        (Colour.RED, "<Colour>"),
        (Number.ONE, 1),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, {2}), [1, [2]]),
        ({1: object, (2, 3): object()}, {"1": "<type>", "[2, 3]": "<object>"}),
        (list(range(102)), [*range(100), "… 2 more"]),
        ([[[[[[["deep"]]]]]]], [[[[[["…"]]]]]]),
    ],
)
def test_any_value_can_be_shown(value: Any, shown: Any) -> None:
    """One client with an unusual value in its data would keep the UI from showing any."""
    assert plain(value) == shown
    JSONSerializer().encode(Packet(PacketType.EVENT, "/", ["x", plain(value)]))


def test_a_large_dict_is_cut() -> None:
    """A cache in a socket's data would be sent to the page every two seconds."""
    shown = plain({str(number): number for number in range(150)})
    assert len(shown) == 101
    assert shown["…"] == "50 more"
