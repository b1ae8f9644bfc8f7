"""From the body of a submission to a `JobSpec`, or to everything that is wrong with it.

The order is that of dependence: what needs no picture, what needs the picture's size, what
needs the mask's pixels. A check whose input is itself wrong is left out, the others run.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from shared.canvas import canvas_violations
from shared.edits import (
    Drag,
    JobSpec,
    JobWebhook,
    Located,
    MaskImage,
    MaskPolygon,
    MaskRect,
    MaskSpec,
    Point,
    Priority,
    check_points,
    check_round,
)
from shared.engines import ENGINES, SEED_MAX, EngineSpec
from shared.errors import NotFound, StorageUnavailable, Violation
from shared.imaging import MAX_SIDE_PX, decode_mask
from shared.jobs.cache_keys import Contents
from shared.masks import drawn
from shared.placement import check_placement, without
from shared.rounds import split_violations
from shared.submission.body import DragBody, JobBody, Mask, PolygonMask
from shared.webhooks.events import filter_violations
from shared.webhooks.targets import TargetRules, url_violations

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from shared.images.store import Image
    from shared.objects import ObjectStore
    from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a submission is checked against.

    known_images: what is known of `images` that were named lately.
    decoding: held while a picture or a mask is in memory as pixels: hundreds of megabytes each.
    """

    settings: Settings
    images: Images
    known_images: Images
    objects: ObjectStore
    rules: TargetRules
    decoding: AbstractContextManager[object]


class Images(Protocol):
    """Where images are looked up."""

    def get(self, account_id: str, image_id: str) -> Image:
        """The image; `NotFound`."""


Rounds = list[tuple[str, list[Located]]]  #: the pointer to each round, and its drags


@dataclass(slots=True)
class Submission:
    """What was understood. `spec` can be run if there are no `violations`."""

    spec: JobSpec
    engine: EngineSpec | None
    picture: Image | None
    violations: list[Violation] = field(default_factory=list)
    contents: Contents | None = None  #: for `JobStore.submit`, if the seed was given


def understand(
    body: JobBody, account_id: str, at: Surroundings, *, is_promised: bool = True
) -> Submission:
    """Check the whole body; the answer has every violation, not the first alone.

    is_promised: that the images are still there is checked again when the job is promised.
    """
    images: Images = at.known_images if is_promised else at.images
    found = list(body.shape_violations)
    engine = _engine(body, at, found)
    rounds = [(head, [(at, _drag(drag)) for at, drag in drags]) for head, drags in body.located]
    options = _options(body, engine, at, found)
    found += _check_rounds(body, rounds)
    picture = _image("/image", body.image, account_id, images, found) if body.image else None
    if not body.image and not _mentions(found, "/image"):
        found.append(Violation("/image", "missing_field", "the id of an uploaded image is needed"))
    # Anew each time: its bytes are read before the job is promised
    mask_image = _mask_image(body.mask, account_id, at.images, found)
    found += _check_split(options, rounds)
    found += _check_webhook(body, at)
    if picture is not None:
        found += _check_on_picture(body, rounds, picture, mask_image, engine, at)
        found += _check_format(options, picture)
    contents = _contents(body, picture, mask_image)
    return Submission(_spec(body, rounds, options, at), engine, picture, found, contents)


def _contents(body: JobBody, picture: Image | None, mask: Image | None) -> Contents | None:
    if body.options.seed is None or picture is None:
        return None
    return Contents(picture.sha256, None if mask is None else mask.sha256)


def _mentions(found: list[Violation], pointer: str) -> bool:
    return any(violation.pointer in ("", pointer) for violation in found)


def _engine(body: JobBody, at: Surroundings, found: list[Violation]) -> EngineSpec | None:
    settings = at.settings
    name = settings.default_engine if body.engine is None else body.engine
    if name in settings.engines:
        return ENGINES[name]
    offered = ", ".join(settings.engines)
    found.append(Violation("/engine", "engine_unavailable", f"configured here: {offered}"))
    return None


def _options(
    body: JobBody, engine: EngineSpec | None, at: Surroundings, found: list[Violation]
) -> dict[str, Any]:
    """The engine's options, defaults filled in; one that it does not have is a violation."""
    given = body.options.model_dump(exclude_none=True)
    if engine is None:
        return given
    for name in sorted(given.keys() - engine.options):
        detail = f"the engine {engine.name} has no such option"
        found.append(Violation(f"/options/{name}", "option_not_supported", detail))
    if given.get("candidates", 1) > engine.max_candidates:
        detail = f"the engine {engine.name} makes at most {engine.max_candidates}"
        found.append(Violation("/options/candidates", "option_not_supported", detail))
    defaults = engine.defaults(at.settings.model_scheduler)
    chosen = {name: given.get(name, default) for name, default in defaults.items()}
    if "seed" in chosen and chosen["seed"] is None:
        chosen["seed"] = secrets.randbelow(SEED_MAX + 1)
    return chosen


def _drag(drag: DragBody) -> Drag:
    return Drag(handle=Point(*drag.handle), target=Point(*drag.target))


def _check_rounds(body: JobBody, rounds: Rounds) -> list[Violation]:
    malformed = body.shape_violations
    found = [v for pointer, drags in rounds for v in _check_round(pointer, drags, malformed)]
    has_drags = body.drags is not None or _is_under(malformed, "/drags")
    has_rounds = body.rounds is not None or _is_under(malformed, "/rounds")
    if has_drags and has_rounds:
        found.append(Violation("/rounds", "conflicting_fields", "give either drags or rounds"))
    if not has_drags and not has_rounds and not _mentions(list(malformed), ""):
        found.append(Violation("/drags", "missing_field", "drags (or rounds) are needed"))
    return found


def _check_round(
    pointer: str, drags: list[Located], malformed: tuple[Violation, ...]
) -> list[Violation]:
    """Whether nothing moves is not known while a drag of the round is malformed."""
    is_whole = not _is_under(malformed, pointer)
    found = check_round(pointer, drags)
    return [v for v in found if is_whole or v.code != "zero_length_drags"]


def _is_under(found: tuple[Violation, ...], pointer: str) -> bool:
    return any(f"{violation.pointer}/".startswith(f"{pointer}/") for violation in found)


def _image(
    pointer: str, image_id: str, account_id: str, images: Images, found: list[Violation]
) -> Image | None:
    """The image, if it is this account's and its bytes are here."""
    try:
        image = images.get(account_id, image_id)
    except NotFound:
        found.append(Violation(pointer, "image_not_found", f"there is no image {image_id}"))
        return None
    if image.object_key is None:
        detail = f"the bytes of {image_id} were not completed"
        found.append(Violation(pointer, "image_not_uploaded", detail))
        return None
    return image


def _mask_image(
    mask: Mask | None, account_id: str, images: Images, found: list[Violation]
) -> Image | None:
    return _image("/mask", mask, account_id, images, found) if isinstance(mask, str) else None


def _check_on_picture(
    body: JobBody,
    rounds: Rounds,
    picture: Image,
    mask_image: Image | None,
    engine: EngineSpec | None,
    at: Surroundings,
) -> list[Violation]:
    """What is wrong with the points once the picture's size is known, and the mask's pixels."""
    size = (picture.width or 0, picture.height or 0)
    drags = [located for _, drags in rounds for located in drags]
    found: list[Violation] = []
    with at.decoding:  # masks of large pictures take memory, whatever they are made from
        mask_HW = _mask_pixels(body, drags, size, mask_image, at, found)
        if mask_HW is None:
            return found + check_points(drags, *size)
        found += check_placement(mask_HW, drags, engine.border_px if engine else 0)
        if engine is not None and engine.has_canvas:
            found += _check_on_canvas(rounds, size, mask_HW, found)
        return found


def _check_on_canvas(
    rounds: Rounds, size: tuple[int, int], mask_HW: NDArray[np.bool_], found: list[Violation]
) -> list[Violation]:
    """What is wrong at the size at which the engine works, and was not wrong on the picture."""
    good = [without(drags, found) for _, drags in rounds]
    seen = None if _mentions(found, "/mask") else mask_HW
    return canvas_violations(good, seen, size)


def _mask_pixels(
    body: JobBody,
    drags: list[Located],
    size: tuple[int, int],
    image: Image | None,
    at: Surroundings,
    found: list[Violation],
) -> NDArray[np.bool_] | None:
    """The mask that the run will have; None where that cannot be said."""
    if _is_under(body.shape_violations, "/mask"):
        return None
    spec = _mask_spec(body.mask)
    if isinstance(spec, MaskImage):
        return None if image is None else _mask_image_pixels(image, size, at, found)
    if spec is None and (not drags or check_points(drags, *size)):
        return None
    return drawn(spec, [[drag for _, drag in drags]], *size)


def _mask_image_pixels(
    mask: Image, size: tuple[int, int], at: Surroundings, found: list[Violation]
) -> NDArray[np.bool_] | None:
    if (mask.width, mask.height) != size:
        detail = f"the mask is {mask.width} x {mask.height}, the picture {size[0]} x {size[1]}"
        found.append(Violation("/mask", "mask_size_mismatch", detail))
        return None
    try:
        data = at.objects.get(mask.object_key or "")
    except NotFound:
        raise StorageUnavailable(
            f"The bytes of {mask.id} are not in object storage.", is_gone=True
        ) from None
    settings = at.settings
    return decode_mask(
        data, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
    )


def _mask_spec(mask: Mask | None) -> MaskSpec:
    if mask is None:
        return None
    if isinstance(mask, str):
        return MaskImage(mask)
    if isinstance(mask, PolygonMask):
        return MaskPolygon(tuple(Point(*corner) for corner in mask.polygon))
    return MaskRect(*mask.rect)


def _check_split(options: dict[str, Any], rounds: Rounds) -> list[Violation]:
    """Whether cutting long drags into short ones makes more rounds than there may be."""
    split_px = options.get("split_px")
    if split_px is None:
        return []
    return split_violations([[drag for _, drag in drags] for _, drags in rounds], split_px)


def _check_webhook(body: JobBody, at: Surroundings) -> list[Violation]:
    if body.webhook is None:
        return []
    return [
        *url_violations("/webhook/url", body.webhook.url, at.rules),
        *filter_violations("/webhook/events", body.webhook.events),
    ]


def _check_format(options: dict[str, Any], picture: Image) -> list[Violation]:
    """Pictures that the format asked for cannot hold."""
    form = options.get("format")
    if form is None:
        return []
    found = []
    if form == "jpeg" and picture.has_alpha:
        detail = "the picture has alpha, which a JPEG cannot keep: choose png or webp"
        found.append(Violation("/options/format", "alpha_not_supported", detail))
    longest = max(picture.width or 0, picture.height or 0)
    if longest > MAX_SIDE_PX[form]:
        detail = f"a {form} has at most {MAX_SIDE_PX[form]} pixels on a side: choose png"
        found.append(Violation("/options/format", "picture_too_long", detail))
    return found


def _spec(body: JobBody, rounds: Rounds, options: dict[str, Any], at: Surroundings) -> JobSpec:
    priority = body.priority or at.settings.default_priority
    webhook = body.webhook
    return JobSpec(
        image=body.image,
        mask=_mask_spec(body.mask),
        rounds=tuple(tuple(drag for _, drag in drags) for _, drags in rounds),
        engine=at.settings.default_engine if body.engine is None else body.engine,
        options=options,
        is_single=body.rounds is None,
        priority=Priority[priority.upper()],
        expires_in_s=body.expires_in_s,
        timeout_s=body.timeout_s,
        webhook=None if webhook is None else JobWebhook(webhook.url, tuple(webhook.events)),
    )
