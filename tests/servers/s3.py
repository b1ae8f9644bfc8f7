"""A real S3 server for tests, a bucket of one's own on it, and a connection that can go bad."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from shared.settings import Settings
from tests.planted import S3_SECRET_KEY
from tests.search import refuse
from tests.servers.s3_proxy import S3Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT = Path(__file__).with_name("s3-server.sh")
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "setpriv")
PACKAGES = "radosgw ceph-osd ceph-mon ceph-common"
ACCESS_KEY, SECRET_KEY = "test-access", S3_SECRET_KEY


@dataclass(frozen=True)
class S3Server:
    """One that answers."""

    url: str
    folder: Path  #: of its own files
    pid: int  #: of the script that runs it

    def client(self) -> Any:
        """Boto3's own, for what only tests do."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


def missing_programs() -> str | None:
    """Why there can be no S3 server here."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{missing[0]} is missing: apt-get install {PACKAGES}" if missing else None


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Started by the first test that needs it: 10 s."""
    if missing := missing_programs():
        said = f"no S3 server here, {missing}"
        if os.environ.get("CI"):
            pytest.fail(f"CI must test on S3: {said}")
        pytest.skip(said)
    with running_s3_server() as server:
        yield server


@contextmanager
def running_s3_server() -> Iterator[S3Server]:
    """One of our own, from its start to its end."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="s3-", dir=memory) as folder:
        port = two_free_ports()
        server = subprocess.Popen(
            [str(SCRIPT), folder, str(port)],
            env=os.environ | {"S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY},
            stdin=subprocess.PIPE,  # it ends when this is closed, so with this very process
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdin is not None
        said = server.stdout.readline()
        assert said == "ready\n", said + server.stdout.read()
        yield S3Server(f"http://127.0.0.1:{port}", Path(folder), server.pid)
        server.stdin.close()
        server.wait(10)
        refuse(Path(folder) / "log")


def two_free_ports() -> int:
    """The first of two in a row that nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def s3(s3_server: S3Server) -> dict[str, Any]:
    """The settings of an empty bucket, which nobody else has."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3_server.client().create_bucket(Bucket=bucket)
    return {
        "s3_url": s3_server.url,
        "s3_bucket": bucket,
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": SECRET_KEY,
        "s3_timeout_s": 2,
    }


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    """The way to the server, which a test may make bad."""
    with S3Proxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture
def s3_settings(s3: dict[str, Any], folder: Path) -> Callable[..., Settings]:
    """Settings with the bucket and what else is named."""
    return lambda **changes: Settings(**({"home": folder / "home", **s3} | changes))
