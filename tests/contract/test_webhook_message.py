"""What a receiver is told of a job: the job without its request, and never too much of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.jobs.job import Job
from shared.jobs.shown import Links
from shared.services import Services
from shared.signed_urls import UrlSigner
from shared.webhooks.message import MAX_BYTES, body_of, job_data
from tests.factories import Factory

LINKS = Links(UrlSigner("a key", "https://towline.example"), 3600)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is shown does not depend on where it was kept."""
    return sqlite_url


@pytest.fixture
def job(services: Services, make: Factory) -> Job:
    return make.ended()


def message(job: Job, **changes: Any) -> dict[str, Any]:
    body = body_of("job.succeeded", 1_700_000_000_000, job_data(replace(job, **changes), LINKS))
    assert len(body) < MAX_BYTES
    return json.loads(body)  # type: ignore[no-any-return]


def test_a_message_is_the_job_without_its_request(job: Job) -> None:
    told = message(job)
    assert list(told) == ["type", "timestamp", "data"]
    assert (told["type"], told["timestamp"]) == ("job.succeeded", "2023-11-14T22:13:20.000Z")
    assert "request" not in told["data"]
    assert told["data"]["id"] == job.id
    (candidate,) = told["data"]["result"]["candidates"]
    assert candidate["url"].startswith("https://towline.example/objects/results/")
    assert "left_out" not in told["data"]


@pytest.mark.parametrize("character", ["a", "ä", "😀", "\x01", '"'])
def test_a_message_is_small_whatever_its_metadata_is_made_of(job: Job, character: str) -> None:
    metadata = {f"{n:02}" + character * 62: character * 512 for n in range(16)}
    told = message(job, metadata=metadata)
    kept = told["data"]["metadata"] == metadata
    assert kept is not ("metadata" in told["data"].get("left_out", []))


def test_the_least_needed_goes_first_when_a_message_would_be_too_large(job: Job) -> None:
    assert job.result is not None
    warnings = [{"code": "drags_merged", "detail": "d" * 100}] * 200
    told = message(job, result={**job.result, "warnings": warnings}, metadata={"order": "7"})
    assert told["data"]["left_out"] == ["result.warnings"]
    assert told["data"]["metadata"] == {"order": "7"}
    assert told["data"]["result"]["candidates"] != []
    candidates = list(job.result["candidates"]) * 200
    told = message(job, result={**job.result, "candidates": candidates}, metadata={"a": "b" * 512})
    assert told["data"]["left_out"] == ["metadata", "result.candidates"]
    told = message(job, error={"code": "engine_failed", "message": "m" * 30_000})
    assert told["data"]["left_out"] == ["error.message"]
    assert told["data"]["error"]["code"] == "engine_failed"
