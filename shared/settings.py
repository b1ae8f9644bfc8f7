"""Every environment variable that Towline reads, read once, then frozen.

A variable named `TOWLINE_...` that is not here stops the start: a misspelt setting
must not be a silent default. Each has its line in `docs/settings.md`. Those of OpenTelemetry keep
the names that its users know (`wants_traces`).
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.engines import ENGINES, Scheduler
from shared.webhooks.targets import ANY_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "TOWLINE_"
MAX_S3_TTL_S = 7 * 86_400
#: What clients and the command line read: whoever has it in a shell may start a service there.
OF_CLIENTS = frozenset({"TOWLINE_URL", "TOWLINE_API_KEY", "TOWLINE_PROFILE"})
EXAMPLE = "change-me"  #: in `.env.example`, where a secret belongs

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?/?|https?://\[[0-9a-fA-F:]+\](:\d+)?/?")

#: As browsers write it in `Origin`: no path, no slash at the end.
Origin = Annotated[str, Field(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]+)?$")]
AttentionKernel = Literal["flash", "cudnn", "efficient", "math"]
#: Width and height of a canvas in pixels, and how many candidates go through it at once.
FixedSize = Annotated[str, Field(pattern=r"^[1-9]\d*x[1-9]\d*x[1-9]\d*$")]


class SettingsError(Exception):
    """The environment cannot be used; the message has one line per variable."""


class Settings(BaseSettings):
    """What an operator may set. The defaults run everything on one machine."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    # Where things are
    home: Path = Path(".towline")
    database_url: SecretStr = SecretStr("")
    database_prepares: bool = True
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    public_url: str = ""
    secret_key: SecretStr = SecretStr("")

    # Object storage that speaks S3; without a URL, a folder in `home`
    s3_url: str = ""
    s3_bucket: str = Field("towline", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_addressing: Literal["path", "virtual"] = "path"
    s3_public_url: str = ""
    s3_timeout_s: float = Field(10.0, gt=0, allow_inf_nan=False)

    # What is offered
    engines: Annotated[tuple[str, ...], NoDecode] = ("warp",)
    default_priority: Literal["low", "normal", "high"] = "normal"
    max_image_bytes: int = Field(32 * 2**20, ge=1)
    max_image_pixels: int = Field(40_000_000, ge=1)
    provenance: Literal["on", "off"] = "on"
    result_cache: Literal["on", "off"] = "on"

    # What an account may have and do, unless it has limits of its own; 0: no limit
    limit_requests_per_s: int = Field(1000, ge=0)
    limit_queued_jobs: int = Field(0, ge=0)
    limit_running_jobs: int = Field(0, ge=0)
    limit_stored_bytes: int = Field(0, ge=0)
    limit_pixels_per_month: int = Field(0, ge=0)
    audit_retention_days: float = Field(90.0, gt=0, allow_inf_nan=False)
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = ()

    # The model of `lightningdrag`
    model_dir: Path | None = None
    model_scheduler: Scheduler = "lcm"
    model_device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    model_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    model_channels_last: bool = False
    model_attention: Annotated[tuple[AttentionKernel, ...], NoDecode] = ()
    model_compile: bool = False
    model_cuda_graphs: bool = False
    model_fixed_sizes: Annotated[tuple[FixedSize, ...], NoDecode] = ()
    batch_rows: int = Field(8, ge=1)
    batch_wait_ms: int = Field(10, ge=0)
    batch_memory_mb: int = Field(0, ge=0)

    # The life of a job
    lease_s: float = Field(30.0, gt=0, allow_inf_nan=False)
    heartbeat_s: float = Field(5.0, gt=0, allow_inf_nan=False)
    sweep_s: float = Field(3.0, gt=0, allow_inf_nan=False)
    max_losses: int = Field(3, ge=1)
    wakeup_window: int = Field(32, ge=1)
    batch_window: int = Field(1000, ge=1)
    image_retention_days: float = Field(30.0, gt=0, allow_inf_nan=False)
    result_retention_days: float = Field(30.0, gt=0, allow_inf_nan=False)
    job_retention_days: float = Field(90.0, gt=0, allow_inf_nan=False)
    url_ttl_s: int = Field(3600, ge=1)
    upload_ttl_s: int = Field(900, ge=1)
    orphan_grace_hours: float = Field(48.0, gt=24, allow_inf_nan=False)

    # Webhooks
    webhook_allow_http: bool = False
    webhook_ports: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_networks: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_ca_file: Path | None = None
    webhook_timeout_s: float = Field(15.0, gt=0, allow_inf_nan=False)
    webhook_concurrency: int = Field(200, ge=1)
    webhook_endpoint_concurrency: int = Field(10, ge=1)
    webhook_max_endpoints: int = Field(50, ge=1)
    webhook_rotation_hours: float = Field(24.0, ge=0, allow_inf_nan=False)
    webhook_traceparent: bool = False
    webhook_retention_days: float = Field(30.0, gt=0, allow_inf_nan=False)
    webhook_time_scale: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)

    # Processes
    worker_threads: int | None = Field(None, ge=1)
    worker_port: int | None = Field(None, ge=1, le=65535)
    drain_s: float = Field(5.0, ge=0, allow_inf_nan=False)
    drain_notice_s: float = Field(0.0, ge=0, allow_inf_nan=False)
    api_processes: int = Field(1, ge=1)
    api_threads: int = Field(500, ge=2)
    max_waits: int = Field(150, ge=0)
    max_streams: int = Field(300, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = "auto"

    @field_validator(
        "engines",
        "model_attention",
        "model_fixed_sizes",
        "cors_origins",
        "webhook_ports",
        "webhook_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("database_url", "redis_url")
    @classmethod
    def _check_password(cls, value: SecretStr) -> SecretStr:
        """Or drivers take a part of the password for host or port, and say so in their errors."""
        url = value.get_secret_value()
        rest = url.partition("://")[2]
        place = rest.rpartition("@")[0] if "@" in rest else ""
        if re.search(r"[/?#@]", place) and not url.startswith("sqlite"):
            raise ValueError("in a password write / as %2F, ? as %3F, # as %23, @ as %40")
        return value

    @field_validator("database_url", "redis_url", "secret_key", "s3_access_key", "s3_secret_key")
    @classmethod
    def _check_changed(cls, value: SecretStr) -> SecretStr:
        """A service that everybody knows the secrets of must not come up."""
        if EXAMPLE in value.get_secret_value():
            raise ValueError(f"still has `{EXAMPLE}` of .env.example in it")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"($|sqlite:///|postgres(ql)?(\+psycopg)?://)", value.get_secret_value()):
            raise ValueError("begins with postgresql:// or sqlite:///")
        return value

    @field_validator("webhook_ports")
    @classmethod
    def _check_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for port in value:
            if port != ANY_PORT and not (
                re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 2**16
            ):
                raise ValueError(
                    f"{port} is no port; ports are numbers, `{ANY_PORT}` is all of them"
                )
        return value

    @field_validator("webhook_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [name for name in self.engines if name not in ENGINES]
        if unknown or not self.engines:
            said = f"no engine {', '.join(unknown)}" if unknown else "at least one is needed"
            raise ValueError(f"TOWLINE_ENGINES: {said}; there are {', '.join(ENGINES)}")
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("TOWLINE_HEARTBEAT_S: must be at most half of TOWLINE_LEASE_S")
        if self.job_retention_days < self.result_retention_days:
            raise ValueError(
                "TOWLINE_JOB_RETENTION_DAYS: must not be below TOWLINE_RESULT_RETENTION_DAYS"
            )
        if self.max_waits + self.max_streams >= self.api_threads:
            raise ValueError(
                "TOWLINE_API_THREADS: must be above TOWLINE_MAX_WAITS and TOWLINE_MAX_STREAMS"
                " together, or those starve the rest"
            )
        return self

    @model_validator(mode="after")
    def _check_s3(self) -> Self:
        for name in ("s3_url", "s3_public_url"):
            if getattr(self, name) and not _ORIGIN.fullmatch(getattr(self, name)):
                raise ValueError(f"{_variable((name,))}must be http(s)://HOST[:PORT] and no more")
        if self.s3_url and find_spec("boto3") is None:
            raise ValueError("TOWLINE_S3_URL: boto3 is missing, install the extra `s3`")
        has_key, has_secret = bool(self.s3_access_key), bool(self.s3_secret_key)
        if has_key != has_secret:
            lacking = "s3_secret_key" if has_key else "s3_access_key"
            raise ValueError(f"{_variable((lacking,))}must be set, since the other half is")
        if (has_key or self.s3_public_url) and not self.s3_url:
            raise ValueError("TOWLINE_S3_URL: must be set, since others of S3 are")
        if self.s3_public_url and max(self.url_ttl_s, self.upload_ttl_s) > MAX_S3_TTL_S:
            raise ValueError("TOWLINE_URL_TTL_S: S3 signs for seven days (604800 s) at the most")
        return self

    @property
    def default_engine(self) -> str:
        """The first of those configured."""
        return self.engines[0]

    @cached_property
    def database(self) -> str:
        """The database's URL; without one, a SQLite file in `home`."""
        return (
            self.database_url.get_secret_value()
            or f"sqlite:///{self.home.absolute() / 'towline.db'}"
        )

    @cached_property
    def objects_folder(self) -> Path:
        """Where objects are kept when there is no S3."""
        return self.home.absolute() / "objects"

    @cached_property
    def base_url(self) -> str:
        """Where clients reach the API."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def read_settings() -> Settings:
    """Read the environment; `SettingsError` names every variable that is wrong."""
    problems = [f"{name}: no such setting" for name in sorted(os.environ) if _is_unknown(name)]
    problems += _problems_of_traces(os.environ)
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [_variable(e["loc"]) + _said(e["msg"]) for e in error.errors()]
        raise SettingsError("\n".join(problems)) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


#: Each, or the one for traces alone, which wins.
_OTLP = "OTEL_EXPORTER_OTLP_"
_OTLP_TRACES = f"{_OTLP}TRACES_"


def wants_traces(given: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment says, by the names of OpenTelemetry, where traces are sent."""
    is_off = (
        given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or given.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    )
    return not is_off and bool(_of_otlp("ENDPOINT", given)[1])


def _of_otlp(name: str, given: Mapping[str, str]) -> tuple[str, str]:
    """The variable that holds, and its value."""
    for variable in (_OTLP_TRACES + name, _OTLP + name):
        if value := given.get(variable, "").strip():
            return variable, value
    return _OTLP + name, ""


def _problems_of_traces(given: Mapping[str, str]) -> list[str]:
    """Why traces cannot be sent though they are wanted."""
    if not wants_traces(given):
        return []
    problems = []
    variable, endpoint = _of_otlp("ENDPOINT", given)
    if not re.match(r"https?://[^/]", endpoint):
        problems.append(f"{variable}: must be http(s)://HOST[:PORT], the collector's")
    protocol_variable, protocol = _of_otlp("PROTOCOL", given)
    if protocol not in {"", "http/protobuf"}:
        problems.append(f"{protocol_variable}: only http/protobuf is spoken here (port 4318)")
    if given.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in {"", "otlp"}:
        problems.append("OTEL_TRACES_EXPORTER: must be otlp or none")
    if not _has_otlp():
        problems.append(f"{variable}: OpenTelemetry is missing, install the extra `tracing`")
    return problems


def _has_otlp() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package on the way there
        return False


def _is_unknown(name: str) -> bool:
    upper = name.upper()  # the names of settings are read in small letters as well
    if not upper.startswith(PREFIX) or upper in OF_CLIENTS:
        return False
    return upper.removeprefix(PREFIX).lower() not in Settings.model_fields


def _variable(loc: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{str(loc[0]).upper()}: " if loc else ""


def _said(message: str) -> str:
    """What we said ourselves, without pydantic's words before it."""
    return message.removeprefix("Value error, ")
