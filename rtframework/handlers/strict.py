"""Validation of emitted events against their declarations, for tests."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..exceptions import ContractError, DecodeError
from ..types import Packet
from .validation import BYTES, Mismatch, expect

if TYPE_CHECKING:
    from ..protocols import Serializer
    from .declarations import Declaration, Declarations


OnBreach = Callable[[ContractError], None]

on_breach: Final[ContextVar[OnBreach | None]] = ContextVar("on_breach", default=None)
"""Called with every breach of contract, also with one that the program catches.

A context variable, because a test server sets it for what the server runs (handlers, and whatever tasks they start) and
not for the test, which itself gets what its own emits raise.
"""


async def telling(work: Awaitable[None], tell: OnBreach) -> None:
    """Await ``work`` with ``tell`` as ``on_breach``: for a task that a test may have set off."""
    on_breach.set(tell)
    await work


class Auditor:
    """Validator of emitted packets against their declarations.

    The arguments are validated as a client would get them: encoded by the server's serializer and decoded again.
    """

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer

    def check(self, packet: Packet, declared: Declarations) -> None:
        """Check a packet that is about to be sent. Raises :class:`~rtframework.ContractError`; tells ``on_breach``."""
        try:
            self._check(packet, declared)
        except ContractError as error:
            tell = on_breach.get()
            if tell is not None:
                tell(error)
            raise

    def _check(self, packet: Packet, declared: Declarations) -> None:
        event, *args = packet.data
        declaration = declared.get(event)
        if declaration is None:
            raise ContractError(event, f"no such event is declared{_hint(event, declared)}", nsp=packet.nsp)
        count = len(args)
        least = sum(each.required for each in declaration.parameters)
        variadic = any(each.variadic for each in declaration.parameters)
        if count < least or (count > least and not variadic):
            arguments = "argument" if least == 1 else "arguments"
            expected = f"it takes {least} {arguments}{' or more' * variadic}, got {count}"
            raise self._misfit(packet, declaration, expected)
        for position, value in enumerate(self._received(packet)):
            parameter = declaration.parameters[min(position, len(declaration.parameters) - 1)]
            try:
                expect(value, parameter.type, args[position])
            except Mismatch as error:
                problem = error.problems[0]
                path = f"$[{position}]{problem['path'].removeprefix('$')}"
                raise self._misfit(packet, declaration, f"{problem['message']} at {path}", path) from None

    def _received(self, packet: Packet) -> Sequence[Any]:
        decoder = self._serializer.decoder()
        try:
            for frame in self._serializer.encode(packet):
                received = decoder.decode(frame)
                if received is not None:
                    return list(received.data[1:])
        except DecodeError:  # clients accept more than this server does, e.g. more attachments
            pass
        plain: list[Any] = msgspec.to_builtins(packet.data[1:], builtin_types=BYTES)
        return plain

    def _misfit(self, packet: Packet, declaration: Declaration, problem: str, path: str | None = None) -> ContractError:
        event = packet.data[0]
        message = f"{problem}; it is declared as {declaration} at {declaration.place}"
        return ContractError(event, message, nsp=packet.nsp, path=path)


def _hint(event: str | int, declared: Declarations) -> str:
    known = {each.event: each for each in declared}
    if not known:
        return ", nor any other: write io.emits(...)"
    close = difflib.get_close_matches(str(event), [name for name in known if isinstance(name, str)], 1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"; declared are: {', '.join(f'{name!r} {each}' for name, each in known.items())}.{meant}"
