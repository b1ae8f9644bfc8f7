"""The server that tests start: nothing of it stays behind, whatever becomes of the tests."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crew import REPOSITORY, wait_until

pytestmark = pytest.mark.slow

STARTS_ONE = """
from tests.servers.postgres import Postgres
server = Postgres()
server.start()
print(server.port, server._folder, flush=True)
input()
"""


def test_server_and_folder_are_gone_when_the_tests_are_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        port, folder = tests.stdout.readline().split()
        assert _is_open(int(port))
        tests.kill()
    wait_until(lambda: not _is_open(int(port)))
    wait_until(lambda: not Path(folder).exists())


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
