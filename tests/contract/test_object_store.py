"""What every object store promises: the folder and a bucket of a real S3 server alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotFound, StorageUnavailable
from shared.objects import FolderStore, ObjectStore, image_key, result_key, staging_key
from shared.objects.s3 import S3Store
from shared.settings import Settings
from tests.crowd import in_threads

KEY = "results/acc_1/job_1/1/0.png"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(folder / "objects")
    settings: Callable[..., Settings] = request.getfixturevalue("s3_settings")
    return S3Store(settings())


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def lost_store(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    """One whose place is not what it should be."""
    if request.param == "folder":
        (folder / "objects").write_text("in the way")
        return FolderStore(folder / "objects")
    settings: Callable[..., Settings] = request.getfixturevalue("s3_settings")
    return S3Store(settings(s3_bucket="no-such-bucket"))


def keys(store: ObjectStore, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
    return [stored.key for stored in store.walk(prefix, after, limit)]


def test_bytes_come_back_when_they_were_put(store: ObjectStore) -> None:
    for key in (
        image_key("acc_1", "0" * 64, "img_1"),
        staging_key("acc_1", "img_1"),
        result_key("acc_1", "job_1", 1, "0.png"),
    ):
        store.put(key, b"first")
        store.put(key, b"second")
        assert (store.get(key), store.size(key)) == (b"second", 6)


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"x" * 20_000_000], ids=len)
def test_bytes_come_back_as_they_were_whatever_they_are(store: ObjectStore, data: bytes) -> None:
    store.put(KEY, data)
    assert store.size(KEY) == len(data)
    assert store.get(KEY) == data


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1, 20_000_000])
def test_a_stream_is_one_object_whatever_its_pieces(store: ObjectStore, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data, step = data[:size], 1_000_003
    store.put_stream(KEY, (data[place : place + step] for place in range(0, size, step)))
    assert store.get(KEY) == data
    assert store.get_range(KEY, 3, 10) == data[3:13]
    assert store.get_range(KEY, max(0, size - 4), 100) == data[-4:]
    assert store.get_range(KEY, size, 100) == b""


@pytest.mark.parametrize("before", [1, 12])
def test_nothing_is_stored_when_a_stream_breaks(store: ObjectStore, before: int) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(before):
            yield b"x" * 2**20
        raise LookupError("the client went away")

    with pytest.raises(LookupError):
        store.put_stream(KEY, pieces())
    assert keys(store, "results/") == []
    with pytest.raises(NotFound):
        store.get_range(KEY, 0, 1)


def test_nothing_is_there_when_it_was_deleted_however_often(store: ObjectStore) -> None:
    store.put(KEY, b"picture")
    for _ in range(2):
        store.delete(KEY)
    for call in (store.get, store.size):
        with pytest.raises(NotFound):
            call(KEY)
    assert keys(store, "results/") == []


def test_a_sibling_stays_when_an_object_is_deleted(store: ObjectStore) -> None:
    sibling = KEY.replace("0.png", "1.png")
    store.put(KEY, b"one")
    store.put(sibling, b"two")
    store.delete(KEY)
    assert store.get(sibling) == b"two"


@pytest.mark.parametrize("key", ["", "/", "results", "results/../x", "secrets/x", "results/a b"])
def test_a_key_is_not_found_when_it_is_none_of_ours(store: ObjectStore, key: str) -> None:
    for call in (store.get, store.size, store.delete, lambda key: store.put(key, b"x")):
        with pytest.raises(NotFound):
            call(key)


def test_every_call_is_unavailable_when_the_place_is_not_there(lost_store: ObjectStore) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: lost_store.put(KEY, b"x"),
        lambda: lost_store.get(KEY),
        lambda: lost_store.size(KEY),
        lambda: lost_store.delete(KEY),
        lambda: lost_store.walk("results/", "", 10),
        lost_store.check,
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable):
            call()


def test_the_check_succeeds_when_the_storage_is_there(store: ObjectStore) -> None:
    store.check()


def test_objects_are_walked_in_the_order_of_their_keys_a_slice_at_a_time(
    store: ObjectStore,
) -> None:
    stored = sorted(
        f"results/{account}/{job}/{n}/{name}"
        for account in ("acc_1", "acc_1-b", "acc_1.b", "acc_2")
        for job in ("job_1", "job_10")
        for n in (1, 2, 10)
        for name in ("0.png", "mask.png")
    )
    for key in [*stored, "images/acc_1/x", "staging/acc_1/x"]:
        store.put(key, b"x")
    assert keys(store, "results/") == stored
    for limit in (1, 7, len(stored)):
        found: list[str] = []
        while page := keys(store, "results/", found[-1] if found else "", limit):
            assert len(page) <= limit
            found += page
        assert found == stored
    for after in ("results/", "results/acc_1", "results/acc_1/", "results/acc_1/job_1/2/~", "s"):
        assert keys(store, "results/", after) == [key for key in stored if key > after]
    assert keys(store, "results/acc_1/job_1/") == [k for k in stored if "acc_1/job_1/" in k]
    assert keys(store, "results/acc_3/") == []


def test_an_object_is_as_old_as_its_last_put(store: ObjectStore) -> None:
    store.put(KEY, b"x")
    (stored,) = store.walk("results/", "", 10)
    assert (stored.key, stored.is_half_written) == (KEY, False)
    assert -2 < stored.age_s < 60


def test_one_of_them_is_there_whole_when_many_put_the_same_key(store: ObjectStore) -> None:
    contents = [bytes([n]) * 200_000 for n in range(6)]
    in_threads(store.put, [(KEY, content) for content in contents])
    assert store.get(KEY) in contents
    assert keys(store, "") == [KEY]


def test_every_call_goes_through_when_many_threads_share_the_store(store: ObjectStore) -> None:
    def put_and_delete(name: str) -> None:
        key = f"results/acc_1/job_1/1/{name}.png"
        for n in range(20):
            store.put(key, str(n).encode())
            assert store.get(key) == str(n).encode()
            store.delete(key)

    in_threads(put_and_delete, [(f"t{n}",) for n in range(8)])
    assert keys(store, "") == []
