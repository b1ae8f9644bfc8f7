"""Somebody else's collector: takes traces by OTLP over HTTP, or behaves badly.

    with Collector() as collector:
        ... OTEL_EXPORTER_OTLP_ENDPOINT=collector.url ... collector.trace_of(job)

What it is sent is searched for secrets when it ends.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.crew import wait_until
from tests.planted import COLLECTOR_KEY
from tests.search import refuse_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

KINDS = {number: name.removeprefix("SPAN_KIND_").lower() for name, number in Sent.SpanKind.items()}
SOON_MS = 50  #: how long spans wait to be sent, in tests


@dataclass(frozen=True)
class Seen:
    """One span. `parent` is "" for the first of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    began_ns: int
    ended_ns: int
    error: str | None
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    resource: dict[str, Any] = field(repr=False)

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])

    @property
    def is_of_database(self) -> bool:
        return "db.system.name" in self.attributes


class Collector:
    """Listens on a free port of this machine while the block runs.

    With `stalls` it takes connections and answers nothing.
    """

    def __init__(self, *, stalls: bool = False) -> None:
        self.requests: list[dict[str, str]] = []  #: their headers
        self._spans: list[Seen] = []
        self._bodies: list[bytes] = []
        self._over = threading.Event()
        self._stalls = stalls
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for body in self._bodies:
            refuse_text(body.decode("latin-1"), "a trace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """What makes a process send its traces here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{COLLECTOR_KEY}",
            "OTEL_BSP_SCHEDULE_DELAY": str(SOON_MS),
            **more,
        }

    def set(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """The same, for this process and those that it starts."""
        for name, value in self.environment(**more).items():
            monkeypatch.setenv(name, value)

    @property
    def spans(self) -> list[Seen]:
        return list(self._spans)

    def named(self, name: str, **attributes: Any) -> list[Seen]:
        """The spans of a name that say all of this."""
        wanted = {f"towline.{key}": value for key, value in attributes.items()}
        return [
            seen
            for seen in self.spans
            if seen.name == name and wanted.items() <= seen.attributes.items()
        ]

    def wait_for(self, name: str, **attributes: Any) -> Seen:
        """The first of them, once it has come."""
        found = wait_until(
            lambda: self.named(name, **attributes),
            said=f"no {name} {attributes} among {[seen.name for seen in self.spans]}",
        )
        return found[0]  # type: ignore[no-any-return]

    def trace_of(self, job_id: str) -> list[Seen]:
        """All of the one trace that names the job as submitted, the earliest first."""
        traces = {seen.trace for seen in self.named("submit job", job_id=job_id)}
        assert len(traces) == 1, (job_id, traces)
        mine = [seen for seen in self.spans if seen.trace in traces]
        return sorted(mine, key=lambda seen: seen.began_ns)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(
                    {":path": self.path, **{k.lower(): v for k, v in self.headers.items()}}
                )
                if collector._stalls:
                    collector._over.wait()
                    return
                collector._take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _take(self, body: bytes) -> None:
        self._bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for of_process in request.resource_spans:
            resource = _values(of_process.resource.attributes)
            for scope in of_process.scope_spans:
                self._spans += [_seen(sent, resource) for sent in scope.spans]


def tree(spans: list[Seen], where: Callable[[Seen], bool] = lambda _: True) -> list[str]:
    """The names of a trace's spans, indented below their parents, the earliest first."""
    by_parent: dict[str, list[Seen]] = {}
    ids = {seen.id for seen in spans}
    for seen in sorted(spans, key=lambda seen: seen.began_ns):
        by_parent.setdefault(seen.parent if seen.parent in ids else "", []).append(seen)

    def below(parent: str, depth: int) -> list[str]:
        return [
            line
            for seen in by_parent.get(parent, [])
            if where(seen)
            for line in ("  " * depth + seen.name, *below(seen.id, depth + 1))
        ]

    return below("", 0)


def _seen(sent: Sent, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=sent.name,
        trace=sent.trace_id.hex(),
        id=sent.span_id.hex(),
        parent=sent.parent_span_id.hex(),
        kind=KINDS[sent.kind],
        began_ns=sent.start_time_unix_nano,
        ended_ns=sent.end_time_unix_nano,
        error=sent.status.message if sent.status.code == Status.STATUS_CODE_ERROR else None,
        attributes=_values(sent.attributes),
        events=tuple((each.name, _values(each.attributes)) for each in sent.events),
        resource=resource,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
