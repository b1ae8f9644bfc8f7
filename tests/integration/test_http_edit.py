"""Edits over HTTP, from upload to result, against the real service with its real worker."""

from __future__ import annotations

import hashlib
import io
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from shared.imaging import decode, decode_mask, encode
from tests.crowd import in_threads
from tests.integration.editor import Editor
from tests.integration.embedded.running import REPOSITORY, EmbeddedService, StartService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow

SAMPLE = REPOSITORY / "infra" / "embedded" / "sample"
DRAGS = [
    {"handle": [168, 87], "target": [167, 72]},
    {"handle": [172, 145], "target": [173, 160]},
]
LIMIT_S = 60.0
#: A picture of 120 x 90 for everything that needs no cat.
WIDTH, HEIGHT = 120, 90
DRAG = {"handle": [50, 45], "target": [62, 45]}
RECT = {"rect": [20, 15, 100, 75]}


@pytest.fixture(scope="module")
def editor(service: EmbeddedService) -> Iterator[Editor]:
    with service.api() as api:
        yield Editor(api)


def pattern(channels: int = 3, dtype: type = np.uint8) -> NDArray[Any]:
    """Smooth enough to be moved, and different everywhere."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [x * 2, y * 2, (x + y) % 251, 40 + (x * y) % 200]
    picture = np.stack(planes[:channels], axis=-1)
    return picture.astype(dtype) * (257 if dtype is np.uint16 else 1)


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    return decode(data).pixels_HWC


def assert_changed_inside_alone(
    before: NDArray[np.uint8], after: NDArray[np.uint8], mask_HW: NDArray[np.bool_]
) -> None:
    assert before.shape == after.shape
    changed_HW = (before != after).any(axis=-1)
    assert not changed_HW[~mask_HW].any(), f"{changed_HW[~mask_HW].sum()} pixels changed outside"
    assert changed_HW[mask_HW].any()


def rect_mask(x0: int, y0: int, x1: int, y1: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask_HW = np.zeros(shape[:2], np.bool_)
    mask_HW[y0:y1, x0:x1] = True
    return mask_HW


CAT, CAT_MASK = (SAMPLE / "image.png").read_bytes(), (SAMPLE / "mask.png").read_bytes()


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_a_real_picture_is_edited_when_its_mask_is_a_picture(editor: Editor, form: str) -> None:
    image, mask = editor.upload(CAT), editor.upload(CAT_MASK)
    job = editor.edit(
        image=image["id"], mask=mask["id"], drags=DRAGS, options={"format": form, "seed": 3}
    )
    data = editor.result(job)
    assert decode(data).content_type == f"image/{form}"
    assert (job["result"]["candidates"][0]["seed"], job["result"]["engine"]) == (3, "warp")
    assert job["result"]["mask_url"] is None
    before, after = pixels_of(CAT), pixels_of(data)
    if form == "jpeg":
        difference = np.abs(before.astype(int) - after)[~decode_mask(CAT_MASK)]
        assert difference.mean() < 3
    else:
        assert_changed_inside_alone(before, after, decode_mask(CAT_MASK))


def test_the_eye_of_the_cat_lies_elsewhere_when_it_was_dragged(editor: Editor) -> None:
    image = editor.upload(CAT)
    drag = {"handle": [172, 118], "target": [184, 118]}
    job = editor.edit(image=image["id"], mask={"rect": [110, 60, 240, 180]}, drags=[drag])
    before, after = pixels_of(CAT).astype(int), pixels_of(editor.result(job)).astype(int)
    at_handle, at_target = before[112:125, 166:179], after[112:125, 178:191]
    assert (
        np.abs(at_handle - at_target).mean()
        < np.abs(at_handle - before[112:125, 178:191]).mean() / 3
    )


@pytest.mark.parametrize(
    ("mask", "mask_HW"),
    [
        (RECT, rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH))),
        ({"rect": [19.5, 14.1, 99.5, 74.1]}, rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH))),
        ({"polygon": [[20, 15], [99, 15], [99, 74], [20, 74]]},
         rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH))),
        ({"rect": [-10, -10, 500, 500]}, rect_mask(0, 0, WIDTH, HEIGHT, (HEIGHT, WIDTH))),
    ],
    ids=["rect", "rect with fractions", "polygon", "everything"],
)  # fmt: skip
def test_only_the_mask_changes_when_it_is_a_shape(
    editor: Editor, mask: Any, mask_HW: NDArray[np.bool_]
) -> None:
    source = encode(pattern(), "png")
    job = editor.edit(image=editor.upload(source)["id"], mask=mask, drags=[DRAG])
    after = pixels_of(editor.result(job))
    assert_changed_inside_alone(pattern(), after, mask_HW)
    assert job["result"]["mask_url"] is None


def test_only_the_mask_that_was_made_changes_when_none_was_given(editor: Editor) -> None:
    job = editor.edit(image=editor.upload(encode(pattern(), "png"))["id"], drags=[DRAG], mask=None)
    mask_HW = decode_mask(editor.fetch(job["result"]["mask_url"]))
    assert mask_HW.shape == (HEIGHT, WIDTH)
    assert mask_HW[45, 50]
    assert mask_HW[45, 62]
    assert not mask_HW.all()
    assert_changed_inside_alone(pattern(), pixels_of(editor.result(job)), mask_HW)


def test_a_job_has_all_of_its_times_and_progress_when_it_succeeded(editor: Editor) -> None:
    job = editor.edit(image=editor.upload(encode(pattern(), "png"))["id"], mask=RECT, drags=[DRAG])
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["attempt"] == 1
    assert job["progress"]["steps"] in (None, job["progress"]["step"])
    assert (job["queue"], job["error"]) == (None, None)
    timings = job["result"]["timings"]
    parts = sum(timings[name] for name in ("queued_ms", "fetch_ms", "run_ms", "store_ms"))
    assert 0 < parts <= timings["total_ms"] + 50
    assert job["result"]["cached"] is False
    assert job["result"]["model_digest"]


def test_rounds_go_on_from_each_other_when_there_are_several(editor: Editor) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    there = {"handle": [50, 45], "target": [58, 45]}
    further = {"handle": [58, 45], "target": [58, 53]}
    both = editor.edit(image=image, mask=RECT, rounds=[[there], [further]])
    first = editor.edit(image=image, mask=RECT, drags=[there])
    middle = editor.upload(editor.result(first))["id"]
    second = editor.edit(image=middle, mask=RECT, drags=[further])
    assert both["request"]["rounds"] == [[there], [further]]
    assert (pixels_of(editor.result(both)) == pixels_of(editor.result(second))).all()


def test_the_same_picture_comes_out_when_an_edit_is_repeated(editor: Editor) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    body = {"image": image, "mask": RECT, "drags": [DRAG], "options": {"seed": 1, "cache": False}}
    first, second = (editor.edit(**body) for _ in range(2))
    assert (pixels_of(editor.result(first)) == pixels_of(editor.result(second))).all()
    retried = editor.api.post(f"/v1/jobs/{first['id']}/retry")
    assert retried.status_code == 202
    third = editor.finish(retried.json())
    assert (pixels_of(editor.result(third)) == pixels_of(editor.result(first))).all()


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_the_same_edit_is_answered_from_its_earlier_result(editor: Editor, form: str) -> None:
    picture, mask = pattern()[::-1], rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH))
    mask_png = encode(np.dstack([mask.astype(np.uint8) * 255] * 3), "png")
    body = {"drags": [DRAG], "options": {"seed": 5, "format": form}}

    def uploaded() -> dict[str, Any]:
        image = editor.upload(encode(picture, "png"))["id"]
        return {"image": image, "mask": editor.upload(mask_png)["id"]}

    names = uploaded()
    first = editor.edit(**body, **names)
    for image in names.values():  # the very same bytes come again, by other names
        assert editor.api.delete(f"/v1/images/{image}").status_code == 200
    second = editor.submit(**body, **uploaded())
    assert (second["status"], second["result"]["cached"]) == ("succeeded", True)
    assert second["request"]["image"] != first["request"]["image"]
    assert editor.result(second) == editor.result(first)
    assert first["id"].encode() in editor.result(second), "who made it is said in it"
    other = editor.edit(
        **body | {"drags": [{"handle": [50, 45], "target": [62, 46]}]}, **uploaded()
    )
    assert not other["result"]["cached"]
    assert editor.api.delete(f"/v1/jobs/{first['id']}").json()["removed"]["objects"] == 0
    third = editor.submit(**body, **uploaded())
    assert third["result"]["cached"]
    for job in (third, second):
        assert editor.result(job)
        url = job["result"]["candidates"][0]["url"]
        assert editor.api.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert httpx.get(url, trust_env=False).status_code == 404
    last = editor.submit(**body, **uploaded())
    assert last["result"] is None


@pytest.mark.parametrize("options", [{"output": "canvas"}, {"quality": "preview"}], ids=str)
def test_a_picture_comes_out_when_canvas_or_preview_is_asked_for(
    editor: Editor, options: dict[str, str]
) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    canvas = editor.api.post(
        "/v1/jobs/validate", json={"image": image, "drags": [DRAG], "options": options}
    ).json()["canvas"]
    job = editor.edit(image=image, mask=RECT, drags=[DRAG], options=options)
    after = pixels_of(editor.result(job))
    assert after.shape == (canvas["height"], canvas["width"], 3)
    assert (after != pattern()).any()


@pytest.mark.parametrize("form", ["png", "webp"])
def test_alpha_is_kept_and_moved_when_the_picture_has_it(editor: Editor, form: str) -> None:
    source = pattern(4)
    image = editor.upload(encode(source, "png"))
    job = editor.edit(image=image["id"], mask=RECT, drags=[DRAG], options={"format": form})
    after = pixels_of(editor.result(job))
    assert after.shape == (HEIGHT, WIDTH, 4)
    assert_changed_inside_alone(source, after, rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH)))


def pillow_bytes(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def test_points_are_of_the_upright_picture_when_exif_turns_it(editor: Editor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: seen, it is HEIGHT wide and WIDTH high
    data = pillow_bytes(Image.fromarray(pattern()), "JPEG", quality=95, exif=exif)
    image = editor.upload(data)
    assert (image["width"], image["height"]) == (HEIGHT, WIDTH)
    drag = {"handle": [45, 80], "target": [45, 100]}  # below the picture as it is stored
    job = editor.edit(image=image["id"], mask={"rect": [10, 50, 80, 118]}, drags=[drag])
    after = pixels_of(editor.result(job))
    assert after.shape == (WIDTH, HEIGHT, 3)
    assert_changed_inside_alone(pixels_of(data), after, rect_mask(10, 50, 80, 118, after.shape))
    refused = editor.api.post(
        "/v1/jobs", json={"image": image["id"], "drags": [{"handle": [100, 45], "target": [9, 9]}]}
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/drags/0/handle"


def unusual() -> dict[str, bytes]:
    grey = Image.fromarray(pattern()).convert("L")
    return {
        "16 bits": pillow_bytes(Image.fromarray(pattern(1, np.uint16)[..., 0]), "PNG"),
        "grey": pillow_bytes(grey, "PNG"),
        "grey JPEG": pillow_bytes(grey, "JPEG"),
        "palette": pillow_bytes(Image.fromarray(pattern()).quantize(64), "PNG"),
        "CMYK JPEG": pillow_bytes(Image.fromarray(pattern()).convert("CMYK"), "JPEG"),
        "WebP with loss": pillow_bytes(Image.fromarray(pattern()), "WEBP", quality=70),
    }


@pytest.mark.parametrize("name", unusual())
def test_every_kind_of_picture_is_edited_as_8_bit_srgb_when_it_is_unusual(
    editor: Editor, name: str
) -> None:
    data = unusual()[name]
    job = editor.edit(image=editor.upload(data)["id"], mask=RECT, drags=[DRAG])
    after = pixels_of(editor.result(job))
    assert after.shape == (HEIGHT, WIDTH, 3)
    mask_HW = rect_mask(20, 15, 100, 75, (HEIGHT, WIDTH))
    assert_changed_inside_alone(pixels_of(data), after, mask_HW)


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_a_result_says_where_it_comes_from_when_its_metadata_is_read(
    editor: Editor, form: str
) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    job = editor.edit(image=image, mask=RECT, drags=[DRAG], options={"format": form})
    data = editor.result(job)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        packet = picture.info.get("xmp") or picture.info["XML:com.adobe.xmp"]
    text = packet.decode() if isinstance(packet, bytes) else packet
    assert "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced" in text
    assert job["id"] in text
    assert "Towline" in text


def test_a_submission_answers_200_with_the_result_when_it_waits(editor: Editor) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    body = {"image": image, "mask": RECT, "drags": [DRAG]}
    answer = editor.api.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    assert editor.result(answer.json())


def test_an_upload_through_a_signed_url_can_be_edited_when_it_is_complete(editor: Editor) -> None:
    data = encode(pattern()[:, ::-1], "png")
    body = {
        "content_type": "image/png",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    announced = editor.api.post("/v1/images/uploads", json=body).json()
    upload = announced["upload"]
    put = httpx.request(
        upload["method"], upload["url"], content=data, headers=upload["headers"], trust_env=False
    )
    assert put.status_code == 200, put.text
    done = editor.api.post(f"/v1/images/{announced['id']}/complete")
    assert done.status_code == 200, done.text
    job = editor.edit(image=announced["id"], mask=RECT, drags=[DRAG])
    assert job["request"]["image"] == announced["id"]


def test_a_put_is_refused_when_it_is_sent_in_chunks(editor: Editor) -> None:
    body = {"content_type": "image/png", "size_bytes": 9, "sha256": "0" * 64}
    upload = editor.api.post("/v1/images/uploads", json=body).json()["upload"]
    put = httpx.put(upload["url"], content=iter([b"x" * 9]), trust_env=False)
    assert put.status_code == 411, put.text
    assert put.json()["code"] == "length_required"


def bottleneck() -> bytes:
    """Two rooms, and between them a way one pixel wide."""
    mask_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask_HW[20:70, 10:50] = mask_HW[20:70, 70:110] = mask_HW[45, 50:70] = 255
    return encode(np.dstack([mask_HW] * 3), "png")


def test_a_job_fails_with_its_code_when_a_drag_cannot_be_reached(editor: Editor) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    mask = editor.upload(bottleneck())["id"]
    drag = {"handle": [30, 45], "target": [90, 45]}
    job = editor.finish(editor.submit(image=image, mask=mask, drags=[drag]))
    assert (job["status"], job["result"]) == ("failed", None)
    assert (job["error"]["code"], job["error"]["retryable"]) == ("drag_not_reachable", False)
    assert job["error"]["message"]


def test_a_running_job_stops_soon_when_it_is_canceled(editor: Editor) -> None:
    """Many rounds on a large picture run for long; each step is a place to stop at."""
    big = np.tile(pattern(), (22, 17, 1))
    image = editor.upload(encode(big, "jpeg"))
    x, y = image["width"] // 2, image["height"] // 2
    rounds = [[{"handle": [x, y], "target": [x + 300, y + 200 + i]}] for i in range(8)]
    job = editor.submit(image=image["id"], rounds=rounds, mask={"rect": [0, 0, 9999, 9999]})
    path, seen = f"/v1/jobs/{job['id']}", []
    deadline_s = time.monotonic() + LIMIT_S
    while not seen or seen[-1] == 0:
        assert time.monotonic() < deadline_s
        now = editor.api.get(path).json()
        assert now["status"] in ("queued", "running"), now
        seen.append(now["progress"]["step"] if now["status"] == "running" else 0)
        time.sleep(0.05)
    asked = editor.api.post(f"{path}/cancel").json()
    assert asked["status"] == "running"
    assert asked["progress"]["step"] < asked["progress"]["steps"]
    ended = editor.finish(asked)
    assert (ended["status"], ended["result"], ended["error"]) == ("canceled", None, None)
    assert ended["progress"]["step"] < ended["progress"]["steps"], "it stopped half-way"
    assert editor.api.delete(path).status_code == 200


def test_all_are_accepted_and_done_when_fifty_submit_at_once(
    editor: Editor, service: EmbeddedService
) -> None:
    image = editor.upload(encode(pattern(), "png"))["id"]
    body = {"image": image, "mask": RECT, "drags": [DRAG], "options": {"quality": "preview"}}

    def submit(number: int) -> dict[str, Any]:
        with service.api() as api:
            answer = api.post("/v1/jobs", json=body | {"metadata": {"number": str(number)}})
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    jobs = in_threads(submit, [(number,) for number in range(50)])
    assert len({job["id"] for job in jobs}) == 50
    ended = [editor.finish(job) for job in jobs]
    assert [job["status"] for job in ended] == ["succeeded"] * 50
    assert {job["attempt"] for job in ended} == {1}


def test_a_result_is_gone_when_its_job_is_deleted(editor: Editor) -> None:
    job = editor.edit(image=editor.upload(encode(pattern(), "png"))["id"], drags=[DRAG])
    urls = [job["result"]["candidates"][0]["url"], job["result"]["mask_url"]]
    assert editor.api.delete(f"/v1/jobs/{job['id']}").status_code == 200
    for url in urls:
        answer = httpx.get(url, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_nothing_was_unforeseen_when_all_of_this_was_done(service: EmbeddedService) -> None:
    logs = [path.read_text() for path in Path(service.home).rglob("*.log")]
    assert not any("Traceback" in text for text in [service.said, *logs])


def test_a_wait_is_answered_when_the_service_is_told_to_end(start_service: StartService) -> None:
    service = start_service()
    service.wait_until_up()
    with service.api() as api, ThreadPoolExecutor(1) as pool:
        editor = Editor(api)
        image = editor.upload(encode(pattern(), "png"))["id"]
        service.child("worker-warp").signal(signal.SIGSTOP)
        job = editor.submit(image=image, mask=RECT, drags=[DRAG])
        path, wait = f"/v1/jobs/{job['id']}", {"Prefer": "wait=60"}
        answer = pool.submit(api.get, path, headers=wait)
        time.sleep(0.5)
        assert not answer.done()
        service.child("api").signal(signal.SIGTERM)
        found = answer.result(10)
        assert found.status_code == 200
        assert found.json()["status"] in ("queued", "running")
