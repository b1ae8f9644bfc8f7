"""Request bodies: JSON read strictly."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from shared.submission.json_text import MAX_DEPTH, read_json, reason_of

MAX_JSON_BYTES = 1 * 2**20


class StrictRequest(Request):
    """400 for what is no JSON, 415 for what does not say that it is."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body; never None for a body that cannot be read, whatever `silent` says."""
        if "_json" not in self.__dict__:  # the body can be read once
            self._json = self.read_json()
        return self._json

    def read_json(self, max_bytes: int = MAX_JSON_BYTES) -> Any:
        """The body; `BadRequest`, `RequestEntityTooLarge` or `UnsupportedMediaType`."""
        if self.mimetype != "application/json":
            raise UnsupportedMediaType("Send the body as `Content-Type: application/json`.")
        try:
            value = read_json(self.get_limited(max_bytes))
        except RecursionError:
            raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
        except ValueError as error:
            raise BadRequest(f"The body is not JSON: {reason_of(error)}.") from None
        except RequestEntityTooLarge:
            raise RequestEntityTooLarge(f"A JSON body has at most {max_bytes} bytes.") from None
        # flask-openapi3 reads a string as JSON once more: a list is as wrong, and stays itself
        return [value] if isinstance(value, str) else value

    def get_limited(self, max_bytes: int) -> bytes:
        """The body; `RequestEntityTooLarge`, also where its size was not said before."""
        self.max_content_length = max_bytes + 1  # werkzeug cuts a chunked body off at its limit
        data = self.get_data(cache=False)
        if len(data) > max_bytes:
            raise RequestEntityTooLarge
        return data
