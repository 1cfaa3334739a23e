"""Binary messages as Base64 text, as clients of all languages write them."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Final

_SPACE: Final = re.compile(r"[ \t\r\n]+")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def decode_base64(text: str) -> bytes:
    """Decode Base64 (RFC 4648). Raises ``ValueError``.

    Line breaks, which the Java client sends, the alphabet for URLs and missing padding are accepted, as Node does. Any
    other character that is not of the alphabet is refused.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError:
        pass
    plain = _SPACE.sub("", text).translate(_URL_SAFE).rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise ValueError("illegal Base64") from error
