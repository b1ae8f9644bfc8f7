"""Pictures and manifests for tests of batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.client.conftest import noise

DRAGS = [{"handle": [20, 20], "target": [28, 20]}]


def a_line(custom_id: str, image: str = "a.png", **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "image": image, "drags": DRAGS, **more}


def write(path: Path, *lines: Any) -> Path:
    """A manifest; what is text already is written as it is."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def pictures(folder: Path, *names: str) -> Path:
    """Each another one, of 64 x 48."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(noise(64, 48, seed=number))
    return folder
