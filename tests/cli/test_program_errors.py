"""Failures that are due to an exception of the program."""

from __future__ import annotations

import asyncio

import pytest

from rtframework.cli.program_errors import failure_of
from rtframework.concurrency import maybe_await


def fail() -> None:
    """Raise as a program does."""
    raise ValueError("a mistake")


def test_the_summary_says_what_was_raised() -> None:
    """A user would have to read a traceback to its end."""
    with pytest.raises(ValueError, match="a mistake") as caught:
        fail()
    failure = failure_of("app() failed", caught.value)
    assert str(failure) == "app() failed: ValueError: a mistake"
    assert failure.details.startswith("Traceback (most recent call last):")
    assert "in fail" in failure.details


def test_the_traceback_begins_in_the_program() -> None:
    """Frames of the command line would stand above the line that is wrong."""

    async def make() -> int:
        fail()
        return 1

    async def call() -> int:
        return await maybe_await(make())

    with pytest.raises(ValueError, match="a mistake") as caught:
        asyncio.run(call())
    frames = caught.value.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_name != "maybe_await":
        frames = frames.tb_next
    caught.value.__traceback__ = frames
    assert frames is not None
    failure = failure_of("app() failed", caught.value)
    assert "maybe_await" not in failure.details
    assert "in make" in failure.details


def test_an_exit_is_told_with_its_code() -> None:
    """A program that ends itself while it is imported would seem to have done nothing."""
    assert str(failure_of("app failed", SystemExit(3))) == "app failed: it called sys.exit(3)"
