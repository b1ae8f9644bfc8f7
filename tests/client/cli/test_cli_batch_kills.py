"""A run that is killed, wherever that is: the next one goes on, and nothing is charged twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.client.cli.conftest import KEY
from tests.client.cli.faked import FakedServer
from tests.client.cli.forked import Forked
from tests.client.cli.manifests import a_line, pictures, write

pytestmark = pytest.mark.slow

ARGUMENTS = (
    "batch", "run", "m.jsonl", "--images", "pictures", "--out", "out", "--parallel", "1",
    "--lines-per-batch", "2",
)  # fmt: skip
LINES = 3  #: in two batches
FILES = ("a.png", "b.png", "mask.png")

#: Ends the process without a word at a commit of the state, before or after it is on the disk.
DIE_AT_COMMIT = """
import os
from towline.cli.batch.store import Store
commits, commit = iter(range(1, 10_000)), Store.commit
def dying(self):
    number = next(commits)
    if number == {at} and not {after}:
        os._exit(9)
    commit(self)
    if number == {at}:
        os._exit(9)
Store.commit = dying
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A manifest of three lines, two pictures and a mask."""
    pictures(tmp_path / "pictures", *FILES)
    lines = [a_line("one"), a_line("two", "b.png", mask="mask.png"), a_line("three", "b.png")]
    write(tmp_path / "m.jsonl", *lines)
    yield tmp_path
    rest = [each.name for each in (tmp_path / "out" / ".towline-batch").iterdir()]
    assert set(rest) <= {"state.db", "state.db-journal"}


def is_whole(place: Path, server: FakedServer) -> None:
    """Everything came, and the service did it once."""
    fake = server.fake
    assert len(fake.batches.all) == 2
    assert len(fake.jobs.all) == LINES
    assert len(fake.images.all) == len(FILES)
    for name, source in (("one", "a.png"), ("two", "b.png"), ("three", "b.png")):
        picture = (place / "out" / f"{name}.png").read_bytes()
        assert picture == (place / "pictures" / source).read_bytes()
    assert len((place / "out" / "results.jsonl").read_text().splitlines()) == LINES
    assert not list((place / "out").glob(".*.part"))


def start(server: FakedServer, place: Path, code: str = "") -> Forked:
    environment = {"TOWLINE_URL": server.url, "TOWLINE_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    return Forked.start(ARGUMENTS, place, environment, code)


class Killer:
    """Ends a process at one of its requests."""

    def __init__(self, server: FakedServer, when: str, number: int, how: signal.Signals) -> None:
        self._when, self._left, self._how = when, number, how
        self.process: Forked | None = None
        self.has_struck = False
        server.watch = self._watch

    def _watch(self, when: str, request: httpx.Request) -> bool:
        if when != self._when or self.has_struck:
            return False
        self._left -= 1
        if self._left:
            return False
        self.has_struck = True
        assert self.process is not None
        self.process.send_signal(self._how)
        return self._how == signal.SIGKILL  # then nobody is there to be answered


def strike(server: FakedServer, place: Path, killer: Killer) -> tuple[int, str]:
    killer.process = start(server, place)
    ended = killer.process.end()
    server.watch = lambda *_: False
    return ended


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 20))
def test_a_run_goes_on_when_it_was_killed_at_any_request(
    server: FakedServer, place: Path, when: str, number: int
) -> None:
    killer = Killer(server, when, number, signal.SIGKILL)
    code, err = strike(server, place, killer)
    if not killer.has_struck:
        pytest.skip("a whole run has fewer requests")
    assert code == -signal.SIGKILL, err

    code, err = start(server, place).end()

    assert code == 0, err
    is_whole(place, server)


@pytest.mark.parametrize("number", [2, 5, 8, 11, 14])
def test_a_run_goes_on_when_it_was_ended_by_ctrl_c(
    server: FakedServer, place: Path, number: int
) -> None:
    code, err = strike(server, place, Killer(server, "after", number, signal.SIGINT))
    assert code == 130, err
    assert "nothing is charged twice" in err
    assert "Traceback" not in err

    assert start(server, place).end()[0] == 0
    is_whole(place, server)


def test_a_run_ends_in_good_order_when_it_is_terminated(server: FakedServer, place: Path) -> None:
    code, err = strike(server, place, Killer(server, "after", 9, signal.SIGTERM))
    assert code == 143, err
    assert start(server, place).end()[0] == 0
    is_whole(place, server)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 16))
def test_a_run_goes_on_when_it_died_at_any_write_of_its_state(
    server: FakedServer, place: Path, at: int, after: bool
) -> None:
    code, err = start(server, place, DIE_AT_COMMIT.format(at=at, after=after)).end()
    if code == 0:
        pytest.skip("a whole run has fewer writes")
    assert code == 9, err

    assert start(server, place).end()[0] == 0
    is_whole(place, server)


def test_a_run_comes_to_its_end_though_each_one_of_many_is_killed(
    server: FakedServer, place: Path
) -> None:
    for number in range(1, 30):
        killer = Killer(server, "after" if number % 2 else "before", number, signal.SIGKILL)
        code, err = strike(server, place, killer)
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
    is_whole(place, server)


def test_of_two_runs_in_one_folder_the_second_is_refused(server: FakedServer, place: Path) -> None:
    seen: list[str] = []

    def watch(when: str, request: httpx.Request) -> bool:
        if not seen:
            seen.append("")
            seen[0] = start(server, place).end()[1]
        return False

    server.watch = watch
    assert start(server, place).end()[0] == 0
    assert "Another towline is at work in out" in seen[0]
    is_whole(place, server)
