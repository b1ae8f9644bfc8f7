"""One process of the service, its group and its log."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.child import LOG_BYTES, Child, bound_log, in_words
from infra.embedded.home import Home
from infra.embedded.identity import find, group_members

GRANDCHILD = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    for folder in (home.run, home.logs):
        folder.mkdir()
    return home


@pytest.fixture
def family(home: Home) -> Iterator[Child]:
    """A child with a grandchild."""
    child = Child.of(home, "family", [sys.executable, "-c", GRANDCHILD], {}, home.root)
    child.start()
    deadline = time.monotonic() + 5
    while len(group_members(child.pid or 0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    yield child
    child.signal_group(signal.SIGKILL)


def test_child_leads_a_group_of_its_own_so_that_ctrl_c_does_not_reach_it(family: Child) -> None:
    process = find(family.pid or 0)
    assert process is not None
    assert process.group == family.pid


def test_grandchildren_end_too_when_the_child_was_killed(family: Child) -> None:
    assert family.process is not None
    group = family.process.pid
    family.process.kill()
    family.process.wait()
    assert not family.is_gone()
    assert family.bury() == -signal.SIGKILL
    assert group_members(group) == []
    assert not family.pid_file.exists()


def test_child_is_due_only_after_its_wait(home: Home) -> None:
    child = Child.of(home, "brief", [sys.executable, "-c", ""], {}, home.root)
    child.start()
    assert child.process is not None
    child.process.wait()
    child.bury()
    child.plan_start()
    assert not child.is_due()
    time.sleep(0.25)
    assert child.is_due()


def test_log_is_cut_and_its_older_part_kept_when_it_is_over_ten_megabytes(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab") as writer:  # as a running child has it open
        writer.write(b"x" * (LOG_BYTES + 1))
        writer.flush()
        bound_log(log)
        writer.write(b"next\n")
    assert log.read_bytes() == b"next\n"
    assert log.with_name("api.log.1").stat().st_size == LOG_BYTES + 1


def test_log_is_left_alone_when_it_is_small(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("line\n")
    bound_log(log)
    assert log.read_text() == "line\n"
    assert not log.with_name("api.log.1").exists()


def test_exit_status_reads_as_people_say_it() -> None:
    assert in_words(3) == "status 3"
    assert in_words(-9) == "signal SIGKILL"
