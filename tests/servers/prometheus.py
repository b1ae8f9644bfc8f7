"""A real Prometheus, and promtool, from Debian's package; where they are missing tests say so."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from tests.broker import free_port
from tests.crew import REPOSITORY, wait_until

FOLDER = REPOSITORY / "infra" / "prometheus"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; without it the test is skipped, in CI it fails."""
    path = shutil.which(name)
    if path is None:
        said = f"{name} is missing: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(f"CI must test what watches: {said}")
        pytest.skip(said)
    return path


class Prometheus:
    """Runs while the block does, with our rules; scrapes `targets` twice a second.

    targets: for each job, as docker-compose.yml names the service, its `HOST:PORT`.
    """

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        self._program = program("prometheus")
        self._folder = folder
        self._targets = targets
        self.url = ""

    def __enter__(self) -> Self:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        self.log = self._folder / "prometheus.log"
        with self.log.open("w") as file:
            self._process = subprocess.Popen(
                [self._program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                 f"--storage.tsdb.path={self._folder / 'tsdb'}"],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(self._is_ready, said=self.log.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def query(self, query: str) -> list[float]:
        """The newest value of each series that it gives; the test fails where it is no query."""
        answer = self.get("query", query=query)
        return [float(series["value"][1]) for series in answer["result"]]

    def history(self, query: str, seconds: int) -> list[float]:
        """Every number that it gave in the last seconds, as a panel would draw them."""
        now = time.time()
        answer = self.get(
            "query_range", query=query, start=str(now - seconds), end=str(now), step="1"
        )
        values = [float(value) for series in answer["result"] for _, value in series["values"]]
        return [value for value in values if not math.isnan(value)]

    def get(self, what: str, **parameters: str) -> dict[str, Any]:
        """The data of an answer of its API."""
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, trust_env=False).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]  # type: ignore[no-any-return]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _config(self) -> dict[str, Any]:
        """Ours, but for where the targets are and how often they are asked."""
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
        config["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in self._targets.items()
        ]
        return config
