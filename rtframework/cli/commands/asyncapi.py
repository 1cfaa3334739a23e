"""Write the events of a Server as an AsyncAPI 3.0 document, as JSON.

rtframework asyncapi server:io --title Chat --url https://chat.example.org -o chat.asyncapi.json
rtframework asyncapi server:io --title Chat --url https://chat.example.org -o chat.asyncapi.json --check
"""

from __future__ import annotations

import argparse
import json

from ...contracts import asyncapi, describe
from ...exceptions import ConfigurationError
from ..errors import Exit, Failure
from ..loading import add_target, load_server
from ..output import add_output, hint_at_emits, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "the Server")
    add_output(parser)
    parser.add_argument("--title", default="Socket.IO server", help="what the API is called")
    parser.add_argument("--api-version", metavar="VERSION", default="1.0.0", help="its version (default: 1.0.0)")
    parser.add_argument("--description", metavar="TEXT", help="what it is for")
    parser.add_argument(
        "--url", metavar="URL", help="where the server is, with the path if that is not /socket.io/ (default: unsaid)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the document. Return the exit code. Raises ``Failure``."""
    contract = describe(load_server(args.target, factory=args.factory))
    hint_at_emits(contract)
    try:
        document = asyncapi(
            contract, title=args.title, version=args.api_version, description=args.description, url=args.url
        )
    except ConfigurationError as error:
        raise Failure(str(error), Exit.USAGE) from error
    return write(args, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
