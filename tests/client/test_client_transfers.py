"""What goes over the line when files go up and down: no more than needed, and none of it half."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import towline
from tests.client.conftest import DRAG, LARGE, MIDDLE, SMALL, noise
from towline import errors
from towline.testing import FakeTowline


def sent(fake: FakeTowline) -> list[tuple[str, str]]:
    """Method and folder of each request, without ids."""
    return [(each.method, "/".join(each.path.split("/")[:4])) for each in fake.requests]


def bytes_sent(fake: FakeTowline) -> int:
    return sum(len(each.body) for each in fake.requests)


def test_a_small_picture_is_one_request(faked: Any, fake: FakeTowline) -> None:
    faked.images.upload(noise(*SMALL))
    assert sent(fake) == [("POST", "/v1/images")]


def test_a_large_picture_goes_to_object_storage_without_the_key(
    faked: Any, fake: FakeTowline
) -> None:
    data = noise(*LARGE)
    image = faked.images.upload(data)
    assert [each.method for each in fake.requests] == ["POST", "PUT", "POST"]
    announced, put, completed = fake.requests
    assert (announced.path, completed.path) == (
        "/v1/images/uploads",
        f"/v1/images/{image.id}/complete",
    )
    assert put.body == data
    assert "Authorization" not in put.headers
    assert put.headers["Content-Length"] == str(len(data))
    assert "Transfer-Encoding" not in put.headers
    assert len(announced.body) + len(completed.body) < 500


@pytest.mark.parametrize("size", [MIDDLE, LARGE], ids=["middle", "large"])
@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
def test_no_byte_is_sent_twice_when_the_service_has_the_picture(
    faked: Any, fake: FakeTowline, tmp_path: Path, size: Any, kind: str
) -> None:
    data = noise(*size)
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    source = {"bytes": data, "path": str(path), "file": io.BytesIO(data)}[kind]
    first = faked.images.upload(data)
    fake.requests.clear()
    assert faked.images.upload(source).id == first.id
    assert bytes_sent(fake) < 200
    assert sent(fake) == [("POST", "/v1/images/uploads"), ("GET", f"/v1/images/{first.id}")]


def test_the_bytes_are_sent_when_they_were_announced_by_somebody_who_died(
    faked: Any, fake: FakeTowline
) -> None:
    data = noise(*LARGE)
    fake.images.announce(hashlib.sha256(data).hexdigest(), len(data))
    assert faked.images.upload(data).size_bytes == len(data)


def test_the_bytes_are_put_again_when_the_object_storage_lost_them(
    faked: Any, fake: FakeTowline
) -> None:
    data = noise(*LARGE)
    fake.images.staged = _Forgetful()
    assert faked.images.upload(data).size_bytes == len(data)
    assert [each.method for each in fake.requests].count("PUT") == 2


class _Forgetful(dict[str, bytes]):
    """Loses the first thing it is given."""

    lost = 0

    def __setitem__(self, key: str, value: bytes) -> None:
        if self.lost:
            super().__setitem__(key, value)
        self.lost += 1


def test_a_url_that_is_too_old_is_asked_for_again(faked: Any, fake: FakeTowline) -> None:
    fake.fail(403, method="PUT")
    faked.images.upload(noise(*LARGE))
    assert [each.method for each in fake.requests] == ["POST", "PUT", "POST", "GET", "PUT", "POST"]


def test_the_failure_is_said_when_the_bytes_cannot_be_put(faked: Any, fake: FakeTowline) -> None:
    fake.fail(403, method="PUT", times=99)
    with pytest.raises(towline.APIError) as caught:
        faked.images.upload(noise(*LARGE))
    assert caught.value.status == 403
    assert "signature" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_oserror(faked: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        faked.images.upload(tmp_path / "nothing.png")


# --- down


@pytest.fixture
def job(faked: Any, fake: FakeTowline) -> Any:
    done = faked.jobs.wait(faked.jobs.create(faked.images.upload(noise(*LARGE)), [DRAG]))
    fake.requests.clear()
    return done


class Flaky(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Object storage whose connections break after so many bytes."""

    def __init__(self, fake: FakeTowline, after: list[int]) -> None:
        self.fake, self.after = fake, after
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._harmed(request, self.fake.handle_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._harmed(request, await self.fake.handle_async_request(request))

    def _harmed(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if not request.url.path.startswith("/objects/"):
            return response
        self.ranges.append(request.headers.get("Range"))
        if not self.after:
            return response
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Broken(response.content[: self.after.pop(0)]),
        )


class _Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Any:
        yield self.data
        raise httpx.ReadError("reset")

    async def __aiter__(self) -> Any:
        yield self.data
        raise httpx.ReadError("reset")


@pytest.mark.parametrize("after", [[1000], [1000, 500], [0, 70_000, 0, 1]], ids=str)
def test_a_download_goes_on_where_it_broke(
    form: Callable[..., Any], fake: FakeTowline, job: Any, tmp_path: Path, after: list[int]
) -> None:
    storage = Flaky(fake, list(after))
    with form(api_key="k", transport=storage) as client:
        path = client.jobs.download(job, tmp_path / "out.png")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == job.result.candidates[0].sha256
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]
    have = [sum(after[: number + 1]) for number in range(len(after))]
    assert storage.ranges == [None, *[f"bytes={size}-" if size else None for size in have]]


def test_the_next_program_goes_on_where_a_download_was_given_up(
    form: Callable[..., Any], fake: FakeTowline, job: Any, tmp_path: Path
) -> None:
    to = tmp_path / "out.png"
    with (
        form(api_key="k", transport=Flaky(fake, [1000]), max_retries=0) as client,
        pytest.raises(towline.ConnectionFailed),
    ):
        client.jobs.download(job, to)
    assert not to.exists()
    storage = Flaky(fake, [])
    with form(api_key="k", transport=storage) as client:
        client.jobs.download(job, to)
    assert storage.ranges == ["bytes=1000-"]
    assert to.read_bytes() == fake.store.objects[f"results/{job.id}/0"]


@pytest.mark.parametrize("left_there", [b"nonsense", b"x" * 3_000_000], ids=["some", "too much"])
def test_a_download_begins_anew_when_what_is_left_there_is_wrong(
    faked: Any, fake: FakeTowline, job: Any, tmp_path: Path, left_there: bytes
) -> None:
    sha256 = job.result.candidates[0].sha256
    (tmp_path / f".out.png.{sha256[:16]}.part").write_bytes(left_there)
    path = faked.jobs.download(job, tmp_path / "out.png")
    assert path.read_bytes() == fake.store.objects[f"results/{job.id}/0"]
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def test_nothing_is_kept_when_other_bytes_come_than_were_promised(
    faked: Any, fake: FakeTowline, job: Any, tmp_path: Path
) -> None:
    fake.store.objects[f"results/{job.id}/0"] += b"!"
    to = tmp_path / "out.png"
    to.write_bytes(b"before")
    with pytest.raises(towline.ContentMismatch):
        faked.jobs.download(job, to)
    assert to.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def test_a_fresh_url_is_asked_for_when_the_one_at_hand_is_too_old(
    faked: Any, fake: FakeTowline, job: Any, tmp_path: Path
) -> None:
    fake.fail(403, path="/objects/*")
    assert faked.jobs.download(job, tmp_path / "out.png").exists()
    fake.fail(403, path="/objects/*")
    assert faked.jobs.picture(job)
    assert [each.method for each in fake.requests] == ["GET"] * 6


def test_a_download_says_why_there_is_none(faked: Any, fake: FakeTowline, tmp_path: Path) -> None:
    fake.hold_jobs()
    image = faked.images.upload(noise(*SMALL))
    job = faked.jobs.create(image, [DRAG])
    with pytest.raises(towline.JobNotSucceeded, match="no picture yet"):
        faked.jobs.download(job, tmp_path / "out.png")
    fake.finish_job(job, "failed", code="drag_not_reachable", message="no way")
    with pytest.raises(towline.JobFailed, match="no way") as caught:
        faked.jobs.download(job, tmp_path / "out.png")
    assert (caught.value.code, caught.value.job.id, caught.value.retryable) == (
        "drag_not_reachable", job.id, False,
    )  # fmt: skip
    for status, kind in (("canceled", towline.JobCanceled), ("expired", towline.JobExpired)):
        other = faked.jobs.create(image, [DRAG])
        fake.finish_job(other, status)  # type: ignore[arg-type]
        with pytest.raises(kind):
            faked.jobs.picture(other)
    assert list(tmp_path.iterdir()) == []


def test_no_candidate_is_an_index_error(faked: Any, job: Any, tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        faked.jobs.download(job, tmp_path / "out.png", candidate=3)


class Counting(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Takes a batch without keeping it."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.size_bytes = sum(len(chunk) for chunk in request.stream)
        return httpx.Response(503)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.size_bytes = sum([len(chunk) async for chunk in request.stream])
        return httpx.Response(503)


def test_a_batch_is_sent_in_constant_memory(form: Callable[..., Any]) -> None:
    edits = ({"custom_id": str(number), "pad": "x" * 20_000} for number in range(2000))
    transport = Counting()
    with form(api_key="k", transport=transport, max_retries=1) as client:
        tracemalloc.start()
        with pytest.raises(towline.ServerError):
            client.batches.create(edits)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert transport.size_bytes > 40_000_000
    assert peak_bytes < 12_000_000


def test_the_same_lines_are_sent_when_the_answer_to_a_batch_was_lost(
    faked: Any, fake: FakeTowline
) -> None:
    image = faked.images.upload(noise(*SMALL))
    fake.fail("lost", path="/v1/batches")
    fake.fail(503, path="/v1/batches", retry_after=0)
    batch = faked.batches.create(
        towline.edit(image, [DRAG], custom_id=str(number)) for number in range(3)
    )
    bodies = [each.body for each in fake.requests if each.path == "/v1/batches"]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert list(fake.batches.all) == [batch.id]


def test_results_go_on_with_the_next_line_when_the_stream_is_cut(
    faked: Any, fake: FakeTowline
) -> None:
    image = faked.images.upload(noise(*SMALL))
    batch = faked.batches.wait(
        faked.batches.create(towline.edit(image, [DRAG], custom_id=str(n)) for n in range(9))
    )
    fake.fail("cut", path="*/results")
    fake.fail("reset", path="*/results")
    assert [each.line for each in faked.batches.results(batch)] == list(range(1, 10))


def test_half_an_archive_is_none(faked: Any, fake: FakeTowline, tmp_path: Path) -> None:
    image = faked.images.upload(noise(*SMALL))
    batch = faked.batches.wait(faked.batches.create([towline.edit(image, [DRAG], custom_id="a")]))
    fake.fail("cut", path="*/archive")
    with pytest.raises(towline.ContentMismatch):
        faked.batches.archive(batch, tmp_path / "all.zip")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(errors.NotFound):
        faked.batches.archive("bat_nobodys", tmp_path / "all.zip")
    assert list(tmp_path.iterdir()) == []
