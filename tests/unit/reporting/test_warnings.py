"""Every warning has a text, and the text has its figures."""

from __future__ import annotations

import string

import pytest

from autobatch.records import FindingWarning, WarningCode
from autobatch.reporting.warnings import _TEXTS, FIGURES, advise

ALL_CODES = pytest.mark.parametrize("code", list(WarningCode), ids=lambda code: code.value)


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@ALL_CODES
def test_every_code_has_a_title_and_two_sentences(code):
    advice = advise(FindingWarning(code=code, figures=dict.fromkeys(FIGURES[code], 3.0)))
    assert advice.title and not advice.title.endswith(".")
    assert advice.happened.endswith(".")
    assert advice.remedy.endswith(".")


@ALL_CODES
def test_the_table_of_figures_names_what_the_text_uses_and_no_more(code):
    text = _TEXTS[code]
    details = {"details"} if "{details}" in text.happened else set()
    assert names_in(text.happened) | names_in(text.remedy) == {*FIGURES[code], *details}


@ALL_CODES
def test_every_figure_can_be_read_in_the_text(code):
    known = FindingWarning(code=code, figures=dict.fromkeys(FIGURES[code], 0.25))
    for name in FIGURES[code]:
        figures = {**known.figures, name: float("nan")}
        changed = advise(FindingWarning(code=code, figures=figures))
        assert "unknown" in changed.happened + changed.remedy


@ALL_CODES
def test_a_missing_figure_reads_unknown(code):
    advice = advise(FindingWarning(code=code))
    assert ("unknown" in advice.happened + advice.remedy) == bool(FIGURES[code])


def test_figures_are_written_with_the_unit_of_their_name():
    advice = advise(
        FindingWarning(
            code=WarningCode.DATA_LOADING,
            figures={
                "data_fraction": 0.62,
                "data_time_s": 0.031,
                "step_time_s": 0.05,
                "num_loader_workers": 0,
            },
        )
    )
    assert advice.happened == (
        "A step of 50 ms waited 31 ms for its batch (62 %), with 0 loader workers."
    )


def test_memory_and_throughput_figures_have_their_units():
    falling = {
        "batch_size": 256,
        "samples_per_s": 3290,
        "worst_batch_size": 1024,
        "worst_samples_per_s": 1790,
    }
    text = advise(FindingWarning(code=WarningCode.FALLING_THROUGHPUT, figures=falling)).happened
    assert "3,290 samples/s at the recommended 256 to 1,790 samples/s at 1,024" in text
    peaks = {
        "small_batch_size": 8,
        "small_peak_bytes": 3 * 2**30,
        "large_batch_size": 16,
        "large_peak_bytes": 2**30,
    }
    text = advise(FindingWarning(code=WarningCode.MEMORY_NOT_MONOTONE, figures=peaks)).happened
    assert "Batch size 8 took 3.0 GiB and 16 took 1.0 GiB" in text


def test_the_page_fault_remedy_can_be_pasted():
    remedy = advise(FindingWarning(code=WarningCode.PAGE_FAULTS)).remedy
    assert (
        "--env MALLOC_MMAP_THRESHOLD_=4294967296 --env MALLOC_TRIM_THRESHOLD_=4294967296" in remedy
    )


def test_the_remedy_for_an_allocator_at_its_limit_can_be_pasted():
    figures = {"batch_size": 64, "alloc_retries_per_step": 1.5}
    advice = advise(FindingWarning(code=WarningCode.ALLOC_RETRIES, figures=figures))
    assert "At batch size 64 it gave its cache back" in advice.happened
    assert "1.5 times a step" in advice.happened
    assert "--env PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in advice.remedy


def test_a_throttled_gpu_is_told_with_the_drivers_reasons():
    advice = advise(
        FindingWarning(
            code=WarningCode.THROTTLED,
            figures={"batch_size": 64},
            details=("power limit", "too hot (driver)"),
        )
    )
    assert "At batch size 64 the GPU was slowed down (power limit, too hot (driver))" in (
        advice.happened
    )
    assert "nvidia-smi -lgc" in advice.remedy


def test_a_killed_trial_is_told_with_what_ended_it():
    made = FindingWarning(
        code=WarningCode.TRIAL_KILLED, figures={"batch_size": 8}, details=("ended by SIGKILL",)
    )
    assert "size 8 died (ended by SIGKILL)" in advise(made).happened
    assert "(no reason known)" in advise(FindingWarning(code=WarningCode.TRIAL_KILLED)).happened
