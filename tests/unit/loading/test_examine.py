"""Loader settings are looked for where loading is the bound, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from autobatch.errors import WorkerError
from autobatch.loading.examine import examine_loading
from autobatch.loading.job import LoaderJob
from autobatch.records import (
    Bottleneck,
    Confidence,
    LoaderChoice,
    LoaderSettings,
    LoaderTiming,
    Settings,
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


def test_where_timings_are_uncertain_nothing_is_claimed(make_finding: Any, printed: Any) -> None:
    finding = make_finding(
        recommendation={"bottleneck": Bottleneck.DATA_LOADING},
        decision={"confidence": Confidence.LOW},
    )
    prober = Prober()
    examined = examine_loading(prober, finding)
    assert (examined.loading.chosen, prober.asked) == (None, [])
    assert "settings not compared: timings on this machine" in printed(render, examined)


def test_a_time_limit_holds_for_it_too(make_finding: Any) -> None:
    finding = make_finding(
        recommendation={"bottleneck": Bottleneck.DATA_LOADING},
        settings=Settings(time_limit_s=45.0),
    )
    prober = Prober()
    assert "time limit" in examine_loading(prober, finding).loading.reason
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
