"""Whether the sample's picture is right is not a matter of a status code."""

import hashlib
import io
import json
import shlex

import pytest
from PIL import Image

from infra.embedded.failures import SampleFailed
from infra.embedded.sample_edit import FOLDER, SampleEdit, check
from infra.embedded.welcome import curl_example

SOURCE = (FOLDER / "image.png").read_bytes()
MASK = (FOLDER / "mask.png").read_bytes()
INSIDE, OUTSIDE = (170, 110), (0, 0)


def painted(*points: tuple[int, int], size: tuple[int, int] | None = None) -> bytes:
    with Image.open(io.BytesIO(SOURCE)) as source:
        picture = source.resize(size) if size else source.copy()
    for point in points:
        picture.putpixel(point, (255, 0, 0))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def checked(picture: bytes) -> None:
    check(SOURCE, MASK, picture, hashlib.sha256(picture).hexdigest())


def test_picture_is_right_when_it_changed_inside_the_mask_alone() -> None:
    checked(painted(INSIDE))


def test_picture_is_wrong_when_a_single_pixel_outside_the_mask_changed() -> None:
    with pytest.raises(SampleFailed, match="1 pixels changed outside"):
        checked(painted(INSIDE, OUTSIDE))


def test_picture_is_wrong_when_nothing_changed() -> None:
    with pytest.raises(SampleFailed, match="nothing changed"):
        checked(painted())


def test_picture_is_wrong_when_its_size_is_another() -> None:
    with pytest.raises(SampleFailed, match="the result picture is"):
        checked(painted(size=(450, 300)))


def test_picture_is_wrong_when_its_bytes_are_not_those_announced() -> None:
    with pytest.raises(SampleFailed, match="sha256"):
        check(SOURCE, MASK, painted(INSIDE), "0" * 64)


@pytest.mark.parametrize("broken", [b"", b"no picture", painted(INSIDE)[:2000]])
def test_picture_is_wrong_when_it_cannot_be_decoded(broken: bytes) -> None:
    with pytest.raises(SampleFailed, match="not a picture"):
        checked(broken)


def test_curl_example_can_be_pasted_when_the_request_holds_quotes() -> None:
    request = {"image": "img_1", "metadata": {"note": "the cat's eye"}}
    words = shlex.split(curl_example("http://x:1", "tow_k", SampleEdit(request, "url", b"")))
    assert "Authorization: Bearer tow_k" in words
    assert json.loads(words[words.index("-d") + 1]) == request
