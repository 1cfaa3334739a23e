"""The frames of SockJS (sockjs-protocol 0.3.3, "Protocol and framing"), and how each transport wraps them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final

import msgspec

from ..counters import Counters, add
from ..engine.frames import EncodedFrames
from ..exceptions import DecodeError
from ..logs import ThrottledLog
from ..serializers import parse_json

log: Final = logging.getLogger("rtframework.gateways")

_binary: Final = ThrottledLog(
    log, logging.ERROR, "dropped a binary message for clients of SockJS, which carries text: send Base64"
)

OPEN: Final = "o"
HEARTBEAT: Final = "h"

_MANGLED: Final = re.compile("[\x7f-\x9f\u200c-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufff0-\uffff]")
"""What browsers mangle, some as text, some as JavaScript ("JSON Unicode Encoding"), and what is no UTF-8."""
_IN_SCRIPT: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
"""What would end a script, or the page around it."""
_CALLBACK: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")

_decode_all: Final = msgspec.json.Decoder(list[str]).decode


def quote(message: str) -> str:
    """Make the JSON of a message that survives all transports."""
    quoted = encode_basestring(message)
    return _MANGLED.sub(_escaped, quoted) if _MANGLED.search(quoted) else quoted


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class SockJSFrames(EncodedFrames):
    """Messages for clients of SockJS: as websocket frames, and in ``messages`` as they stand between brackets."""

    __slots__ = ("messages",)

    def __init__(self, messages: Iterable[str | bytes], counts: Counters, droppable: bool = False) -> None:
        quoted = []
        for each in messages:
            if isinstance(each, str):
                quoted.append(quote(each))
            else:
                add(counts.dropped, "not_encoded", 1)
                _binary()
        self.messages = ",".join(quoted)
        super().__init__([messages_frame(self.messages)] if quoted else [], droppable)


def messages_frame(messages: str) -> str:
    """Make the frame of messages that are quoted already."""
    return f"a[{messages}]"


STOMP_HEART_BEAT: Final = messages_frame(quote("\n"))
"""The frame with a heart-beat of STOMP, a line end (STOMP 1.2, "Heart-beating")."""


def close_frame(code: int, reason: str) -> str:
    """Make the frame that ends a session."""
    return f"c[{code},{quote(reason)}]"


def read_messages(text: str | bytes, *, most: int) -> Sequence[str]:
    """Read the messages in a body, or in a websocket message. Raises ``DecodeError``; ``most``: how many they may be.

    A websocket's message may also be a single one, without brackets.
    """
    try:
        messages: object = _decode_all(text)
    except (msgspec.DecodeError, ValueError):
        try:  # a single one
            messages = parse_json(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError):
            raise DecodeError("Broken JSON encoding.") from None
    if isinstance(messages, str):
        return (messages,)
    if not isinstance(messages, list) or not all(isinstance(each, str) for each in messages) or len(messages) > most:
        raise DecodeError("Broken JSON encoding.")
    return messages


@dataclass(frozen=True, slots=True)
class Framing:
    """The way in which a transport over HTTP wraps frames.

    ``name``: its last part of the URL, ``prelude``: how it begins.
    """

    name: str
    method: str
    content_type: str
    wrap: Callable[[str], str]
    prelude: str = ""
    streams: bool = True


def _as_event(frame: str) -> str:
    return f"data: {frame}\r\n\r\n"


def _as_script(frame: str) -> str:
    return f"<script>\np({json.dumps(frame).translate(_IN_SCRIPT)});\n</script>\r\n"


def _as_line(frame: str) -> str:
    return frame + "\n"


_SCRIPT: Final = "application/javascript; charset=UTF-8"

XHR: Final = Framing("xhr", "POST", _SCRIPT, _as_line, streams=False)
XHR_STREAMING: Final = Framing("xhr_streaming", "POST", _SCRIPT, _as_line, "h" * 2048 + "\n")
EVENTSOURCE: Final = Framing("eventsource", "GET", "text/event-stream", _as_event, "\r\n")
HTMLFILE: Final = Framing("htmlfile", "GET", "text/html; charset=UTF-8", _as_script)
FRAMINGS: Final = (XHR, XHR_STREAMING, EVENTSOURCE, HTMLFILE)

HTMLFILE_HEAD: Final = """<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%s;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>"""
_HTMLFILE_LEAST: Final = 1024 + 1
"""Bytes of the page that browsers want to see before they show, or run, any of it."""

IFRAME: Final = """<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="%s"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""


def htmlfile_prelude(callback: str) -> str:
    """Make the beginning of a forever iframe that calls ``parent.<callback>``."""
    return (HTMLFILE_HEAD % callback).ljust(_HTMLFILE_LEAST) + "\r\n\r\n"


def is_callback(name: str) -> bool:
    """Tell whether a name can be no more than that in a script."""
    return _CALLBACK.fullmatch(name) is not None
