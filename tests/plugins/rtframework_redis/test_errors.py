"""Errors of connections to Redis, by which the layers above decide."""

from __future__ import annotations

import pytest

from rtframework_redis.errors import LinkLost, Redirect, ReplyError


@pytest.mark.parametrize(
    ("message", "code", "redirect"),
    [
        ("MOVED 3999 127.0.0.1:6381", "MOVED", Redirect(3999, "127.0.0.1", 6381, False)),
        ("ASK 1 ::1:6381", "ASK", Redirect(1, "::1", 6381, True)),
        ("MOVED 3999 :6381", "MOVED", Redirect(3999, "", 6381, False)),
        ("MOVED", "MOVED", None),
        ("MOVED x y:z", "MOVED", None),
        ("READONLY You can't write against a read only replica.", "READONLY", None),
        ("", "", None),
    ],
)
def test_a_reply_says_where_to_go(message: str, code: str, redirect: Redirect | None) -> None:
    """After a Cluster has moved a slot nobody would find the stream."""
    error = ReplyError(message)
    assert (error.code, error.redirect, str(error)) == (code, redirect, message)


def test_a_lost_connection_is_a_connection_error() -> None:
    """Programs catch ``ConnectionError`` when they call Redis."""
    with pytest.raises(ConnectionError, match="gone"):
        raise LinkLost("gone")
    assert not LinkLost("gone").written
