"""A backup that is made while clients go on, and a service made of it, by the page's commands.

What was accepted before the backup must be there, end, and have its pictures; what came after it
is gone, and nothing is half there. The bucket is copied over S3, since servers keep it differently.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.compose.load import Load
from tests.compose.stack import (
    PAGE,
    ROOT,
    Stack,
    picture,
    step,
    wait_for_ends,
    wait_for_webhooks,
)

SETTLE_S = 10.0
PLACE = """
import sys, tarfile, io
from shared.services import build_services
from shared.settings import read_settings

objects = build_services(read_settings()).objects
"""
OUT = (
    PLACE
    + """
last = ""
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
    while page := objects.walk("", last, 1000):
        for stored in page:
            data = objects.get(stored.key)
            entry = tarfile.TarInfo(stored.key)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        last = page[-1].key
"""
)
IN = (
    PLACE
    + """
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    for entry in tar:
        objects.put(entry.name, tar.extractfile(entry).read())
"""
)


def restore(stack: Stack, per_s: float, folder: Path) -> None:
    """All of it but the end."""
    dump, tar = folder / "towline.dump", folder / "bucket.tar"
    save, load_again = commands(dump)
    with step("build, and up until healthy"):
        stack.compose("up", "-d", "--build", "--wait", "--wait-timeout", "300")
    with stack.client() as client:
        stack.receiver(client)
        headers = {"Authorization": client.headers["Authorization"]}
        load = Load(str(client.base_url), headers, picture(client), per_s)
        with load.going_on():
            time.sleep(SETTLE_S)
            before = list(load.jobs)
            with step(save):
                stack.run("sh", "-c", save)
            during = len(load.jobs)
            with step("copy the bucket"):
                _copy(stack, OUT, to=tar)
            time.sleep(SETTLE_S / 2)
        assert not load.refused, load.refused[:20]
        assert len(load.jobs) > during, "nothing came after the backup"
    print(f"  {len(before)} jobs before, {during - len(before)} while it was made,"
          f" {len(load.jobs) - during} after", flush=True)  # fmt: skip
    with step("everything is lost"):
        stack.compose("--profile", "*", "down", "-v", "--timeout", "30")
    with step(load_again):
        stack.compose("up", "-d", "--wait", "postgres", "s3")
        stack.run("sh", "-c", load_again)
    with step("the bucket"):
        stack.compose("run", "--rm", "--no-deps", "migrate")
        _copy(stack, IN, from_=tar)
    with step("up, until healthy"):
        stack.start_receiver()
        stack.compose("up", "-d", "--wait", "--wait-timeout", "300")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.port}", headers=headers, timeout=60, trust_env=False
    ) as client:
        _judge(stack, client, before, load)


def commands(dump: Path) -> list[str]:
    """The two of the page that go through a file, which is this one."""
    section = PAGE.read_text("utf-8").partition("## Back up")[2]
    found = re.findall(r"^    (docker compose exec .*towline\.dump)$", section, re.MULTILINE)
    assert len(found) == 2, found
    return [command.replace("towline.dump", str(dump)) for command in found]


def _copy(stack: Stack, program: str, *, to: Path | None = None, from_: Path | None = None) -> None:
    """In a container of ours, since nobody else reaches the storage."""
    words = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "migrate"]
    with (
        (from_ or Path("/dev/null")).open("rb") as read,
        (to or Path("/dev/null")).open("wb") as written,
    ):
        subprocess.run(
            [*words, "python", "-c", program], cwd=ROOT, env={**os.environ, **stack.env},
            stdin=read, stdout=written, check=True,
        )  # fmt: skip


def _judge(stack: Stack, client: httpx.Client, before: list[str], load: Load) -> None:
    """What there was, and only what there was."""
    known = {job_id for job_id in load.jobs if client.get(f"/v1/jobs/{job_id}").status_code == 200}
    assert set(before) <= known, f"lost: {sorted(set(before) - known)}"
    print(f"  {len(known)} of {len(load.jobs)} jobs are known", flush=True)
    with step("all of them end"):
        states = wait_for_ends(client, sorted(known), 600)
        assert set(states.values()) == {"succeeded"}, Counter(states.values())
    with step("all have their pictures"):
        for job_id in known:
            result = client.get(f"/v1/jobs/{job_id}").json()["result"]
            for candidate in result["candidates"]:
                answer = httpx.get(candidate["url"], timeout=30, trust_env=False)
                assert answer.content[:8] == b"\x89PNG\r\n\x1a\n", (job_id, answer.status_code)
    with step("submissions go on"):
        submitted = client.post(
            "/v1/jobs", json={"image": load.image, "drags": [{"handle": [9, 9], "target": [20, 9]}]}
        )
        submitted.raise_for_status()
        wait_for_ends(client, [submitted.json()["id"]], 60)
    with step("all that was not told before the backup is told"):
        wait_for_webhooks(stack, client, [submitted.json()["id"]], 300)
        deadline_s = time.monotonic() + 300
        while (states := _deliveries(stack)).keys() != {"succeeded"}:
            assert time.monotonic() < deadline_s, states
            time.sleep(1)
    told = {job_id for job_id, _ in stack.told()}
    print(f"  webhooks: {len(known) + 1} jobs are told of, {len(told)} of them again or only now")
    assert states["succeeded"] == len(known) + 1


def _deliveries(stack: Stack) -> Counter[str]:
    return stack.counts("SELECT status, count(*) FROM webhook_deliveries GROUP BY 1")
