"""The services of docker-compose.yml under a name of their own, and how to look at them."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.broker import free_port

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "infra" / "embedded" / "sample" / "image.png"
PAGE = ROOT / "docs" / "howto" / "grow.md"
PROJECT = "towline-smoke"
FILES = ("docker-compose.yml", "tests/compose/compose.smoke.yml")
DRAG = {"handle": [200, 200], "target": [230, 210]}


class Stack:
    """The services under a project name, a port and secrets of their own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._secret = "-"
        self._env_file = folder / "env"
        #: As an operator has it: `docker compose` alone then means this stack.
        self.env = {
            "PORT": str(self.port),
            "COMPOSE_ENV_FILES": str(self._env_file),
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": ":".join(FILES),
        }
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
        return self.run("docker", "compose", *command, **env)

    def run(self, *command: str, **env: str) -> str:
        """Run a command from the repository; what it printed. `CalledProcessError` if it failed."""
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self.env, **env}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            done.check_returncode()
        return done.stdout

    def key(self) -> str:
        """Of a new account."""
        said = self.compose(
            "exec", "-T", "api", "python", "-m", "api", "key", "create", "--account", "smoke"
        )
        # Both streams are one here, and their pieces may come in any order
        keys = re.findall(r"tow_[0-9a-f]{16}_\w+", said)
        assert len(keys) == 1, f"no key in {said!r}"
        return keys[0]

    def client(self) -> httpx.Client:
        """With a key of its own; one that tries again to connect."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False,
            headers={"Authorization": f"Bearer {self.key()}"},
            transport=httpx.HTTPTransport(retries=3),
        )  # fmt: skip

    def receiver(self, client: httpx.Client) -> None:
        """An endpoint of the account, and who listens there."""
        answer = client.post("/v1/webhook-endpoints", json={"url": "http://receiver:9000/"})
        answer.raise_for_status()
        self._secret = answer.json()["secret"]
        self.start_receiver()

    def start_receiver(self) -> None:
        """Who listens at the endpoint."""
        self.compose("up", "-d", "--wait", "receiver", WEBHOOK_SECRET=self._secret)

    def told(self) -> list[tuple[str, str]]:
        """Job and webhook id of what the receiver has accepted."""
        said = self.compose("logs", "--no-log-prefix", "receiver", WEBHOOK_SECRET="-")
        return re.findall(r"accepted job\.\w+ (job_[0-9a-f]+) (\S+)", said)

    def counts(self, query: str) -> Counter[str]:
        """What the database says to a query for names and numbers."""
        said = self.compose(
            "exec", "-T", "postgres", "psql", "-U", "towline", "-At", "-F", "\t", "-c", query
        )
        rows = [line.split("\t") for line in said.splitlines() if "\t" in line]
        return Counter({name: int(count) for name, count in rows})

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


def wait_for_ends(client: httpx.Client, job_ids: list[str], limit_s: float) -> dict[str, str]:
    """The final states; `TimeoutError` with those that are not final."""
    ends = time.monotonic() + limit_s
    states: dict[str, str] = {}
    while len(states) < len(job_ids):
        for job_id in job_ids:
            if job_id not in states:
                answer = client.get(f"/v1/jobs/{job_id}")
                answer.raise_for_status()
                job = answer.json()
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
        told = {job_id for job_id, _ in stack.told()}
        if told >= set(job_ids):
            return
        if time.monotonic() > ends:
            log = client.get("/v1/webhook-deliveries", params={"limit": 100}).json()["data"]
            pending = [delivery for delivery in log if delivery["job"] not in told]
            raise TimeoutError(f"not told of: {sorted(set(job_ids) - told)}\n{pending}")
        time.sleep(1)


def why_not() -> str | None:
    """Why nothing can be brought up here."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "there is no Docker here"
        if done.returncode:
            return f"`{' '.join(command)}` failed: {done.stderr.strip()}"
    return None


def picture(client: httpx.Client) -> str:
    """The id of an image."""
    answer = client.post("/v1/images", files={"file": SAMPLE.open("rb")})
    answer.raise_for_status()
    return str(answer.json()["id"])
