"""`make compose-smoke`: docker-compose.yml brought up for real, used, hurt, and taken down again.

    python -m tests.compose [--jobs 100]

Builds the images; brings everything up and waits until it is healthy; submits jobs over HTTP;
a container beside receives their webhooks and checks the signatures; meanwhile a worker and Redis
are killed; every job must end well and be told of; then nothing may be left. Exit status 0 only if
all of that was seen. Where there is no Docker it says so and fails. Images other than the usual
are taken from the environment (`S3_IMAGE`, `S3_ACCESS_KEY`, ...), as by the file itself.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.broker import free_port

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "infra" / "embedded" / "sample" / "image.png"
PROJECT = "towline-smoke"
FILES = ("docker-compose.yml", "tests/compose/compose.smoke.yml")
DRAG = {"handle": [200, 200], "target": [230, 210]}
KILL_CHILD = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"


class Stack:
    """The services under a project name, a port and secrets of their own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._env_file = folder / "env"
        self._env = {"PORT": str(self.port), "ENV_FILE": str(self._env_file)}
        text = (ROOT / ".env.example").read_text("utf-8")
        self._env_file.write_text(self._with_secrets(text), "utf-8")

    def _with_secrets(self, text: str) -> str:
        lines = []
        for line in text.splitlines():
            name, _, value = line.partition("=")
            value = os.environ.get(name, secrets.token_hex(24) if value == "change-me" else value)
            lines.append(line if name.startswith("#") or not name else f"{name}={value}")
        return "\n".join(lines) + "\n"

    def compose(self, *command: str, **env: str) -> str:
        """Run `docker compose`; what it printed. `CalledProcessError` if it failed."""
        files = [part for name in FILES for part in ("-f", name)]
        words = ["docker", "compose", "-p", PROJECT, "--env-file", str(self._env_file), *files]
        done = subprocess.run(
            [*words, *command], cwd=ROOT, env={**os.environ, **self._env, **env}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            done.check_returncode()
        return done.stdout

    def left(self) -> str:
        """Containers, volumes and networks of the project that are there."""
        label = ["--filter", f"label=com.docker.compose.project={PROJECT}", "-q"]
        kinds = (["ps", "-a"], ["volume", "ls"], ["network", "ls"])
        left = ""
        for kind in kinds:
            done = subprocess.run(
                ["docker", *kind, *label], capture_output=True, text=True, check=True
            )
            left += done.stdout
        return left


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say how long it took."""
    print(f"{name} ...", end=" ", flush=True)
    begun = time.monotonic()
    yield
    print(f"{time.monotonic() - begun:.1f} s", flush=True)


def submit(client: httpx.Client, image: str, count: int) -> list[str]:
    """So many jobs; their ids."""
    made = []
    for seed in range(count):
        body = {"image": image, "drags": [DRAG], "metadata": {"n": str(seed)}}
        headers = {"Idempotency-Key": f"smoke-{seed}"}
        answer = client.post("/v1/jobs", json=body, headers=headers)
        answer.raise_for_status()
        made.append(answer.json()["id"])
    return made


def wait_for_ends(client: httpx.Client, job_ids: list[str], limit_s: float) -> dict[str, str]:
    """The final states; `TimeoutError` with those that are not final."""
    ends = time.monotonic() + limit_s
    states: dict[str, str] = {}
    while len(states) < len(job_ids):
        for job_id in job_ids:
            if job_id not in states:
                job = client.get(f"/v1/jobs/{job_id}").json()
                if job["status"] not in ("queued", "running"):
                    states[job_id] = job["status"]
        if time.monotonic() > ends:
            raise TimeoutError(f"not ended: {sorted(set(job_ids) - states.keys())}")
        time.sleep(0.5)
    return states


def wait_for_webhooks(
    stack: Stack, client: httpx.Client, job_ids: list[str], limit_s: float
) -> None:
    """Until the receiver has accepted a message for each job."""
    ends = time.monotonic() + limit_s
    while True:
        said = stack.compose("logs", "--no-log-prefix", "receiver", WEBHOOK_SECRET="-")
        told = set(re.findall(r"accepted job\.\w+ (job_[0-9a-f]+)", said))
        if told >= set(job_ids):
            return
        if time.monotonic() > ends:
            log = client.get("/v1/webhook-deliveries", params={"limit": 100}).json()["data"]
            pending = [delivery for delivery in log if delivery["job"] not in told]
            raise TimeoutError(f"not told of: {sorted(set(job_ids) - told)}\n{pending}")
        time.sleep(1)


def smoke(stack: Stack, jobs: int) -> None:
    """Everything but the end."""
    with step("build"):
        stack.compose("build")
    with step("up, until healthy"):
        stack.compose("up", "-d", "--wait", "--wait-timeout", "180")
    key = stack.compose(
        "exec", "-T", "api", "python", "-m", "api", "key", "create", "--account", "smoke"
    )
    key = next(word for word in key.split() if word.startswith("tow_"))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.port}", headers=headers, timeout=30,
        transport=httpx.HTTPTransport(retries=3),
    ) as client:  # fmt: skip
        with step("an endpoint, its receiver, a picture"):
            answer = client.post("/v1/webhook-endpoints", json={"url": "http://receiver:9000/"})
            answer.raise_for_status()
            stack.compose("up", "-d", "--wait", "receiver", WEBHOOK_SECRET=answer.json()["secret"])
            answer = client.post("/v1/images", files={"file": SAMPLE.open("rb")})
            answer.raise_for_status()
            image = answer.json()["id"]
        with step(f"{jobs} jobs submitted; a worker and Redis killed meanwhile"):
            made = submit(client, image, jobs // 2)
            stack.compose("exec", "-T", "worker-warp", "python", "-c", KILL_CHILD)
            stack.compose("kill", "redis")
            made += submit(client, image, jobs)[jobs // 2 :]
            stack.compose("start", "redis")
        with step("all jobs end"):
            states = wait_for_ends(client, made, 180)
            assert len(set(made)) == jobs, "a repeated submission made another job"
            assert set(states.values()) == {"succeeded"}, states
            picture = client.get(f"/v1/jobs/{made[-1]}").json()["result"]["candidates"][0]
            answer = httpx.get(picture["url"], timeout=30)
            assert answer.content[:8] == b"\x89PNG\r\n\x1a\n", answer.status_code
        with step("all webhooks arrive, signed"):
            wait_for_webhooks(stack, client, made, 120)


def _no_engine() -> str | None:
    """Why nothing can be brought up here."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "there is no Docker here"
        if done.returncode:
            return f"`{' '.join(command)}` failed: {done.stderr.strip()}"
    return None


def main() -> int:
    """0 only if everything was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    jobs = parser.parse_args().jobs
    if (why := _no_engine()) is not None:
        print(f"compose-smoke: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        stack, is_well = Stack(Path(name)), False
        try:
            smoke(stack, jobs)
            is_well = True
        except (
            AssertionError,
            TimeoutError,
            httpx.HTTPError,
            subprocess.CalledProcessError,
        ) as error:
            print(f"\ncompose-smoke: {type(error).__name__}: {error}", file=sys.stderr)
            print(stack.compose("ps", "-a"), stack.compose("logs", "--tail", "15"), file=sys.stderr)
        finally:
            with step("down"):
                stack.compose("--profile", "*", "down", "-v", "--remove-orphans", "--timeout", "30")
        if left := stack.left():
            print(f"compose-smoke: this is left:\n{left}", file=sys.stderr)
            return 1
    print("compose-smoke: all well" if is_well else "compose-smoke: failed")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
