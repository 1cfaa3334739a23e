"""Metrics of a server for Prometheus. Needs the extra ``prometheus``."""

try:
    from .metrics import Metrics
except ModuleNotFoundError as error:
    error.add_note("rtframework_prometheus needs prometheus-client: pip install 'rtframework[prometheus]'")
    raise

__all__ = ["Metrics"]
