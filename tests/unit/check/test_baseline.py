"""A baseline is a measurement, or is refused in words."""

from __future__ import annotations

import json

import pytest

from autobatch.check.report.document import BASELINE
from autobatch.errors import ResultFormatError, SettingsError


@pytest.fixture
def measurement(make_measurement):
    return make_measurement([0.01, 0.011, 0.012], [0.02, 0.021, 0.022], peaks_bytes=(5, 6, 7))


def test_what_is_saved_is_what_is_read(measurement, tmp_path) -> None:
    path = tmp_path / "base.json"
    BASELINE.save(measurement, path, overwrite=False)
    assert BASELINE.load(path) == measurement
    with pytest.raises(SettingsError, match="exists already"):
        BASELINE.save(measurement, path, overwrite=False)


SPOILED = {
    "a later version": (("schema_version",), 3, "schema_version 3 is newer than 2"),
    "an earlier version": (("schema_version",), 1, "schema_version 1 is older than 2"),
    "no version": (("schema_version",), None, "schema_version: expected 2"),
    "a finding": (("kind",), "finding", "something else than a baseline"),
    "an unknown key": (("colour",), "red", "colour: unknown key"),
    "an unknown key within": (("environment", "colour"), 1, "environment.colour: unknown key"),
    "an unknown key in a round": (("rounds", 1, "x"), 1, r"rounds\[1\].x: unknown key"),
    "text for a size": (("batch_size",), "64", "batch_size: expected int"),
    "no batch": (("batch_size",), 0, "batch_size: expected at least 1"),
    "no time": (("rounds", 0, "step_times_s"), [0.0], "expected a number above 0"),
    "no reference time": (("rounds", 0, "reference_times_s"), [-1.0], "above 0"),
    "no steps": (("rounds", 0, "step_times_s"), [], "step_times_s: expected at least one"),
    "no reference": (("rounds", 2, "reference_times_s"), [], "times_s: expected at least one"),
    "a reference too many": (("reference",), "none", "reference_batch_size: expected none"),
    "no size of the reference": (("reference_batch_size",), None, "expected a size"),
    "a reference of no samples": (("reference_batch_size",), 0, "expected at least 1"),
    "no rounds": (("rounds",), [], "rounds: expected at least 3, got 0"),
    "negative memory": (("rounds", 0, "peak_bytes"), -1, "negative"),
    "an endless number": (("rounds", 0, "peak_bytes"), 10**30, "smaller number"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_baseline_is_refused_and_the_place_is_named(measurement, tmp_path, name) -> None:
    (*way, last), value, pattern = SPOILED[name]
    document = json.loads(BASELINE.dumps(measurement))
    place = document
    for step in way:
        place = place[step]
    place[last] = value
    path = tmp_path / "base.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ResultFormatError, match=pattern) as caught:
        BASELINE.load(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert "`save_baseline=FILE`" in caught.value.hint or "upgrade" in caught.value.hint


def test_a_baseline_cut_anywhere_is_refused(measurement, tmp_path) -> None:
    path, text = tmp_path / "base.json", BASELINE.dumps(measurement)
    for length in range(0, len(text) - 2, 31):
        path.write_text(text[:length])
        with pytest.raises(ResultFormatError):
            BASELINE.load(path)


def test_a_missing_baseline_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(ResultFormatError, match="no such file") as caught:
        BASELINE.load(tmp_path / "nowhere.json")
    assert "`save_baseline=FILE`" in caught.value.hint
