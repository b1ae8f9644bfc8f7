"""The real embedded service for whoever tests against it: `service` (one for the whole
session) and `start_service` (one more, in a home of its own).
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from infra.embedded.port import free_port
from tests.integration.embedded.running import REPOSITORY, EmbeddedService, StartService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def start_any_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """For fixtures of any scope; tests take `start_service`."""
    services: list[EmbeddedService] = []

    def start(
        *arguments: str,
        home: Path | None = None,
        port: int | None = None,
        folder: Path = REPOSITORY,
        command: tuple[str, ...] = (sys.executable, "-m", "infra.embedded"),
        **environment: str,
    ) -> EmbeddedService:
        workplace = tmp_path_factory.mktemp("embedded")
        home, port, output = home or workplace / "home", port or free_port(), workplace / "output"
        clean = {name: value for name, value in os.environ.items() if "TOWLINE_" not in name}
        with output.open("w") as file:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=clean | {"TOWLINE_HOME": str(home), "TOWLINE_PORT": str(port)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        services.append(EmbeddedService(process, home, port, output))
        return services[-1]

    yield start
    for service in services:
        if service.process.poll() is None:
            service.process.terminate()
    for service in services:
        try:
            service.process.wait(15)
        except subprocess.TimeoutExpired:
            service.kill_everything()


@pytest.fixture
def start_service(start_any_service: StartService) -> Iterator[StartService]:
    """Start a service of one's own; it has ended after the test."""
    services: list[EmbeddedService] = []

    def start(*arguments: str, **options: object) -> EmbeddedService:
        services.append(start_any_service(*arguments, **options))  # type: ignore[arg-type]
        return services[-1]

    yield start
    for service in services:
        if service.family():
            service.kill_everything()


@pytest.fixture(scope="session")
def service(start_any_service: StartService) -> EmbeddedService:
    """The one that tests share: do not stop it, and use objects of your own.

    It may send webhooks to this machine, and nowhere else.
    """
    service = start_any_service(
        TOWLINE_WEBHOOK_ALLOW_HTTP="true",
        TOWLINE_WEBHOOK_PORTS="*",
        TOWLINE_WEBHOOK_NETWORKS="127.0.0.0/8",
        TOWLINE_WEBHOOK_MAX_ENDPOINTS="10000",
    )
    service.wait_until_up()
    return service
