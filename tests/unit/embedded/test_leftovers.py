"""Ending what an earlier run left, and nothing else."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.embedded.identity import HAS_PROC, find, group_members
from infra.embedded.leftovers import reap, remember

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(60)"
)
LEAVES_A_CHILD = "import subprocess; subprocess.Popen(['sleep', '60']); print('ready', flush=True)"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that leads a group of its own; it is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def runs(process: subprocess.Popen[str]) -> bool:
    return process.poll() is None


def test_process_is_ended_when_pid_and_start_match(tmp_path: Path, start: Start) -> None:
    process = start("sleep", "60")
    remember(tmp_path / "worker.pid", process.pid)
    assert reap(tmp_path, tmp_path) == ["worker"]
    assert process.wait(1) == -signal.SIGTERM
    assert list(tmp_path.glob("*.pid")) == []


def test_process_is_killed_when_it_ignores_sigterm(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.embedded.leftovers.GRACE_S", 0.2)
    process = start(sys.executable, "-c", IGNORES_SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    remember(tmp_path / "worker.pid", process.pid)
    assert reap(tmp_path, tmp_path) == ["worker"]
    assert process.wait(1) == -signal.SIGKILL


def test_foreign_process_lives_when_it_was_given_the_same_pid(tmp_path: Path, start: Start) -> None:
    foreign = start("sleep", "60")
    (tmp_path / "worker.pid").write_text(f"{foreign.pid} an-earlier-boot:123\n")
    assert reap(tmp_path, tmp_path) == []
    assert runs(foreign)


def test_foreign_process_lives_when_it_does_not_lead_the_group(
    tmp_path: Path, start: Start
) -> None:
    shell = start("sh", "-c", "sleep 60 & echo $!; wait")
    assert shell.stdout is not None
    inner = int(shell.stdout.readline())
    remember(tmp_path / "worker.pid", inner)
    assert reap(tmp_path, tmp_path) == []
    assert runs(shell)


@pytest.mark.skipif(not HAS_PROC, reason="environments can be read in /proc alone")
def test_orphans_of_a_dead_leader_are_ended_when_they_are_of_this_home(
    tmp_path: Path, start: Start
) -> None:
    leader = start(sys.executable, "-c", LEAVES_A_CHILD, TOWLINE_HOME=str(tmp_path))
    remember(tmp_path / "api.pid", leader.pid)
    assert leader.stdout is not None
    leader.stdout.readline()
    leader.wait()
    assert len(group_members(leader.pid)) == 1
    assert reap(tmp_path, tmp_path) == ["api"]
    assert group_members(leader.pid) == []


@pytest.mark.skipif(not HAS_PROC, reason="environments can be read in /proc alone")
def test_orphans_of_a_dead_leader_live_when_they_are_of_another_home(
    tmp_path: Path, start: Start
) -> None:
    leader = start(sys.executable, "-c", LEAVES_A_CHILD, TOWLINE_HOME="/somewhere/else")
    remember(tmp_path / "api.pid", leader.pid)
    assert leader.stdout is not None
    leader.stdout.readline()
    leader.wait()
    assert reap(tmp_path, tmp_path) == []
    assert len(group_members(leader.pid)) == 1


@pytest.mark.parametrize("text", ["", "12", "not a pid", "1 2 3", "\0\0\0\0"])
def test_pid_file_is_ignored_and_removed_when_it_makes_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "worker.pid").write_text(text)
    assert reap(tmp_path, tmp_path) == []
    assert list(tmp_path.glob("*.pid")) == []


def test_own_process_is_never_ended_by_its_bare_pid(tmp_path: Path) -> None:
    (tmp_path / "worker.pid").write_text(f"{os.getpid()} 1\n")
    assert reap(tmp_path, tmp_path) == []


def test_zombie_does_not_count_as_running(start: Start) -> None:
    process = start("true")
    deadline = time.monotonic() + 5
    while find(process.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.returncode is None  # nobody has waited for it yet
    assert find(process.pid) is None


def test_process_keeps_its_identity_when_its_name_holds_brackets_and_spaces(
    tmp_path: Path, start: Start
) -> None:
    program = tmp_path / "odd) name (1"
    program.symlink_to("/bin/sleep")
    process = start(str(program), "60")
    found = find(process.pid)
    assert found is not None
    assert found.group == process.pid


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_process_is_ended_when_only_ps_knows_who_runs(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.embedded.identity.HAS_PROC", False)
    foreign, ours = start("sleep", "60"), start("sh", "-c", "sleep 60; true")
    (tmp_path / "api.pid").write_text(f"{foreign.pid} Mon_Jan_1_00:00:00_2024\n")
    remember(tmp_path / "worker.pid", ours.pid)
    assert reap(tmp_path, tmp_path) == ["worker"]
    assert not runs(ours)
    assert runs(foreign)
