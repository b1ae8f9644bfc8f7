"""The broker: killed, damaged, given by somebody else; with stand-ins."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from tests.integration.embedded.running import refused, wait_until

if TYPE_CHECKING:
    from tests.integration.embedded.conftest import Start

pytestmark = pytest.mark.slow


def test_broker_comes_back_at_the_same_address_when_it_was_killed(start: Start) -> None:
    service = start()
    service.wait_until_up()
    configuration = (service.home / "broker" / "valkey.conf").read_text()
    service.child("broker").signal(signal.SIGKILL)
    service.wait_for("broker ended (signal SIGKILL)", 5)
    port = int(configuration.split("port ")[1].split()[0])
    wait_until(lambda: _listens(port))
    assert (service.home / "broker" / "valkey.conf").read_text() == configuration
    assert service.stop() == 0


@pytest.mark.parametrize("damage", ["truncated", "garbled"])
def test_broker_starts_when_its_data_are_damaged(start: Start, tmp_path: Path, damage: str) -> None:
    service = start(home=tmp_path)
    service.wait_until_up()
    _fill_broker(tmp_path)
    service.kill_everything()
    [log] = (tmp_path / "broker" / "appendonlydir").glob("*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(
        whole[:-20] if damage == "truncated" else whole[:100] + b"\0" * 50 + whole[150:]
    )
    again = start(home=tmp_path)
    again.wait_until_up()
    set_aside = list((tmp_path / "broker").glob("unreadable-*"))
    assert bool(set_aside) == (damage == "garbled")
    assert again.stop() == 0


def test_no_broker_is_started_when_a_redis_is_given(start: Start, tmp_path: Path) -> None:
    first = start()
    first.wait_until_up()
    second = start("--once", TOWLINE_REDIS_URL=_broker_url(first.home))
    assert second.process.wait(60) == 0, second.said
    assert not (second.home / "logs" / "broker.log").exists()
    assert first.child("broker").is_alive()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "no url"])
def test_start_is_refused_in_one_line_when_the_given_redis_does_not_answer(
    start: Start, url: str
) -> None:
    refused(start(TOWLINE_REDIS_URL=url), "TOWLINE_REDIS_URL")


def _broker_url(home: Path) -> str:
    words = (home / "broker" / "valkey.conf").read_text().split()
    port, password = words[words.index("port") + 1], words[words.index("requirepass") + 1]
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _fill_broker(home: Path) -> None:
    with redis.Redis.from_url(_broker_url(home)) as broker:
        for number in range(100):
            broker.set(f"key-{number}", "value" * 10)
        wait_until(lambda: broker.info("persistence")["aof_buffer_length"] == 0)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
