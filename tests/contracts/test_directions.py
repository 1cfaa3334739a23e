"""Which types of a contract go which way, and what an acknowledgement carries."""

from __future__ import annotations

from typing import Any, Optional, Union

import pytest

from rtframework.contracts.directions import answers_of, types_of
from rtframework.contracts.model import Argument, Contract, EventContract, NamespaceContract
from rtframework.handlers.declarations import NOTHING


@pytest.mark.parametrize(
    ("returns", "answers"),
    [
        (None, [()]),
        (type(None), [()]),
        (int, [(int,)]),
        (Any, [None]),
        (list[int], [(list[int],)]),
        (tuple[int, str], [(int, str)]),
        (tuple[()], [()]),
        (tuple, [None]),
        (tuple[int, ...], [None]),
        (int | None, [(), (int,)]),
        (Optional[int], [(), (int,)]),  # noqa: UP045 - the other way to write it
        (int | str, [(int | str,)]),
        (Union[int, str], [(Union[int, str],)]),  # noqa: UP007 - the other way to write it
        (tuple[int, str] | None | bool, [(int, str), (), (bool,)]),
        (tuple[int] | tuple[int, int], [(int,), (int, int)]),
    ],
    ids=str,
)
def test_the_ways_in_which_an_answer_may_come(returns: Any, answers: list[Any]) -> None:
    """The callback in the page would have the wrong arguments: a tuple is several, ``None`` is none."""
    assert list(answers_of(returns)) == answers


def test_nobody_knows_an_answer_that_may_be_anything() -> None:
    """The types would promise what one of the ways does not keep."""
    assert None in list(answers_of(Union[Any, int]))  # noqa: UP007 - as it is written in programs


def test_answers_go_the_other_way_than_their_event() -> None:
    """A field with a default would be required of whoever may leave it out."""
    one = Contract(
        (
            NamespaceContract(
                "/",
                receives=(EventContract("ask", (Argument("a", (int,)), Argument("b", (str, bytes))), float | None),),
                sends=(EventContract("told", (Argument("c", (bool,)),), tuple[list[int], dict[str, int]]),),
            ),
            NamespaceContract("/other", receives=(EventContract("say", (Argument("d", (set[int],)),)),)),
        )
    )
    inputs, outputs = types_of(one)
    assert inputs == [int, str, bytes, list[int], dict[str, int], set[int]]
    assert outputs == [float, bool]


def test_what_nobody_says_has_no_type() -> None:
    """A contract with a handler without annotations could not be written."""
    contract = Contract(
        (
            NamespaceContract(
                "/",
                receives=(
                    EventContract("unsaid", (Argument("a"),), Any),
                    EventContract("unasked", (), NOTHING),
                    EventContract("many", (), tuple[int, ...]),
                ),
            ),
        )
    )
    assert types_of(contract) == ([], [])
    assert types_of(Contract(())) == ([], [])
