"""The bodies that clients send, and those that they get; `/openapi.json` is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from api.strict_json import shape_violation
from shared.edits import MAX_DRAGS, MAX_ROUNDS
from shared.engines import OPTIONS, Format, GuidanceDecay, Output, Quality
from shared.errors import Violation


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 42.0 is a whole one (JSON Schema 2020-12, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Coordinates = Annotated[
    list[Number],
    Field(min_length=2, max_length=2, description="[x, y] in pixels of the oriented picture"),
]
#: A mask may reach beyond the picture, but not beyond reason.
Bounded = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100_000, le=100_000)]
Corner = Annotated[list[Bounded], Field(min_length=2, max_length=2)]
#: PostgreSQL cannot look into JSON text that holds a NUL.
NO_NUL = r"^[^\x00]*$"
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
MetadataValue = Annotated[str, Field(max_length=512, pattern=NO_NUL)]


Part = tuple[int | str, ...]  #: of a body, as pydantic locates it
Places = list[tuple[str, list[int]]]  #: the pointer to each round, and where its drags stand


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DragBody(_Body):
    """What lies under `handle` is moved to `target`."""

    handle: Coordinates
    target: Coordinates


class RectMask(_Body):
    """Half-open: x0 <= x < x1, y0 <= y < y1."""

    rect: Annotated[list[Bounded], Field(min_length=4, max_length=4)]


class PolygonMask(_Body):
    """A closed outline; what it holds may change."""

    polygon: Annotated[list[Corner], Field(min_length=3, max_length=1000)]


def _mask_branch(value: Any) -> str | None:
    if isinstance(value, str):
        return "branch:image"
    names = {"rect", "polygon"} & set(dict(value)) if isinstance(value, dict | BaseModel) else set()
    return f"branch:{names.pop()}" if len(names) == 1 else None


Mask = Annotated[
    Annotated[str, Tag("branch:image"), Field(description="id of an uploaded mask")]
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


class OptionsBody(_Body):
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
    cache: bool | None = None


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


class JobBody(_Body):
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


class UploadBody(_Body):
    """Bytes that will be put straight into object storage."""

    content_type: Literal["image/png", "image/jpeg", "image/webp"]
    size_bytes: Annotated[int, Field(ge=1), WHOLE]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PageQuery(BaseModel):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)


class JobsQuery(PageQuery):
    """Which jobs; `metadata.KEY=VALUE` picks those with that pair."""

    model_config = ConfigDict(extra="allow")

    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"] | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """The pairs that were asked for."""
        extra = self.model_extra or {}
        return {name.removeprefix("metadata."): value for name, value in extra.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _only_metadata_beside(
        cls, value: dict[str, str], handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        known = {n: v for n, v in value.items() if n in cls.model_fields or n[:9] == "metadata."}
        errors = [_unknown(name) for name in value if name not in known]
        try:
            query = handler(known)
        except ValidationError as error:
            errors += error.errors(include_url=False)  # type: ignore[arg-type]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return query


def _unknown(name: str) -> InitErrorDetails:
    kind = PydanticCustomError("extra_forbidden", "there is no such parameter")
    return InitErrorDetails(type=kind, loc=(name,), input=None)


class ImagePath(BaseModel):
    """An image's address."""

    image_id: str


class JobPath(BaseModel):
    """A job's address."""

    job_id: str


class ImageOut(BaseModel):
    """An uploaded picture or mask; sizes are after EXIF orientation."""

    id: str
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str
    created_at: str
    expires_at: str
    url: str


class UploadTarget(BaseModel):
    """Where and how to put the bytes."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: str


class UploadOut(BaseModel):
    """An announced image."""

    id: str
    upload: UploadTarget


class CandidateOut(BaseModel):
    """One picture that a job produced."""

    index: int
    seed: int
    url: str
    sha256: str
    width: int
    height: int


class WarningOut(BaseModel):
    """Something to know about a picture that was made all the same."""

    code: str
    detail: str


class TimingsOut(BaseModel):
    """Where the time went, in milliseconds."""

    queued_ms: float
    fetch_ms: float
    run_ms: float
    store_ms: float
    total_ms: float


class ResultOut(BaseModel):
    """What a job that succeeded made."""

    candidates: list[CandidateOut]
    engine: str
    model_digest: str
    cached: bool
    warnings: list[WarningOut]
    mask_url: str | None
    expires_at: str
    timings: TimingsOut


class ProgressOut(BaseModel):
    """Steps done, of how many; null until the engine knows."""

    step: int
    steps: int | None


class QueueOut(BaseModel):
    """Jobs that will start before this one, and seconds until it should be done."""

    position: int
    eta_s: float | None


class JobErrorOut(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


class JobOut(BaseModel):
    """A job."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    attempt: int
    progress: ProgressOut
    queue: QueueOut | None
    request: dict[str, Any]
    result: ResultOut | None
    error: JobErrorOut | None
    batch: str | None
    retried_from: str | None
    metadata: dict[str, str]


class JobsOut(BaseModel):
    """A page of jobs, newest first."""

    data: list[JobOut]
    next_cursor: str | None


class ViolationOut(BaseModel):
    """One thing that is wrong, and where: a JSON pointer into the body (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class CanvasOut(BaseModel):
    """The size at which the engine would work."""

    width: int
    height: int


class EstimateOut(BaseModel):
    """Seconds in the queue, and of the run, were it submitted now."""

    queue_s: float
    run_s: float


class ValidationOut(BaseModel):
    """What a submission of this body would meet."""

    valid: bool
    problems: list[ViolationOut]
    canvas: CanvasOut | None
    estimate: EstimateOut | None


class OptionOut(BaseModel):
    """One option: its kind, its range or choices, and its default."""

    type: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: list[str] | None


class EngineOut(BaseModel):
    """One engine that is configured; `up` says whether a worker runs it now."""

    name: str
    is_default: bool
    up: bool
    threads: int
    model_digest: str | None
    options: dict[str, OptionOut]


class EnginesOut(BaseModel):
    """The engines that are configured."""

    data: list[EngineOut]


class CheckOut(BaseModel):
    """One server that this one needs."""

    ok: bool
    latency_ms: float
    error: str | None


class ReadyOut(BaseModel):
    """`ok`; `degraded`: jobs are taken but may wait; `unavailable`: jobs cannot be taken."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, CheckOut]


class LiveOut(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ProblemOut(BaseModel):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ViolationOut] | None = None
