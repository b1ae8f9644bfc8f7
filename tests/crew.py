"""Real worker processes for tests: started, watched by their logs, gone after the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.jobs.job import Job
from shared.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[1]
LIMIT_S = 30.0
#: Settings of a test that its processes have as well.
PASSED_ON = (
    "lease_s", "heartbeat_s", "sweep_s", "drain_s", "drain_notice_s", "api_processes",
    "worker_threads", "worker_port", "webhook_allow_http", "webhook_timeout_s",
    "webhook_time_scale", "webhook_concurrency", "webhook_endpoint_concurrency",
)  # fmt: skip


def wait_until(happened: Callable[[], Any], limit_s: float = LIMIT_S, said: str = "") -> Any:
    """What it gives once that is true; the test fails when it does not come."""
    deadline_s = time.monotonic() + limit_s
    while not (value := happened()):
        assert time.monotonic() < deadline_s, said or "did not happen in time"
        time.sleep(0.02)
    return value


@dataclass
class Member:
    """One process."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under a name."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line.get("event") == name]

    def wait_for_event(self, name: str) -> dict[str, Any]:
        return wait_until(lambda: self.events(name), said=self.log.read_text())[0]  # type: ignore[no-any-return]

    def wait_for_ready(self) -> None:
        """Until it takes messages."""
        wait_until(lambda: " ready." in self.log.read_text(), said=self.log.read_text())

    def wait_for_death(self, limit_s: float = LIMIT_S) -> int:
        return self.process.wait(limit_s)

    def is_frozen(self) -> bool:
        state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


class Crew:
    """Workers and beat on the database, the objects and the broker of some services."""

    def __init__(self, services: Services, folder: Path) -> None:
        self.services = services
        self._folder = folder
        self.members: list[Member] = []
        self.redis_url = services.settings.redis_url.get_secret_value()

    def worker(self, *options: str, queues: str = "warp", **environment: str) -> Member:
        """One with the engine for tests; `environment`: what it has otherwise than the others."""
        return self.start("tests.worker_main", "run", "--queues", queues, *options, **environment)

    def start(self, *command: str, **environment: str) -> Member:
        log = self._folder / f"{len(self.members)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env=dict(os.environ) | self._environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.members.append(Member(process, log))
        return self.members[-1]

    def _environment(self) -> dict[str, str]:
        settings = self.services.settings
        return {
            "TOWLINE_HOME": str(settings.home),
            "TOWLINE_DATABASE_URL": settings.database,
            "TOWLINE_REDIS_URL": self.redis_url,
            "TOWLINE_PORT": str(settings.port),
            "TOWLINE_LOG_FORMAT": "json",
            "TOWLINE_SECRET_KEY": settings.secret_key.get_secret_value(),
            "TOWLINE_WEBHOOK_PORTS": ",".join(settings.webhook_ports),
            "TOWLINE_WEBHOOK_NETWORKS": ",".join(settings.webhook_networks),
            **{
                f"TOWLINE_{name.upper()}": str(getattr(settings, name))
                for name in PASSED_ON
                if getattr(settings, name) is not None
            },
            **(self._s3() if settings.s3_url else {}),
        }

    def _s3(self) -> dict[str, str]:
        settings = self.services.settings
        return {
            "TOWLINE_S3_URL": settings.s3_url,
            "TOWLINE_S3_BUCKET": settings.s3_bucket,
            "TOWLINE_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
            "TOWLINE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        }

    def wait_for_end(self, job: Job, limit_s: float = LIMIT_S) -> Job:
        """The job once it is final."""

        def ended() -> Job | None:
            now = self.services.jobs.get(job.account_id, job.id)
            return now if now.status.is_final else None

        return wait_until(ended, limit_s, self.said())  # type: ignore[no-any-return]

    def said(self) -> str:
        return "\n".join(member.log.read_text()[-3000:] for member in self.members)

    def stored(self, job: Job) -> list[str]:
        """The keys under which something of a job is stored."""
        place = f"results/{job.account_id}/{job.id}/"
        return [stored.key for stored in self.services.objects.walk(place, "", 1000)]

    def end(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.signal(signal.SIGKILL)
                member.process.wait()
