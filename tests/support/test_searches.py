"""The commands that search for hours: what they find is their exit code."""

from __future__ import annotations

import pytest

from tests import fuzz, soak
from tests.support.counting import Counters


@pytest.mark.parametrize("broken", [None, "decode", "connect"])
def test_a_finding_is_the_exit_code_of_fuzz(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str | None
) -> None:
    """A search that ran all night would be taken for one that found nothing."""

    def decode(seed: int) -> None:
        assert broken != "decode", "found"

    async def connect(seed: int) -> None:
        assert broken != "connect", "found"

    monkeypatch.setattr(fuzz, "decode", decode)
    monkeypatch.setattr(fuzz, "connect", connect)
    monkeypatch.setattr("rtframework.logs.PERIOD", 1.0)
    assert fuzz.main(["--seconds", "0", "--seed", "7"]) == (broken is not None)
    printed = capsys.readouterr().out
    assert printed.endswith(f"from --seed 7: {int(broken is not None)} findings\n")
    assert ("--seed 7:\nTraceback" in printed) == (broken is not None)


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        (Counters(cuts=9, returns=10, recovered=10), 0),
        (Counters(cuts=9, returns=10, recovered=10, doubled=1), 1),
        (Counters(cuts=9, returns=10, recovered=3), 1),
    ],
)
def test_a_loss_is_the_exit_code_of_soak(monkeypatch: pytest.MonkeyPatch, counts: Counters, code: int) -> None:
    """The same, for packets."""

    async def measure(**options: object) -> Counters:
        return counts

    monkeypatch.setattr(soak, "measure", measure)
    assert soak.main(["--seconds", "0"]) == code
