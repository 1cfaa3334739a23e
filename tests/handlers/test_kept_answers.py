"""Answers as bytes: what comes back is what was acknowledged."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import DecodeError, EncodeError, EventError
from rtframework.handlers.kept_answers import encode_answer, encode_error, is_answer, read_answer
from rtframework.packets import to_ack


@pytest.mark.parametrize(
    "args", [[], [1], [None], ["a", b"\x00", None], [[1, 2]], [[]], [{"a": [1.5]}], [[None]]], ids=repr
)
def test_the_same_arguments(args: list[Any]) -> None:
    """A client would get another answer than the one that it has missed."""
    kept = encode_answer(args)
    assert is_answer(kept)
    assert to_ack(read_answer(kept)) == args


def test_errors() -> None:
    """What was refused would look as if it were done."""
    kept = encode_error(EventError("sold_out", "Too late"), {"left": 0})
    assert is_answer(kept)
    with pytest.raises(EventError) as caught:
        read_answer(kept)
    assert caught.value.to_payload() == {
        "error": {"code": "sold_out", "message": "Too late", "details": {"left": 0}},
    }


def test_what_cannot_be_kept_and_what_is_no_answer() -> None:
    """A mistake of one event would end in an exception that nobody expects."""
    for value in (object(), 2**70):
        with pytest.raises(EncodeError):
            encode_answer([value])
    assert not is_answer(b"")
    assert not is_answer(b"claim")
    for rubbish in (b"a", b"a\xc1", b"a\x01", b"e\x01", b"e\x91\x01"):
        with pytest.raises(DecodeError):
            read_answer(rubbish)
