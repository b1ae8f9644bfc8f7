"""Traces: one a job, from its request over the queue to its webhooks.

    POST /v1/jobs                      the API; part itself of what the caller's traceparent names
    └── submit job                     its context is on the job's row
        ├── job claim                  so is everything that happens later, in whatever process:
        ├── job attempt                a worker
        │   ├── fetch, run, store
        │   └── finish
        ├── job requeue                the sweep, when a lease ran out
        ├── job attempt                another worker
        └── webhook try                whoever sends webhooks

Off unless the environment names an endpoint (`wants_traces` in `shared/settings.py`). Then nothing
of OpenTelemetry is imported, and each call here is one look at a variable. On, spans are put into
a queue of bounded length and sent by a thread of their own, so that a collector which is slow or
away costs spans and nothing else. OpenTelemetry itself is known to `otlp.py` alone.

What a span says is chosen: ids, names, counts, durations, statements without their values. No
URL, no header, no message of an exception: those can hold secrets.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

from shared.settings import wants_traces

NOBODY = ""  #: as a parent

Kind = Literal["internal", "server", "client", "producer", "consumer"]


class Span(Protocol):
    """A part of a trace that goes on.

    A name with a dot in it is one of OpenTelemetry's conventions, the others are ours and are
    shown as `towline.NAME`. What is None is left out.
    """

    def note(self, **attributes: Any) -> None:
        """Say more of it."""

    def rename(self, name: str) -> None:
        """Call it otherwise."""

    def fail(self, reason: str) -> None:
        """It did not go well; `reason` is a word, such as an error's code."""

    def end(self) -> None:
        """It is over; only for those that were `begun`."""


class Tracer(Protocol):
    """What `otlp.py` provides; the functions below say what each does."""

    def span(
        self, name: str, kind: Kind, parent: str | None, age_s: float, attributes: dict[str, Any]
    ) -> AbstractContextManager[Span]: ...
    def begun(self, name: str, kind: Kind, attributes: dict[str, Any]) -> Span: ...
    def current(self) -> Span: ...
    def is_recording(self) -> bool: ...
    def mark(self, name: str, parent: str, attributes: dict[str, Any]) -> None: ...
    def traceparent(self) -> str | None: ...
    def ids(self) -> dict[str, str]: ...
    def close(self) -> None: ...


class _Nothing:
    """The span of those who do not trace."""

    def note(self, **attributes: Any) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, reason: str) -> None: ...
    def end(self) -> None: ...


_NOTHING: Span = _Nothing()
_NO_BLOCK: AbstractContextManager[Span] = nullcontext(_NOTHING)
_tracer: Tracer | None = None


def start_tracing(role: str) -> None:
    """Trace from now on, if the environment says where to; `SettingsError` if that cannot be.

    To be called before `build_services`, and in the very process that works: the thread that
    sends does not outlive a fork.
    """
    global _tracer
    if _tracer is None and wants_traces():
        from shared.telemetry.otlp import OtlpTracer  # it is not everywhere, and takes its time

        _tracer = OtlpTracer(role)


def stop_tracing() -> None:
    """Send what is left, for a bounded time."""
    global _tracer
    if _tracer is not None:
        ended, _tracer = _tracer, None
        ended.close()


def is_tracing() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    age_s: float = 0.0,
    **attributes: Any,
) -> AbstractContextManager[Span]:
    """While the block runs, whatever is traced is a part of this.

    Part itself of the span that `parent` names (a traceparent of W3C Trace Context), or of the
    one that goes on here; else, or if `parent` cannot be read or is `NOBODY`, a trace begins.
    It began `age_s` ago. An exception that leaves the block is its failure.
    """
    if _tracer is None:
        return _NO_BLOCK
    return _tracer.span(name, kind, parent, age_s, attributes)


def detail(
    name: str, *, kind: Kind = "internal", **attributes: Any
) -> AbstractContextManager[Span]:
    """A `span`, unless it would be a trace of its own: what idles and polls leaves none."""
    if _tracer is None or not _tracer.is_recording():
        return _NO_BLOCK
    return _tracer.span(name, kind, None, 0.0, attributes)


def begun(name: str, *, kind: Kind = "internal", **attributes: Any) -> Span | None:
    """A `detail` without a block, which somebody ends; None if there is none."""
    if _tracer is None or not _tracer.is_recording():
        return None
    return _tracer.begun(name, kind, attributes)


def this_span() -> Span:
    """The one that goes on here, to say more of it."""
    return _NOTHING if _tracer is None else _tracer.current()


def mark(name: str, parent: str | None, **attributes: Any) -> None:
    """Something has happened, in the trace of `parent`.

    An event of the span that goes on here if that is in the same trace; else a span of no length.
    """
    if _tracer is not None and parent is not None:
        _tracer.mark(name, parent, attributes)


def traceparent() -> str | None:
    """How the span that goes on here is named to others; None if there is none."""
    return None if _tracer is None else _tracer.traceparent()


def add_trace(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A step of structlog: a line says in which trace it was written, if it was in one."""
    if _tracer is not None:
        event.update(_tracer.ids())
    return event
