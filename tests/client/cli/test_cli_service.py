"""The command line and the real service."""

from __future__ import annotations

import io
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.client.cli.conftest import Command
from tests.client.cli.faked import FakedServer
from tests.client.cli.forked import Forked
from tests.client.cli.manifests import a_line, write
from tests.client.conftest import noise
from tests.integration.conftest import service, start_any_service  # noqa: F401
from tests.integration.embedded.running import EmbeddedService
from towline import Towline

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[3] / "client" / "examples"
CAT = EXAMPLES / "photos" / "cat.png"


@pytest.fixture
def towline_(service: EmbeddedService, tmp_path: Path) -> Command:  # noqa: F811
    return Command(service.url, tmp_path, key=service.key)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_an_edit_is_made(towline_: Command, tmp_path: Path) -> None:
    ran = towline_(
        "edit", str(CAT), "--drag", "168,87:167,72", "--rect", "140,50,200,110", "-o", "out.png"
    )
    assert ran.code == 0, ran.err
    before, after = pixels(CAT.read_bytes()), pixels((tmp_path / "out.png").read_bytes())
    changed = (before != after).any(axis=-1)
    assert changed[50:110, 140:200].any()
    changed[50:110, 140:200] = False
    assert not changed.any()
    assert "queued" in ran.err
    assert "succeeded" in ran.err


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_the_examples_run(towline_: Command, tmp_path: Path, name: str) -> None:
    ran = towline_(
        "batch", "run", str(EXAMPLES / name), "--images", str(EXAMPLES / "photos"), "--out", "out"
    )
    assert ran.code == 0, ran.err
    made = {each.name for each in (tmp_path / "out").iterdir() if not each.name.startswith(".")}
    assert made == {"larger-eye.png", "chin-down.jpg", "nose-left.webp", "results.jsonl"}


def test_what_the_service_finds_wrong_is_named_by_line(towline_: Command, tmp_path: Path) -> None:
    far = [{"handle": [20, 20], "target": [900, 20]}]
    lines = [a_line("good", "cat.png"), "", a_line("far", "cat.png", drags=far)]
    write(tmp_path / "m.jsonl", *lines, a_line("odd", "cat.png", options={"steps": 99}))
    arguments = ("batch", "run", "m.jsonl", "--images", str(CAT.parent), "--out", "out")
    ran = towline_(*arguments)
    assert ran.code == 2
    assert "line 3: drags/0/target" in ran.err
    assert "line 4: options/steps" in ran.err
    ran = towline_(*arguments, "--skip-invalid", "--json")
    assert ran.code == 1
    assert ran.json["counts"] == {"total": 3, "succeeded": 1, "invalid": 2}


def test_the_doctor_finds_nothing_wrong(towline_: Command) -> None:
    ran = towline_("doctor", "--json")
    assert ran.code == 0, ran.out
    states = {each["check"]: each["state"] for each in map(json.loads, ran.out.splitlines())}
    assert set(states.values()) == {"ok"}
    assert {"key", "clock", "engines", "pictures", "version", "readiness"} <= set(states)


def test_the_doctor_finds_a_key_that_is_wrong(towline_: Command) -> None:
    towline_.key = "tow_none_none"
    ran = towline_("doctor")
    assert ran.code == 1
    assert "wrong    key" in ran.out
    assert "towline login" in ran.out


LINES, PICTURES = 12, 3


class Watched:
    """The real service behind a socket of ours, which counts, and strikes at a request."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(timeout=90, trust_env=False)
        self.made: Counter[str] = Counter()
        self.left: int | None = None
        self.when = "after"
        self.how = signal.SIGKILL
        self.process: Forked | None = None
        self.server = FakedServer(self._forward)
        self.server.watch = self._watch

    def close(self) -> None:
        self.server.close()
        self._http.close()

    def _forward(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        answer = self._http.request(
            request.method,
            request.url.copy_with(scheme="http", host="127.0.0.1", port=int(self._url[-5:])),
            headers={**headers, "accept-encoding": "identity"},
            content=request.content,
        )
        replayed = "idempotency-replayed" in answer.headers
        if request.method == "POST" and answer.status_code in (201, 202) and not replayed:
            self.made[request.url.path] += 1
        return answer

    def _watch(self, when: str, _: httpx.Request) -> bool:
        if when != self.when or self.left is None:
            return False
        self.left -= 1
        if self.left:
            return False
        self.left = None
        assert self.process is not None
        self.process.send_signal(self.how)
        return self.how == signal.SIGKILL


@pytest.fixture
def watched(service: EmbeddedService) -> Iterator[Watched]:  # noqa: F811
    watched = Watched(service.url)
    yield watched
    watched.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_again_and_again_is_charged_once(
    service: EmbeddedService,  # noqa: F811
    watched: Watched,
    tmp_path: Path,
    when: str,
) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(PICTURES):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(noise(64, 48))
    lines = [a_line(f"edit-{number}", f"{number % PICTURES}.png") for number in range(LINES)]
    write(tmp_path / "m.jsonl", *lines)
    arguments = ("batch", "run", "m.jsonl", "--images", "pictures", "--out", "out")
    environment = {
        "TOWLINE_URL": watched.server.url,
        "TOWLINE_API_KEY": service.key,
        "NO_PROXY": "127.0.0.1",
    }
    watched.when = when
    code, deaths = -1, 0
    for number in range(1, 40):
        watched.left = number
        watched.how = signal.SIGINT if number % 4 == 0 else signal.SIGKILL
        watched.process = Forked.start(arguments, tmp_path, environment)
        code, err = watched.process.end()
        if code == 0:
            break
        assert code in (130, -signal.SIGKILL), err
        deaths += 1

    assert code == 0
    assert deaths >= 4
    assert watched.made == {"/v1/images": PICTURES, "/v1/batches": 1}
    with Towline(service.url, service.key) as client:
        state = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])
        jobs = list(client.jobs.list(batch=state["batch"]))
        mine = [each for each in client.batches.list() if each.id == state["batch"]]
    assert len(jobs) == LINES
    assert mine[0].counts.succeeded == LINES
    assert len(list((tmp_path / "out").glob("edit-*.png"))) == LINES
    assert not list((tmp_path / "out").glob(".*.part"))
