"""`python -m shared.objects`: make the bucket, unless it is there; a folder needs nothing.

A server that does not answer yet is waited for, up to `WAIT_S`: it may be starting beside.
"""

from __future__ import annotations

import sys
import time

from shared.errors import StorageUnavailable
from shared.settings import Settings, SettingsError, read_settings

WAIT_S = 60.0
PAUSE_S = 2.0


def main() -> int:
    """0 when the bucket is there; 1 with a line that says why not."""
    try:
        settings = read_settings()
        if settings.s3_url:
            _make_bucket(settings)
    except (SettingsError, StorageUnavailable) as error:
        print(f"objects: {error}", file=sys.stderr)
        return 1
    return 0


def _make_bucket(settings: Settings) -> None:
    from shared.objects.s3 import S3Store  # boto3 is not everywhere

    ends = time.monotonic() + WAIT_S
    while True:
        try:
            return S3Store(settings).make_bucket()
        except StorageUnavailable as error:
            if time.monotonic() > ends:
                raise
            print(f"objects: {error}; waiting", file=sys.stderr)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
