"""The files from which everything is brought up: their form, who gets what, and who may what."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from api.codes import PROBLEMS
from shared.settings import PREFIX, Settings
from tests.crew import REPOSITORY

FILES = ("docker-compose.yml", "compose.gpu.yml", "tests/compose/compose.smoke.yml")
#: From the Compose specification (compose-spec.LICENSE beside it), as check-jsonschema 0.39 has it.
SCHEMA = json.loads((REPOSITORY / "tests" / "compose" / "compose-spec.json").read_text())
SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / FILES[0]).read_text())["services"]
OURS = {"migrate", "api", "worker-warp", "worker-io", "beat"}
#: Of each of ours, by what may be read with it.
SECRETS = {
    "TOWLINE_DATABASE_URL": {"migrate", "api", "worker-warp", "worker-io"},
    "TOWLINE_S3_SECRET_KEY": {"migrate", "api", "worker-warp", "worker-io"},
    "TOWLINE_REDIS_URL": {"api", "worker-warp", "worker-io", "beat"},
    "TOWLINE_SECRET_KEY": {"api", "worker-io"},
}
#: In the images already, or in compose.gpu.yml.
ELSEWHERE = {"HOME", "HOST", "PORT", "WORKER_PORT", "MODEL_DIR"}


def environment(name: str) -> dict[str, Any]:
    """What a service is given, with what YAML merges into it."""
    return SERVICES[name].get("environment") or {}


def tool(name: str, *, of: str) -> str:
    """The path of a program; without it the test is skipped, in CI it fails if CI installs it."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        if os.environ.get("CI") and of != "docker":
            pytest.fail(f"{name} is missing: {of}")
        pytest.skip(f"{name} is missing: {of}")
    return path


def run(*command: str, **env: str) -> str:
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_has_the_form_of_the_specification(name: str) -> None:
    content = yaml.safe_load((REPOSITORY / name).read_text())
    wrong = [
        f"{error.instance_path}: {error.message}"
        for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(content)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("others", "profile"),
    [((), ""), ((), "observe"), (FILES[1:2], ""), (FILES[2:], "receiver")],
    ids=["alone", "observe", "gpu", "smoke"],
)
def test_docker_compose_takes_the_files_with_the_example_of_an_environment(
    others: tuple[str, ...], profile: str
) -> None:
    docker = tool("docker", of="docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is missing: docker")
    files = [word for name in (FILES[0], *others) for word in ("-f", name)]
    profiles = ["--profile", profile] if profile else []
    run(
        docker, "compose", "--env-file", ".env.example", *files, *profiles, "config", "-q",
        MODEL_DIR="/model",
    )  # fmt: skip


def test_every_setting_reaches_somebody() -> None:
    given = {name for service in OURS for name in environment(service) if name.startswith(PREFIX)}
    wanted = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert given == wanted - {f"{PREFIX}{name}" for name in ELSEWHERE}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_given_to_those_who_need_it(secret: str) -> None:
    assert {name for name in OURS if secret in environment(name)} == SECRETS[secret]
    assert not [name for name in OURS if SERVICES[name].get("env_file")]


def test_a_container_of_ours_knows_no_password_that_is_not_in_a_url_of_its_own() -> None:
    for name in OURS:
        assert [key for key in environment(name) if not key.startswith((PREFIX, "OTEL_"))] == []


def test_what_is_said_of_traces_reaches_each_that_makes_spans() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    named = {name for line in re.findall(r"^\| (`OTEL_.*?) \|", text, re.MULTILINE)
             for name in re.findall(r"`(OTEL_\w+)`", line)}  # fmt: skip
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in named
    for name in OURS:
        given = {key for key in environment(name) if key.startswith("OTEL_")}
        makes_spans = name in {"api", "worker-warp", "worker-io"}
        assert given == (named - {"OTEL_SERVICE_NAME"} if makes_spans else set())  # each its own


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_nothing_that_it_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("cap_add" in service) == (name == "postgres")
    assert service.get("read_only", False) == (name not in {"postgres", "s3"})
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert "privileged" not in service


def test_only_the_proxy_is_published_and_what_watches() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published.keys() == {"proxy", "prometheus", "grafana"}
    assert published["proxy"] == ["${LISTEN:-127.0.0.1}:${PORT:-8000}:8000"]
    assert all("127.0.0.1}:" in port for ports in published.values() for port in ports)


def test_only_who_must_reaches_the_servers() -> None:
    reached = {name for name, each in SERVICES.items() if "servers" in each["networks"]}
    assert reached == OURS | {"postgres", "redis", "s3"}
    assert SERVICES["proxy"]["networks"] == ["front", "watched"]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_hadolint_finds_a_dockerfile_right(name: str) -> None:
    hadolint = tool("hadolint", of="the extra `dev`, on Linux")
    run(hadolint, "--no-color", f"infra/docker/{name}.Dockerfile")


def test_shellcheck_finds_every_script_right() -> None:
    shellcheck = tool("shellcheck", of="the extra `dev`")
    shells = ("#!/bin/sh", "#!/usr/bin/env bash", "#!/bin/bash")
    found = run("git", "grep", "-l", "-I", "-E", f"^({'|'.join(shells)})").splitlines()
    scripts = [name for name in found if (REPOSITORY / name).read_text().startswith(shells)]
    assert ".ci/run" in scripts
    run(shellcheck, *scripts)


def test_what_the_proxy_says_itself_is_a_problem_as_the_api_says_it() -> None:
    text = (REPOSITORY / "infra" / "proxy" / "haproxy.cfg").read_text()
    said = re.findall(r"http-error status (\d+) content-type (\S+) string '(.*)'", text)
    assert {int(status) for status, _, _ in said} == {400, 408, 502, 503, 504}
    for status, kind, body in said:
        problem = json.loads(body)
        assert kind == "application/problem+json"
        assert problem["status"] == int(status)
        assert problem["code"] in PROBLEMS
        assert {"type", "title", "detail"} <= problem.keys()


def test_haproxy_takes_its_configuration() -> None:
    run(tool("haproxy", of="apt-get install haproxy"), "-c", "-f", "infra/proxy/haproxy.cfg")
