"""schemathesis against the served API: no 500, and no answer outside its own document."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.integration.embedded.running import EmbeddedService

HOOKS = Path(__file__).with_name("openapi_hooks.py")
#: A validation says 200 to a bad body, and a picture is judged by its bytes: by contract.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false

[[operations]]
include-path = "/v1/jobs/validate"
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/v1/images"
checks.negative_data_rejection.enabled = false
"""
#: No edit of the sample engine fails, to be tried again: see tests/api/test_api_batches.py.
NEVER_DONE = {"POST /v1/batches/{batch_id}/retry"}
#: What must have been reached, or the rest proves little.
REACHED = {
    "POST /v1/images 201",
    "POST /v1/images 415",
    "POST /v1/images/uploads 201",
    "POST /v1/images/{image_id}/complete 200",
    "GET /v1/images/{image_id} 200",
    "DELETE /v1/images/{image_id} 200",
    "POST /v1/jobs 202",
    "POST /v1/jobs 401",
    "POST /v1/jobs 415",
    "POST /v1/jobs 422",
    "POST /v1/jobs/validate 200",
    "POST /v1/jobs/validate 200 valid",
    "GET /v1/jobs 200",
    "GET /v1/jobs 422",
    "GET /v1/jobs/{job_id} 200",
    "DELETE /v1/jobs/{job_id} 200",
    "POST /v1/jobs/{job_id}/cancel 200",
    "POST /v1/jobs/{job_id}/retry 202",
    "POST /v1/batches 202",
    "POST /v1/batches 422",
    "GET /v1/batches/{batch_id}/results 200",
    "GET /v1/batches/{batch_id}/archive 200",
    "POST /v1/batches/{batch_id}/retry 409",
    "POST /v1/webhook-endpoints 201",
    "POST /v1/webhook-endpoints 422",
    "PATCH /v1/webhook-endpoints/{endpoint_id} 200",
    "DELETE /v1/webhook-endpoints/{endpoint_id} 204",
    "POST /v1/webhook-endpoints/{endpoint_id}/replay-failed 202",
    "POST /v1/webhook-deliveries/{delivery_id}/replay 202",
    "GET /v1/webhook-deliveries 200",
    "GET /v1/engines 200",
    "GET /livez 200",
    "GET /readyz 200",
    "PUT /v1/jobs 405",
}


@pytest.mark.slow
def test_the_api_answers_as_its_document_says_when_it_is_asked_at_random(
    service: EmbeddedService, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    reached = tmp_path / "reached"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {service.key}"),
            *("--seed", "1", "--max-examples", "30", "--no-shrink", "--continue-on-failure"),
            *("--request-timeout", "70", "--no-color", "--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "API": service.url,
            "KEY": service.key,
            "REACHED": str(reached),
            "NO_PROXY": "127.0.0.1",
            "SCHEMATHESIS_HOOKS": HOOKS.stem,
            "PYTHONPATH": str(HOOKS.parent),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    lines = set(reached.read_text().splitlines())
    assert REACHED - lines == set()
    assert any(line.endswith(" 404") for line in lines)
    served = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()["paths"]
    operations = {f"{method.upper()} {path}" for path in served for method in served[path]}
    done = {" ".join(line.split()[:2]) for line in lines if " 2" in line}
    assert operations - done == NEVER_DONE
    assert "Traceback" not in service.said


@pytest.mark.slow
def test_the_served_document_is_the_one_of_the_code_when_it_is_fetched(
    service: EmbeddedService,
) -> None:
    with service.api() as api:
        document = api.get("/openapi.json").json()
        assert {"/v1/jobs", "/v1/images", "/v1/engines"} < set(document["paths"])
        for page in ("/docs", "/docs/errors", "/docs/start.js"):
            assert api.get(page).status_code == 200
