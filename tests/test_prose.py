"""The prose of docstrings and comments: plain words that a tired reader takes in at once."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.test_docstrings import ROOT, SOURCES, docstrings

INDIRECT: Final = frozenset({"What", "Whether", "It", "Who", "Nobody"})
"""First words of docstrings that describe a thing from outside instead of naming it."""
SHARE: Final = 0.03
"""Part of the docstrings that may begin with one of these words; other projects have 0 to 2 %."""

STARTS: Final = {
    r"…": "continues another docstring: repeat the noun",
    r"(The same|Likewise|Also)\b|As (above|a|an|the|with|without|in)\b": "refers to another docstring: say it again",
    r"(Its|Their|They|Those|These|This|That|We|Somebody|Everybody|Whose|Whoever|Whatever)\b": "lacks a noun: name it",
    r"(Why|When|Where|Which|How|And|But|Or|So)\b": "is half a sentence: use the imperative or a noun",
    r"(Nothing|Never)\b": "tells what does not happen: say what does",
}
"""Beginnings of docstrings that make a reader look elsewhere, and the advice for each."""

PHRASES: Final = {
    r"\bas a rule\b": "write usually",
    r"\b(those|one) who\b|\bwhoever\b": "name the client, server, caller or user",
    r"\b(bring|brings|brought) into being\b": "write make",
    r"; (what|whether|how|why)\b[^.:;]*\.(\s|$)": "write a sentence: Return …, Tell whether …",
    r"; the exit code\b": "write a sentence: Return the exit code.",
}
"""Phrases of docstrings and comments that are read twice, and the advice for each."""


@dataclass(frozen=True)
class Text:
    """A docstring, a string under an attribute, or a comment."""

    path: str
    line: int
    text: str

    @property
    def is_indirect(self) -> bool:
        """True if the first word is one of ``INDIRECT``."""
        return self.text.split(maxsplit=1)[0].strip(",.:;") in INDIRECT

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text.splitlines()[0]}"


def name_of(path: Path) -> str:
    """Return the path of a source file within the repository."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def read_docstrings() -> Sequence[Text]:
    """Return all docstrings, and all strings under attributes. A test asks: each worker of pytest imports this file."""
    return [
        Text(name_of(path), line, text.strip())
        for path in SOURCES
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
    ]


@functools.cache
def read_comments() -> Sequence[Text]:
    """Return all comments; lines that follow each other are one comment."""
    return list(_comments())


def _comments() -> Iterator[Text]:
    for path in SOURCES:
        block: list[tuple[int, str]] = []
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.COMMENT:
                if block and block[-1][0] != token.start[0] - 1:
                    yield Text(name_of(path), block[0][0], "\n".join(text for _, text in block))
                    block = []
                block.append((token.start[0], token.string.removeprefix("#").strip()))
        if block:
            yield Text(name_of(path), block[0][0], "\n".join(text for _, text in block))


def report(found: Sequence[Text]) -> str:
    """List the files with the most findings, and the first ten findings."""
    worst = [f"{count:5} in {path}" for path, count in Counter(each.path for each in found).most_common(10)]
    return "\n".join(["", *worst, *(f"  {each}" for each in found[:10])])


def expect_none(texts: Sequence[Text], patterns: Mapping[str, str]) -> None:
    """Fail with a report and advice if a text matches a pattern."""
    problems = []
    for pattern, advice in patterns.items():
        found = [each for each in texts if re.search(pattern, each.text)]
        if found:
            problems.append(f"{len(found)} match {pattern!r}, {advice} {report(found)}")
    assert not problems, "\n".join(problems)


def test_docstrings_say_what_a_thing_does_or_is() -> None:
    """A reader of ``help()`` or the reference would have to turn sentences round to understand them."""
    found = [each for each in read_docstrings() if each.is_indirect]
    allowed = int(SHARE * len(read_docstrings()))
    assert len(found) <= allowed, (
        f"{len(found)} of {len(read_docstrings())} docstrings begin with one of {sorted(INDIRECT)}, {allowed} may: "
        f"use the imperative or a noun phrase {report(found)}"
    )


def test_a_docstring_stands_by_itself() -> None:
    """An editor shows a docstring alone, without the one above that it continues."""
    expect_none(read_docstrings(), {f"^(?:{pattern})": advice for pattern, advice in STARTS.items()})


def test_no_sentence_is_a_riddle() -> None:
    """A reader would stop and read the sentence again."""
    expect_none(
        [*read_docstrings(), *read_comments()], {f"(?i){pattern}": advice for pattern, advice in PHRASES.items()}
    )


def test_a_predicate_says_when_it_is_true() -> None:
    """A reader of ``if socket.connected`` would have to guess which answer means yes."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns is not None and ast.unparse(node.returns) == "bool":
                text = ast.get_docstring(node)
                if text is not None and "property" in map(ast.unparse, node.decorator_list):
                    found.append(Text(name_of(path), node.lineno, text))
    wrong = [each for each in found if not re.match(r"True (if|while|when|unless|once|until) ", each.text)]
    assert found
    assert not wrong, f'properties begin with "True if", "True while" or "True when" {report(wrong)}'


def test_all_texts_are_found() -> None:
    """The tests above would pass if they read nothing."""
    assert len(read_docstrings()) > 1_000
    assert len(read_comments()) > 100
    assert {"rtframework/types.py", "plugins/rtframework_jwt/auth.py"} <= {each.path for each in read_docstrings()}
