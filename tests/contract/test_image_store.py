"""Images of an account, on a real database: one row for each content."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ImageInUse, InvalidRequest, NotFound
from shared.images.store import Facts, Image
from shared.objects import image_key
from shared.services import Services
from tests.crowd import in_threads
from tests.factories import Factory, a_picture, a_spec, let_pass

SHA = "a" * 64
FACTS = Facts(SHA, "image/png", 100, 64, 48, has_alpha=False)


def _add(services: Services, account: str, image_id: str = "img_1") -> tuple[Image, bool]:
    return services.images.add(account, image_id, f"images/{account}/{SHA}/{image_id}", FACTS)


def test_an_account_has_one_image_when_it_sends_the_same_bytes_again(
    services: Services, make: Factory
) -> None:
    account, other = make.account(), make.account()
    first, is_new = _add(services, account)
    assert is_new
    let_pass(services.database, 1000)
    again, is_new = _add(services, account, "img_2")
    assert not is_new
    assert (again.id, again.object_key) == (first.id, first.object_key)
    assert again.expires_at >= first.expires_at  # renewed, though 1000 s have passed
    theirs, is_new = _add(services, other, "img_3")
    assert is_new
    assert theirs.id == "img_3"


def test_an_announced_image_gets_its_bytes_whichever_way_they_come(
    services: Services, make: Factory
) -> None:
    account = make.account()
    announced, is_new = services.images.announce(
        account, sha256=SHA, content_type="image/jpeg", size_bytes=1
    )
    assert is_new
    assert announced.object_key is None
    image, is_new = _add(services, account, "img_1")
    assert is_new
    assert image.id == announced.id
    assert (image.object_key, image.width, image.content_type) == (
        f"images/{account}/{SHA}/img_1", 64, "image/png"
    )  # fmt: skip
    known, is_new = services.images.announce(
        account, sha256=SHA, content_type="image/png", size_bytes=100
    )
    assert not is_new
    assert known.object_key is not None


def test_an_image_is_found_by_its_content_in_its_own_account_alone(
    services: Services, make: Factory
) -> None:
    account, other = make.account(), make.account()
    image, _ = _add(services, account)
    assert services.images.find(account, SHA) is not None
    assert services.images.find(other, SHA) is None
    for call in (services.images.get, services.images.delete):
        with pytest.raises(NotFound):
            call(other, image.id)


def test_an_image_can_be_deleted_once_its_last_job_has_ended(
    services: Services, make: Factory
) -> None:
    account = make.account()
    image, _ = _add(services, account)
    job = services.jobs.submit(account, a_spec(image.id), {})
    with pytest.raises(ImageInUse):
        services.images.delete(account, image.id)
    services.jobs.cancel(account, job.id)
    assert services.images.delete(account, image.id).id == image.id
    with pytest.raises(NotFound):
        services.images.get(account, image.id)


def test_one_row_is_made_when_the_same_bytes_come_many_times_at_once(
    services: Services, make: Factory
) -> None:
    account = make.account()
    results = in_threads(_add, [(services, account, f"img_{n}") for n in range(8)])
    assert [is_new for _, is_new in results].count(True) == 1
    assert len({image.id for image, _ in results}) == 1


def test_a_row_always_has_its_bytes_when_they_are_added_and_deleted_at_the_same_time(
    services: Services, make: Factory
) -> None:
    """The object's name holds the row's id: one row's delete never takes another's bytes."""
    account, data = make.account(), a_picture()

    def add_and_delete(worker: int) -> None:
        for n in range(12):
            image_id = f"img_{worker}_{n}"
            key = image_key(account, SHA, image_id)
            services.objects.put(key, data)
            image, is_new = services.images.add(account, image_id, key, FACTS)
            if not is_new:
                services.objects.delete(key)
            if n % 2 == worker % 2:
                try:
                    gone = services.images.delete(account, image.id)
                except NotFound:
                    continue
                services.objects.delete(gone.object_key or "")

    in_threads(add_and_delete, [(worker,) for worker in range(4)])
    image = services.images.find(account, SHA)
    if image is not None:
        assert services.objects.get(image.object_key or "") == data
    folder = Path(services.settings.objects_folder)
    stored = [path for path in folder.rglob("*") if path.is_file()]
    assert len(stored) == (image is not None)


def test_no_job_is_promised_an_image_that_goes_when_both_happen_at_once(
    services: Services, make: Factory
) -> None:
    account = make.account()
    for n in range(10):
        image, _ = _add(services, account, f"img_{n}")

        def submit(image: Image = image) -> str | None:
            try:
                return services.jobs.submit(account, a_spec(image.id), {}).id
            except InvalidRequest as refusal:
                assert [v.code for v in refusal.violations] == ["image_not_found"]  # noqa: PT017
                return None

        def delete(image: Image = image) -> bool:
            try:
                services.images.delete(account, image.id)
            except ImageInUse:
                return False
            return True

        job, deleted = in_threads(lambda call: call(), [(submit,), (delete,)])
        assert (job is None) == deleted
        if isinstance(job, str):
            services.jobs.cancel(account, job)
            services.images.delete(account, image.id)
