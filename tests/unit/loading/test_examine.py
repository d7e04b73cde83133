"""Loader settings are looked for where loading is the bound, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from autobatch.errors import WorkerError
from autobatch.loading.choose import QUIETER, UNCERTAIN
from autobatch.loading.examine import examine_loading
from autobatch.loading.job import LoaderJob
from autobatch.records import (
    Bottleneck,
    Confidence,
    FindingWarning,
    LoaderChoice,
    LoaderSettings,
    LoaderTiming,
    Settings,
    WarningCode,
)
from autobatch.reporting import from_document, render, to_document
from autobatch.training.answer import TrainingFinding

CHOSEN = LoaderSettings(num_workers=2, prefetch_factor=2)


class Prober:
    """Two workers are twice as fast as none."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[LoaderJob] = []

    def load(self, *, timeout_s: float | None = None) -> Any:
        raise AssertionError

    def run(self, job: Any, *, timeout_s: float | None = None) -> LoaderTiming:
        self.asked.append(job)
        if self.error:
            raise self.error
        used = job.settings or LoaderSettings(num_workers=0)
        return LoaderTiming(
            settings=used,
            samples_per_s=1000.0 * max(1, used.num_workers),
            host_peak_bytes=512 * 2**20,
        )


@pytest.fixture
def bound(make_finding: Any) -> Any:
    return make_finding(recommendation={"bottleneck": Bottleneck.DATA_LOADING})


def test_where_something_else_is_the_bound_nothing_is_timed(make_finding: Any) -> None:
    prober, finding = Prober(), make_finding()
    assert examine_loading(prober, finding) is finding
    assert prober.asked == []


def test_the_choice_is_in_the_report_and_in_the_document(bound: Any, printed: Any) -> None:
    prober = Prober()
    examined = examine_loading(prober, bound)
    assert examined.loading.chosen == CHOSEN
    assert {each.batch_size for each in prober.asked} == {bound.batch_size}
    text = " ".join(printed(render, examined).split())
    row = "num_workers=2, prefetch_factor=2: 2,000 samples/s, 100 % faster than with yours"
    assert f"loader {row}; host memory 512 MiB peak" in text
    assert "num_workers=2 in its loader" in text
    document = to_document(examined)
    assert document["loading"]["chosen"]["num_workers"] == 2
    assert from_document(document) == examined


def test_settings_that_were_refused_are_in_the_report_with_the_reason(
    bound: Any, printed: Any
) -> None:
    ways = [LoaderSettings(num_workers=0), CHOSEN, LoaderSettings(num_workers=4, prefetch_factor=2)]
    own, several = (LoaderTiming(settings=way, samples_per_s=100.0) for way in ways[:2])
    refused = LoaderTiming(settings=ways[2], message="memory of 9 GiB exceeded the budget of 8 GiB")
    stays = LoaderChoice(
        batch_size=bound.batch_size,
        timings=(own, several, refused),
        chosen=own.settings,
        samples_per_s=100.0,
        own_samples_per_s=100.0,
    )
    text = " ".join(printed(render, replace(bound, loading=stays)).split())
    assert "num_workers=0, as it is: of 3 settings none was clearly faster" in text
    assert "not 4 workers: memory of 9 GiB exceeded the budget of 8 GiB" in text
    assert "in its loader" not in text


def test_settings_are_compared_in_turn_where_a_busy_machine_hides_which_size_is_fastest(
    make_finding: Any,
) -> None:
    finding = make_finding(
        recommendation={"bottleneck": Bottleneck.DATA_LOADING},
        decision={"confidence": Confidence.LOW},
    )
    assert examine_loading(Prober(), finding).loading.chosen == CHOSEN


def _advice(finding: Any, loading: LoaderChoice | None, printed: Any) -> str:
    warning = FindingWarning(code=WarningCode.DATA_LOADING)
    text = printed(render, replace(finding, loading=loading, warnings=(warning,)))
    return " ".join(text.split()).partition("Warning: data loading")[2]


def test_the_warning_of_slow_loading_says_what_the_comparison_came_to(
    bound: Any, printed: Any
) -> None:
    own = LoaderTiming(settings=LoaderSettings(num_workers=0), samples_per_s=100.0)
    size = bound.batch_size
    chosen = LoaderChoice(batch_size=size, timings=(own,), chosen=CHOSEN, samples_per_s=200.0)
    stays = replace(chosen, chosen=own.settings, samples_per_s=100.0)
    unknown = LoaderChoice(batch_size=size, reason=UNCERTAIN, remedy=QUIETER)
    said = {
        "Raise num_workers of the DataLoader": None,
        "Train with num_workers=2, prefetch_factor=2 in its loader": chosen,
        "timed none is clearly faster": stays,
        "Search again on a quieter machine": unknown,
    }
    for words, loading in said.items():
        advice = _advice(bound, loading, printed)
        assert words in advice
        assert ("Raise num_workers" in advice) == (loading is None)
    assert "raise --time-limit" not in _advice(bound, unknown, printed)


def test_a_time_limit_holds_for_it_too(make_finding: Any) -> None:
    finding = make_finding(
        recommendation={"bottleneck": Bottleneck.DATA_LOADING},
        settings=Settings(time_limit_s=45.0),
    )
    prober = Prober()
    loading = examine_loading(prober, finding).loading
    assert "time limit" in loading.reason
    assert "--time-limit" in loading.remedy
    assert prober.asked == []


def test_an_answer_stands_whatever_becomes_of_the_search(bound: Any) -> None:
    examined = examine_loading(Prober(WorkerError("it died")), bound)
    assert examined.batch_size == bound.batch_size
    assert examined.loading.reason == "it died"


def _loader(finding: Any, loading: LoaderChoice | None, **options: Any) -> Any:
    dataset = TensorDataset(torch.zeros(2048, 1))
    return TrainingFinding.of(replace(finding, loading=loading)).dataloader(dataset, **options)


def test_the_findings_loader_has_the_chosen_settings(bound: Any) -> None:
    lasting = LoaderSettings(num_workers=2, prefetch_factor=4, persistent_workers=True)
    choice = LoaderChoice(batch_size=bound.batch_size, chosen=lasting)
    loader = _loader(bound, choice)
    assert (loader.num_workers, loader.prefetch_factor) == (2, 4)
    assert loader.persistent_workers
    assert _loader(bound, None).num_workers == 0


def test_a_number_of_workers_that_is_given_is_kept(bound: Any) -> None:
    choice = LoaderChoice(batch_size=bound.batch_size, chosen=CHOSEN)
    loader = _loader(bound, choice, num_workers=0, pin_memory=False)
    assert (loader.num_workers, loader.prefetch_factor) == (0, None)
