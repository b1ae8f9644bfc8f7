"""Many edits as one: manifests, and runs that go on wherever they were stopped. See `run.py`."""

from towline.cli.batch.commands import batch

__all__ = ["batch"]
