"""What is timed in turn with a target."""

from __future__ import annotations

import pytest

from autobatch.check.reference import choose_reference, settings_of_reference
from autobatch.errors import BaselineError
from autobatch.records import Settings


def test_a_reference_is_chosen_when_a_baseline_is_made_and_the_baseline_s_from_then_on(
    make_measurement,
) -> None:
    assert choose_reference(None, None) == "none"
    assert choose_reference("base/model.py", None) == "base/model.py"
    for baseline in (make_measurement(), make_measurement(references_s=(0.01,) * 8)):
        for asked in (None, baseline.reference):
            assert choose_reference(asked, baseline) == baseline.reference


@pytest.mark.parametrize("asked", ["none", "other/model.py"])
def test_another_reference_than_the_baseline_s_is_refused(make_measurement, asked) -> None:
    baseline = make_measurement(references_s=(0.01,) * 8)
    with pytest.raises(BaselineError, match=f"base/model.py`, not {asked}"):
        choose_reference(asked, baseline)


def test_what_changes_for_the_target_does_not_change_for_the_reference(make_measurement) -> None:
    training = Settings(seed=3, variables={"HELD": "1"}, dataset_size=7)
    assert settings_of_reference(training, None) == Settings(seed=3, variables={"HELD": "1"})
    baseline = make_measurement(environment={"variables": {"HELD": "2"}})
    assert settings_of_reference(training, baseline).variables == {"HELD": "2"}
