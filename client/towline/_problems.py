"""An exception for each code; made by `client/generate.py` from `api/codes.py`."""

from __future__ import annotations

from towline._failures import (
    APIError,
    Conflict,
    InvalidRequest,
    LimitExceeded,
    RequestError,
    ServerError,
)

__all__ = [
    "AccountExists",
    "AlphaNotSupported",
    "ApiUnavailable",
    "BatchEmpty",
    "BatchNotFinal",
    "BatchTooLarge",
    "BatchUnreadable",
    "BodyTooLarge",
    "CanvasTooLong",
    "ConflictingFields",
    "DatabaseUnavailable",
    "DragNotReachable",
    "DuplicateCustomId",
    "DuplicateHandle",
    "DuplicateTarget",
    "EdgePointMovesInward",
    "EndpointDisabled",
    "EngineUnavailable",
    "IdempotencyKeyGone",
    "IdempotencyKeyInFlight",
    "IdempotencyKeyMalformed",
    "IdempotencyKeyReused",
    "ImageInUse",
    "ImageNotFound",
    "ImageNotUploaded",
    "ImageTooLarge",
    "ImageUnreadable",
    "InsufficientScope",
    "InternalError",
    "JobNotFinal",
    "KeyReplaced",
    "LengthRequired",
    "LineTooLong",
    "MalformedLine",
    "MalformedRequest",
    "MaskEmpty",
    "MaskEmptyOnCanvas",
    "MaskSizeMismatch",
    "MethodNotAllowed",
    "MissingField",
    "NotFound",
    "NothingToRetry",
    "OptionNotSupported",
    "OptionOutOfRange",
    "OutOfRange",
    "PictureTooLong",
    "PixelQuotaExceeded",
    "PointAtMaskBorder",
    "PointOutsideImage",
    "PointOutsideMask",
    "RateLimited",
    "SecretUnreadable",
    "StorageQuotaExceeded",
    "StorageUnavailable",
    "TooManyEndpoints",
    "TooManyQueuedJobs",
    "TooManyRounds",
    "TooManyStreams",
    "Unauthorized",
    "UnknownField",
    "UnsupportedImageType",
    "UnsupportedMediaType",
    "UploadMismatch",
    "UrlRefused",
    "WebhookAddressRefused",
    "WebhookPortRefused",
    "WebhookUrlInvalid",
    "WebhookUrlNotHttps",
    "WrongFormat",
    "WrongLength",
    "WrongType",
    "ZeroLengthDrags",
]


class MalformedRequest(RequestError):
    """The request cannot be read."""

    own_code = "malformed_request"


class IdempotencyKeyMalformed(RequestError):
    """The `Idempotency-Key` cannot be read."""

    own_code = "idempotency_key_malformed"


class Unauthorized(RequestError):
    """No valid API key."""

    own_code = "unauthorized"


class InsufficientScope(RequestError):
    """The key may not do this."""

    own_code = "insufficient_scope"


class UrlRefused(RequestError):
    """The signed URL is not valid."""

    own_code = "url_refused"


class NotFound(RequestError):
    """There is no such thing."""

    own_code = "not_found"


class MethodNotAllowed(RequestError):
    """The address does not take this method."""

    own_code = "method_not_allowed"


class AccountExists(Conflict):
    """There is an account of this name."""

    own_code = "account_exists"


class KeyReplaced(Conflict):
    """The key was rotated already."""

    own_code = "key_replaced"


class ImageInUse(Conflict):
    """A job still needs the image."""

    own_code = "image_in_use"


class ImageNotUploaded(Conflict):
    """The image's bytes never came."""

    own_code = "image_not_uploaded"


class JobNotFinal(Conflict):
    """The job has not ended."""

    own_code = "job_not_final"


class BatchNotFinal(Conflict):
    """The batch has not ended."""

    own_code = "batch_not_final"


class NothingToRetry(Conflict):
    """Nothing of the batch can be retried."""

    own_code = "nothing_to_retry"


class IdempotencyKeyInFlight(Conflict):
    """Another request with this `Idempotency-Key` is at work."""

    own_code = "idempotency_key_in_flight"


class EndpointDisabled(Conflict):
    """The webhook endpoint is disabled."""

    own_code = "endpoint_disabled"


class TooManyEndpoints(Conflict):
    """The account has as many webhook endpoints as it may have."""

    own_code = "too_many_endpoints"


class SecretUnreadable(Conflict):
    """The webhook secret cannot be read any more."""

    own_code = "secret_unreadable"


class IdempotencyKeyGone(RequestError):
    """What this `Idempotency-Key` made was deleted."""

    own_code = "idempotency_key_gone"


class LengthRequired(RequestError):
    """The size must be announced."""

    own_code = "length_required"


class ImageTooLarge(RequestError):
    """The image is too large."""

    own_code = "image_too_large"


class BatchTooLarge(RequestError):
    """The batch is too large."""

    own_code = "batch_too_large"


class BodyTooLarge(RequestError):
    """The body is too large."""

    own_code = "body_too_large"


class UnsupportedImageType(RequestError):
    """Not a type of picture that is taken."""

    own_code = "unsupported_image_type"


class UnsupportedMediaType(RequestError):
    """Not a type of body that is taken."""

    own_code = "unsupported_media_type"


class ImageUnreadable(InvalidRequest):
    """The picture cannot be decoded."""

    own_code = "image_unreadable"


class IdempotencyKeyReused(RequestError):
    """The `Idempotency-Key` belongs to another request."""

    own_code = "idempotency_key_reused"


class UploadMismatch(InvalidRequest):
    """Not the bytes that were announced."""

    own_code = "upload_mismatch"


class RateLimited(LimitExceeded):
    """Too many requests."""

    own_code = "rate_limited"


class TooManyQueuedJobs(LimitExceeded):
    """Too many jobs wait."""

    own_code = "too_many_queued_jobs"


class StorageQuotaExceeded(LimitExceeded):
    """The account's storage is full."""

    own_code = "storage_quota_exceeded"


class PixelQuotaExceeded(LimitExceeded):
    """The month's pixels are spent."""

    own_code = "pixel_quota_exceeded"


class InternalError(ServerError):
    """Something that nobody foresaw."""

    own_code = "internal_error"


class StorageUnavailable(ServerError):
    """The object storage does not answer."""

    own_code = "storage_unavailable"


class DatabaseUnavailable(ServerError):
    """The database does not answer."""

    own_code = "database_unavailable"


class ApiUnavailable(ServerError):
    """The API is not there."""

    own_code = "api_unavailable"


class TooManyStreams(ServerError):
    """Too many open streams."""

    own_code = "too_many_streams"


class UnknownField(InvalidRequest):
    """`unknown_field`."""

    own_code = "unknown_field"


class MissingField(InvalidRequest):
    """`missing_field`."""

    own_code = "missing_field"


class WrongType(InvalidRequest):
    """`wrong_type`."""

    own_code = "wrong_type"


class WrongFormat(InvalidRequest):
    """`wrong_format`."""

    own_code = "wrong_format"


class WrongLength(InvalidRequest):
    """`wrong_length`."""

    own_code = "wrong_length"


class OutOfRange(InvalidRequest):
    """`out_of_range`."""

    own_code = "out_of_range"


class ConflictingFields(InvalidRequest):
    """`conflicting_fields`."""

    own_code = "conflicting_fields"


class PointOutsideImage(InvalidRequest):
    """`point_outside_image`."""

    own_code = "point_outside_image"


class PointOutsideMask(InvalidRequest):
    """`point_outside_mask`."""

    own_code = "point_outside_mask"


class PointAtMaskBorder(InvalidRequest):
    """`point_at_mask_border`."""

    own_code = "point_at_mask_border"


class EdgePointMovesInward(InvalidRequest):
    """`edge_point_moves_inward`."""

    own_code = "edge_point_moves_inward"


class DuplicateHandle(InvalidRequest):
    """`duplicate_handle`."""

    own_code = "duplicate_handle"


class DuplicateTarget(InvalidRequest):
    """`duplicate_target`."""

    own_code = "duplicate_target"


class TooManyRounds(InvalidRequest):
    """`too_many_rounds`."""

    own_code = "too_many_rounds"


class CanvasTooLong(InvalidRequest):
    """`canvas_too_long`."""

    own_code = "canvas_too_long"


class MaskEmptyOnCanvas(InvalidRequest):
    """`mask_empty_on_canvas`."""

    own_code = "mask_empty_on_canvas"


class ZeroLengthDrags(InvalidRequest):
    """`zero_length_drags`."""

    own_code = "zero_length_drags"


class MaskEmpty(InvalidRequest):
    """`mask_empty`."""

    own_code = "mask_empty"


class MaskSizeMismatch(InvalidRequest):
    """`mask_size_mismatch`."""

    own_code = "mask_size_mismatch"


class ImageNotFound(InvalidRequest):
    """`image_not_found`."""

    own_code = "image_not_found"


class EngineUnavailable(InvalidRequest):
    """`engine_unavailable`."""

    own_code = "engine_unavailable"


class MalformedLine(InvalidRequest):
    """`malformed_line`."""

    own_code = "malformed_line"


class LineTooLong(InvalidRequest):
    """`line_too_long`."""

    own_code = "line_too_long"


class DuplicateCustomId(InvalidRequest):
    """`duplicate_custom_id`."""

    own_code = "duplicate_custom_id"


class BatchUnreadable(InvalidRequest):
    """`batch_unreadable`."""

    own_code = "batch_unreadable"


class BatchEmpty(InvalidRequest):
    """`batch_empty`."""

    own_code = "batch_empty"


class OptionOutOfRange(InvalidRequest):
    """`option_out_of_range`."""

    own_code = "option_out_of_range"


class OptionNotSupported(InvalidRequest):
    """`option_not_supported`."""

    own_code = "option_not_supported"


class AlphaNotSupported(InvalidRequest):
    """`alpha_not_supported`."""

    own_code = "alpha_not_supported"


class WebhookUrlInvalid(InvalidRequest):
    """`webhook_url_invalid`."""

    own_code = "webhook_url_invalid"


class WebhookUrlNotHttps(InvalidRequest):
    """`webhook_url_not_https`."""

    own_code = "webhook_url_not_https"


class WebhookPortRefused(InvalidRequest):
    """`webhook_port_refused`."""

    own_code = "webhook_port_refused"


class WebhookAddressRefused(InvalidRequest):
    """`webhook_address_refused`."""

    own_code = "webhook_address_refused"


class PictureTooLong(InvalidRequest):
    """`picture_too_long`."""

    own_code = "picture_too_long"


class DragNotReachable(InvalidRequest):
    """A handle cannot be brought to its target."""

    own_code = "drag_not_reachable"


BY_CODE: dict[str, type[APIError]] = {
    "invalid_request": InvalidRequest,
    "malformed_request": MalformedRequest,
    "idempotency_key_malformed": IdempotencyKeyMalformed,
    "unauthorized": Unauthorized,
    "insufficient_scope": InsufficientScope,
    "url_refused": UrlRefused,
    "not_found": NotFound,
    "method_not_allowed": MethodNotAllowed,
    "account_exists": AccountExists,
    "key_replaced": KeyReplaced,
    "image_in_use": ImageInUse,
    "image_not_uploaded": ImageNotUploaded,
    "job_not_final": JobNotFinal,
    "batch_not_final": BatchNotFinal,
    "nothing_to_retry": NothingToRetry,
    "idempotency_key_in_flight": IdempotencyKeyInFlight,
    "endpoint_disabled": EndpointDisabled,
    "too_many_endpoints": TooManyEndpoints,
    "secret_unreadable": SecretUnreadable,
    "idempotency_key_gone": IdempotencyKeyGone,
    "length_required": LengthRequired,
    "image_too_large": ImageTooLarge,
    "batch_too_large": BatchTooLarge,
    "body_too_large": BodyTooLarge,
    "unsupported_image_type": UnsupportedImageType,
    "unsupported_media_type": UnsupportedMediaType,
    "image_unreadable": ImageUnreadable,
    "idempotency_key_reused": IdempotencyKeyReused,
    "upload_mismatch": UploadMismatch,
    "rate_limited": RateLimited,
    "too_many_queued_jobs": TooManyQueuedJobs,
    "storage_quota_exceeded": StorageQuotaExceeded,
    "pixel_quota_exceeded": PixelQuotaExceeded,
    "internal_error": InternalError,
    "storage_unavailable": StorageUnavailable,
    "database_unavailable": DatabaseUnavailable,
    "api_unavailable": ApiUnavailable,
    "too_many_streams": TooManyStreams,
    "unknown_field": UnknownField,
    "missing_field": MissingField,
    "wrong_type": WrongType,
    "wrong_format": WrongFormat,
    "wrong_length": WrongLength,
    "out_of_range": OutOfRange,
    "conflicting_fields": ConflictingFields,
    "point_outside_image": PointOutsideImage,
    "point_outside_mask": PointOutsideMask,
    "point_at_mask_border": PointAtMaskBorder,
    "edge_point_moves_inward": EdgePointMovesInward,
    "duplicate_handle": DuplicateHandle,
    "duplicate_target": DuplicateTarget,
    "too_many_rounds": TooManyRounds,
    "canvas_too_long": CanvasTooLong,
    "mask_empty_on_canvas": MaskEmptyOnCanvas,
    "zero_length_drags": ZeroLengthDrags,
    "mask_empty": MaskEmpty,
    "mask_size_mismatch": MaskSizeMismatch,
    "image_not_found": ImageNotFound,
    "engine_unavailable": EngineUnavailable,
    "malformed_line": MalformedLine,
    "line_too_long": LineTooLong,
    "duplicate_custom_id": DuplicateCustomId,
    "batch_unreadable": BatchUnreadable,
    "batch_empty": BatchEmpty,
    "option_out_of_range": OptionOutOfRange,
    "option_not_supported": OptionNotSupported,
    "alpha_not_supported": AlphaNotSupported,
    "webhook_url_invalid": WebhookUrlInvalid,
    "webhook_url_not_https": WebhookUrlNotHttps,
    "webhook_port_refused": WebhookPortRefused,
    "webhook_address_refused": WebhookAddressRefused,
    "picture_too_long": PictureTooLong,
    "drag_not_reachable": DragNotReachable,
}
