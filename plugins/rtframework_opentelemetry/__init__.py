"""Traces of a server for OpenTelemetry. Needs the extra ``opentelemetry``."""

try:
    from .trace_context import handshake_context, payload_context
    from .tracing import Tracing
except ModuleNotFoundError as error:
    error.add_note("rtframework_opentelemetry needs opentelemetry-api: pip install 'rtframework[opentelemetry]'")
    raise

__all__ = ["Tracing", "handshake_context", "payload_context"]
