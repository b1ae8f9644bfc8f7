"""One job is one trace, through real processes, whatever dies or hangs on the way."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from shared.telemetry.tracing import span
from tests.batches import jsonl, lines_for, send, tend
from tests.broker import free_port
from tests.collector import Collector, Seen, tree
from tests.crew import Crew, wait_until
from tests.factories import Factory, a_picture
from tests.integration.editor import Editor
from tests.integration.embedded.running import StartService
from tests.integration.serving import Server
from tests.integration.test_deliver import HERE
from tests.planted import COLLECTOR_KEY
from tests.receiver import Receiver
from worker.sweep import sweep

pytestmark = pytest.mark.slow

DRAG = {"handle": [20, 20], "target": [28, 20]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STRANGE = {
    "traceparent": f"00-{TRACE}-{PARENT}-01",
    "tracestate": "planted=tracestate",
    "baggage": "planted=baggage",
    "X-Request-Id": "order-7",
}
LONG_MS = "600000"
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    return start_crew(**HERE, sweep_s=0.2)


@pytest.fixture
def serve(crew: Crew, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """The API, with the settings of the crew."""
    with ExitStack() as ends:

        def serve(**settings: object) -> Server:
            given = crew.services.settings
            same = {name: getattr(given, name) for name in ("webhook_allow_http",)}
            lists = {
                name: ",".join(getattr(given, name))
                for name in ("webhook_ports", "webhook_networks")
            }
            server = Server(crew.services, tmp_path, **{**same, **lists, **settings})
            ends.callback(server.end)
            server.wait_until_up()
            return server

        yield serve


def client(crew: Crew, server: Server) -> httpx.Client:
    headers = {"Authorization": f"Bearer {crew.services.accounts.create_key('mine').text}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=70, trust_env=False)


def below(spans: list[Seen], parent: Seen) -> list[str]:
    return [seen.name for seen in spans if seen.parent == parent.id]


def lineage(trace: list[Seen], seen: Seen) -> list[Seen]:
    """Its parents in the trace, the nearest first."""
    by_id = {each.id: each for each in trace}
    found = []
    while (parent := by_id.get(seen.parent)) is not None:
        found.append(seen := parent)
    return found


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_job_is_one_trace_from_its_request_to_its_webhook(
    collector: Collector, crew: Crew, serve: Callable[..., Server], receiver: Receiver
) -> None:
    server = serve(api_processes=2)
    crew.worker(queues="warp")
    crew.worker(queues="webhooks,maintenance")
    with client(crew, server) as api:
        editor = Editor(api)
        image = editor.upload(a_picture())["id"]
        webhook = {"url": receiver.url("/hook?token=planted-token"), "events": ["job.*"]}
        body = {"image": image, "drags": [DRAG], "webhook": webhook}
        submitted = api.post("/v1/jobs", json=body, headers=STRANGE)
        assert submitted.status_code == 202, submitted.text
        assert submitted.headers["X-Request-Id"] == "order-7"
        job = editor.finish(submitted.json())
        others = [editor.submit(image=image, drags=[DRAG]) for _ in range(6)]
        for other in others:
            editor.finish(other)
    (message,) = receiver.wait_for(1)
    assert "traceparent" not in message.headers, "who receives a webhook is a stranger"
    collector.wait_for("webhook try", job_id=job["id"])
    collector.wait_for("job attempt", job_id=job["id"])
    for other in others:
        collector.wait_for("job attempt", job_id=other["id"])
    wait_until(lambda: len(collector.named("POST /v1/jobs")) == 7)
    trace = collector.trace_of(job["id"])

    (request,) = [seen for seen in trace if seen.name == "POST /v1/jobs"]
    assert (request.trace, request.parent, request.kind) == (TRACE, PARENT, "server")
    assert request.attributes["http.route"] == "/v1/jobs"
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["towline.request_id"] == "order-7"
    assert request.service == "towline-api"
    (submit,) = [seen for seen in trace if seen.name == "submit job"]
    assert (submit.parent, submit.kind) == (request.id, "producer")
    assert sorted(below(trace, submit)[-3:]) == ["job attempt", "job claim", "webhook try"]

    (attempt,) = [seen for seen in trace if seen.name == "job attempt"]
    assert attempt.kind == "consumer"
    assert attempt.service == "towline-worker-warp"
    said = {
        name: attempt.attributes[f"towline.{name}"]
        for name in ("attempt", "losses", "engine", "candidates")
    }
    assert said == {"attempt": 1, "losses": 0, "engine": "warp", "candidates": 1}
    assert attempt.attributes["towline.queued_ms"] >= 0
    steps = [seen for seen in trace if seen.parent == attempt.id]
    assert [seen.name for seen in steps] == ["fetch", "run", "store", "finish"]
    assert steps[-1].attributes == {"towline.outcome": "succeed"}
    (told,) = [seen for seen in trace if "job succeed" in dict(seen.events)]
    assert steps[-1] in lineage(trace, told)
    statements = [seen.attributes["db.query.summary"] for seen in trace if seen.is_of_database]
    assert "SELECT images" in statements
    assert {"INSERT jobs", "UPDATE jobs"} <= set(statements)
    for seen in trace:
        if seen.attributes.get("db.query.summary") == "INSERT jobs":
            assert submit in lineage(trace, seen)
            assert job["id"] not in seen.attributes["db.query.text"]

    (trying,) = [seen for seen in trace if seen.name == "webhook try"]
    assert (trying.parent, trying.kind, trying.service) == (
        submit.id,
        "client",
        "towline-worker-io",
    )
    assert trying.attributes["http.response.status_code"] == 204
    assert trying.attributes["towline.event_type"] == "job.succeeded"
    assert len({seen.resource["process.pid"] for seen in trace}) == 3

    of_others = {collector.trace_of(other["id"])[0].trace for other in others}
    assert len(of_others | {TRACE}) == 7, "each job has its own"
    everything = repr(collector.spans)
    for strange in ("planted", "signature", "/hook", "tracestate", "baggage"):
        assert strange not in everything
    assert not [
        v for seen in collector.spans for v in seen.attributes.values() if isinstance(v, bytes)
    ]
    assert {h["authorization"] for h in collector.requests} == {f"Bearer {COLLECTOR_KEY}"}


@ON_SQLITE
def test_an_answer_from_an_earlier_result_is_a_trace_without_an_attempt(
    collector: Collector, crew: Crew, serve: Callable[..., Server], receiver: Receiver
) -> None:
    server = serve()
    for queues in ("warp", "webhooks,maintenance"):
        crew.worker(queues=queues).wait_for_ready()
    with client(crew, server) as api:
        editor = Editor(api)
        body = {"image": editor.upload(a_picture())["id"], "drags": [DRAG], "options": {"seed": 1}}
        first = editor.edit(**body)
        webhook = {"url": receiver.url("/hook"), "events": ["job.*"]}
        job = editor.submit(**body, webhook=webhook)
        assert job["result"]["cached"]
    receiver.wait_for(1)
    collector.wait_for("webhook try", job_id=job["id"])
    trace = collector.trace_of(job["id"])
    (told,) = [seen for seen in trace if "job answer" in dict(seen.events)]
    assert dict(told.events)["job answer"]["towline.origin"] == first["id"]
    (submit,) = [seen for seen in trace if seen.name == "submit job"]
    assert below(trace, submit)[-1] == "webhook try"
    assert "job attempt" not in {seen.name for seen in trace}


@ON_SQLITE
def test_both_processes_of_an_api_trace(
    collector: Collector, crew: Crew, serve: Callable[..., Server]
) -> None:
    server = serve(api_processes=2)

    def have_both() -> bool:
        httpx.get(f"{server.url}/v1/jobs", trust_env=False)  # a connection each
        pids = {seen.resource["process.pid"] for seen in collector.named("GET /v1/jobs")}
        return pids == set(server.workers())

    wait_until(have_both)
    httpx.get(f"{server.url}/readyz", trust_env=False)
    httpx.get(f"{server.url}/metrics", trust_env=False)
    seen = collector.named("GET /v1/jobs")[0]
    assert (seen.error, seen.attributes["http.response.status_code"]) == (None, 401)
    assert {each.name for each in collector.spans} == {"GET /v1/jobs"}, (
        "nor what looks, nor a sweep"
    )


@ON_SQLITE
def test_the_lines_of_a_job_s_logs_say_its_trace(
    collector: Collector, crew: Crew, make: Factory
) -> None:
    worker = crew.worker(queues="warp")
    with_span = make.job(is_stored=True)
    crew.wait_for_end(with_span)
    attempt = collector.wait_for("job attempt", job_id=with_span.id)
    (line,) = worker.events("job_succeeded")
    assert (line["job"], line["trace_id"], line["span_id"]) == (
        with_span.id,
        attempt.trace,
        attempt.id,
    )


@ON_SQLITE
def test_a_second_attempt_is_in_the_trace_of_the_first_when_its_worker_was_killed(
    collector: Collector,
    start_crew: Callable[..., Crew],
    tmp_path: Path,
) -> None:
    crew = start_crew(lease_s=1, heartbeat_s=0.3, sweep_s=0.2)
    server = Server(crew.services, tmp_path)
    try:
        server.wait_until_up()
        first = crew.worker("--at", "stored", queues="warp")
        with client(crew, server) as api:
            editor = Editor(api)
            job = editor.submit(image=editor.upload(a_picture())["id"], drags=[DRAG])
            assert first.wait_for_death() == 9
            crew.worker(queues="maintenance")
            collector.wait_for("job requeue", job_id=job["id"])
            crew.worker(queues="warp")
            assert editor.finish(job)["attempt"] == 2
    finally:
        server.end()
    attempt = collector.wait_for("job attempt", job_id=job["id"], attempt=2)
    collector.wait_for("submit job", job_id=job["id"])
    trace = collector.trace_of(job["id"])
    (submit,) = [seen for seen in trace if seen.name == "submit job"]
    requeue = collector.wait_for("job requeue", job_id=job["id"])
    assert {attempt.trace, requeue.trace} == {submit.trace}
    assert attempt.parent == requeue.parent == submit.id
    assert requeue.service == "towline-worker-io"
    assert requeue.attributes["towline.losses"] == 1
    assert attempt.attributes["towline.losses"] == 1
    assert requeue.ended_ns <= attempt.began_ns
    assert [seen.attributes["towline.attempt"] for seen in trace if seen.name == "job claim"][
        -1
    ] == 2


@ON_SQLITE
def test_an_end_that_no_worker_made_is_in_the_trace_of_the_job(
    tracing: Collector, make: Factory
) -> None:
    late = make.job(expires_in_s=1)
    unwanted = make.job(late.account_id)
    time.sleep(1.1)
    sweep(make.services)
    make.services.jobs.cancel(unwanted.account_id, unwanted.id)
    expired = tracing.wait_for("job expire", job_id=late.id)
    canceled = tracing.wait_for("job cancel", job_id=unwanted.id)
    for seen, job in ((expired, late), (canceled, unwanted)):
        (submit,) = tracing.named("submit job", job_id=job.id)
        assert (seen.trace, seen.parent) == (submit.trace, submit.id)


def test_each_item_of_a_batch_has_a_trace_of_its_own(tracing: Collector, make: Factory) -> None:
    account = make.account()
    image = make.image(account).id
    batch = send(make.services, account, jsonl(lines_for(image, 3)))
    with span("whatever goes on here"):
        tend(make.services)
    jobs = make.services.jobs.page(account, limit=9)
    wait_until(lambda: len(tracing.named("submit job", batch_id=batch.id)) == 3)
    submits = {seen.attributes["towline.job_id"]: seen for seen in tracing.named("submit job")}
    assert len({seen.trace for seen in submits.values()}) == 3
    assert {seen.parent for seen in submits.values()} == {""}
    for job in jobs:
        seen = submits[job.id]
        assert (job.trace_context or "").startswith(f"00-{seen.trace}-{seen.id}-")


@ON_SQLITE
@pytest.mark.parametrize("collector_is", ["stalled", "away"])
def test_jobs_end_and_processes_too_when_the_collector_stalls_or_is_away(
    monkeypatch: pytest.MonkeyPatch,
    crew: Crew,
    serve: Callable[..., Server],
    collector_is: str,
) -> None:
    with Collector(stalls=True) as collector:
        collector.set(monkeypatch)
        if collector_is == "away":
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
        server = serve()
        worker = crew.worker(queues="warp")
        with client(crew, server) as api:
            editor = Editor(api)
            image = editor.upload(a_picture())["id"]
            began = time.monotonic()
            for _ in range(5):
                editor.finish(editor.submit(image=image, drags=[DRAG]))
            assert time.monotonic() - began < 20.0
        assert bool(collector.requests) is (collector_is == "stalled")
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait_for_death() == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 15.0
        for log in (worker.log, server.log):
            said = log.read_text()
            assert said.count("opentelemetry") <= 2, "one line a minute"
            assert COLLECTOR_KEY not in said


@ON_SQLITE
def test_the_last_spans_are_sent_when_processes_are_told_to_end(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    crew: Crew,
    serve: Callable[..., Server],
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", LONG_MS)
    server = serve()
    worker = crew.worker(queues="warp")
    with client(crew, server) as api:
        editor = Editor(api)
        job = editor.edit(image=editor.upload(a_picture())["id"], drags=[DRAG])
    assert collector.spans == []
    worker.signal(signal.SIGTERM)
    assert worker.wait_for_death() == 0
    assert collector.named("job attempt", job_id=job["id"])
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert collector.named("submit job", job_id=job["id"])


@ON_SQLITE
def test_a_receiver_is_told_of_the_trace_when_the_operator_wants_that(
    collector: Collector,
    start_crew: Callable[..., Crew],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOWLINE_WEBHOOK_TRACEPARENT", "true")
    crew = start_crew(**HERE)
    make = Factory(crew.services)
    account = make.account()
    make.endpoint(account, url=receiver.url())
    job = make.ended(account)
    crew.worker(queues="webhooks")
    (message,) = receiver.wait_for(1)
    trying = collector.wait_for("webhook try", job_id=job.id)
    assert message.headers["traceparent"].startswith(f"00-{trying.trace}-{trying.id}-")


@ON_SQLITE
def test_nothing_is_sent_when_no_endpoint_is_set(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, crew: Crew, serve: Callable[..., Server]
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    server = serve()
    worker = crew.worker(queues="warp")
    with client(crew, server) as api:
        editor = Editor(api)
        editor.edit(image=editor.upload(a_picture())["id"], drags=[DRAG])
    worker.signal(signal.SIGTERM)
    assert worker.wait_for_death() == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert collector.requests == []


def test_the_sample_of_the_embedded_service_is_one_trace(
    collector: Collector, start_service: StartService
) -> None:
    service = start_service("--once", **collector.environment())
    assert service.process.wait(120) == 0, service.said
    (submit,) = collector.named("submit job")
    trace = collector.trace_of(submit.attributes["towline.job_id"])
    assert {seen.service for seen in trace} == {"towline-api", "towline-worker-warp"}
    shown = tree(trace, lambda seen: not seen.is_of_database and seen.name not in ("read", "write"))
    assert shown == [
        "POST /v1/jobs",
        "  submit job",
        "    job attempt",
        "      fetch",
        "      run",
        "      store",
        "      finish",
        "    job claim",
    ]
