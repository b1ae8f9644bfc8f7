"""Objects in a folder: whole or not at all, and never outside of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotFound, StorageUnavailable
from shared.objects import FolderStore
from tests.crowd import in_threads

KEY = "results/acc_1/job_1/1/0.png"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


def test_no_empty_folder_is_left_when_the_last_object_was_deleted(
    store: FolderStore, tmp_path: Path
) -> None:
    store.put(KEY, b"picture")
    store.delete(KEY)
    assert list((tmp_path / "objects").rglob("*")) == []


def test_a_sibling_stays_when_an_object_is_deleted(store: FolderStore) -> None:
    store.put(KEY, b"one")
    store.put(KEY.replace("0.png", "1.png"), b"two")
    store.delete(KEY)
    assert store.get(KEY.replace("0.png", "1.png")) == b"two"


@pytest.mark.parametrize(
    "key",
    ["", "/", "results", "results/", "../results/x", "results/../../x", "results/..", "results/.",
     "results/./x", "/etc/passwd", "results//etc/passwd", "results/a\0b", "results/a\nb",
     "results/a b", "results/ä", "secrets/x", "results/x/", "results/x\\..\\y", "results/~",
     "results/%2e%2e/x", "RESULTS/x", "results/.put-abc", "results/x\n", "images\n/x"],
)  # fmt: skip
def test_a_key_is_refused_when_it_could_lead_out_of_the_folder_or_is_none_of_ours(
    store: FolderStore, tmp_path: Path, key: str
) -> None:
    store.put(KEY, b"picture")
    before = sorted(tmp_path.rglob("*"))
    calls = [store.get, store.size, lambda key: store.put(key, b"x")]
    if ".put-" not in key:  # what is half-written may be deleted
        calls.append(store.delete)
    for call in calls:
        with pytest.raises(NotFound):
            call(key)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", [".put-abc", "../.put-abc", "results/../.put-abc", "/.put-abc"])
def test_what_is_half_written_cannot_be_deleted_when_it_lies_outside(
    store: FolderStore, key: str
) -> None:
    with pytest.raises(NotFound):
        store.delete(key)


def test_the_check_leaves_nothing_behind_but_a_folder(store: FolderStore, tmp_path: Path) -> None:
    store.check()
    assert [path.name for path in (tmp_path / "objects").rglob("*")] == ["staging"]


def test_what_a_killed_writer_left_is_listed_and_can_be_deleted_and_nothing_else(
    store: FolderStore, tmp_path: Path
) -> None:
    store.put(KEY, b"picture")
    (tmp_path / "objects/results/acc_1/job_1/1/.put-a_b1c2d3").write_bytes(b"pic")
    half, whole = store.walk("results/", "", 10)
    assert (half.key, half.is_half_written) == ("results/acc_1/job_1/1/.put-a_b1c2d3", True)
    assert (whole.key, whole.is_half_written) == (KEY, False)
    for call in (store.get, store.size, lambda key: store.put(key, b"x")):
        with pytest.raises(NotFound):
            call(half.key)
    store.delete(half.key)
    assert [stored.key for stored in store.walk("results/", "", 10)] == [KEY]


@pytest.mark.parametrize("key", ["results/acc_1", "results/acc_1/job_1/1", KEY + "/deeper"])
def test_there_is_no_object_when_the_key_names_a_folder_or_goes_through_an_object(
    store: FolderStore, key: str
) -> None:
    store.put(KEY, b"picture")
    with pytest.raises(NotFound):
        store.get(key)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_storage_is_unavailable_when_its_folder_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    store = FolderStore(tmp_path / "objects")
    for call in (store.check, lambda: store.put(KEY, b"x")):
        with pytest.raises(StorageUnavailable):
            call()
    tmp_path.chmod(stat.S_IRWXU)


def test_the_storage_is_unavailable_when_a_file_is_where_its_folder_should_be(
    tmp_path: Path,
) -> None:
    (tmp_path / "objects").write_text("in the way")
    with pytest.raises(StorageUnavailable):
        FolderStore(tmp_path / "objects").check()


@pytest.mark.parametrize("times", [1, 5])
def test_an_object_is_stored_when_a_delete_takes_its_folder_away_just_before_it_is_written(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    make_file, left = tempfile.mkstemp, [None] * times

    def after_a_delete(**options: Any) -> tuple[int, str]:
        if left:
            left.pop()
            store.delete(KEY)  # nothing is there: it removes the empty folders
            assert not options["dir"].exists()
        return make_file(**options)

    monkeypatch.setattr(tempfile, "mkstemp", after_a_delete)
    store.put(KEY, b"picture")
    assert store.get(KEY) == b"picture"


def test_every_object_is_stored_when_its_siblings_are_deleted_at_the_same_time(
    store: FolderStore,
) -> None:
    def put_and_delete(name: str) -> None:
        key = f"results/acc_1/job_1/1/{name}.png"
        for n in range(50):
            store.put(key, str(n).encode())
            assert store.get(key) == str(n).encode()
            store.delete(key)

    in_threads(put_and_delete, [("a",), ("b",), ("c",)])


WRITER = """
import sys
from pathlib import Path
from shared.objects import FolderStore
store = FolderStore(Path(sys.argv[1]))
old, new = b"o" * 300_000, b"n" * 300_000
print("ready", flush=True)
while True:
    store.put(sys.argv[2], new)
    store.put(sys.argv[2], old)
"""


@pytest.mark.slow
def test_an_object_is_the_old_or_the_new_one_when_its_writer_is_killed(
    store: FolderStore, tmp_path: Path
) -> None:
    store.put(KEY, b"o" * 300_000)
    for n in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "objects"), KEY],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        try:
            writer.wait(0.003 * n)
        except subprocess.TimeoutExpired:
            writer.kill()
        writer.wait()
        writer.stdout.close()
        data = store.get(KEY)
        assert len(data) == 300_000
        assert len(set(data)) == 1
    store.delete(KEY)
    with pytest.raises(NotFound):
        store.get(KEY)
