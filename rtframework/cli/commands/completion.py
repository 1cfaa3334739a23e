"""Print a script that makes a shell complete commands, options and files.

  bash: rtframework completion bash > ~/.local/share/bash-completion/completions/rtframework
  zsh:  rtframework completion zsh > "${fpath[1]}/_rtframework"
  fish: rtframework completion fish > ~/.config/fish/completions/rtframework.fish

For this shell only: source <(rtframework completion bash)
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import Exit

SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = "files"
_FOLDERS: Final = "folders"
_MARKED_FILES: Final = "files after @"
_PROGRAMS: Final = "Python files"
_BY_METAVAR: Final = {
    "FILE": _FILES,
    "DIR": _FOLDERS,
    "@FILE": _MARKED_FILES,
    "JSON|@FILE": _MARKED_FILES,
    "MODULE:NAME": _PROGRAMS,
}
"""The kind of completion for each metavar in the help."""


@dataclass(frozen=True)
class Option:
    """An option, or a positional argument when it has no names."""

    names: tuple[str, ...]
    help: str
    takes: str | tuple[str, ...] | None
    """The kind of value: a tuple of words, or one of the kinds above; ``""`` for any value, ``None`` for none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that it is for")


def run(args: argparse.Namespace) -> int:
    """Print the script. Return the exit code."""
    # Imported here, because main imports the commands.
    main: Any = importlib.import_module("...main", __name__)
    commands = []
    for name, summary in main.COMMANDS.items():
        parser: argparse.ArgumentParser = main.make_command_parser(name)
        commands.append((name, summary, list(_options(parser)), list(_positionals(parser))))
    writer = {"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]
    print("\n".join(writer(commands)))
    return Exit.DONE


Commands = Sequence[tuple[str, str, list[Option], list[Option]]]


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings and action.help is not argparse.SUPPRESS:
            yield _option(parser, action)


def _positionals(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if not action.option_strings:
            yield _option(parser, action)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    takes: str | tuple[str, ...] | None = ""
    if action.nargs == 0:
        takes = None
    elif action.choices is not None:
        takes = tuple(str(each) for each in action.choices)
    elif isinstance(action.metavar, str):
        takes = _BY_METAVAR.get(action.metavar, "")
    values: Any = {**vars(action), "prog": parser.prog}
    return Option(tuple(action.option_strings), (action.help or "") % values, takes)


# --- bash -------------------------------------------------------------------------------------------------------------

_IN_BASH: Final = {
    _FILES: 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$word"))',
    _FOLDERS: 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$word"))',
    # Without -o filenames, with which bash would quote the @ too.
    _MARKED_FILES: (
        'local each; for each in $(compgen -f -- "${word#@}"); do COMPREPLY+=("@$(printf %q "$each")"); done'
    ),
    _PROGRAMS: (
        'compopt -o filenames -o nospace; COMPREPLY=($(compgen -d -- "$word") $(compgen -f -X "!*.py" -- "$word"))'
    ),
}


def _bash(commands: Commands) -> Iterator[str]:
    yield "# bash completion for rtframework"
    yield "_rtframework() {"
    yield "    local IFS=$'\\n' word=${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1))"
    yield "    COMPREPLY=()"
    yield "    # Bash takes words apart at = and @; what replaces a word begins with its @ all the same."
    yield "    [[ $word == =* ]] && word=${word#=}"
    yield "    [[ ${COMP_WORDS[at]} == @(=|=@|@) ]] && at=$((at - 1))"
    yield "    [[ ${COMP_WORDS[at]} == = ]] && at=$((at - 1))"
    yield "    local before=${COMP_WORDS[at]}"
    yield '    if [ "$COMP_CWORD" = 1 ]; then'
    yield f"        {_words_in_bash([*(name for name, *_ in commands), '--help', '--version'])}"
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $before" in'
    for name, _, options, _ in commands:
        for option in options:
            if option.takes is not None:
                patterns = "|".join(f'"{name} {each}"' for each in option.names)
                yield f"        {patterns}) {_values_in_bash(option.takes)}; return ;;"
    yield "    esac"
    yield '    case "${COMP_WORDS[1]}" in'
    for name, _, options, positionals in commands:
        yield f"        {name})"
        yield '            case "$word" in'
        yield f"                -*) {_words_in_bash([each for option in options for each in option.names])} ;;"
        if positionals and positionals[0].takes:
            yield f"                *) {_values_in_bash(positionals[0].takes)} ;;"
        yield "            esac"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "complete -F _rtframework rtframework"


def _words_in_bash(words: Sequence[str]) -> str:
    lines = "\\n".join(words)
    return f"COMPREPLY=($(compgen -W $'{lines}' -- \"$word\"))"


def _values_in_bash(takes: str | tuple[str, ...]) -> str:
    if isinstance(takes, tuple):
        return _words_in_bash(takes)
    return _IN_BASH.get(takes, ":")


# --- zsh --------------------------------------------------------------------------------------------------------------

_IN_ZSH: Final = {
    _FILES: "_files",
    _FOLDERS: "_files -/",
    _MARKED_FILES: "_rtframework_marked",
    _PROGRAMS: '_files -g "*.py"',
}


def _zsh(commands: Commands) -> Iterator[str]:
    yield "#compdef rtframework"
    yield "_rtframework_marked() { compset -P @ && _files }"
    yield "_rtframework() {"
    yield "    local context state line"
    yield "    local -a commands"
    yield "    commands=("
    for name, summary, _, _ in commands:
        yield f"        {_quote(f'{name}:{summary}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local command=$words[2]"
    yield "    shift words"
    yield "    (( CURRENT-- ))"
    yield "    case $command in"
    for name, _, options, positionals in commands:
        yield f"        {name})"
        yield "            _arguments \\"
        for option in options:
            for each in option.names:
                value = "" if option.takes is None else f":value:{_values_in_zsh(option.takes)}"
                yield f"                {_quote(f'*{each}[{_brackets(option.help)}]{value}')} \\"
        for number, positional in enumerate(positionals, 1):
            yield f"                {_quote(f'{number}:value:{_values_in_zsh(positional.takes)}')} \\"
        yield "                '*: :'"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield 'if [ "$funcstack[1]" = _rtframework ]; then'
    yield '    _rtframework "$@"'
    yield "else"
    yield "    compdef _rtframework rtframework"
    yield "fi"


def _values_in_zsh(takes: str | tuple[str, ...] | None) -> str:
    if isinstance(takes, tuple):
        return f"({' '.join(takes)})"
    return _IN_ZSH.get(takes or "", " ")


def _brackets(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -------------------------------------------------------------------------------------------------------------

_IN_FISH: Final = {
    _FILES: "-rF",
    _FOLDERS: "-x -a '(__fish_complete_directories)'",
    _MARKED_FILES: '-x -a \'@(__fish_complete_path (commandline -ct | string replace -r "^@" ""))\'',
    _PROGRAMS: "-x -a '(__fish_complete_suffix .py)'",
}


def _fish(commands: Commands) -> Iterator[str]:
    yield "# fish completion for rtframework"
    yield "complete -c rtframework -f"
    for name, summary, options, positionals in commands:
        yield f"complete -c rtframework -n __fish_use_subcommand -a {name} -d {_fish_quote(summary)}"
        here = f"complete -c rtframework -n '__fish_seen_subcommand_from {name}'"
        if positionals and positionals[0].takes:
            yield f"{here} {_values_in_fish(positionals[0].takes)}"
        for option in options:
            names = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names)
            value = "" if option.takes is None else f" {_values_in_fish(option.takes)}"
            yield f"{here} {names}{value} -d {_fish_quote(option.help)}"


def _values_in_fish(takes: str | tuple[str, ...]) -> str:
    if isinstance(takes, tuple):
        return f"-x -a {_fish_quote(' '.join(takes))}"
    return _IN_FISH.get(takes, "-x")


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
