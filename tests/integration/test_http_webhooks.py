"""A real edit over HTTP, and the receiver of the documentation, which knows only the standard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from shared.webhooks.signing import new_secret
from tests.broker import free_port
from tests.factories import a_picture
from tests.integration.editor import Editor
from tests.integration.embedded.running import REPOSITORY, EmbeddedService, wait_until

pytestmark = pytest.mark.slow

EXAMPLE = REPOSITORY / "docs" / "howto" / "receiver.py"
DRAG = {"handle": [20, 20], "target": [28, 20]}


class Example:
    """The documentation's receiver, as a process."""

    def __init__(self, secret: str, port: int, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}/towline", log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLE), str(port)],
                env=os.environ | {"WEBHOOK_SECRET": secret},
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, trust_env=False).status_code == 501  # it only takes POST
        except httpx.TransportError:
            return False

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start_example(tmp_path: Path) -> Iterator[Callable[[str, int], Example]]:
    with ExitStack() as ends:

        def start(secret: str, port: int) -> Example:
            example = Example(secret, port, tmp_path / f"{port}.log")
            ends.callback(example.end)
            return example

        yield start


def test_a_receiver_of_nothing_but_the_standard_hears_of_a_real_edit(
    service: EmbeddedService, start_example: Callable[[str, int], Example]
) -> None:
    with service.api() as api:
        secret = api.get("/v1/webhook-secret").json()["secret"]
        example = start_example(secret, free_port())
        editor = Editor(api)
        job = editor.edit(
            image=editor.upload(a_picture())["id"],
            drags=[DRAG],
            webhook={"url": example.url, "events": ["job.*"]},
        )
        wait_until(lambda: example.said() == [f"job.succeeded {job['id']}"], 20)

        def is_delivered() -> bool:
            log = api.get(f"/v1/webhook-deliveries?job={job['id']}").json()["data"]
            (delivery,) = (each for each in log if each["url"] == example.url)
            return bool(delivery["status"] == "succeeded")

        wait_until(is_delivered)
        logs = "".join(path.read_text() for path in (service.home / "logs").glob("*.log"))
        assert "webhook_tried" in logs
        assert secret not in logs
        assert secret not in service.said


def test_the_receiver_refuses_what_was_changed_what_is_old_and_what_is_another_s(
    start_example: Callable[[str, int], Example],
) -> None:
    secret, body = new_secret(), json.dumps({"type": "job.succeeded", "data": {"id": "job_1"}})
    example = start_example(secret, free_port())

    def send(number: int, text: str = body, key: str = secret, age_s: float = 0) -> int:
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        headers = {
            "webhook-id": f"evt_{number}",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(key).sign(f"evt_{number}", at, body),
        }
        return httpx.post(example.url, content=text, headers=headers, trust_env=False).status_code

    assert send(1) == 204
    assert send(2, text=body.replace("job_1", "job_2")) == 400
    assert send(3, age_s=600) == 400
    assert send(4, age_s=-600) == 400
    assert send(5, key=new_secret()) == 400
    assert send(1) == 204  # once more: accepted, and not done again
    time.sleep(0.1)
    assert example.said() == ["job.succeeded job_1"]
