"""What no row points to is found and deleted, and nothing else: in a folder and in a bucket."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import shared.orphans
from shared.errors import DatabaseUnavailable, NotFound, StorageUnavailable
from shared.ids import new_id
from shared.images.store import Facts
from shared.jobs.job import Job
from shared.objects import ObjectStore, Stored, image_key, result_key, staging_key
from shared.orphans import Orphans
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import Factory, a_result
from worker.sweep import sweep

GRACE_S = 3600.0


@dataclass
class Later:
    """A store as it will be after a while; what else happens then is a test's matter."""

    store: ObjectStore
    seconds: float = GRACE_S + 60
    before_delete: Callable[[str], None] = lambda key: None

    urls = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def walk(self, prefix: str, after: str, limit: int) -> list[Stored]:
        found = self.store.walk(prefix, after, limit)
        return [replace(stored, age_s=stored.age_s + self.seconds) for stored in found]

    def delete(self, key: str) -> None:
        self.before_delete(key)
        self.store.delete(key)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def services(request: pytest.FixtureRequest, build: Callable[..., Services]) -> Services:
    return build(**(request.getfixturevalue("s3") if request.param == "s3" else {}))


def orphans_of(services: Services, **later: Any) -> Orphans:
    objects: Any = Later(services.objects, **later)
    return Orphans(services.database, objects, grace_s=GRACE_S)


def collect_all(orphans: Orphans) -> int:
    """One walk through everything."""
    count = 0
    while not orphans._rests_until:
        count += orphans.collect()
    return count


def all_keys(services: Services) -> list[str]:
    return [stored.key for stored in services.objects.walk("", "", 1000)]


def needed(make: Factory, account: str) -> list[str]:
    """One object of each kind that a row needs."""
    services = make.services
    image = make.image(account, is_stored=True)
    announced, _ = services.images.announce(
        account, sha256=secrets.token_hex(32), content_type="image/png", size_bytes=1
    )
    done = make.running(account, image=image.id)
    result = a_result(done, "0.png", "1.png")
    result["mask_key"] = result_key(account, done.id, done.attempt, "mask.png")
    assert services.leases.succeed(done, result)
    running = make.running(account, image=image.id)
    keys = [
        staging_key(account, announced.id),
        *(candidate["key"] for candidate in result["candidates"]),
        result["mask_key"],
        result_key(account, running.id, running.attempt, "0.png"),
    ]
    for key in keys:
        services.objects.put(key, b"needed")
    return sorted([*keys, image.object_key or ""])


def not_needed(make: Factory, account: str) -> list[str]:
    """What deaths between two steps leave behind."""
    services = make.services
    image = make.image(account, is_stored=True)
    services.images.delete(account, image.id)  # and died before its bytes were deleted
    kept = make.image(account, is_stored=True)
    failed = make.running(account, image=kept.id)
    services.leases.give_back(failed)
    again = services.leases.claim_next("warp", "worker")
    assert again is not None
    assert again.id == failed.id
    services.leases.cancel(again)

    def of(job: Job, attempt: int) -> str:
        return result_key(account, job.id, attempt, "0.png")

    keys = [
        image_key(account, "0" * 64, new_id("img")),  # stored, and its row never written
        image_key(account, kept.sha256, kept.id),  # stored twice, and recorded once
        staging_key(account, new_id("img")),  # of an image that is deleted
        staging_key(account, kept.id),  # put again after it was completed
        of(failed, 1),  # of an attempt that died
        of(again, 2),  # of an attempt that was recorded otherwise
        result_key(account, new_id("job"), 1, "0.png"),  # of a job that is deleted
    ]
    for key in keys:
        services.objects.put(key, b"orphan")
    services.images.delete(account, kept.id)
    services.objects.delete(kept.object_key or "")
    return sorted([*keys, image.object_key or ""])


def test_what_no_row_points_to_is_deleted_and_the_rest_stays_when_it_is_old(
    services: Services, make: Factory
) -> None:
    account = make.account()
    staying, going = needed(make, account), not_needed(make, account)
    assert all_keys(services) == sorted([*staying, *going])
    assert collect_all(orphans_of(services)) == len(going)
    assert all_keys(services) == staying
    assert collect_all(orphans_of(services)) == 0


def test_nothing_is_deleted_while_it_is_young(services: Services, make: Factory) -> None:
    not_needed(make, make.account())
    before = all_keys(services)
    assert collect_all(orphans_of(services, seconds=GRACE_S - 60)) == 0
    sweep(services)
    assert all_keys(services) == before


def test_what_is_not_ours_stays_however_old_it_is(services: Services, make: Factory) -> None:
    account, stranger = make.account(), new_id("acc")
    keys = [
        f"images/{account}/holiday.png",
        f"images/{account}/{'0' * 64}/{new_id('img')}/thumbnail",
        f"staging/{account}/{new_id('job')}",
        f"results/{account}/{new_id('job')}/latest/0.png",
        f"results/backup-{secrets.token_hex(3)}/x",
        image_key(stranger, "0" * 64, new_id("img")),
        staging_key(stranger, new_id("img")),
        result_key(stranger, new_id("job"), 1, "0.png"),
    ]
    for key in keys:
        services.objects.put(key, b"not ours")
    assert collect_all(orphans_of(services)) == 0
    assert all_keys(services) == sorted(keys)


def test_a_walk_goes_on_where_it_was_and_rests_when_it_has_seen_everything(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.orphans, "SLICE", 3)
    account = make.account()
    staying, going = needed(make, account), not_needed(make, account)
    orphans = orphans_of(services)
    calls = 0
    while not orphans._rests_until:
        before = len(all_keys(services))
        orphans.collect()
        assert before - len(all_keys(services)) <= 3
        calls += 1
    assert calls <= (len(staying) + len(going)) // 3 + 6
    assert all_keys(services) == staying
    late = not_needed(make, account)
    assert orphans.collect() == 0, "it rests"
    orphans._rests_until = 0.0
    assert collect_all(orphans) == len(late)


def test_an_object_that_cannot_be_deleted_does_not_hold_up_the_others(
    services: Services, make: Factory
) -> None:
    going = not_needed(make, make.account())

    def refuse(key: str) -> None:
        if key == going[2]:
            raise StorageUnavailable("it is locked")

    orphans = orphans_of(services, before_delete=refuse)
    with pytest.raises(StorageUnavailable):
        collect_all(orphans)
    collect_all(orphans)
    assert all_keys(services) == [going[2]]


def test_all_orphans_go_and_nothing_else_when_many_collect_at_once(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.orphans, "SLICE", 4)
    account = make.account()
    staying, going = needed(make, account), not_needed(make, account)
    in_threads(collect_all, [(orphans_of(services),) for _ in range(4)])
    assert all_keys(services) == staying
    assert not set(going) & set(all_keys(services))


def test_an_upload_keeps_its_bytes_when_it_is_recorded_just_before_the_delete(
    services: Services, make: Factory
) -> None:
    """Somebody died after storing the same bytes for the same image; now they come again."""
    account = make.account()
    facts = {"sha256": "a" * 64, "content_type": "image/png", "size_bytes": 7}
    image, _ = services.images.announce(account, **facts)
    orphan = image_key(account, "a" * 64, image.id)
    services.objects.put(orphan, b"picture")
    kept = []

    def upload(key: str) -> None:
        fresh = image_key(account, "a" * 64, image.id)
        services.objects.put(fresh, b"picture")
        found: Any = {"width": 1, "height": 1, "has_alpha": False, **facts}
        services.images.add(account, image.id, fresh, Facts(**found))
        kept.append(fresh)

    assert collect_all(orphans_of(services, before_delete=upload)) == 1
    assert all_keys(services) == kept
    assert services.images.get(account, image.id).object_key == kept[0]


def test_a_slice_asks_the_database_as_often_whatever_is_in_it(
    services: Services, make: Factory
) -> None:
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append(statement)

    account = make.account()
    counts = []
    for _ in range(2):
        for _ in range(15 * len(counts)):
            not_needed(make, account)
        services.objects.put(image_key(account, "0" * 64, new_id("img")), b"x")
        event.listen(services.database.engine, "before_cursor_execute", note)
        asked.clear()
        orphans_of(services).collect()
        event.remove(services.database.engine, "before_cursor_execute", note)
        counts.append(len(asked))
    assert counts == [4, 4]


def test_nothing_is_deleted_when_the_database_does_not_answer(
    services: Services, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = not_needed(make, make.account())
    orphans = orphans_of(services)

    def away() -> Any:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(services.database, "reading", away)
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                orphans.collect()
    assert all_keys(services) == going
    assert collect_all(orphans) == len(going)


def test_what_a_killed_writer_left_goes_when_it_is_old(
    build: Callable[..., Services], folder: Path
) -> None:
    services = build()
    place = services.settings.objects_folder / "results" / "acc_x" / "job_x" / "1"
    place.mkdir(parents=True)
    (place / ".put-abcdefgh").write_bytes(b"half")
    assert collect_all(orphans_of(services, seconds=0)) == 0
    assert collect_all(orphans_of(services)) == 1
    assert not list(services.settings.objects_folder.rglob("*"))
    with pytest.raises(NotFound):
        services.objects.get("results/acc_x/job_x/1/.put-abcdefgh")
