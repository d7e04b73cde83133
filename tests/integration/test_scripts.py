"""Scripts that a reader of the README runs first."""

from __future__ import annotations

import pytest

from scripts.claims.newcomer import meet
from scripts.claims.newcomer_files import NEWCOMER_FILES


@pytest.mark.parametrize("name", ["half", "gan"])
def test_files_as_people_have_them_get_an_answer_or_the_line_to_change(name: str) -> None:
    met, fault = meet(name, NEWCOMER_FILES[name], time_limit_s=120)
    assert fault == ""
    assert (met.batch_size is None) == bool(NEWCOMER_FILES[name].hint)
