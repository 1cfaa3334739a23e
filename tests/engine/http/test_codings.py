"""Content codings that a client accepts, without I/O."""

from __future__ import annotations

import pytest

from rtframework.engine.http.codings import choose_coding


@pytest.mark.parametrize(
    ("lines", "coding"),
    [
        ([], None),
        (["gzip"], "gzip"),
        (["deflate"], "deflate"),
        (["gzip, deflate"], "gzip"),
        (["deflate, gzip"], "gzip"),
        (["deflate, gzip;q=0.9"], "deflate"),
        (["gzip;q=0, identity"], None),
        (["gzip, deflate;q=0"], "gzip"),
        (["gzip;q=0, deflate"], "deflate"),
        (["br, GZIP;q=0.5"], "gzip"),
        (["*"], "gzip"),
        (["*;q=0"], None),
        (["gzip;q=0, *"], "deflate"),
        (["identity, gzip; q=0.000, *;q=0"], None),
        (["identity"], None),
        (["br", "gzip"], "gzip"),
        (["gzip;foo=bar;q=0"], None),
        (["gzip;q=nonsense"], "gzip"),
        ([""], None),
    ],
)
def test_the_client_s_preference_is_heeded(lines: list[str], coding: str | None) -> None:
    """A client would get bytes that it cannot read, or that it has refused."""
    assert choose_coding(lines, ("gzip", "deflate")) == coding


def test_only_ours_are_chosen() -> None:
    """A client would be told of a coding that the body does not have."""
    assert choose_coding(["deflate"], ("gzip",)) is None
