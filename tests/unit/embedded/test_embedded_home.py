"""The folder of an embedded service: rights, lock, secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.failures import CannotStart
from infra.embedded.home import open_home, read_secret, write_secret


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_home_is_for_its_owner_alone_when_it_is_made(tmp_path: Path) -> None:
    with open_home(tmp_path / "new") as home:
        assert mode(home.root) == 0o700


def test_home_keeps_its_rights_when_it_was_there_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with open_home(tmp_path):
        assert mode(tmp_path) == 0o755


def test_second_start_names_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        open_home(tmp_path),
        pytest.raises(CannotStart, match=rf"in use .*\(pid {os.getpid()}\)"),
        open_home(tmp_path),
    ):
        pass


def test_home_can_be_opened_again_when_the_first_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with open_home(tmp_path):
            pass


def test_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from infra.embedded.home import open_home\n"
        "with open_home(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    repository = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=repository)
    with open_home(tmp_path):
        pass


def test_lock_is_not_handed_down_to_children(tmp_path: Path) -> None:
    with open_home(tmp_path):
        child = subprocess.Popen(["sleep", "30"])
    with open_home(tmp_path):
        child.kill()
    child.wait()


def test_home_is_refused_in_one_line_when_it_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CannotStart, match="not a folder"), open_home(file):
        pass


def test_home_is_refused_in_one_line_when_it_lies_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="Not a directory"), open_home(tmp_path / "file" / "home"):
        pass


def test_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with open_home(tmp_path) as home:
        first = home.secret_key()
        assert len(first) >= 43
        assert home.secret_key() == first
        assert mode(tmp_path / "secret") == 0o600


def test_secret_is_one_line_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(path, "tow_a_b")
    assert path.read_text() == "tow_a_b\n"
    assert mode(path) == 0o600
    assert read_secret(path) == "tow_a_b"


def test_secret_is_replaced_whole_when_an_earlier_write_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "key"
    (tmp_path / ".key.new").write_text("tow_half")
    write_secret(path, "tow_whole")
    assert list(tmp_path.iterdir()) == [path]
    assert read_secret(path) == "tow_whole"


def test_secret_reads_as_empty_when_there_is_none(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "key") == ""
