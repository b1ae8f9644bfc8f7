"""The body of a submission: one edit, which remembers what is wrong with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from shared.edits import MAX_DRAGS, MAX_ROUNDS
from shared.engines import OPTIONS, Format, GuidanceDecay, Output, Quality
from shared.errors import Violation
from shared.submission.fields import (
    NO_NUL,
    WHOLE,
    Body,
    EventFilters,
    MetadataKey,
    MetadataValue,
    Number,
    WebhookUrl,
)
from shared.submission.json_text import shape_violation

Coordinates = Annotated[
    list[Number],
    Field(min_length=2, max_length=2, description="[x, y] in pixels of the oriented picture"),
]
#: A mask may reach beyond the picture, but not beyond reason.
Bounded = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100_000, le=100_000)]
Corner = Annotated[list[Bounded], Field(min_length=2, max_length=2)]

Part = tuple[int | str, ...]  #: of a body, as pydantic locates it
Places = list[tuple[str, list[int]]]  #: the pointer to each round, and where its drags stand


class DragBody(Body):
    """What lies under `handle` is moved to `target`."""

    handle: Coordinates
    target: Coordinates


class RectMask(Body):
    """Half-open: x0 <= x < x1, y0 <= y < y1."""

    rect: Annotated[list[Bounded], Field(min_length=4, max_length=4)]


class PolygonMask(Body):
    """A closed outline; what it holds may change."""

    polygon: Annotated[list[Corner], Field(min_length=3, max_length=1000)]


def _mask_branch(value: Any) -> str | None:
    if isinstance(value, str):
        return "branch:image"
    names = {"rect", "polygon"} & set(dict(value)) if isinstance(value, dict | BaseModel) else set()
    return f"branch:{names.pop()}" if len(names) == 1 else None


Mask = Annotated[
    Annotated[str, Tag("branch:image"), Field(pattern=NO_NUL, description="id of an uploaded mask")]
    | Annotated[RectMask, Tag("branch:rect")]
    | Annotated[PolygonMask, Tag("branch:polygon")],
    Discriminator(
        _mask_branch,
        custom_error_type="wrong_type",
        custom_error_message='expected an image\'s id, {"rect": ...}, {"polygon": ...} or null',
    ),
]


def _range(name: str) -> Any:
    """The range of one option, the contract's."""
    return Field(ge=OPTIONS[name].minimum, le=OPTIONS[name].maximum)


class OptionsBody(Body):
    """Options of the edit; `GET /v1/engines` tells which engine has which."""

    candidates: Annotated[int, _range("candidates"), WHOLE] | None = None
    seed: Annotated[int, _range("seed"), WHOLE] | None = None
    steps: Annotated[int, _range("steps"), WHOLE] | None = None
    guidance: Annotated[Number, _range("guidance")] | None = None
    guidance_decay: GuidanceDecay | None = None
    split_px: Annotated[Number, _range("split_px")] | None = None
    quality: Quality | None = None
    strict: bool | None = None
    output: Output | None = None
    format: Format | None = None
    cache: (
        Annotated[bool, Field(description="whether an earlier result of the same edit may answer")]
        | None
    ) = None


class JobWebhookBody(Body):
    """Who is told how the job ended; signed with the account's own secret."""

    url: WebhookUrl
    events: EventFilters = ["*"]


def _without_default(schema: dict[str, Any]) -> None:
    """The default is ours, to go on with the rest of a body that has no such field."""
    del schema["default"]


EXAMPLE: dict[str, Any] = {
    "image": "img_0199c2f3a4b57c8d9e0f1a2b3c4d5e6f",
    "mask": {"rect": [100, 60, 260, 200]},
    "drags": [{"handle": [168, 87], "target": [167, 72]}],
    "options": {"seed": 42},
    "metadata": {"order": "1234"},
}


class JobBody(Body):
    """One edit. It remembers what is wrong with it instead of raising.

    What is well formed is kept, so that the rest of it can be checked as well, and the
    caller be told everything at once: `shape_violations`. Drags that lost a malformed one
    among them still know where in the body they stand: `located`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "description": "One edit: a picture, what may change in it, and what to drag where.",
            "examples": [EXAMPLE],
            "required": ["image"],
            "oneOf": [{"required": ["drags"]}, {"required": ["rounds"]}],
        }
    )

    image: str = Field(
        "",
        min_length=1,
        pattern=NO_NUL,
        description="id of an uploaded image",
        json_schema_extra=_without_default,
    )
    mask: Mask | None = Field(None, description="What may change; null: made around the drags")
    drags: Annotated[list[DragBody], Field(min_length=1, max_length=MAX_DRAGS)] | None = Field(
        None, description="One round of drags; either this or `rounds`"
    )
    rounds: (
        Annotated[
            list[Annotated[list[DragBody], Field(min_length=1, max_length=MAX_DRAGS)]],
            Field(min_length=1, max_length=MAX_ROUNDS),
        ]
        | None
    ) = Field(None, description="Sets of drags; each starts from the last one's picture")
    engine: str | None = Field(None, description="The server's first engine by default")
    options: OptionsBody = OptionsBody()
    priority: Literal["low", "normal", "high"] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=30 * 86_400), WHOLE] | None = Field(
        None, description="Do not start it later than so many seconds from now"
    )
    timeout_s: Annotated[int, Field(ge=1, le=86_400), WHOLE] = Field(
        300, description="Seconds from the first start until it fails"
    )
    webhook: JobWebhookBody | None = Field(
        None, description="Beside the account's endpoints: a URL for this job alone"
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}

    _shape_violations: tuple[Violation, ...] = PrivateAttr(())
    _places: Places | None = PrivateAttr(None)

    @property
    def shape_violations(self) -> tuple[Violation, ...]:
        """Everything that has not the form of a job."""
        return self._shape_violations

    @property
    def located(self) -> list[tuple[str, list[tuple[str, DragBody]]]]:
        """Each round with the pointer to it, and each of its drags with its own."""
        rounds = [self.drags] if self.drags is not None else self.rounds or []
        places = self._places
        if places is None:
            places = [(f"/rounds/{r}", list(range(len(drags)))) for r, drags in enumerate(rounds)]
            if self.drags is not None:
                places = [("/drags", places[0][1])]
        return [
            (head, [(f"{head}/{i}", drag) for i, drag in zip(indices, drags, strict=True)])
            for (head, indices), drags in zip(places, rounds, strict=True)
        ]

    @model_validator(mode="wrap")
    @classmethod
    def _keep_what_is_well_formed(
        cls, value: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
        pruned, places = _without(value, {_part(entry["loc"]) for entry in errors})
        body = handler(pruned)
        body._shape_violations = tuple(shape_violation(entry) for entry in errors)
        body._places = places
        return body


def _part(location: Part) -> Part:
    """The smallest part that can be left out for an error here: a drag, an option, a field."""
    match location:
        case ("rounds", int(), int(), *_):
            return location[:3]
        case ("rounds" | "drags", int(), *_) | ("options", str(), *_):
            return location[:2]
    return location[:1]


def _without(value: Any, parts: set[Part]) -> tuple[dict[str, Any], Places | None]:
    """The body less those parts; and for each round that is left where its drags stood."""
    if not isinstance(value, dict):
        return {}, None
    kept = {name: part for name, part in value.items() if (name,) not in parts}
    if isinstance(kept.get("options"), dict):
        options = kept["options"].items()
        kept["options"] = {name: part for name, part in options if ("options", name) not in parts}
    places = None
    if isinstance(kept.get("rounds"), list):
        kept["rounds"], places = _rounds_without(kept["rounds"], parts)
    if isinstance(kept.get("drags"), list):
        indices = _left(kept["drags"], ("drags",), parts)
        kept["drags"] = [kept["drags"][i] for i in indices] or None
        places = [("/drags", indices)] if indices else places
    return kept, places


def _rounds_without(rounds: list[Any], parts: set[Part]) -> tuple[list[Any] | None, Places]:
    left = {r: _left(rounds[r], ("rounds", r), parts) for r in _left(rounds, ("rounds",), parts)}
    left = {r: indices for r, indices in left.items() if indices}
    kept = [[rounds[r][i] for i in indices] for r, indices in left.items()]
    return kept or None, [(f"/rounds/{r}", indices) for r, indices in left.items()]


def _left(items: list[Any], place: Part, parts: set[Part]) -> list[int]:
    return [index for index in range(len(items)) if (*place, index) not in parts]
