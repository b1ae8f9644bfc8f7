"""Objects in a bucket of a server that speaks S3.

Each call is tried `TRIES` times by botocore (503, SlowDown, timeouts, broken connections), with
backoff and jitter and never longer than the settings' timeout for each; then it is
`StorageUnavailable`, and whoever called puts the job back or answers 503. Every payload is
signed by its SHA-256, so that the server refuses bytes that changed on their way. Checksums
beyond that are off: not every server stores them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import NotFound, StorageUnavailable
from shared.objects.keys import checked
from shared.objects.store import PIECE_BYTES, Stored, Upload

if TYPE_CHECKING:
    from shared.settings import Settings

TRIES = 4
BODY_TRIES = 2  #: botocore tries a request again, but not an answer that breaks off
CONNECT_S = 3.0
CHECK_S = 2.0  #: a probe is asked again soon: one try, and no long wait
POOL = 64  #: connections that a process keeps; more threads than that open their own

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


class S3Store:
    """Keeps the promises of `ObjectStore` with a bucket. Connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket

    @cached_property
    def urls(self) -> S3Urls | None:
        """Signed for where clients reach the storage, if they do."""
        return S3Urls(self._settings) if self._settings.s3_public_url else None

    def put(self, key: str, data: bytes) -> None:
        """One request: S3 shows an object whole or not at all."""
        with _errors(f"{key} could not be stored"):
            self._client.put_object(Bucket=self._bucket, Key=checked(key), Body=data)

    def put_stream(self, key: str, pieces: Iterable[bytes]) -> None:
        """An upload of many parts, if it has more than one; what breaks off is given up."""
        parts = _parts(pieces)
        first = next(parts)
        second = next(parts, None)
        if second is None:
            return self.put(key, first)
        with _errors(f"{key} could not be stored"):
            place = {"Bucket": self._bucket, "Key": checked(key)}
            begun = self._client.create_multipart_upload(**place)
            place["UploadId"] = begun["UploadId"]
            try:
                done = []
                for number, part in enumerate(chain([first, second], parts), 1):
                    answer = self._client.upload_part(**place, PartNumber=number, Body=part)
                    done.append({"PartNumber": number, "ETag": answer["ETag"]})
                self._client.complete_multipart_upload(**place, MultipartUpload={"Parts": done})
            except BaseException:
                with suppress(BotoCoreError, ClientError, OSError):
                    self._client.abort_multipart_upload(**place)
                raise
        return None

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """Ask for a part; one that begins at the end is empty, and the server's 416."""
        wanted = f"bytes={start}-{start + size - 1}"
        try:
            return self._read(key, Range=wanted)
        except StorageUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and _status(cause) == 416:
                return b""
            raise

    def get(self, key: str) -> bytes:
        """Read the object; once more when the answer breaks off."""
        return self._read(key)

    def _read(self, key: str, **asked: str) -> bytes:
        with _errors(f"{key} could not be read"):
            tries = BODY_TRIES
            while True:
                answer = self._client.get_object(Bucket=self._bucket, Key=checked(key), **asked)
                tries -= 1
                try:
                    return bytes(answer["Body"].read())
                except (BotoCoreError, OSError):
                    answer["Body"].close()
                    if not tries:
                        raise

    def size(self, key: str) -> int:
        """Ask for the headers alone."""
        with _errors(f"{key} could not be read"):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=checked(key))
            except ClientError as error:
                if _status(error) == 404:  # of the object or of the bucket: a HEAD does not say
                    self._client.head_bucket(Bucket=self._bucket)
                    raise NotFound(f"{key} could not be read: it is not there.") from None
                raise
            return int(head["ContentLength"])

    def delete(self, key: str) -> None:
        """S3 says yes whether it was there or not."""
        with _errors(f"{key} could not be deleted"):
            self._client.delete_object(Bucket=self._bucket, Key=checked(key))

    def walk(self, prefix: str, after: str, limit: int) -> list[Stored]:
        """A page that is not empty, if there is one; ages are by the server's own `Date`."""
        given: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": limit}
        if after:
            given["StartAfter"] = after
        with _errors("the bucket could not be listed"):
            page = self._client.list_objects_v2(**given)
            while page["IsTruncated"] and not page.get("Contents"):
                given["ContinuationToken"] = page["NextContinuationToken"]
                page = self._client.list_objects_v2(**given)
        now = _date(page)
        return [
            Stored(entry["Key"], (now - entry["LastModified"]).total_seconds())
            for entry in page.get("Contents", [])
        ]

    def check(self) -> None:
        """Ask for the bucket's headers; nothing is written."""
        with _errors("the bucket does not answer"):
            self._probe.head_bucket(Bucket=self._bucket)

    def make_bucket(self) -> None:
        """Make the bucket, unless there is one that we may use."""
        with _errors("the bucket could not be made"):
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _status(error) != 404:
                    raise
                self._create_bucket()

    def _create_bucket(self) -> None:
        region = self._settings.s3_region
        # Amazon's first region is the one that must not be named
        where = {} if region == "us-east-1" else {"LocationConstraint": region}
        options = {"CreateBucketConfiguration": where} if where else {}
        try:
            self._client.create_bucket(Bucket=self._bucket, **options)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":  # a rival's
                raise

    @cached_property
    def _client(self) -> Any:
        return _connect(self._settings, self._settings.s3_url)

    @cached_property
    def _probe(self) -> Any:
        return _connect(self._settings, self._settings.s3_url, tries=1, timeout_s=CHECK_S)


class S3Urls:
    """URLs that the server itself checks (AWS Signature Version 4, in the query)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def download(self, key: str, ttl_s: int, content_type: str) -> str:
        """The answer says that it is a picture, and what to call it when it is saved."""
        stem = key.rpartition("/")[2].partition(".")[0]
        name = f"{stem}.{_EXTENSIONS.get(content_type, 'bin')}"
        return self._sign(
            "get_object",
            ttl_s,
            Key=checked(key),
            ResponseContentType=content_type,
            ResponseContentDisposition=f'inline; filename="{name}"',
            ResponseCacheControl="private, max-age=300",
        )

    def upload(self, key: str, ttl_s: int, size_bytes: int, content_type: str) -> Upload:
        """Length and type are signed headers: other ones are refused by the server."""
        url = self._sign(
            "put_object",
            ttl_s,
            Key=checked(key),
            ContentLength=size_bytes,
            ContentType=content_type,
        )
        return Upload(url, {"Content-Type": content_type})

    def _sign(self, method: str, ttl_s: int, **parameters: Any) -> str:
        with _errors("no URL could be signed"):
            return str(
                self._client.generate_presigned_url(
                    method,
                    Params={"Bucket": self._settings.s3_bucket, **parameters},
                    ExpiresIn=ttl_s,
                )
            )

    @cached_property
    def _client(self) -> Any:
        return _connect(self._settings, self._settings.s3_public_url)


def _connect(
    settings: Settings, url: str, tries: int = TRIES, timeout_s: float | None = None
) -> Any:
    """A client, which threads may share. Without a key, AWS's usual places are asked for one."""
    timeout_s = timeout_s or settings.s3_timeout_s
    session = boto3.session.Session(
        aws_access_key_id=settings.s3_access_key.get_secret_value() or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        region_name=settings.s3_region,
    )
    if session.get_credentials() is None:
        raise StorageUnavailable("There is no access key for the object storage.")
    return session.client(
        "s3",
        endpoint_url=url.rstrip("/"),
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": settings.s3_addressing, "payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": tries},
            connect_timeout=min(CONNECT_S, timeout_s),
            read_timeout=timeout_s,
            max_pool_connections=POOL,
        ),
    )


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of `PIECE_BYTES`, but for the last; at least one."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) > PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES])
            del held[:PIECE_BYTES]
    yield bytes(held)


@contextmanager
def _errors(message: str) -> Iterator[None]:
    """Not there, or unavailable: the server's code is told, and never its words or ours."""
    try:
        yield
    except ClientError as error:
        code = re.sub(r"\W", "", str(error.response.get("Error", {}).get("Code", "")))[:60]
        if code == "NoSuchKey":
            raise NotFound(f"{message}: it is not there.") from None
        said = f"the storage answered {_status(error)} {code}".rstrip()
        raise StorageUnavailable(f"{message}: {said}.") from error
    except (BotoCoreError, OSError) as error:
        raise StorageUnavailable(f"{message}: {type(error).__name__}.") from error


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _date(answer: Any) -> datetime:
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)
