"""Docstrings in contracts: as the readers of TypeScript and AsyncAPI know them."""

from __future__ import annotations

import pytest
from msgspec import Struct

from rtframework import Namespace, Server, Socket
from rtframework.contracts import asyncapi, describe, typescript
from rtframework.contracts.docstrings import to_markdown


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Answer ``None`` in ``lobby``.", "Answer `None` in `lobby`."),
        ("See :class:`~package.module.Name`.", "See `Name`."),
        ("See :class:`package.Name`.", "See `package.Name`."),
        ("Call :meth:`~package.Name.start()`.", "Call `start()`."),
        ("Call :py:func:`run`.", "Call `run`."),
        ("Markdown has `one` and **two**.", "Markdown has `one` and **two**."),
        ("A ``{'a': `x`}`` stays whole.", "A `{'a': `x`}` stays whole."),
        ("```\ncode\n```", "```\ncode\n```"),
        ("At 12:30:`x` it is late.", "At 12:30:`x` it is late."),
        ("``", "``"),
        ("", ""),
    ],
)
def test_marks_are_markdown(written: str, read: str) -> None:
    """An editor would show double quotes and roles where a name is meant."""
    assert to_markdown(written) == read


class Draft(Struct):
    """What becomes a :class:`Message` with ``say``."""

    text: str


class Lobby(Namespace):
    """Everybody talks. Each method ``on_…`` serves an event."""

    async def on_say(self, socket: Socket, draft: Draft) -> None:
        """Say it in ``lobby``."""


def test_descriptions_are_markdown() -> None:
    """The comments in the generated types would show reStructuredText."""
    io = Server()
    io.register_namespace(Lobby("/"))
    contract = describe(io)
    for generated in (typescript(contract), str(asyncapi(contract))):
        assert "``" not in generated
        assert ":class:" not in generated
        assert "Each method `on_…` serves an event." in generated
        assert "Say it in `lobby`." in generated
        assert "What becomes a `Message` with `say`." in generated
