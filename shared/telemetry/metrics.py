"""Every metric, declared once: names, labels, units (Prometheus; base units in the names)."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

ETA_ERROR = Histogram(
    "towline_eta_error_seconds",
    "How far off the forecast at submission was from the end of a job that succeeded",
    ["engine", "direction"],  # direction: early, late
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)

LIMITER_UNCHECKED = Counter(
    "towline_limiter_unchecked_total",
    "Requests that passed without being counted, since Redis did not answer",
)


def observe_eta_error(engine: str, late_s: float) -> None:
    """A job ended so many seconds after its forecast; before it, if that is negative."""
    ETA_ERROR.labels(engine, "late" if late_s > 0 else "early").observe(abs(late_s))
