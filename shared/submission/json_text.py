"""JSON read strictly, and what is wrong with its shape said in our words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.errors import Violation

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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


_DETAILS = {
    "extra_forbidden": "there is no such field",
    "missing": "this field is needed",
    "model_type": "expected a JSON object",
    "model_attributes_type": "expected a JSON object",
    "dict_type": "expected a JSON object",
    "list_type": "expected a JSON array",
}


def read_json(data: bytes) -> Any:
    """JSON as RFC 7493 has it: UTF-8 that stays UTF-8, names that are unique; `ValueError`."""
    value = json.loads(data.decode(), parse_constant=_no_constant, object_pairs_hook=_object)
    _check(value, MAX_DEPTH)
    return value


def reason_of(error: ValueError) -> str:
    """Why `read_json` refused a text, in our words where Python's would mislead."""
    if isinstance(error, UnicodeEncodeError):
        return "a text in it has half of a surrogate pair"
    text = str(error)
    return "a number has too many digits" if "set_int_max_str_digits" in text else text


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number (RFC 8259, section 6)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, part in pairs:
        if name in value:
            raise ValueError(f"the name {name!a} occurs twice in one object")
        value[name] = part
    return value


def _check(value: Any, left: int) -> None:
    """Refuse half a surrogate pair, which nothing can store, and too many levels."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        for item in value:
            _check(item, left - 1)
        if isinstance(value, dict):
            for item in value.values():
                _check(item, left - 1)


def shape_violation(error: ErrorDetails) -> Violation:
    """One of pydantic's errors, in our words: where, which code, what would be right."""
    location = _in_body(error["loc"])
    code = _CODES.get(error["type"], "wrong_type")
    if code == "out_of_range" and location[:1] == ["options"]:
        code = "option_out_of_range"
    detail = _DETAILS.get(error["type"], _our_words(error["msg"]))
    return Violation(json_pointer(location), code, detail)


def _our_words(message: str) -> str:
    return message.removeprefix("Value error, ").replace(" after validation", "")


def json_pointer(location: list[int | str]) -> str:
    """RFC 6901: `/drags/0/handle`, with `~` and `/` escaped."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _in_body(location: tuple[int | str, ...]) -> list[int | str]:
    """Without what pydantic adds: the branch of the mask that it tried, and `[key]`."""
    match location:
        case ("mask", str(), *rest):
            return ["mask", *rest]
        case ("metadata", name, "[key]"):
            return ["metadata", name]
    return list(location)
