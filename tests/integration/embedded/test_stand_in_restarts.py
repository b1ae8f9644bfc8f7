"""What ends is started again, also after everything was killed; with stand-ins."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.embedded.running import wait_until

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


def test_child_is_started_again_when_it_was_killed(start: Start) -> None:
    service = start()
    service.wait_until_up()
    before = service.child("worker-warp")
    before.signal(signal.SIGKILL)
    service.wait_for("worker-warp ended (signal SIGKILL), starting it again", 5)
    wait_until(lambda: service.was_replaced("worker-warp", before))
    assert service.stop() == 0


def test_api_listens_again_when_its_master_was_killed_and_its_workers_live(start: Start) -> None:
    service = start()
    service.wait_until_up()
    before = service.child("api")
    before.signal(signal.SIGKILL)
    service.wait_for("api ended (signal SIGKILL)", 5)
    with service.api() as api:
        wait_until(lambda: _answers(api), 10)
    assert service.stop() == 0
    assert service.family() == []


def _answers(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_next_start_ends_what_a_killed_supervisor_left(start: Start) -> None:
    first = start()
    first.wait_until_up()
    family = first.family()
    first.process.kill()
    first.process.wait()
    assert len([each for each in family if each.is_alive()]) >= 6
    second = start(home=first.home, port=first.port)  # the old API still has the port
    second.wait_until_up()
    assert "an earlier run was killed; ended what it left: api, beat, broker" in second.said
    assert [each for each in family if each.is_alive()] == []
    assert second.stop() == 0


def test_next_start_ends_the_workers_of_an_api_whose_master_is_dead(start: Start) -> None:
    first = start()
    first.wait_until_up()
    family = first.family()
    master = first.child("api")
    first.process.kill()
    first.process.wait()
    master.signal(signal.SIGKILL)
    wait_until(lambda: not master.is_alive())
    second = start(home=first.home, port=first.port)
    second.wait_until_up()
    assert [each for each in family if each.is_alive()] == []
    assert second.stop() == 0


def test_key_and_secret_are_kept_over_restarts(start: Start, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        service = start("--once", home=tmp_path)
        assert service.process.wait(60) == 0
        kept.append(((tmp_path / "key").read_text(), (tmp_path / "secret").read_text()))
    assert kept[0] == kept[1]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_key_is_made_anew_when_the_database_does_not_know_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tow_of_another_database\n")
    service = start("--once", home=tmp_path)
    assert service.process.wait(60) == 0, service.said
    assert service.key == "tow_standin_secret"
