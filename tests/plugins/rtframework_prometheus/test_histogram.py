"""How long things take, in buckets that Prometheus can add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Reference

from rtframework_prometheus.histogram import Histogram
from tests.support.thorough import examples

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def test_an_empty_one_has_all_buckets() -> None:
    """A quantile could not be computed before something has happened."""
    empty = Histogram(BOUNDS)
    assert empty.buckets == [("0.001", 0.0), ("0.01", 0.0), ("0.1", 0.0), ("1.0", 0.0), ("+Inf", 0.0)]
    assert (empty.count, empty.sum) == (0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.01"), (1.0, "1.0"), (1.5, "+Inf")]
)
def test_a_bound_is_at_most_that_much(seconds: float, bucket: str) -> None:
    """What takes exactly the time that is promised would count as too slow (``le`` is "less or equal")."""
    histogram = Histogram(BOUNDS)
    histogram.observe(seconds)
    assert next(name for name, count in histogram.buckets if count) == bucket


@settings(max_examples=examples(400))
@given(st.lists(st.floats(0, 10), max_size=30), st.sets(st.floats(0.0001, 9), min_size=1, max_size=6).map(sorted))
def test_it_counts_as_prometheus_own_does(observed: list[float], bounds: list[float]) -> None:
    """Figures would differ from those of every other library."""
    registry = CollectorRegistry()
    reference = Reference("x", "x", buckets=bounds, registry=registry)
    ours = Histogram(bounds)
    for seconds in observed:
        reference.observe(seconds)
        ours.observe(seconds)
    (family,) = registry.collect()
    samples = {sample.labels.get("le"): sample.value for sample in family.samples if sample.name == "x_bucket"}
    assert dict(ours.buckets) == samples
    assert ours.count == len(observed)
    assert math.isclose(ours.sum, sum(observed))
