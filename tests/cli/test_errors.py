"""How a command fails: the codes that scripts count on, and a message with or without details."""

from __future__ import annotations

import re

from rtframework.cli.errors import Exit, Failure
from tests.support.preload import ROOT


def test_the_documentation_says_what_each_code_means() -> None:
    """A script could not tell a server that is away from one that refuses."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    written = {
        int(code) for row in re.findall(r"^\| ([^|]*\d[^|]*) \|", table, re.M) for code in re.findall(r"\d+", row)
    }
    assert written == {int(each) for each in Exit}


def test_codes_are_numbers_for_the_shell() -> None:
    """``sys.exit`` would print the name of the code and end with 1."""
    assert [int(each) for each in Exit] == [0, 1, 2, 3, 4, 5, 130, 141]
    assert isinstance(Exit.LOST, int)


def test_a_failure_is_one_line_and_perhaps_details() -> None:
    """The line that matters would be somewhere in a traceback."""
    failure = Failure("it is not there")
    assert (str(failure), failure.code, failure.details) == ("it is not there", Exit.FAILED, "")
    failure = Failure("late", Exit.TIMED_OUT, details="Traceback …")
    assert (failure.code, failure.details) == (4, "Traceback …")
