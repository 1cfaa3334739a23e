"""Conformance suites for serializers, authenticators and adapters: tests that the author of a plugin runs on it.

Subclass a suite, implement the method that makes the object under test, and run the class with any test runner that
collects classes with ``test_`` methods (pytest does; for unittest, inherit ``unittest.TestCase`` too), or with
:func:`run_suite`. The tests are plain functions; each runs asynchronous code in a new event loop.

Example::

    class TestMySerializer(SerializerConformance):
        def serializer(self) -> Serializer:
            return MySerializer()
"""

from .adapters import AdapterConformance
from .authenticators import AuthenticatorConformance
from .cluster_broker import ClusterBroker
from .clusters import ClusterConformance
from .presence import PresenceConformance
from .serializers import SerializerConformance
from .suites import run_suite

__all__ = [
    "AdapterConformance",
    "AuthenticatorConformance",
    "ClusterBroker",
    "ClusterConformance",
    "PresenceConformance",
    "SerializerConformance",
    "run_suite",
]
