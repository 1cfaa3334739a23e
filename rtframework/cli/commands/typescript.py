"""Write the events of a Server as interfaces for socket.io-client, so that a compiler checks the client.

  rtframework typescript server:io -o web/src/events.ts
  rtframework typescript server:io -o web/src/events.ts --check

Then, in the client:

  import type { ClientToServerEvents, ServerToClientEvents } from "./events";
  const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

isEventError, which tells a refusal from an answer, is in .ts files only: a .d.ts file cannot hold a function.
"""

from __future__ import annotations

import argparse

from ...contracts import describe, typescript
from ..loading import add_target, load_server
from ..output import add_output, hint_at_emits, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "the Server")
    add_output(parser)
    parser.add_argument(
        "--platform", choices=("browser", "node"), default="browser", help="where the client runs (default: browser)"
    )
    parser.add_argument(
        "--dates", choices=("string", "Date"), help="what a datetime is; by default what the server's serializer makes"
    )


def run(args: argparse.Namespace) -> int:
    """Write the types. Return the exit code. Raises ``Failure``."""
    contract = describe(load_server(args.target, factory=args.factory))
    hint_at_emits(contract)
    types_only = (args.output or "").endswith(".d.ts")
    return write(args, typescript(contract, dates=args.dates, platform=args.platform, types_only=types_only))
