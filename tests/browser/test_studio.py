"""`/studio` in a real browser: what is pressed and pulled is what the service is asked to do."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from shared.imaging import decode, decode_mask, encode
from tests.browser.driving import marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.driving import Studio
    from tests.integration.embedded.running import EmbeddedService

pytestmark = pytest.mark.slow


def stored(service: EmbeddedService, path: str) -> Any:
    with service.api() as api:
        answer = api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fetched(service: EmbeddedService, url: str) -> bytes:
    with service.api() as api:
        return api.get(url).content


def turned_jpeg(x: int, y: int) -> bytes:
    """Seen upright its mark is at (x, y); stored, it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.fromarray(marked(90, 120, x, y)).transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    lying.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()


def test_the_key_leaves_the_address_when_the_page_was_opened_with_it(
    studio: Studio, service: EmbeddedService
) -> None:
    studio.shows("#picture-step")
    assert studio.page.url == studio.url
    studio.page.reload()
    studio.shows("#picture-step")
    studio.page.click("#forget-key")
    studio.shows("#key-step")
    studio.page.fill("#key", service.key)
    studio.page.press("#key", "Enter")
    studio.shows("#picture-step")
    assert studio.page.url == studio.url


@pytest.mark.parametrize("key", ["tow_wrong_key", "spaces and é"])
def test_a_wrong_key_says_so_when_it_is_tried(open_studio: Callable[..., Studio], key: str) -> None:
    studio = open_studio(key="")
    studio.shows("#key-step")
    studio.page.fill("#key", key)
    studio.page.click("#key-form button")
    studio.shows("#key-problem")
    assert "does not know this key" in studio.text("#key-problem")


@pytest.mark.parametrize("screen", [1, 2.5], ids=lambda ratio: f"{ratio} pixels per pixel")
def test_a_handle_is_the_pixel_that_was_pressed_when_it_is_sent(
    open_studio: Callable[..., Studio], screen: float
) -> None:
    studio = open_studio(device_scale_factor=screen)
    mark = studio.take_marked(37, 21)
    studio.pull(mark, (40, 20))  # at four times its size
    assert studio.drags == [[37, 21, 47, 26]]
    studio.settle()
    sent = studio.last_sent("/v1/jobs/validate")
    assert sent["drags"] == [{"handle": [37, 21], "target": [47, 26]}]
    assert sent["mask"] is None


def test_points_are_of_the_upright_picture_when_exif_turns_it(
    studio: Studio, service: EmbeddedService
) -> None:
    studio.take(turned_jpeg(70, 30), "image/jpeg")
    studio.pull(studio.mark(), (-20, 24))
    ((x, y, *_),) = studio.drags
    assert (x, y) == (70, 30)
    studio.settle()
    image = stored(service, f"/v1/images/{studio.last_sent('/v1/jobs/validate')['image']}")
    assert (image["width"], image["height"]) == (90, 120)


def test_a_point_stays_in_the_picture_when_it_is_pulled_out_of_it(studio: Studio) -> None:
    studio.pull(studio.take_marked(), (2000, -2000))
    assert studio.drags == [[60, 45, 119, 0]]


def test_a_pixel_is_still_met_when_the_view_is_near(studio: Studio) -> None:
    mark = studio.take_marked(37, 21)
    studio.page.mouse.move(*mark)
    for _ in range(3):
        studio.page.mouse.wheel(0, -300)
    studio.page.wait_for_timeout(200)
    studio.pull(studio.mark(), (60, 0))
    ((x, y, *_),) = studio.drags
    assert (x, y) == (37, 21)


def test_the_thing_is_at_its_target_when_the_preview_is_shown(studio: Studio) -> None:
    mark = studio.take_marked()
    studio.page.click("#show-mask")
    studio.pull(mark, (48, 0))
    studio.settle()
    assert studio.text("#stage-chip") == "Preview"
    # The arrow's head lies over one side of the mark, the start's dot over where it was.
    assert studio.mark() == pytest.approx((mark[0] + 48, mark[1]), abs=8)
    studio.page.click("#original")
    assert studio.text("#stage-chip") == "Original"
    studio.page.click("#original")
    studio.page.click("#clear-drags")
    studio.settle()
    assert studio.page.is_hidden("#stage-chip")
    assert studio.mark() == pytest.approx(mark, abs=0.5)


def test_the_result_is_the_jobs_own_bytes_when_it_is_downloaded(
    studio: Studio, service: EmbeddedService, tmp_path: Path
) -> None:
    studio.pull(studio.take_marked(), (48, 0))
    studio.run()
    with studio.page.expect_download() as download:
        studio.page.click("#download")
    data = Path(download.value.path()).read_bytes()
    (job,) = stored(service, f"/v1/jobs?metadata.studio={studio_session(studio)}")["data"]
    assert hashlib.sha256(data).hexdigest() == job["result"]["candidates"][0]["sha256"]
    assert job["request"]["options"]["quality"] == "full"
    picture = decode(data).pixels_HWC
    assert tuple(picture[45, 72, :3]) == (255, 0, 0), "the mark moved by twelve pixels"
    assert download.value.suggested_filename.endswith(".png")


def studio_session(studio: Studio) -> str:
    return str(studio.page.evaluate("() => sessionStorage.getItem('towline-studio-session')"))


def test_no_preview_is_left_among_the_jobs_when_many_were_made(
    studio: Studio, service: EmbeddedService
) -> None:
    mark = studio.take_marked()
    studio.pull(mark, (48, 0))
    for by in (8, 16, 24):  # each takes the place of the one before
        studio.pull((mark[0] + 48, mark[1] + by - 8), (0, 8))
        studio.page.wait_for_timeout(230)
    studio.settle()
    assert any(body.get("metadata", {}).get("studio_preview") for _, body in studio.sent)
    query = f"/v1/jobs?metadata.studio_preview={studio_session(studio)}"
    for _ in range(50):
        studio.page.wait_for_timeout(100)  # the page goes on meanwhile
        if not stored(service, query)["data"]:
            break
    assert stored(service, query)["data"] == []


def test_a_painted_mask_is_those_very_pixels_when_it_is_sent(
    studio: Studio, service: EmbeddedService
) -> None:
    mark = studio.take_marked(60, 45)
    studio.page.click("[data-tool=rectangle]")
    studio.pull((mark[0] - 160, mark[1] - 120), (320, 240))  # at four times its size
    studio.page.click("[data-tool=drag]")
    studio.pull(mark, (40, 0))
    studio.run()
    (job,) = stored(service, f"/v1/jobs?metadata.studio={studio_session(studio)}")["data"]
    mask = stored(service, f"/v1/images/{job['request']['mask']}")
    expected_HW = np.zeros((90, 120), bool)
    expected_HW[15:76, 20:101] = True
    assert (decode_mask(fetched(service, mask["url"])) == expected_HW).all()


def test_a_problem_is_at_its_drag_when_the_mask_does_not_hold_it(studio: Studio) -> None:
    mark = studio.take_marked()
    studio.page.click("[data-tool=rectangle]")
    studio.pull((mark[0] - 200, mark[1] - 150), (80, 60))
    studio.page.click("[data-tool=drag]")
    studio.pull(mark, (40, 0))
    studio.settle()
    assert "outside the mask" in studio.text("#drags li .problem")
    assert studio.page.is_disabled("#run")
    studio.page.click("#clear-mask")
    studio.settle()
    assert studio.text("#drags li .problem") == ""
    assert studio.page.is_enabled("#run")


def test_steps_come_back_when_they_are_undone(studio: Studio) -> None:
    mark = studio.take_marked()
    studio.pull(mark, (40, 0))
    studio.pull((mark[0] + 40, mark[1]), (0, 20))
    assert studio.drags == [[60, 45, 70, 50]]
    studio.page.keyboard.press("Control+z")
    assert studio.drags == [[60, 45, 70, 45]]
    studio.page.keyboard.press("Control+z")
    assert studio.drags == []
    studio.page.keyboard.press("Control+Shift+z")
    studio.page.keyboard.press("Control+y")
    assert studio.drags == [[60, 45, 70, 50]]
    studio.page.keyboard.press("Delete")
    assert studio.drags == []


def test_an_edit_is_made_when_there_is_only_a_keyboard(studio: Studio) -> None:
    studio.take_marked()
    studio.page.focus("#canvas")
    for key in ("Enter", "Shift+ArrowRight", "ArrowDown", "Enter"):
        studio.page.keyboard.press(key)
    assert studio.drags == [[60, 45, 70, 46]]
    studio.settle()
    studio.page.focus("#run")
    studio.page.wait_for_selector("#run:not([disabled])")
    studio.page.keyboard.press("Enter")
    studio.shows("#compare")
    studio.page.focus("#divider")
    before = studio.page.input_value("#divider")
    studio.page.keyboard.press("ArrowLeft")
    assert studio.page.input_value("#divider") != before


def test_a_result_is_the_next_picture_when_one_goes_on_from_it(
    studio: Studio, service: EmbeddedService
) -> None:
    studio.pull(studio.take_marked(), (40, 0))
    studio.run()
    studio.page.click("#go-on")
    studio.shows("#canvas")
    assert studio.drags == []
    studio.page.wait_for_timeout(200)
    studio.pull(studio.mark(), (0, 40))
    studio.run()
    assert len(studio.page.query_selector_all("#history li")) == 2
    query = f"/v1/jobs?metadata.studio={studio_session(studio)}"
    second, first = stored(service, query)["data"]
    image = stored(service, f"/v1/images/{second['request']['image']}")
    assert image["sha256"] == first["result"]["candidates"][0]["sha256"]
    handle = second["request"]["drags"][0]["handle"]
    assert handle == [70, 45], "where the first edit brought it"
    studio.page.reload()
    studio.shows("#picture-step")
    studio.take(encode(marked(120, 90, 60, 45), "png"))
    studio.page.click("#history li:last-child button")
    studio.shows("#compare")


def test_a_finger_pulls_and_two_fingers_zoom_when_there_is_no_mouse(
    open_studio: Callable[..., Studio],
) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    studio = open_studio(device_scale_factor=2, **phone)
    x, y = studio.take_marked()
    fingers = studio.page.context.new_cdp_session(studio.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (x, y))
    touch("touchMove", (x + 30, y))
    touch("touchEnd")
    assert [drag[:2] for drag in studio.drags] == [[60, 45]]
    studio.page.click("#clear-drags")
    touch("touchStart", (x - 20, y), (x + 20, y))
    touch("touchMove", (x - 40, y), (x + 40, y))
    touch("touchEnd")
    studio.page.wait_for_timeout(200)
    assert studio.drags == [], "a pinch is no drag"
    assert studio.mark() == pytest.approx((x, y), abs=3)
    wide = studio.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide == 390, "nothing is wider than the phone"


def test_what_is_no_picture_is_refused_in_words_when_it_is_chosen(studio: Studio) -> None:
    studio.shows("#picture-step")
    for data, kind in ((b"hello", "text/plain"), (b"\x89PNG hello", "image/png")):
        file = {"name": "a file", "mimeType": kind, "buffer": data}
        studio.page.set_input_files("#file", file)
        studio.shows("#alert")
        assert studio.text("#alert")
        studio.page.evaluate("() => { document.getElementById('alert').hidden = true }")


def test_the_command_does_the_same_edit_when_it_is_copied(
    open_studio: Callable[..., Studio], service: EmbeddedService
) -> None:
    studio = open_studio(permissions=["clipboard-read", "clipboard-write"])
    studio.pull(studio.take_marked(), (40, 0))
    studio.run()
    studio.page.click("#copy-curl")
    studio.page.wait_for_function(
        "() => document.getElementById('status').textContent.startsWith('Copied')"
    )
    command = studio.page.evaluate("() => navigator.clipboard.readText()")
    assert command.startswith(f"curl -sS {service.url}/v1/jobs ")
    assert service.key in command
    sent = studio.last_sent("/v1/jobs")
    assert sent["image"] in command


def test_the_sample_is_edited_when_a_newcomer_takes_it(studio: Studio) -> None:
    studio.shows("#picture-step")
    studio.page.click("#sample")
    studio.shows("#sample-drags")
    studio.page.click("#sample-drags")
    studio.shows("#drags li")
    assert studio.drags == [[168, 87, 167, 72], [172, 145, 173, 160]]
    studio.run()
    assert "Done by warp" in studio.text("#status")
