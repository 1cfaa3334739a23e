"""Events that go out: those that do not fit what the server declares."""

from __future__ import annotations

import difflib
import logging
import sys
from typing import TYPE_CHECKING, Final

from ..exceptions import ContractError, EncodeError
from ..handlers.strict import Auditor
from ..logs import is_of_program, shorten

if TYPE_CHECKING:
    from ..handlers.declarations import Declarations
    from ..types import Packet

log: Final = logging.getLogger("rtframework.development")


class EmitWatch(Auditor):
    """Warns where strict mode raises; of namespaces that declare nothing it says nothing."""

    def check(self, packet: Packet, declared: Declarations) -> None:
        """Warn of an emitted event that is not declared, or does not fit its declaration."""
        if not declared:
            return
        name = packet.data[0]
        extra = {"nsp": packet.nsp, "event": name}
        try:
            self._check(packet, declared)
        except EncodeError:
            return  # the emit says it
        except ContractError as error:
            declaration = declared.get(name)
            if declaration is not None:
                problem = str(error).replace(declaration.place, shorten(declaration.place))
                log.warning("%s%s", _where(), problem, extra=extra)
                return
            close = difflib.get_close_matches(name, [each.event for each in declared], 1)
            hint = f"did you mean {close[0]!r}?" if close else f"write io.emits({name!r}, ...)"
            log.warning(
                "%semit(%r, ...) in %s: no such event is declared; %s", _where(), name, packet.nsp, hint, extra=extra
            )


def _where() -> str:
    """Say which line of the program emits."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_of_program(frame.f_code):
        frame = frame.f_back
    return f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno}: " if is_of_program(frame.f_code) else ""
