"""Bytes in JSON, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rtframework_http_api.binary import to_bytes, to_json
from rtframework_http_api.problems import Problem


def test_bytes_at_any_depth() -> None:
    """A picture in an object would arrive as text."""
    given = [{"picture": {"$base64": "AQI="}, "more": [1, {"$base64": ""}]}, {"$base64": "AQI=", "other": 1}]
    bytes_ = to_bytes(given)
    assert bytes_ == [{"picture": b"\x01\x02", "more": [1, b""]}, {"$base64": "AQI=", "other": 1}]
    assert msgspec.json.decode(to_json(bytes_)) == given


@pytest.mark.parametrize("text", ["%%", "AQI", "AQ I=", 5, None, "é"])
def test_what_is_no_base64_is_refused_by_its_path(text: Any) -> None:
    """Clients would get other bytes than those that were meant."""
    with pytest.raises(Problem) as raised:
        to_bytes([1, {"a": {"$base64": text}}])
    assert raised.value.more == {"path": "$.args[1].a"}


def test_what_json_does_not_have_is_named() -> None:
    """A socket could not be described, because a program keeps a connection in its data."""

    class Connection:
        pass

    found = msgspec.json.decode(to_json({"a": Connection(), "b": {1: {2}}, "c": bytearray(b"\0"), "d": float("nan")}))
    assert found == {"a": "<Connection>", "b": {"1": [2]}, "c": {"$base64": "AA=="}, "d": None}
