"""Request bodies: JSON read strictly, and what is wrong with its shape said all at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from shared.errors import Violation

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_JSON_BYTES = 1 * 2**20
MAX_DEPTH = 32

#: pydantic's kinds of error that have a code of their own; the rest is `wrong_type`.
_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "greater_than": "out_of_range",
    "less_than": "out_of_range",
    "finite_number": "out_of_range",
    "literal_error": "out_of_range",
    "too_long": "wrong_length",
    "too_short": "wrong_length",
    "string_too_long": "wrong_length",
    "string_too_short": "wrong_length",
    "string_pattern_mismatch": "wrong_format",
    "value_error": "wrong_format",
}


class StrictRequest(Request):
    """400 for what is no JSON, 415 for what does not say that it is."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body; never None for a body that cannot be read, whatever `silent` says."""
        if self.mimetype != "application/json":
            raise UnsupportedMediaType("Send the body as `Content-Type: application/json`.")
        self.max_content_length = MAX_JSON_BYTES
        try:
            value = json.loads(self.get_data(cache=cache), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not JSON: {error}.") from None
        except RequestEntityTooLarge:
            raise RequestEntityTooLarge(
                f"A JSON body has at most {MAX_JSON_BYTES} bytes."
            ) from None
        if _is_deep(value):
            raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
        return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number (RFC 8259, section 6)")


def _is_deep(value: Any, left: int = MAX_DEPTH) -> bool:
    if not isinstance(value, dict | list):
        return False
    if left == 0:
        return True
    items = value.values() if isinstance(value, dict) else value
    return any(_is_deep(item, left - 1) for item in items)


def shape_violation(error: ErrorDetails) -> Violation:
    """One of pydantic's errors, in our words: where, which code, what would be right."""
    location = [part for part in error["loc"] if not _is_union_branch(part)]
    code = _CODES.get(error["type"], "wrong_type")
    if code == "out_of_range" and location[:1] == ["options"]:
        code = "option_out_of_range"
    detail = "there is no such field" if code == "unknown_field" else error["msg"]
    return Violation(json_pointer(location), code, detail)


def json_pointer(location: list[int | str]) -> str:
    """RFC 6901: `/drags/0/handle`, with `~` and `/` escaped."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _is_union_branch(part: int | str) -> bool:
    """pydantic names the branch of a union that it tried, which no body has."""
    return isinstance(part, str) and part.startswith(("function-", "branch:"))
