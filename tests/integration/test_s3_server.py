"""The S3 server of the tests ends with whoever started it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.crew import wait_until
from tests.servers.s3 import SCRIPT, S3Server, two_free_ports

pytestmark = pytest.mark.slow

STARTER = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(server.pid, flush=True)
print(server.stdout.readline().strip(), flush=True)
server.wait()
"""


def family(folder: str) -> list[int]:
    """The server's processes: each has its folder on its command line or in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder.encode() in told and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("victim", ["whoever started it", "the script"])
def test_no_process_of_the_server_is_left_when_one_of_them_is_killed(
    s3_server: S3Server, victim: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(SCRIPT), f"{folder}/s", str(two_free_ports())],
            env=os.environ | {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert starter.stdout is not None
        script = int(starter.stdout.readline())
        assert starter.stdout.readline() == "ready\n"
        assert len(family(f"{folder}/s")) >= 4
        os.kill(script if victim == "the script" else starter.pid, signal.SIGKILL)
        wait_until(lambda: not family(f"{folder}/s"), 10)
        starter.kill()
        starter.wait()
        starter.stdout.close()
    assert s3_server.client().list_buckets()["Buckets"] is not None, "the other one lives"


INNER = """
def test_something(s3_server):
    pass
"""


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [({}, 0, "SKIPPED [1]"), ({"CI": "true"}, 1, "CI must test on S3")],
    ids=["elsewhere", "in CI"],
)
def test_a_missing_server_is_said_loudly_and_fails_in_ci(
    tmp_path: Path, environment: dict[str, str], status: int, said: str
) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    given: dict[str, Any] = {**environment, "PATH": str(tmp_path), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "tests.servers.s3", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=given,
        text=True,
        capture_output=True,
    )
    assert ended.returncode == status, ended.stdout
    summary = [line for line in ended.stdout.splitlines() if said in line]
    assert summary, ended.stdout
    assert "apt-get install radosgw ceph-osd ceph-mon ceph-common" in ended.stdout
