"""From a line of a batch to an item that can be run, or to all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from shared.batches.batch import MAX_CUSTOM_ID, MAX_LINE_BYTES, Invalid, Item
from shared.errors import StorageUnavailable, TowlineError, Violation
from shared.submission.body import JobBody
from shared.submission.json_text import MAX_DEPTH, read_json, reason_of
from shared.submission.understand import Submission, understand

if TYPE_CHECKING:
    from shared.submission.understand import Surroundings

log = structlog.get_logger()

TOO_LONG = Violation("", "line_too_long", f"a line has at most {MAX_LINE_BYTES} bytes")
CUSTOM_ID = "custom_id"
MAX_VIOLATIONS = 20  #: that are kept of one line
MAX_DETAIL = 300  #: characters of each
MERGED = ("options", "metadata")  #: defaults of which a job changes some


def read_line(
    line: int, text: bytes, account_id: str, around: Surroundings
) -> Item | Invalid | None:
    """What a line of JSONL says; None for one that says nothing."""
    if len(text) > MAX_LINE_BYTES:
        return Invalid(line, None, [TOO_LONG])
    if not text.strip():
        return None
    try:
        value = read_json(text)
    except RecursionError:
        said = f"nested deeper than {MAX_DEPTH} levels"
        return Invalid(line, None, [Violation("", "malformed_line", said)])
    except ValueError as error:
        return Invalid(line, None, [Violation("", "malformed_line", reason_of(error))])
    return item_of(line, value, account_id, around)


def item_of(line: int, value: Any, account_id: str, around: Surroundings) -> Item | Invalid:
    """What a job of a batch says: a submission, and `custom_id` beside it."""
    if not isinstance(value, dict):
        return Invalid(line, None, [Violation("", "malformed_line", "expected a JSON object")])
    custom_id = value.get(CUSTOM_ID)
    found = _check_custom_id(custom_id, CUSTOM_ID in value)
    name = custom_id if isinstance(custom_id, str) and not found else None
    try:
        rest = {part: value[part] for part in value if part != CUSTOM_ID}
        body = JobBody.model_validate(rest)
        submission = understand(body, account_id, around)
    except StorageUnavailable as error:
        if not error.is_gone:
            raise
        return Invalid(line, name, [*found, Violation("/mask", "image_not_found", error.message)])
    except TowlineError:
        raise
    except Exception:  # one line that breaks us must not keep the others for ever
        log.exception("line_not_understood", line=line)
        said = "the service could not look at this line; its log says why"
        return Invalid(line, name, [*found, Violation("", "internal_error", said)])
    found += submission.violations
    if found or name is None:
        return Invalid(line, name, [_clipped(each) for each in found[:MAX_VIOLATIONS]])
    return Item(
        line, name, submission.spec, body.metadata, _pixels(submission), submission.contents
    )


def with_defaults(defaults: Mapping[str, Any], value: Any) -> Any:
    """A job of a JSON body with what it leaves to the batch; options and metadata one by one."""
    if not isinstance(value, dict):
        return value
    whole = {**defaults, **value}
    for name in MERGED:
        ours, theirs = defaults.get(name), value.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            whole[name] = {**ours, **theirs}
    if ("drags" in value and "rounds" not in value) or ("rounds" in value and "drags" not in value):
        whole.pop("rounds" if "drags" in value else "drags", None)
    return whole


def _clipped(violation: Violation) -> Violation:
    """What a line says comes back in what is said of it, and is not bounded."""
    pointer, detail = violation.pointer[:MAX_DETAIL], violation.detail[:MAX_DETAIL]
    return Violation(pointer, violation.code, detail)


def _check_custom_id(custom_id: Any, is_there: bool) -> list[Violation]:
    pointer = f"/{CUSTOM_ID}"
    if not is_there:
        return [Violation(pointer, "missing_field", "this field is needed")]
    if not isinstance(custom_id, str):
        return [Violation(pointer, "wrong_type", "expected a string")]
    if not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
        return [Violation(pointer, "wrong_length", f"1 to {MAX_CUSTOM_ID} characters")]
    if "\0" in custom_id:
        return [Violation(pointer, "wrong_format", "no NUL can be kept")]
    return []


def _pixels(submission: Submission) -> int:
    picture = submission.picture
    size_px = (picture.width or 0) * (picture.height or 0) if picture else 0
    return size_px * int(submission.spec.options["candidates"])
