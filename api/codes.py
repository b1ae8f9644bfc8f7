"""Every code that Towline says no with: where it appears, what it means, what would be right.

`/docs/errors` is made from this, and a problem's `type` points there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """`status` is the HTTP status when the code is a problem's own; None: only a job's `error`."""

    status: int | None
    title: str
    paragraph: str


PROBLEMS = {
    "malformed_request": Code(
        400,
        "The request cannot be read",
        "The body is not JSON (RFC 8259), is nested too deeply, or the HTTP itself is broken."
        " NaN and Infinity are no JSON numbers.",
    ),
    "idempotency_key_malformed": Code(
        400,
        "The `Idempotency-Key` cannot be read",
        "Send 1 to 255 visible ASCII characters, such as a UUID, or the same in double quotes"
        " (a structured-field string, RFC 9651); in quotes spaces, commas and semicolons too.",
    ),
    "unauthorized": Code(
        401,
        "No valid API key",
        "Send `Authorization: Bearer tow_...`. The key is missing, unknown, revoked or expired.",
    ),
    "insufficient_scope": Code(
        403,
        "The key may not do this",
        "The key is good, but has not the scope that this needs: `read` to look, `write` to"
        " change, `admin` for the audit log and for webhooks. `WWW-Authenticate` names it. Make"
        " another key with `python -m api key create --scopes`.",
    ),
    "url_refused": Code(
        403,
        "The signed URL is not valid",
        "The URL was changed, or its time is over. Ask for the job or image again: every"
        " answer holds fresh ones.",
    ),
    "not_found": Code(
        404,
        "There is no such thing",
        "No such address, or nothing with this id in this account.",
    ),
    "method_not_allowed": Code(
        405,
        "The address does not take this method",
        "The `Allow` header lists the methods that it takes.",
    ),
    "account_exists": Code(
        409,
        "There is an account of this name",
        "Said by `python -m api account create` alone. Choose another name.",
    ),
    "key_replaced": Code(
        409,
        "The key was rotated already",
        "Said by `python -m api key rotate` alone. Rotate the key that replaces it.",
    ),
    "image_in_use": Code(
        409,
        "A job still needs the image",
        "Wait until every job that uses it has ended, or cancel them.",
    ),
    "image_not_uploaded": Code(
        409,
        "The image's bytes never came",
        "It was announced. PUT its bytes to the upload URL, then call `complete`. A job that"
        " names such an image is refused with 422.",
    ),
    "job_not_final": Code(
        409,
        "The job has not ended",
        "Only a job that has ended can be deleted or retried. Cancel it first.",
    ),
    "batch_not_final": Code(
        409,
        "The batch has not ended",
        "Only a batch that has ended can be retried. Wait for it, or cancel it.",
    ),
    "nothing_to_retry": Code(
        409,
        "Nothing of the batch can be retried",
        "A retry takes the items that failed or expired, and there is none.",
    ),
    "idempotency_key_in_flight": Code(
        409,
        "Another request with this `Idempotency-Key` is at work",
        "It was waited for, 2 s, and has not ended. Send the same request again after"
        " `Retry-After`: it answers with what was made. If the server died meanwhile the key is"
        " free after half a minute, and nothing is made twice.",
    ),
    "endpoint_disabled": Code(
        409,
        "The webhook endpoint is disabled",
        'Nothing is sent to it. `PATCH` it with `{"disabled": false}` first; `disabled_reason` says'
        " whether its owner, a 410 or five days of failures disabled it.",
    ),
    "too_many_endpoints": Code(
        409,
        "The account has as many webhook endpoints as it may have",
        "`TOWLINE_WEBHOOK_MAX_ENDPOINTS` is the limit. Delete one that is not needed.",
    ),
    "secret_unreadable": Code(
        409,
        "The webhook secret cannot be read any more",
        "It was sealed under another `TOWLINE_SECRET_KEY`. Rotate it, and give the new one to the"
        " receiver.",
    ),
    "idempotency_key_gone": Code(
        410,
        "What this `Idempotency-Key` made was deleted",
        "The request was answered before, and what it made is gone since. Take a new key to make"
        " another.",
    ),
    "length_required": Code(
        411, "The size must be announced", "Send a `Content-Length`; chunked bodies are not taken."
    ),
    "image_too_large": Code(
        413,
        "The image is too large",
        "More bytes or pixels than `TOWLINE_MAX_IMAGE_BYTES` (32 MiB) and"
        " `TOWLINE_MAX_IMAGE_PIXELS` (40 million) allow.",
    ),
    "batch_too_large": Code(
        413,
        "The batch is too large",
        "A batch has at most 50,000 lines and 200 MiB; as one JSON body, at most 1,000 jobs and"
        " 16 MiB. Send the rest as another batch.",
    ),
    "body_too_large": Code(413, "The body is too large", "A JSON body has at most 1 MiB."),
    "unsupported_image_type": Code(
        415,
        "Not a type of picture that is taken",
        "PNG, JPEG and WebP are taken. The type is found from the bytes, not from the header.",
    ),
    "unsupported_media_type": Code(
        415,
        "Not a type of body that is taken",
        "JSON bodies need `Content-Type: application/json`. Of a picture only the bytes count.",
    ),
    "image_unreadable": Code(
        422,
        "The picture cannot be decoded",
        "It is truncated, damaged, animated, or has no pixels. Save it again and send that.",
    ),
    "idempotency_key_reused": Code(
        422,
        "The `Idempotency-Key` belongs to another request",
        "The same key came with another body, address or type of body within 24 hours. Take a new"
        " key for each thing to be made; repeat a request as it was.",
    ),
    "upload_mismatch": Code(
        422,
        "Not the bytes that were announced",
        "The size or the sha256 of what was PUT differs from the announcement. PUT the right"
        " bytes to the same URL, then call `complete` again.",
    ),
    "invalid_request": Code(
        422,
        "The request is not valid",
        "`errors` lists every violation with its pointer and its own code. When all of them"
        " share one code, that code stands at the top instead.",
    ),
    "rate_limited": Code(
        429,
        "Too many requests",
        "The account has made as many requests as it may in a second. Go on after"
        " `Retry-After`; `RateLimit` says on every answer how many are left.",
    ),
    "too_many_queued_jobs": Code(
        429,
        "Too many jobs wait",
        "As many of the account's jobs are queued as may be (`GET /v1/account`). Submit more"
        " when some have been started, after `Retry-After` at the earliest.",
    ),
    "storage_quota_exceeded": Code(
        429,
        "The account's storage is full",
        "Its images and results take as many bytes as they may (`GET /v1/account`). Delete what"
        " is not needed, or wait until it is past its retention.",
    ),
    "pixel_quota_exceeded": Code(
        429,
        "The month's pixels are spent",
        "The pictures that the account's jobs ask for (width x height x candidates) have more"
        " pixels than are left for this month (UTC). `Retry-After` is when the next one begins.",
    ),
    "internal_error": Code(
        500,
        "Something that nobody foresaw",
        "The server's log has the trace under the `request_id`. Please report it.",
    ),
    "storage_unavailable": Code(
        503,
        "The object storage does not answer",
        "Try again after `Retry-After`. As a job's error: its bytes could not be fetched or"
        " stored for ten minutes, or are gone.",
    ),
    "database_unavailable": Code(
        503, "The database does not answer", "Try again after `Retry-After`."
    ),
    "api_unavailable": Code(
        503,
        "The API is not there",
        "Said by the proxy of docker-compose.yml when no process of the API takes requests. Nothing"
        " was done; try again after `Retry-After`.",
    ),
    "too_many_streams": Code(
        503,
        "Too many open streams",
        "This API process sends as many event streams (`TOWLINE_MAX_STREAMS`), results or archives"
        " of batches as it can, or as many as one account may have. Close some of yours, or try"
        " again after `Retry-After`; polling always works.",
    ),
}

_INVALID = "The request is not valid"

VIOLATIONS = {
    name: Code(422, _INVALID, paragraph)
    for name, paragraph in {
        "unknown_field": "There is no such field. Check the spelling; nothing is ignored.",
        "missing_field": "A field that is needed is missing.",
        "wrong_type": "Not the type that the field has. Numbers are numbers, not strings.",
        "wrong_format": "The right type, but not the form that the field has.",
        "wrong_length": "Too many or too few entries or characters.",
        "out_of_range": "Outside the field's range, or none of its choices.",
        "conflicting_fields": "Two fields that exclude each other, such as `drags` and `rounds`.",
        "point_outside_image": "0 <= x <= width - 1 and 0 <= y <= height - 1, in pixels of the"
        " oriented picture. A point outside it is refused, never wrapped or clamped.",
        "point_outside_mask": "The pixel under the point must be part of the mask: what is not"
        " masked cannot move.",
        "point_at_mask_border": "The engine needs room around the point: 2 pixels for `warp`,"
        " less where the mask runs off the picture's edge, along which it slides. Widen the mask.",
        "edge_point_moves_inward": "Where the mask runs off the picture, a point on the edge slides"
        " along it and cannot leave it. Put handle and target both on the edge, or both off it.",
        "duplicate_handle": "Two drags of one round start at the same point; for `lightningdrag`,"
        " in the same pixel of the canvas at which it works (the detail says how large it is).",
        "duplicate_target": "Two drags of one round end at the same point; for `warp`, less than a"
        " pixel apart, unless they start so; for `lightningdrag`, in the same pixel of its canvas.",
        "too_many_rounds": "With `split_px`, the rounds that long drags are cut into are at most 32"
        " in all. Take a larger `split_px`.",
        "canvas_too_long": "The picture is over a thousand times as long as wide, and the engine's"
        " canvas, which is at least 64 pixels wide, would be longer than 16,384.",
        "mask_empty_on_canvas": "The engine works at about 512 x 512 pixels and sees one pixel of"
        " the mask in 8 x 8 of those; nothing of this mask is left there. Widen it.",
        "zero_length_drags": "Every drag of a round has its handle as its target: nothing moves.",
        "mask_empty": "The mask lets no pixel change. White may change, black must stay; a"
        " `rect` is half-open.",
        "mask_size_mismatch": "A mask that is a picture must have the picture's oriented size.",
        "image_not_found": "There is no such image in this account.",
        "engine_unavailable": "The engine is not configured here. One that is configured but"
        " down is no error: its jobs wait.",
        "malformed_line": "The line is not JSON (RFC 8259), or no JSON object.",
        "line_too_long": "A line of a batch has at most 1 MiB.",
        "duplicate_custom_id": "Another line of the batch has this `custom_id`; results are told"
        " apart by it.",
        "batch_unreadable": "The lines of the batch are gone from object storage; send it again.",
        "batch_empty": "A batch has at least one job.",
        "option_out_of_range": "Outside the option's range, or none of its choices. Ranges are"
        " the same for every engine.",
        "option_not_supported": "The engine does not have this option, or not so much of it.",
        "alpha_not_supported": "The picture has alpha and a JPEG cannot keep it: choose `png`"
        " or `webp`.",
        "webhook_url_invalid": "Not the one form of a URL that is taken: scheme, host, perhaps a"
        " port and a path, in ASCII, without credentials or a fragment; an IPv4 address as four"
        " decimal numbers.",
        "webhook_url_not_https": "Webhooks go by https alone, unless the server's"
        " `TOWLINE_WEBHOOK_ALLOW_HTTP` is set.",
        "webhook_port_refused": "Webhooks go to port 443, and to those in `TOWLINE_WEBHOOK_PORTS`.",
        "webhook_address_refused": "Webhooks go to addresses of the public Internet, and to"
        " those in `TOWLINE_WEBHOOK_NETWORKS`. A name is looked up again for each try.",
        "picture_too_long": "The format cannot hold a side this long (WebP 16,383 pixels, JPEG"
        " 65,500): choose `png`.",
    }.items()
}

JOB_ERRORS = {
    "drag_not_reachable": Code(
        422,
        "A handle cannot be brought to its target",
        "The mask leaves no way, or too narrow a one; the message says how far each handle"
        " got. Handle and target in different parts of the mask are refused at submission.",
    ),
    "warp_folds": Code(
        None,
        "The picture would fold over itself",
        "Only with `strict`; otherwise a warning. Shorten the drags or widen the mask.",
    ),
    "timeout": Code(
        None,
        "The job's time is over",
        "It did not end within `timeout_s` of its first start.",
    ),
    "worker_lost": Code(
        None,
        "Its workers were lost",
        "Three workers died or fell silent while they ran it. It is not tried again by itself.",
    ),
    "engine_failed": Code(
        None,
        "The engine failed",
        "Nobody foresaw it. The worker's log has the trace under the job's id.",
    ),
}

CODES: dict[str, Code] = {**PROBLEMS, **VIOLATIONS, **JOB_ERRORS}
