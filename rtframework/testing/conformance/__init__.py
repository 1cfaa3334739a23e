"""Conformance suites: what a serializer or authenticator must do, as tests that a plugin's author runs on it.

Subclass a suite, say how to make the thing under test, and let any test runner that collects classes with ``test_``
methods run it (pytest does; with unittest, inherit ``unittest.TestCase`` too). Without a runner, :func:`run_suite`
does. The tests are plain functions: asynchronous things run in an event loop of their own.

Example::

    class TestMySerializer(SerializerConformance):
        def serializer(self) -> Serializer:
            return MySerializer()
"""

from .adapters import AdapterConformance
from .authenticators import AuthenticatorConformance
from .serializers import SerializerConformance
from .suites import run_suite

__all__ = ["AdapterConformance", "AuthenticatorConformance", "SerializerConformance", "run_suite"]
