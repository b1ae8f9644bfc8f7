"""Models out of JSON, by their annotations; what they do not know stays in `raw`."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from towline._failures import UnreadableAnswer

T = TypeVar("T")
Read = Callable[[Any], Any]


def decode(model: Callable[..., T], data: Any) -> T:
    """A model; `UnreadableAnswer` for what has not its form."""
    try:
        value: T = _reader(model)(data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnreadableAnswer(f"The answer is not a {_name_of(model)}: {error}.") from None
    return value


@cache
def _reader(kind: Any) -> Read:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _model_reader(kind)
    if kind is datetime:
        return _time
    if origin in (Union, types.UnionType):
        return _optional(_reader(next(each for each in arguments if each is not type(None))))
    if origin is tuple:
        each = _reader(arguments[0])
        return lambda data: tuple(each(item) for item in _expect((list, type(None)), data) or ())
    if origin is Mapping:
        value = _reader(arguments[1])
        return lambda data: {name: value(item) for name, item in _expect(dict, data).items()}
    if kind is float:
        return lambda data: float(_expect((int, float), data))
    if kind in (str, int, bool):
        return lambda data: _expect(kind, data)
    return lambda data: data  # Any, or a Literal: a state that is new is no error


def _model_reader(model: Any) -> Read:
    hints = get_type_hints(model)
    known = {each.name: _reader(hints[each.name]) for each in dataclasses.fields(model)}
    optional = [
        each.name
        for each in dataclasses.fields(model)
        if type(None) in get_args(hints[each.name]) and each.default is dataclasses.MISSING
    ]
    keeps_raw = known.pop("raw", None) is not None

    def read(data: Any) -> Any:
        found = _expect(dict, data)
        values = {name: known[name](found[name]) for name in known if name in found}
        values |= {name: None for name in optional if name not in found}
        if keeps_raw:
            values["raw"] = found
        return model(**values)

    return read


def _expect(kind: Any, data: Any) -> Any:
    if not isinstance(data, kind):
        raise TypeError(f"there is a {type(data).__name__} where there should be another thing")
    return data


def _optional(read: Read) -> Read:
    return lambda data: None if data is None else read(data)


def _time(data: Any) -> datetime:
    at = datetime.fromisoformat(_expect(str, data))
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _name_of(model: Any) -> str:
    return getattr(model, "__name__", "model").lstrip("_")
