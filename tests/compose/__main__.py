"""`make compose-smoke`, `compose-upgrade` and `compose-restore`: docker-compose.yml for real.

    python -m tests.compose [--jobs 100]
    python -m tests.compose --upgrade [--per-second 3]
    python -m tests.compose --restore [--per-second 3]

The first builds the images; brings everything up and waits until it is healthy; submits jobs over
HTTP; a container beside receives their webhooks and checks the signatures; meanwhile a worker and
Redis are killed; every job must end well and be told of. The second goes from one version to
the next while clients submit, poll, wait, listen and upload (`upgrade.py`). The third makes a
backup meanwhile, and a service of it (`restore.py`). Then nothing may be left. Exit status 0
only if all of that was seen. Where there is no Docker it says so and fails. Images other than the
usual are taken from the environment (`S3_IMAGE`, `S3_ACCESS_KEY`, ...), as by the file itself.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from tests.compose.restore import restore
from tests.compose.stack import (
    DRAG,
    Stack,
    picture,
    step,
    wait_for_ends,
    wait_for_webhooks,
    why_not,
)
from tests.compose.upgrade import upgrade

KILL_CHILD = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"


def submit(client: httpx.Client, image: str, count: int) -> list[str]:
    """So many jobs; their ids."""
    made = []
    for seed in range(count):
        body = {"image": image, "drags": [DRAG], "metadata": {"n": str(seed)}}
        headers = {"Idempotency-Key": f"smoke-{seed}"}
        answer = client.post("/v1/jobs", json=body, headers=headers)
        answer.raise_for_status()
        made.append(answer.json()["id"])
    return made


def smoke(stack: Stack, jobs: int) -> None:
    """Everything but the end."""
    with step("build"):
        stack.compose("build")
    with step("up, until healthy"):
        stack.compose("up", "-d", "--wait", "--wait-timeout", "180")
    with stack.client() as client:
        with step("an endpoint, its receiver, a picture"):
            stack.receiver(client)
            image = picture(client)
        with step(f"{jobs} jobs submitted; a worker and Redis killed meanwhile"):
            made = submit(client, image, jobs // 2)
            stack.compose("exec", "-T", "worker-warp", "python", "-c", KILL_CHILD)
            stack.compose("kill", "redis")
            made += submit(client, image, jobs)[jobs // 2 :]
            stack.compose("start", "redis")
        with step("all jobs end"):
            states = wait_for_ends(client, made, 180)
            assert len(set(made)) == jobs, "a repeated submission made another job"
            assert set(states.values()) == {"succeeded"}, states
            shown = client.get(f"/v1/jobs/{made[-1]}").json()["result"]["candidates"][0]
            answer = httpx.get(shown["url"], timeout=30, trust_env=False)
            assert answer.content[:8] == b"\x89PNG\r\n\x1a\n", answer.status_code
        with step("all webhooks arrive, signed"):
            wait_for_webhooks(stack, client, made, 120)


def main() -> int:
    """0 only if everything was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("--restore", action="store_true")
    parser.add_argument("--per-second", type=float, default=3.0)
    chosen = parser.parse_args()
    if chosen.upgrade:
        return _try("compose-upgrade", partial(upgrade, per_s=chosen.per_second))
    if chosen.restore:
        with tempfile.TemporaryDirectory() as name:
            what = partial(restore, per_s=chosen.per_second, folder=Path(name))
            return _try("compose-restore", what)
    return _try("compose-smoke", partial(smoke, jobs=chosen.jobs))


def _try(name: str, what: Callable[[Stack], None]) -> int:
    if (why := why_not()) is not None:
        print(f"{name}: {why}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was brought up is taken down
    with tempfile.TemporaryDirectory() as folder:
        stack, is_well = Stack(Path(folder)), False
        try:
            what(stack)
            is_well = True
        except (
            AssertionError,
            TimeoutError,
            httpx.HTTPError,
            subprocess.CalledProcessError,
        ) as error:
            print(f"\n{name}: {type(error).__name__}: {error}", file=sys.stderr)
            print(stack.compose("ps", "-a"), stack.compose("logs", "--tail", "15"), file=sys.stderr)
        finally:
            with step("down"):
                stack.compose("--profile", "*", "down", "-v", "--remove-orphans", "--timeout", "30")
        if left := stack.left():
            print(f"{name}: this is left:\n{left}", file=sys.stderr)
            return 1
    print(f"{name}: all well" if is_well else f"{name}: failed")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
