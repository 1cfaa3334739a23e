"""What Node's adapters between servers send, recorded and live, and what they understand of what ours send."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

TESTS: Final = Path(__file__).parent.parent
PEER: Final = TESTS / "js" / "cluster_peer.cjs"
RECORDED: Final[dict[str, list[list[Any]]]] = json.loads((TESTS / "cluster" / "vectors.json").read_text("utf-8"))
"""Commands that Node's adapters and emitter sent, by a name; ``cluster_peer.cjs`` made them."""

UID: Final = "0123456789abcdef"
"""The uid of the recorded adapters."""


class Sent(NamedTuple):
    """A command: where to, and the payload or the fields of an entry."""

    command: str
    to: str
    payload: bytes
    fields: list[bytes]


def sent(name: str) -> list[Sent]:
    """Return the recorded commands of a name."""
    return [_read(each) for each in RECORDED[name]]


def names(kind: str) -> list[str]:
    """Return the names of the recorded commands of an adapter, or of the emitter."""
    return [name for name in RECORDED if name.startswith(f"{kind} ")]


def _read(raw: list[Any]) -> Sent:
    command, to = raw[:2]
    value: Any = raw[2] if len(raw) > 2 else ""
    if command == "XADD":
        fields = [part.encode() for pair in dict(value or {}).items() for part in pair]
        return Sent(command, to, b"", fields)
    payload = bytes.fromhex(value["$hex"]) if isinstance(value, dict) else value.encode()
    return Sent(command, to, payload, [])


def ask_node(**questions: Any) -> dict[str, Any]:
    """Run Node's adapters: ``encode``, ``streams`` and ``pubsub`` as in ``cluster_peer.cjs``."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, str(PEER)], input=json.dumps(questions), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers
