"""Whatever a file holds, it is a finding or it is refused in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.errors import ResultFormatError
from autobatch.reporting.document import dumps, from_document, load, to_document
from autobatch.reporting.text import render

# What is wrong with a file, by how it is spoiled; the pattern is what the error must say.
SPOILED = {
    "an unknown outcome": (("trials", 0, "outcome"), "sunny", r"trials\[0\]\.outcome.*sunny"),
    "an unknown stop reason": (("stop_reason",), "bored", r"stop_reason: .*bored"),
    "a number for a list": (("trials", 1, "rounds"), 5, r"trials\[1\]\.rounds: expected array"),
    "a list for an object": (("environment",), [], "environment: expected object"),
    "text for a number": (("batch_size",), "64", "batch_size: expected int, got str"),
    "a fraction for a count": (("batch_size",), 1.5, "batch_size: expected int, got float"),
    "truth for a number": (("batch_size",), True, "batch_size: expected int, got bool"),
    "nothing for a number": (("samples_per_s",), None, "samples_per_s: expected float"),
    "a batch size of zero": (("knee",), 0, "json: knee: expected at least 1"),
    "a negative batch size": (("trials", 0, "batch_size"), -1, r"trials\[0\]\.batch_size: "),
    "negative memory": (("trials", 0, "peak_bytes"), -5, r"trials\[0\]\.peak_bytes: .*negative"),
    "a share above 1": (("headroom_fraction",), 1.5, "headroom_fraction: .*from 0 to 1"),
    "an endless integer": (("peak_bytes",), 10**30, "peak_bytes: expected a smaller number"),
    "an integer no float holds": (("epoch_time_s",), 10**400, "epoch_time_s: number out of range"),
    "a step of no time": (
        ("trials", 0, "rounds", 0, "step_times_s", 2),
        0.0,
        r"trials\[0\]\.rounds\[0\]\.step_times_s\[2\]: expected a number above 0",
    ),
    "settings that contradict": (
        ("settings", "min_batch_size"),
        0,
        "min_batch_size must be a whole number above 0, got 0",
    ),
    "a size that did not fit": (("batch_size",), 2048, "no trial of size 2048 fits"),
    "a size that never ran": (("batch_size",), 100, "no trial of size 100 fits"),
    "a largest that never ran": (("largest_batch_size",), 4096, "no trial of size 4096 fits"),
    "a largest below the choice": (("largest_batch_size",), 1, "1 is below batch_size"),
    "an estimate of nothing": (
        ("decision", "estimates", 0, "batch_size"),
        4096,
        "no trial of size 4096 fits",
    ),
    "an estimate outside its interval": (
        ("decision", "estimates", 3, "low"),
        1e6,
        "size 8 lies outside its interval",
    ),
    "a confidence that is a figure": (("decision", "confidence"), "0.9", "decision.*'0.9'"),
    "a trial twice": (("trials", 0, "batch_size"), 2, "a batch size is there twice"),
    "more budget than memory": (("budget_bytes",), 2**50, "more than capacity_bytes"),
    "a figure in words": (
        ("warnings",),
        [{"code": "leak", "figures": {"batch_size": "many"}}],
        r"warnings\[0\]\.figures.*expected float",
    ),
    "a warning that is a word": (("warnings",), ["noise"], r"warnings\[0\]: expected object"),
    "no version": (("schema_version",), None, "schema_version: expected 2, got None"),
    "a version in words": (("schema_version",), "1", "schema_version: expected 2, got '1'"),
    "a later version": (("schema_version",), 3, "schema_version 3 is newer than 2"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_document_is_refused_and_the_place_is_named(tmp_path, make_finding, name):
    (*way, last), value, pattern = SPOILED[name]
    document = to_document(make_finding())
    place = document
    for step in way:
        place = place[step]
    place[last] = value
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ResultFormatError, match=pattern) as caught:
        load(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert caught.value.hint


HOSTILE = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n", "the file is empty"),
    "truncated": (b'{"schema_version": 1, "target": "mod', "not JSON: .*line 1, column"),
    "not text": (b"\x89PNG\r\n\xff\xfe", "not UTF-8 text at byte 0"),
    "NaN": (b'{"schema_version": NaN}', "not JSON: it holds NaN"),
    "infinity": (b"[-Infinity]", "not JSON: it holds -Infinity"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "deep and closed": (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
    "a list": (b"[]", "does not hold a finding"),
    "a number": (b"5", "does not hold a finding"),
    "another tool's": (b'{"results": []}', "schema_version: expected 2"),
    "5,000 digits": (b'{"schema_version": ' + b"9" * 5000 + b"}", "digits"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words(tmp_path, name):
    content, pattern = HOSTILE[name]
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ResultFormatError, match=pattern) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_format_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "run.json"
    path.write_bytes(content)
    with pytest.raises(ResultFormatError):
        load(path)


def test_a_file_cut_anywhere_is_refused(tmp_path, make_trial, make_finding):
    text = dumps(make_finding((make_trial(1), make_trial(2))))
    path = tmp_path / "run.json"
    for length in range(0, len(text) - 2, 97):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(ResultFormatError):
            load(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=150)
def test_any_value_anywhere_is_refused_or_can_be_shown(data, make_finding, printed):
    document = to_document(make_finding())
    place, step = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(place[step], (dict, list)) and place[step] and data.draw(st.booleans()):
        place = place[step]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        step = data.draw(st.sampled_from(keys))
    place[step] = data.draw(json_values)
    try:
        finding = from_document(document)
    except ResultFormatError:
        return
    json.loads(dumps(finding), parse_constant=pytest.fail)
    assert printed(render, finding)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ResultFormatError, match="no such file"):
        load(tmp_path / "nowhere.json")
    with pytest.raises(ResultFormatError, match="is a directory"):
        load(tmp_path)
    with pytest.raises(ResultFormatError, match="null"):
        load("a\0b")


def test_a_byte_order_mark_does_no_harm(tmp_path, make_finding):
    path = tmp_path / "run.json"
    path.write_text(dumps(make_finding()), encoding="utf-8-sig")
    assert load(path) == make_finding()
