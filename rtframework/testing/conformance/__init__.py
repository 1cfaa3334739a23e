"""Conformance suites for serializers, authenticators, adapters and stores: tests for authors of plugins.

Subclass a suite, implement the method that makes the object under test, and run the class with any test runner that
collects classes with ``test_`` methods (pytest does; for unittest, inherit ``unittest.TestCase`` too), or with
:func:`run_suite`. The tests are plain functions; each runs asynchronous code in a new event loop.

The one for gateways is in ``rtframework.testing.conformance.gateways``.

Example::

    class TestMySerializer(SerializerConformance):
        def serializer(self) -> Serializer:
            return MySerializer()
"""

from .adapters import AdapterConformance
from .authenticators import AuthenticatorConformance
from .cluster_broker import ClusterBroker
from .clusters import ClusterConformance
from .history import HistoryConformance
from .presence import PresenceConformance
from .serializers import SerializerConformance
from .stores import KeyValueStoreConformance
from .suites import run_suite

__all__ = [
    "AdapterConformance",
    "AuthenticatorConformance",
    "ClusterBroker",
    "ClusterConformance",
    "HistoryConformance",
    "KeyValueStoreConformance",
    "PresenceConformance",
    "SerializerConformance",
    "run_suite",
]
