"""What went wrong, what to do, and the exit code: each error of the client becomes such a one.

0    done                            4    the service cannot be reached, or is out of order
1    it did not succeed              5    a limit of the account
2    wrong use, or invalid input     130  Ctrl-C
3    no key, or one that may not     143  SIGTERM
"""

from __future__ import annotations

from collections.abc import Sequence

from towline import errors
from towline.errors import Violation

FAILED = 1
USAGE = 2
DENIED = 3
UNREACHABLE = 4
LIMITED = 5
INTERRUPTED = 130
TERMINATED = 143


class CommandFailed(Exception):
    """A command that ends here.

    message: what is wrong. hint: what to do. details: one line each, such as all that is wrong
    with an edit. code: the service's, for `--json`.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: int = FAILED,
        details: Sequence[str] = (),
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.details = tuple(details)
        self.code = code


def explained(error: errors.TowlineError) -> CommandFailed:
    """An error of the client, as a user of the command line should read it."""
    if isinstance(error, errors.APIError):
        return _refused(error)
    if isinstance(error, errors.TransportError):
        hint = "is the service up, and the address right? `towline doctor` looks."
        return CommandFailed(error.message, hint=hint, exit_code=UNREACHABLE, code="unreachable")
    if isinstance(error, errors.ConfigurationError):
        hint = "`towline login` sets both; so do TOWLINE_URL and TOWLINE_API_KEY."
        return CommandFailed(error.message, hint=hint, exit_code=USAGE, code="configuration")
    if isinstance(error, errors.JobNotSucceeded):
        return CommandFailed(error.message, hint=hint_for(error.code), code=error.code)
    if isinstance(error, errors.WaitTimedOut):
        hint = f"it goes on: towline job {error.last_seen.id} --wait"
        return CommandFailed(error.message, hint=hint, code="wait_timed_out")
    return CommandFailed(error.message)


def _refused(error: errors.APIError) -> CommandFailed:
    known = f" (request {error.request_id})" if error.request_id and error.status >= 500 else ""
    message = "The request is not valid." if error.errors else f"{error.message}{known}"
    return CommandFailed(
        message,
        hint=_what_to_do(error),
        exit_code=_exit_code(error),
        details=[said(each) for each in error.errors],
        code=error.code,
    )


def _exit_code(error: errors.APIError) -> int:
    if isinstance(error, errors.LimitExceeded):
        return LIMITED
    if error.status >= 500:
        return UNREACHABLE
    return {401: DENIED, 403: DENIED, 413: USAGE, 415: USAGE, 422: USAGE}.get(error.status, FAILED)


_HINTS = {
    "unauthorized": "the key is wrong, revoked or expired: `towline login` with another one.",
    "insufficient_scope": "use a key with more scopes; `towline doctor` shows what this one may.",
    "image_too_large": "make it smaller: at most 32 MiB and 40 megapixels.",
    "unsupported_image_type": "convert it to PNG, JPEG or WebP.",
    "image_unreadable": "the file is damaged, or an animation: save it anew.",
    "engine_unavailable": "`towline engines` lists those that are there.",
    "option_out_of_range": "`towline engines` lists options and their ranges.",
    "option_not_supported": "`towline engines` lists which engine has which option.",
    "job_not_final": "wait for its end (`towline job ID --wait`), or cancel it first.",
    "batch_not_final": "wait for its end (`towline batch status ID --wait`), or cancel it first.",
    "batch_too_large": "send fewer lines at once: --lines-per-batch.",
    "not_found": "is the id right, and of this account? `towline jobs` and `towline batch list` "
    "list the newest.",
    "drag_not_reachable": "drag less far, or with a larger mask.",
    "timeout": "it took longer than it may: give --timeout-s, or fewer steps.",
}


def hint_for(code: str) -> str:
    """What to do about a code of the service; empty if there is nothing to be said."""
    return _HINTS.get(code, "")


def _what_to_do(error: errors.APIError) -> str:
    codes = [error.code, *(each.code for each in error.errors)]
    hint = next((_HINTS[code] for code in codes if code in _HINTS), "")
    if hint:
        return hint
    if isinstance(error, errors.LimitExceeded):
        when = f"in {error.retry_after:.0f} s" if error.retry_after else "later"
        return f"try again {when}; `towline doctor` shows the account's limits."
    by_status = {401: _HINTS["unauthorized"], 403: _HINTS["insufficient_scope"]}
    well = "`towline doctor` shows whether the service is well."
    return by_status.get(error.status, well if error.status >= 500 else "")


def said(violation: Violation) -> str:
    """`--drag 2, target: it is outside the picture (point_outside_image)`."""
    place = _place(violation.pointer.strip("/").split("/"))
    return f"{place}: {violation.detail} ({violation.code})" if place else violation.detail


def _place(parts: list[str]) -> str:
    match parts:
        case ["drags", number, *rest] if number.isdigit():
            return ", ".join([f"--drag {int(number) + 1}", *rest])
        case ["options", name, *_]:
            return f"--option {name}"
        case ["drags"]:
            return "--drag"
        case ["mask", "rect", *_]:
            return "--rect"
    return " ".join(parts)
