"""Questions to all workers."""

from __future__ import annotations

from rtframework.workers.questions import Questions
from rtframework.workers.wire import Answer


async def test_all_answers_are_gathered() -> None:
    """Metrics would be those of one worker."""
    questions = Questions()
    id, question = questions.ask(["a", "b"])
    questions.answer(Answer(id, b"1"), "a")
    questions.answer(Answer(id, b"again"), "a")
    questions.answer(Answer(id, b"3"), "stranger")
    questions.answer(Answer(id + 1, b"4"), "b")
    questions.answer(Answer(id, b"2"), "b")
    gathered = await questions.result(id, question, 5.0)
    assert (gathered.answers, gathered.missing) == ({"a": b"1", "b": b"2"}, ())


async def test_who_does_not_answer_is_missing() -> None:
    """A worker that hangs would stop the metrics of all, or its part would be missing without a word."""
    questions = Questions()
    id, question = questions.ask(["a", "b", "c", "d"])
    questions.answer(Answer(id, b"1"), "a")
    questions.answer(Answer(id, None), "b")
    questions.gone("c")
    gathered = await questions.result(id, question, 0.01)
    assert (gathered.answers, gathered.missing) == ({"a": b"1"}, ("c", "d"))


async def test_nobody_is_waited_for_where_nobody_is() -> None:
    """The supervisor of no workers would wait for the whole time."""
    questions = Questions()
    assert (await questions.result(*questions.ask([]), 60.0)).answers == {}
