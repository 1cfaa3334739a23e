"""Running a conformance suite without a test runner."""

from __future__ import annotations

from rtframework.authenticators import StaticTokenAuth
from rtframework.testing import AuthenticatorConformance, SerializerConformance, run_suite
from rtframework_msgpack import MsgpackSerializer
from tests.support.conformance import authenticator_suite, failures, names_of, serializer_suite


def test_run_suite_runs_every_test() -> None:
    """Without a test runner the suites are run whole."""
    assert set(run_suite(serializer_suite(MsgpackSerializer))) == names_of(SerializerConformance)
    static = authenticator_suite(lambda: StaticTokenAuth({"good-token": 1}))
    assert set(run_suite(static)) == names_of(AuthenticatorConformance)


def test_a_suite_without_its_subject_fails() -> None:
    """Forgetting to say what is tested does not look like success."""
    for suite in (SerializerConformance, AuthenticatorConformance):
        assert failures(suite) == names_of(suite) != set()
