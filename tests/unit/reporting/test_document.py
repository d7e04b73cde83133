"""A finding survives being a document, and nothing else passes for one."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.errors import ResultFormatError
from autobatch.records import (
    FindingWarning,
    MemoryBudget,
    Outcome,
    Recommendation,
    Settings,
    StopReason,
    TimingRound,
    WarningCode,
)
from autobatch.reporting.document import dumps, from_document, to_document

DESIGN_KEYS = [
    "schema_version",
    "autobatch_version",
    "target",
    "device",
    "confidence",
    "decision",
    "batch_size",
    "largest_batch_size",
    "largest_was_run",
    "largest_is_lower_bound",
    "iterations_per_epoch",
    "last_batch_size",
    "dataset_size",
    "gradient_accumulation_steps",
    "global_batch_size",
    "learning_rate",
    "learning_rate_multiplier",
    "learning_rate_rule",
    "samples_per_s",
    "epoch_time_s",
    "peak_bytes",
    "budget_bytes",
    "capacity_bytes",
    "headroom_fraction",
    "stop_reason",
    "trials",
    "memory_curve",
    "throughput_curve",
    "warnings",
    "environment",
]
TRIAL_KEYS = [
    "batch_size",
    "outcome",
    "peak_bytes",
    "step_time_s",
    "samples_per_s",
    "num_warmup_steps",
    "step_times_s",
    "peak_allocated_bytes",
    "peak_reserved_bytes",
    "peak_is_lower_bound",
    "host_peak_bytes",
    "loader_bytes",
    "pinned_bytes",
    "num_passes",
    "window_peaks_bytes",
    "rounds",
    "page_faults_per_step",
    "alloc_retries_per_step",
    "kernel_time_fraction",
    "others_busy_cores",
    "num_other_searches",
    "throttle_reasons",
    "loss_is_finite",
    "message",
    "unknown",
    "compile_time_s",
    "eval_fits",
    "eval_peak_bytes",
    "eval_message",
    "also_ran",
    "ranks",
]

sizes = st.integers(min_value=1, max_value=2**40)
num_bytes = st.integers(min_value=0, max_value=2**50)
# Throughputs stay below the 1e18 that a document may hold.
positive = st.floats(min_value=1e-5, max_value=1e12)
shares = st.floats(min_value=0, max_value=1)
numbers = st.floats(min_value=-1e15, max_value=1e15)
names = st.text(max_size=20)


@st.composite
def findings(draw, make_trial, make_finding):
    """Consistent findings with all kinds of numbers and text in them."""
    chosen, *others = draw(st.lists(sizes, min_size=1, max_size=5, unique=True))
    trials = [draw(trials_of(make_trial, chosen, Outcome.FITS))]
    for size in others:
        trials.append(draw(trials_of(make_trial, size, draw(st.sampled_from(Outcome)))))
    figures = st.dictionaries(names, numbers, max_size=3)
    listed = st.lists(
        st.builds(
            FindingWarning,
            code=st.sampled_from(WarningCode),
            figures=figures,
            details=st.lists(names, max_size=2).map(tuple),
        )
    )
    return make_finding(
        tuple(trials),
        target=draw(names),
        settings=Settings(
            seed=draw(st.integers(0, 2**31)),
            variables=draw(st.dictionaries(names, names, max_size=3)),
            max_batch_size=draw(st.none() | sizes),
            time_limit_s=draw(st.none() | positive),
        ),
        warnings=tuple(draw(listed)),
        stop_reason=draw(st.sampled_from(StopReason)),
        search_time_s=draw(positive),
        recommendation={
            "batch_size": chosen,
            "largest_batch_size": max(chosen, *others, 2),
            "largest_was_run": False,
            "adam_betas": draw(st.none() | st.tuples(shares, shares)),
            "reason": draw(names),
            "samples_per_s": draw(positive),
            "step_time_s": draw(positive),
        },
    )


def trials_of(make_trial, size, outcome):
    rounds = st.builds(
        TimingRound,
        number=st.integers(0, 9),
        step_times_s=st.lists(positive, max_size=5).map(tuple),
        data_times_s=st.lists(positive, max_size=5).map(tuple),
    )
    changes = st.fixed_dictionaries(
        {
            "peak_bytes": st.none() | num_bytes,
            "rounds": st.lists(rounds, max_size=3).map(tuple),
            "kernel_time_fraction": st.none() | shares,
            "throttle_reasons": st.none() | st.lists(names, max_size=2).map(tuple),
            "unknown": st.dictionaries(names, names, max_size=2),
            "message": names,
        }
    )
    return changes.map(lambda made: make_trial(size, outcome, **made))


@given(data=st.data())
@settings(max_examples=60)
def test_any_consistent_finding_survives_the_round_trip(data, make_trial, make_finding):
    finding = data.draw(findings(make_trial, make_finding))
    assert from_document(json.loads(dumps(finding))) == finding


def test_a_document_needs_no_json_to_be_read_back(make_finding):
    finding = make_finding()
    assert from_document(to_document(finding)) == finding


def test_a_finding_without_curves_or_data_set_survives_the_round_trip(make_finding):
    finding = make_finding(memory_curve=None, throughput_curve=None)
    workload = replace(finding.workload, dataset_size=None, optimizer=None)
    finding = replace(finding, workload=workload)
    document = json.loads(dumps(finding))
    assert document["dataset_size"] is None
    assert from_document(document) == finding


def test_the_top_level_keys_are_frozen(make_finding):
    parts = {"workload", "settings", "search_time_s", "confirmation", "host_budget"}
    parts |= {"eval_trials", "buckets", "compiled_samples_per_s"}
    parts |= {
        "along",
        "basis",
        "epoch_price",
        "gradient_noise",
        "efficiency",
        "contention",
        "accumulation",
        "breakdown",
        "loading",
        "rehearsal",
        "forecast",
        "group",
    }
    recommendation = {item.name for item in fields(Recommendation)}
    budget = {item.name for item in fields(MemoryBudget)}
    assert set(to_document(make_finding())) == {*DESIGN_KEYS, *parts, *recommendation, *budget}


def test_the_schema_version_comes_first(make_finding):
    document = to_document(make_finding())
    assert next(iter(document)) == "schema_version"
    assert document["schema_version"] == 2


def test_the_keys_of_a_trial_are_frozen(make_finding):
    for trial in to_document(make_finding())["trials"]:
        assert list(trial) == TRIAL_KEYS


def test_derived_keys_say_what_the_trial_says_and_are_not_read_back(make_finding):
    finding = make_finding()
    document = to_document(finding)
    first = document["trials"][0]
    assert first["step_time_s"] == finding.trials[0].step_time_s
    assert first["samples_per_s"] == finding.trials[0].samples_per_s
    assert first["step_times_s"] == list(finding.trials[0].step_times_s)
    first.update(step_time_s="soon", samples_per_s=None, step_times_s=7)
    assert from_document(document) == finding


def test_the_throughput_of_the_compiled_run_has_a_key_of_its_own(make_finding):
    made = make_finding()
    assert to_document(made)["compiled_samples_per_s"] is None
    compiled = replace(
        make_finding(workload=replace(made.workload, is_compiled=True)),
        confirmation=replace(made.confirmation, batch_size=128, step_time_s=0.032),
    )
    document = to_document(compiled)
    assert document["compiled_samples_per_s"] == pytest.approx(4000)
    assert document["samples_per_s"] == compiled.recommendation.samples_per_s
    assert from_document(document) == compiled


def test_the_data_set_size_is_the_one_that_was_asked_for(make_finding):
    document = to_document(make_finding(settings=Settings(dataset_size=500)))
    assert document["dataset_size"] == 500
    assert from_document(document).workload.dataset_size == 60_000


def test_keys_of_a_later_version_are_ignored(make_finding):
    finding = make_finding()
    document = {**to_document(finding), "colour": "blue"}
    document["trials"][0]["colour"] = "blue"
    assert from_document(document) == finding


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_make_valid_json_that_can_be_read(make_finding, number):
    finding = make_finding()
    curve = replace(finding.throughput_curve, r_squared=number, band=((1, number, 2.0),))
    warning = FindingWarning(code=WarningCode.LEAK, figures={"batch_size": number})
    text = dumps(replace(finding, throughput_curve=curve, warnings=(warning,)))
    document = json.loads(text, parse_constant=pytest.fail)
    again = from_document(document)
    assert math.isnan(again.throughput_curve.r_squared)
    assert math.isnan(again.throughput_curve.band[0][1])
    assert math.isnan(again.warnings[0].figures["batch_size"])


def test_text_ends_in_one_newline_and_is_indented(make_finding):
    text = dumps(make_finding())
    assert text.endswith("}\n")
    assert text.startswith('{\n  "schema_version": 2,\n')


@pytest.mark.parametrize("key", [*DESIGN_KEYS, "workload", "settings", "search_time_s", "knee"])
def test_a_document_that_lacks_a_key_is_refused_and_the_key_is_named(make_finding, key):
    document = to_document(make_finding())
    del document[key]
    derived = ("autobatch_version", "dataset_size", "confidence")
    if key in (*derived, "memory_curve", "throughput_curve"):
        from_document(document)
        return
    with pytest.raises(ResultFormatError, match=key):
        from_document(document)


def test_a_budget_of_host_memory_survives_the_round_trip(make_finding):
    finding = make_finding()
    finding = replace(finding, host_budget=replace(finding.budget, bound_by="physical memory"))
    document = json.loads(dumps(finding))
    assert document["host_budget"]["bound_by"] == "physical memory"
    assert from_document(document) == finding
    del document["host_budget"]  # as an earlier version wrote it
    assert from_document(document).host_budget is None
