"""Spans, where they belong, and what they do not say."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import structlog

from shared.settings import Settings, SettingsError, read_settings, wants_traces
from shared.telemetry.logging import set_up_logging
from shared.telemetry.statements import summary_of
from shared.telemetry.tracing import (
    begun,
    detail,
    is_tracing,
    mark,
    span,
    start_tracing,
    stop_tracing,
    this_span,
    traceparent,
)
from tests.collector import Collector, Seen
from tests.planted import COLLECTOR_KEY

REPOSITORY = Path(__file__).parents[2]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NAMED = f"00-{TRACE}-{PARENT}-01"


def sent(collector: Collector) -> dict[str, Seen]:
    """What was sent by the end, by name."""
    stop_tracing()
    return {seen.name: seen for seen in collector.spans}


def test_a_block_is_a_part_of_the_one_around_it(tracing: Collector) -> None:
    with span("outer", kind="server"):
        with span("inner", count=3, missing=None):
            pass
        with span("next"):
            pass
    seen = sent(tracing)
    assert {each.trace for each in seen.values()} == {seen["outer"].trace}
    assert (seen["outer"].parent, seen["outer"].kind) == ("", "server")
    assert seen["inner"].parent == seen["next"].parent == seen["outer"].id
    assert seen["inner"].attributes == {"towline.count": 3}
    assert tracing.requests[0]["authorization"] == f"Bearer {COLLECTOR_KEY}"
    assert tracing.requests[0][":path"] == "/v1/traces"


def test_a_trace_goes_on_in_another_thread_when_it_is_named_there(tracing: Collector) -> None:
    with span("here"):
        named = traceparent()

    def work() -> None:
        with span("there", parent=named, age_s=5.0):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    seen = sent(tracing)
    assert named is not None
    assert len(named) == 55
    assert seen["there"].trace == seen["here"].trace
    assert seen["there"].parent == seen["here"].id
    took_s = (seen["there"].ended_ns - seen["there"].began_ns) / 1e9
    assert 5.0 <= took_s < 60.0


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "none",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        NAMED[:-1],
        f"ff{NAMED[2:]}",
    ],
)
def test_a_trace_begins_when_its_parent_cannot_be_read(tracing: Collector, parent: str) -> None:
    with span("mine", parent=parent):
        pass
    seen = sent(tracing)["mine"]
    assert seen.parent == ""
    assert seen.trace != TRACE


def test_nothing_is_sent_of_a_trace_when_its_caller_left_it_out(tracing: Collector) -> None:
    with span("left out", parent=f"{NAMED[:-2]}00"):
        assert traceparent().endswith("-00")  # type: ignore[union-attr]
        with detail("left out as well"):
            pass
        mark("left out, too", traceparent())
    with span("kept", parent=NAMED):
        pass
    assert set(sent(tracing)) == {"kept"}


def test_a_detail_is_left_out_when_it_is_a_part_of_nothing(tracing: Collector) -> None:
    with detail("polling"):
        assert begun("a look") is None
    with span("job"), detail("looking"):
        one = begun("a statement")
        assert one is not None
        one.end()
    seen = sent(tracing)
    assert set(seen) == {"job", "looking", "a statement"}
    assert seen["a statement"].parent == seen["looking"].id
    assert seen["looking"].parent == seen["job"].id


def test_a_mark_is_an_event_in_its_own_trace_and_a_span_from_elsewhere(tracing: Collector) -> None:
    with span("job"):
        named = traceparent()
        mark("claimed", named, attempt=1)
    with span("another"):
        mark("taken back", named, losses=1)
    mark("expired", named)
    mark("of nothing", None)
    mark("of what cannot be read", "garbage")
    seen = sent(tracing)
    assert seen["job"].events == (("claimed", {"towline.attempt": 1}),)
    assert seen["another"].events == ()
    for name in ("taken back", "expired"):
        assert (seen[name].trace, seen[name].parent) == (seen["job"].trace, seen["job"].id)
    assert set(seen) == {"job", "another", "taken back", "expired"}


def test_a_failure_is_a_word_and_never_what_an_exception_says(tracing: Collector) -> None:
    with pytest.raises(ValueError, match="hush"), span("broken"):
        raise ValueError("hush")
    with span("refused"):
        this_span().fail("no_room")
    seen = sent(tracing)
    assert {name: each.error for name, each in seen.items()} == {
        "broken": "ValueError", "refused": "no_room"
    }  # fmt: skip
    assert "hush" not in repr(seen)


def test_a_line_of_the_log_says_in_which_trace_it_was_written(
    tracing: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        set_up_logging(Settings(log_format="json"))
        with span("job", parent=NAMED):
            structlog.get_logger().info("ours")
            logging.getLogger("theirs").warning("said")
        structlog.get_logger().info("outside")
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    ours, theirs, outside = capsys.readouterr().err.splitlines()[-3:]
    own = sent(tracing)["job"].id
    for line in (ours, theirs):
        assert f'"trace_id": "{TRACE}"' in line
        assert f'"span_id": "{own}"' in line
    assert "trace_id" not in outside


def test_the_operator_names_the_service_and_says_what_is_sampled(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edits")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=try,service.version=9"
    )
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    start_tracing("api")
    with span("asked to leave out", parent=f"{NAMED[:-2]}00"):
        pass
    (seen,) = sent(collector).values()
    assert seen.service == "edits"
    assert seen.resource["deployment.environment.name"] == "try"
    assert seen.resource["service.version"] == "9"
    assert seen.resource["service.namespace"] == "towline"


def test_a_service_has_a_name_of_ours_unless_it_is_given_one(collector: Collector) -> None:
    start_tracing("api")
    with span("mine"):
        pass
    assert sent(collector)["mine"].service == "towline-api"


@pytest.mark.slow
@pytest.mark.parametrize("stalls", [True, False])
def test_a_process_ends_soon_when_its_collector_stalls_or_is_away(
    monkeypatch: pytest.MonkeyPatch, stalls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(stalls=stalls) as collector:
        collector.set(monkeypatch)
    if stalls:
        with Collector(stalls=True) as collector:
            collector.set(monkeypatch)
            took_s = _seconds_of_many_spans()
    else:
        took_s = _seconds_of_many_spans()
    assert took_s < 30.0  # 2 s of them to end; that it waited for each batch would be minutes
    complaints = [r for r in caplog.records if r.name.startswith("opentelemetry.exporter")]
    assert len(complaints) <= 1, "each batch would be worth a line or more"


def _seconds_of_many_spans() -> float:
    """More than the queue holds, and more than a batch."""
    began = time.monotonic()
    start_tracing("test")
    for _ in range(5000):
        with span("lost"):
            pass
    stop_tracing()
    assert not is_tracing()
    return time.monotonic() - began


HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_SERVICE_NAME": "towline", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({**HERE, "OTEL_SDK_DISABLED": "True"}, False),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, False),
        (HERE, True),
        ({**HERE, "OTEL_SDK_DISABLED": "false", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
    ],
)
def test_traces_are_wanted_when_an_endpoint_is_named_and_they_are_not_turned_off(
    given: dict[str, str], wanted: bool
) -> None:
    assert wants_traces(given) is wanted


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {**HERE, "OTEL_SDK_DISABLED": "true"}])
def test_nothing_that_sends_is_loaded_when_traces_are_not_wanted(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import sys
import api.app, api.server, worker.app, worker.__main__, infra.embedded.service
from api.app import create_app
from shared.services import build_services
from shared.settings import read_settings
from shared.telemetry.tracing import start_tracing
from worker.batching import Batched
settings = read_settings()
start_tracing("test")
app = create_app(build_services(settings))
assert app.test_client().get("/v1/jobs").status_code == 401
# redis-py looks for OpenTelemetry's metrics by itself, and takes them where they are installed
senders = ("opentelemetry.exporter", "opentelemetry.sdk.trace", "google.protobuf", "requests")
loaded = [name for name in sys.modules if name.startswith((*senders, "shared.telemetry.otlp"))]
assert not loaded, loaded
"""
    for name, value in {"TOWLINE_HOME": str(tmp_path), "TOWLINE_SECRET_KEY": "k", **given}.items():
        monkeypatch.setenv(name, value)
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must be http(s)://"),
        ({"TRACES_ENDPOINT": "ftp://x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be http(s)://"),
        (
            {"ENDPOINT": "http://collector:4317", "PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
        ),
        (
            {"ENDPOINT": "http://c", "PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: only http/protobuf",
        ),
    ],
)
def test_the_start_is_stopped_when_traces_cannot_be_sent_as_it_is_said(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_the_start_is_stopped_when_traces_are_wanted_and_the_library_is_not_there(
    tmp_path: Path,
) -> None:
    """Real processes, where an import of the library fails as it does where there is none."""
    (tmp_path / "opentelemetry.py").touch()  # a module without the packages
    for command in (["api", "serve"], ["worker", "run", "--queues", "warp"], ["infra.embedded"]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env={
                "PYTHONPATH": f"{tmp_path}:{REPOSITORY}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
                "TOWLINE_SECRET_KEY": "k",
                "TOWLINE_HOME": str(tmp_path / "home"),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = "OTEL_EXPORTER_OTLP_ENDPOINT: OpenTelemetry is missing, install the extra `tracing`"
        assert said in done.stderr, (command, done.stderr)
        assert done.returncode not in (0, None)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("statement", "summary"),
    [
        ("SELECT jobs.id \nFROM jobs \nWHERE jobs.id = %(id)s", "SELECT jobs"),
        ("INSERT INTO job_events (job_id) VALUES (?)", "INSERT job_events"),
        ("WITH rows AS (UPDATE jobs SET x = 1 WHERE EXISTS (SELECT 1 FROM y))", "UPDATE jobs"),
        ("DELETE FROM turns WHERE 1", "DELETE turns"),
        ("SELECT id FROM jobs FOR UPDATE SKIP LOCKED", "SELECT jobs"),
        ("SELECT EXTRACT(EPOCH FROM clock()) AS now, id FROM api_keys", "SELECT api_keys"),
        ("SELECT 1", "SELECT"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("", "empty"),
    ],
)
def test_a_statement_is_called_by_what_it_does_to_which_table(statement: str, summary: str) -> None:
    assert summary_of(statement) == summary
