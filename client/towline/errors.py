"""Everything that a call can raise; the tree is drawn in `towline/_failures.py`.

The general classes (`TowlineError`, `APIError`, `JobFailed`, ...), and one for each code of the
service: `ImageInUse`, `RateLimited`, `PointOutsideMask`, ...
"""

from __future__ import annotations

from towline import _failures, _problems
from towline._failures import *  # noqa: F403
from towline._problems import *  # noqa: F403

__all__ = [*_failures.__all__, *_problems.__all__]  # noqa: PLE0604
