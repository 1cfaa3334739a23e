"""The entry point of the command line: the list of commands, and the handling of their failures."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn, Protocol, cast

from .errors import Exit, Failure
from .output import give_up_stdout, prepare_stdout

COMMANDS: Final = {
    "new": "make the folder of a new project, with tests and a Dockerfile",
    "run": "serve an application, and start it again when its files change",
    "routes": "show namespaces, their events and what these take",
    "asyncapi": "write the events of a server as an AsyncAPI document",
    "typescript": "write the events of a server as types for socket.io-client",
    "emit": "send an event to a Socket.IO server",
    "listen": "show the events that a Socket.IO server sends",
    "completion": "print what makes a shell complete these commands",
}


class Command(Protocol):
    """The module of a command. Its docstring is the description in its help."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command. Return the exit code. Raises ``Failure``."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in two lines, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Print the error and how to get help, and exit."""
        self.exit(Exit.USAGE, f"{self.prog}: {message}\nSee {self.prog} --help\n")


def load_command(name: str) -> Command:
    """Import the module of a command. The others are not imported: some take half a second."""
    return cast("Command", importlib.import_module(f".commands.{name}", __package__))


def make_parser() -> Parser:
    """Make the parser of the arguments before a command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = Parser(
        prog="rtframework",
        usage="rtframework [-h] [--version] COMMAND ...",
        description=f"Serve, inspect and talk to Socket.IO servers.\n\n{listed}",
        epilog="`rtframework COMMAND --help` says more about each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rtframework {_version()}")
    return parser


def make_command_parser(name: str) -> Parser:
    """Make the parser of a command's arguments."""
    command = load_command(name)
    parser = Parser(
        prog=f"rtframework {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else None
    if name not in COMMANDS:
        parser = make_parser()
        if name is None:
            parser.print_help()
            return Exit.USAGE
        if not name.startswith("-"):
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            parser.error(f'there is no command "{name}"' + (f'; did you mean "{close[0]}"?' if close else ""))
        if name not in ("-h", "--help", "--version"):
            parser.error(f"there is no option {name} before the command")
        parser.parse_args(arguments)
        return Exit.DONE
    # Not with subparsers of argparse: with them, no positional argument can follow an option between two of them.
    args = make_command_parser(name).parse_intermixed_args(arguments[1:])
    prepare_stdout()
    try:
        code = load_command(name).run(args)
        sys.stdout.flush()
    except Failure as failure:
        if failure.details:
            print(failure.details, file=sys.stderr)
        print(f"rtframework {name}: {failure}", file=sys.stderr)
        return failure.code
    except BrokenPipeError:
        give_up_stdout()
        return Exit.CLOSED_PIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        give_up_stdout()
        print(f"rtframework {name}: the output cannot be written: {error.strerror}", file=sys.stderr)
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code


def _version() -> str:
    try:
        return version("rtframework")
    except PackageNotFoundError:
        return "(not installed)"
