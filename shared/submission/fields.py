"""What bodies that clients send are made of: strict numbers, metadata, who is to be told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.webhooks.events import FILTERS
from shared.webhooks.targets import MAX_URL


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 42.0 is a whole one (JSON Schema 2020-12, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
#: PostgreSQL cannot look into JSON text that holds a NUL.
NO_NUL = r"^[^\x00]*$"
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
MetadataValue = Annotated[str, Field(max_length=512, pattern=NO_NUL)]
WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL,
        description="https, and on the public Internet, unless the server's settings say otherwise",
        json_schema_extra={"format": "uri"},
    ),
]
_Filter = Annotated[str, Field(max_length=60, json_schema_extra={"enum": list(FILTERS)})]
EventFilters = Annotated[
    list[_Filter],
    Field(min_length=1, max_length=20, description="Types of events, `job.*`, or `*` for all"),
]


class Body(BaseModel):
    """A body that a client sends: no field that is not known, no value of another kind."""

    model_config = ConfigDict(extra="forbid", strict=True)
