"""`python -m shared.objects`: make the bucket, unless it is there; a folder needs nothing."""

from __future__ import annotations

import sys

from shared.errors import StorageUnavailable
from shared.settings import SettingsError, read_settings


def main() -> int:
    """0 when the bucket is there; 1 with a line that says why not."""
    try:
        settings = read_settings()
        if settings.s3_url:
            from shared.objects.s3 import S3Store  # boto3 is not everywhere

            S3Store(settings).make_bucket()
    except (SettingsError, StorageUnavailable) as error:
        print(f"objects: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
