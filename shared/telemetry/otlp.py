"""OpenTelemetry behind `tracing.py`: spans, batches of them, and OTLP over HTTP (protobuf).

The variables of OpenTelemetry are read by its SDK and hold as its users know them: endpoint,
headers, certificates, sampler, the queue's bounds, the service's name. No global provider is set
and nothing is instrumented from outside: what is traced is what this code says.

Of what comes from outside only `traceparent` is read: no `tracestate`, and never baggage.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import __version__
from shared.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.telemetry.tracing import Kind, Span

LAST_S = 2.0  #: that a process which ends waits for what is left to be sent
COMPLAIN_S = 60.0  #: between two lines about a collector that does not take them

_TRACEPARENT = TraceContextTextMapPropagator()


class OtlpTracer:
    """The `Tracer` of one process; its thread begins here."""

    def __init__(self, role: str) -> None:
        """`SettingsError` if a variable of OpenTelemetry has a value that cannot be."""
        _complain_seldom()
        try:
            batches = BatchSpanProcessor(OTLPSpanExporter())
            self._provider = TracerProvider(resource=_resource(role), shutdown_on_exit=False)
        except ValueError as error:
            raise SettingsError(f"OTEL_...: {error}") from None
        self._provider.add_span_processor(batches)
        self._tracer = self._provider.get_tracer("towline", __version__)

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, age_s: float, attributes: dict[str, Any]
    ) -> Iterator[Span]:
        own = self._tracer.start_span(
            name,
            context=None if parent is None else _named(parent),
            kind=SpanKind[kind.upper()],
            attributes=_shown(attributes),
            start_time=time.time_ns() - int(age_s * 1e9),
        )
        token = attach(trace.set_span_in_context(own, Context()))
        try:
            yield OtlpSpan(own)
        except Exception as error:
            own.set_status(StatusCode.ERROR, type(error).__name__)  # its message may hold secrets
            raise
        finally:
            detach(token)
            own.end()

    def begun(self, name: str, kind: Kind, attributes: dict[str, Any]) -> Span:
        own = self._tracer.start_span(
            name, kind=SpanKind[kind.upper()], attributes=_shown(attributes)
        )
        return OtlpSpan(own)

    def current(self) -> Span:
        return OtlpSpan(trace.get_current_span())

    def is_recording(self) -> bool:
        return trace.get_current_span().is_recording()

    def mark(self, name: str, parent: str, attributes: dict[str, Any]) -> None:
        here = trace.get_current_span()
        context = _named(parent)
        there = trace.get_current_span(context).get_span_context()
        if here.is_recording() and here.get_span_context().trace_id == there.trace_id:
            here.add_event(name, _shown(attributes))
        elif there.is_valid:
            self._tracer.start_span(name, context=context, attributes=_shown(attributes)).end()

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _TRACEPARENT.inject(carrier)
        return carrier.get("traceparent")

    def ids(self) -> dict[str, str]:
        """The ids of the present trace and span, as they are searched for; none outside."""
        own = trace.get_current_span().get_span_context()
        if not own.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(own.trace_id),
            "span_id": trace.format_span_id(own.span_id),
        }

    def close(self) -> None:
        """Send what is left. A collector that stalls is not waited for longer than `LAST_S`."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(LAST_S)


class OtlpSpan:
    """A `Span` of OpenTelemetry."""

    def __init__(self, own: trace.Span) -> None:
        self._own = own

    def note(self, **attributes: Any) -> None:
        self._own.set_attributes(_shown(attributes))

    def rename(self, name: str) -> None:
        self._own.update_name(name)

    def fail(self, reason: str) -> None:
        self._own.set_status(StatusCode.ERROR, reason)

    def end(self) -> None:
        self._own.end()


def _shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name if "." in name else f"towline.{name}": value
        for name, value in attributes.items()
        if value is not None
    }


def _named(parent: str) -> Context:
    """A context with that span alone; without one if the text is none."""
    return _TRACEPARENT.extract({"traceparent": parent}, Context())


def _resource(role: str) -> Resource:
    """Who sends. What the operator says by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES wins."""
    ours: dict[str, Any] = {
        "service.name": f"towline-{role}",
        "service.namespace": "towline",
        "service.version": __version__,
        "process.pid": os.getpid(),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _complain_seldom() -> None:
    """A collector that is away is worth a line now and then: the exporter would write many."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    if not any(isinstance(each, _Seldom) for each in logger.filters):
        logger.addFilter(_Seldom())


class _Seldom(logging.Filter):
    """One record a minute."""

    _after = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._after:
            return False
        self._after = time.monotonic() + COMPLAIN_S
        return True
