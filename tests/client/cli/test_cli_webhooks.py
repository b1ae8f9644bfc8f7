"""`towline webhooks listen`, in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from select import select

import httpx
import pytest

from tests.client.cli.conftest import Command
from tests.client.cli.faked import FakedServer
from towline import Towline
from towline.webhooks import sign

pytestmark = pytest.mark.slow

SECRET = "whsec_" + "c2VjcmV0" * 4
EVENT = {"type": "job.failed", "timestamp": "2026-11-23T04:05:06.789Z",
         "data": {"id": "job_1", "error": {"code": "timeout"}}}  # fmt: skip


class Listener:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stderr is not None
        readable, _, _ = select([process.stderr], [], [], 30)
        assert readable, "it says nothing"
        said = process.stderr.readline()
        self.said = said
        found = re.search(r"http://[\d.:]+/", said)
        assert found, said
        self.url = found[0]

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        return httpx.post(self.url, content=body, headers=headers, trust_env=False).status_code

    def send(self, event_id: str = "evt_1", secret: str = SECRET) -> int:
        body = json.dumps(EVENT).encode()
        return self.post(body, dict(sign(secret, event_id, datetime.now(UTC), body)))

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path / "secret"


@pytest.fixture
def listening(command: Command, secret_file: Path) -> Iterator[Listener]:
    process = command.start("webhooks", "listen", "--port", "0", "--secret-file", str(secret_file))
    yield Listener(process)
    if process.poll() is None:
        process.kill()
        process.communicate()


def test_events_are_verified_and_printed_a_line_each(listening: Listener) -> None:
    assert listening.send() == 204
    assert listening.send() == 204
    assert listening.send(secret="whsec_" + "b3RoZXJz" * 4) == 401
    assert listening.post(b"{}", {}) == 401
    assert httpx.get(listening.url, trust_env=False).status_code == 501
    code, out, err = listening.end()
    assert code == 130
    first, again = out.splitlines()
    assert first.split()[1:] == ["job.failed", "job_1", "timeout"]
    assert again.endswith("(again)")
    assert err.count("refused:") == 2
    assert "Traceback" not in err


def test_a_body_that_is_too_large_is_not_read(listening: Listener) -> None:
    assert listening.post(b"x" * (2**20 + 1), {}) == 413
    assert listening.send() == 204


def test_it_ends_after_as_many_events_as_were_wanted(command: Command, secret_file: Path) -> None:
    command.environment["MINE"] = SECRET
    process = command.start(
        "webhooks", "listen", "--port", "0", "--secret-env", "MINE", "-n", "1", "--json"
    )
    listener = Listener(process)
    assert json.loads(listener.said) == {"listening": listener.url}
    assert listener.send() == 204
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["id"] == "evt_1"


def test_without_a_secret_the_accounts_is_asked_for(server: FakedServer, command: Command) -> None:
    with Towline(server.url, command.key) as client:
        secret = client.webhook_secret.get().secret
    process = command.start("webhooks", "listen", "--port", "0", "-n", "1")
    assert Listener(process).send(secret=secret) == 204
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("secret", "said"), [("", "There is no secret"), ("whsec_!", "cannot be used")]
)
def test_a_secret_that_is_none_is_said_at_once(command: Command, secret: str, said: str) -> None:
    command.environment["MINE"] = secret
    ran = command("webhooks", "listen", "--secret-env", "MINE")
    assert ran.code == 2
    assert said in ran.err


def test_a_port_that_is_taken_is_said(
    server: FakedServer, command: Command, secret_file: Path
) -> None:
    port = server.url.rpartition(":")[2]
    ran = command("webhooks", "listen", "--port", port, "--secret-file", str(secret_file))
    assert ran.code == 2
    assert "choose another --port" in ran.err
