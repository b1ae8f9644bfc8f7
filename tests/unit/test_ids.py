"""Names of things: well formed, never twice, newer ones later."""

from __future__ import annotations

import pytest

from shared.ids import is_id, new_id


def test_a_name_sorts_behind_every_older_one_when_many_are_made_at_once() -> None:
    names = [new_id("job") for _ in range(5000)]
    assert names == sorted(set(names))
    assert all(is_id("job", name) for name in names)


@pytest.mark.parametrize(
    "text",
    ["", "job_", "job_" + "0" * 31, "job_" + "0" * 33, "img_" + "0" * 32, "job_" + "G" * 32,
     "job_" + "0" * 32 + "\n", "xjob_" + "0" * 32, "job_" + "A" * 32, "job_" + "\u0660" * 32],
)  # fmt: skip
def test_a_text_is_no_name_of_a_job_when_it_has_not_its_form(text: str) -> None:
    assert not is_id("job", text)
