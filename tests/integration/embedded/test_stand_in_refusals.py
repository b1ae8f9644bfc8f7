"""A start that cannot be: one clear line, status not 0, nothing left."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.embedded.port import free_port
from tests.integration.embedded.running import refused

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


def test_second_start_with_the_same_home_names_the_pid_of_the_first(start: Start) -> None:
    first = start()
    first.wait_until_up()
    refused(
        start(home=first.home), f"already in use by a running service (pid {first.process.pid})"
    )
    assert first.child("api").is_alive()


def test_start_is_refused_in_one_line_when_the_port_is_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        refused(start(port=port), f"port {port} is in use")


def test_start_is_refused_in_one_line_when_the_home_is_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(start(home=tmp_path / "file"), "is not a folder")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place that is read-only")
def test_start_is_refused_in_one_line_when_the_home_cannot_be_made(start: Start) -> None:
    refused(start(home=Path("/proc/towline")), "cannot use /proc/towline as TOWLINE_HOME")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_start_is_refused_in_one_line_when_the_home_is_not_ours(
    start: Start, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    refused(start(home=tmp_path / "home"), "Permission denied")


@pytest.mark.parametrize("port", ["eight", "0", "70000"])
def test_start_is_refused_in_one_line_when_the_port_is_none(start: Start, port: str) -> None:
    refused(start(TOWLINE_PORT=port), "TOWLINE_PORT")
