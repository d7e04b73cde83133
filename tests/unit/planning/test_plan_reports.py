"""A plan as JSON, as text and as a picture: each says that nothing was run."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.plans import GIB, make_card_plan, make_peak, make_plan
from rich.console import Console

from autobatch.errors import ResultFormatError
from autobatch.planning.records import (
    MemoryLimit,
    Plan,
    RerunAtLimit,
    SizeRange,
    SnapshotPlan,
    Variant,
)
from autobatch.planning.report import (
    PLAN,
    SNAPSHOT_PLAN,
    render_plan,
    render_snapshot_plan,
    save_plan_plot,
)
from autobatch.planning.report.plot import draw_plan
from autobatch.records import Settings

A100 = make_card_plan(
    "a100-40gb",
    memory_bytes=39 * GIB,
    largest=SizeRange(likely=40, low=38, high=41),
    at_largest=make_peak(40, peak_bytes=38 * GIB),
)


def as_text(plan: Plan | SnapshotPlan, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False)
    if isinstance(plan, Plan):
        render_plan(plan, console)
    else:
        render_snapshot_plan(plan, console)
    return stream.getvalue()


def test_the_first_lines_are_the_answer_that_nothing_was_run_and_what_to_do_next() -> None:
    verdict, *rest = as_text(make_plan(make_card_plan(), A100)).splitlines()
    assert verdict == "model.py fits on rtx-4090, up to batch size 22, the smallest that does"
    assert rest[0] == (
        "Predicted; nothing was run on a GPU. On rtx-4090, autobatch probe model.py measures it."
    )


def test_a_size_that_was_asked_about_is_in_the_answer_and_has_columns() -> None:
    cards = [
        replace(make_card_plan(), at_batch_size=make_peak(32, fits=False, peak_bytes=31 * GIB)),
        replace(A100, at_batch_size=make_peak(32, peak_bytes=31 * GIB)),
    ]
    text = as_text(make_plan(*cards, batch_size=32))
    assert text.startswith("model.py at batch size 32 fits on a100-40gb, the smallest that does\n")
    [row] = [line for line in text.splitlines() if "rtx-4090" in line and "GiB" in line]
    assert " ".join(row.split()) == (
        "rtx-4090 24.0 GiB 22 (21 to 22) 22.0 GiB 31.0 GiB does not fit"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "fits"),
        ({"is_certain": False}, "should fit"),
        ({"fits": False}, "does not fit"),
        ({"fits": False, "is_certain": False}, "should not fit"),
        ({"num_alloc_retries": 3}, "fits, at its limit"),
    ],
)
def test_how_sure_it_is_that_a_size_fits_is_said(changes: dict[str, Any], words: str) -> None:
    peak = make_peak(8, **changes)
    text = as_text(make_plan(replace(make_card_plan(), at_batch_size=peak), batch_size=8))
    [row] = [line for line in text.splitlines() if "9.0 GiB" in line]
    assert row.endswith(words)


def test_an_estimated_throughput_looks_like_one() -> None:
    text = as_text(make_plan(make_card_plan(estimated_samples_per_s=1234.5), A100))
    header, known, unknown = (
        next(line for line in text.splitlines() if word in line)
        for word in ("est. samples/s", "24.0 GiB", "39.0 GiB")
    )
    assert header.split()[-2:] == ["est.", "samples/s"]
    assert known.endswith("~1,200")
    assert unknown.endswith(" -")
    assert "est. samples/s" not in as_text(make_plan(make_card_plan(), A100))


def test_with_prices_the_cheapest_is_named() -> None:
    cards = [replace(A100, price=1.29), make_card_plan(price=0.4)]
    text = as_text(make_plan(*cards, choice="rtx-4090"))
    assert "the cheapest that does" in text
    assert "1.29" in text


def test_if_it_fits_nowhere_the_answer_says_so() -> None:
    nothing = SizeRange(likely=0, low=0, high=0)
    card = make_card_plan(largest=nothing, at_largest=None)
    text = as_text(make_plan(card))
    assert text.startswith("model.py does not fit on rtx-4090\n")
    assert "Try a smaller model, bf16, gradient checkpointing or a larger GPU." in " ".join(
        text.split()
    )
    assert "none" in text


def test_a_size_that_may_fit_is_not_said_not_to() -> None:
    doubtful = SizeRange(likely=0, low=0, high=31)
    text = as_text(make_plan(make_card_plan(largest=doubtful, at_largest=None)))
    assert text.startswith("model.py should not fit on rtx-4090\n")
    for is_certain, words in ((True, "does not fit"), (False, "should not fit")):
        peak = make_peak(8, fits=False, is_certain=is_certain)
        text = as_text(make_plan(make_card_plan(at_batch_size=peak), batch_size=8))
        assert text.startswith(f"model.py at batch size 8 {words} on rtx-4090\n")
        assert "Try a smaller size, bf16" in text


def test_it_is_said_where_the_memory_goes_and_what_was_assumed() -> None:
    text = " ".join(as_text(make_plan()).split())
    assert "activations 5.0 GiB parameters 2.0 GiB" in text
    assert "cached, rounded 13.5 GiB outside 1.5 GiB" in text
    assert "most in encoder.0 4.0 GiB, head 2.0 GiB" in text
    assert "outside 1.0 GiB to 2.0 GiB besides PyTorch's allocator: as measured on" in text
    assert "not seen up to 1 % more: workspaces of libraries" in text
    assert "AdamW as the optimizer" in text
    assert "versions torch 2.13.0" in text
    assert "traced on this machine's CPU at batch sizes 2 and 3, in 9 s" in text


def test_how_it_trains_is_said() -> None:
    settings = Settings(num_devices=8, gradient_accumulation_steps=4)
    text = as_text(make_plan(settings=settings))
    assert "AdamW, fp32, 4 passes per step, 8 devices, DDP" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_table_fits_any_width(width: int) -> None:
    cards = [replace(each, at_batch_size=make_peak(32)) for each in (make_card_plan(), A100)]
    text = as_text(make_plan(*cards, batch_size=32), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "22 (21 to 22)" in text


def test_a_plan_prints_itself() -> None:
    assert str(make_plan()).startswith("model.py fits on rtx-4090, up to batch size 22\n")


def test_a_plan_comes_back_from_json_as_it_was() -> None:
    plan = make_plan(replace(make_card_plan(), at_batch_size=make_peak(8)), A100, batch_size=8)
    document = json.loads(PLAN.dumps(plan))
    assert PLAN.from_document(document) == plan
    assert document["was_run"] is False
    assert document["fits"] is True


def test_the_keys_of_the_document_are_those_that_were_agreed_on() -> None:
    document = PLAN.to_document(make_plan(replace(A100, at_batch_size=make_peak(8)), batch_size=8))
    assert " ".join(document) == (
        "plan_version autobatch_version was_run fits target settings asked model num_parameters "
        "optimizer cards choice timeline band_fraction unseen assumed versions "
        "traced_batch_sizes trace_time_s"
    )
    assert " ".join(document["cards"][0]) == (
        "gpu compute_capability memory_bytes memory_source outside_low_bytes outside_high_bytes "
        "outside_source largest at_largest at_batch_size price estimated_samples_per_s"
    )
    assert " ".join(document["cards"][0]["at_largest"]) == (
        "batch_size fits is_certain peak_bytes allocated_bytes parts_bytes modules_bytes "
        "num_alloc_retries"
    )


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("cards",), [], "cards: expected at least one"),
        (("choice",), "t4", "choice: expected one of the cards"),
        (("cards", 0, "memory_bytes"), -1, r"memory_bytes: expected no negative number"),
        (("cards", 0, "at_largest", "batch_size"), 0, "expected at least 1"),
        (("timeline", "positions"), [1], "expected as many figures as positions"),
        (("asked", "batch_size"), 0, "batch_size must be a whole number above 0"),
        (("cards", 0, "gpu"), 5, "expected str"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(place: Any, value: Any, reason: str) -> None:
    document = json.loads(PLAN.dumps(make_plan()))
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(ResultFormatError, match=reason):
        PLAN.from_document(document)


def test_the_picture_has_an_area_for_each_part_and_the_limit(tmp_path: Path) -> None:
    figure = draw_plan(make_plan(make_card_plan(memory_bytes=9 * GIB)))
    [axes] = figure.axes
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["parameters", "activations"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["limit on rtx-4090", "forward", "backward", "optimizer"]
    assert "predicted" in figure.get_suptitle()
    assert axes.get_ylim()[1] > 7.5
    save_plan_plot(make_plan(), tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_text().startswith("<?xml")


def test_where_no_size_fits_the_picture_shows_what_is_too_much() -> None:
    nothing = make_card_plan(
        memory_bytes=6 * GIB, largest=SizeRange(likely=0, low=0, high=0), at_largest=None
    )
    [axes] = draw_plan(make_plan(nothing)).axes
    assert axes.texts[0].get_text() == "limit on rtx-4090"
    assert axes.texts[0].xy[1] == 4.5 < axes.get_ylim()[1]


def _outcome(**changes: Any) -> RerunAtLimit:
    fields = {
        "limit": "recorded GPU",
        "fits": False,
        "is_certain": True,
        "num_alloc_retries": 0,
        "failed_bytes": GIB,
    }
    return RerunAtLimit(**{**fields, **changes})


def make_snapshot_plan(*outcomes: RerunAtLimit) -> SnapshotPlan:
    outcomes = outcomes or (_outcome(), _outcome(fits=True, failed_bytes=None))
    names = ("as recorded", "expandable_segments:True")
    return SnapshotPlan(
        snapshot="oom.pickle",
        device=0,
        num_requests=12345,
        num_initial_blocks=10,
        peak_allocated_bytes=20 * GIB,
        ran_out=True,
        limits=(MemoryLimit(name="recorded GPU", low_bytes=22 * GIB, high_bytes=22 * GIB),),
        variants=tuple(
            Variant(
                setting=name,
                peak_reserved_bytes=(25 - 4 * index) * GIB,
                least_bytes=(24 - 3 * index) * GIB,
                at_limits=(outcome,),
            )
            for index, (name, outcome) in enumerate(zip(names, outcomes, strict=True))
        ),
    )


def test_a_replayed_snapshot_says_what_would_have_been_enough() -> None:
    text = as_text(make_snapshot_plan())
    assert text.startswith(
        "oom.pickle would have fitted with expandable_segments:True\n"
        "Predicted; nothing was run on a GPU.\n"
    )
    assert "12,345 requests of GPU 0, and the last one that failed" in text
    assert "10 blocks were in use when recording began" in text
    rows = [line.split() for line in text.splitlines() if "GiB" in line and "  " in line]
    assert ["as", "recorded", "25.0", "GiB", "24.0", "GiB", "fails", "at", "1.0", "GiB"] in rows
    assert ["expandable_segments:True", "21.0", "GiB", "21.0", "GiB", "fits"] in rows


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_certain": False}, "may fail at 1.0 GiB"),
        ({"fits": True, "is_certain": False}, "should fit"),
        ({"fits": True, "num_alloc_retries": 12}, "fits, 12 retries"),
    ],
)
def test_how_a_replay_went_is_said(changes: dict[str, Any], words: str) -> None:
    text = as_text(make_snapshot_plan(_outcome(**changes), _outcome()))
    assert words in text


def test_a_snapshot_that_fits_nowhere_is_said_not_to() -> None:
    plan = make_snapshot_plan(_outcome(), _outcome())
    assert not plan.fits
    assert as_text(plan, 120).startswith(
        "oom.pickle does not fit with any setting; 21.0 GiB for the allocator is enough with "
        "expandable_segments:True\n"
    )


def test_of_settings_that_need_as_much_the_recorded_one_is_named() -> None:
    plan = replace(make_snapshot_plan(), ran_out=False)
    as_recorded, expandable = plan.variants
    nearly = replace(expandable, least_bytes=as_recorded.least_bytes - GIB // 10)
    text = as_text(replace(plan, variants=(as_recorded, nearly)))
    assert text.startswith("oom.pickle: 24.0 GiB for the allocator is enough\n")


def test_a_replayed_snapshot_comes_back_from_json_as_it_was() -> None:
    plan = make_snapshot_plan()
    document = json.loads(SNAPSHOT_PLAN.dumps(plan))
    assert SNAPSHOT_PLAN.from_document(document) == plan
    assert document["was_run"] is False
    document["variants"][0]["at_limits"] = []
    with pytest.raises(ResultFormatError, match="expected one for each of the limits"):
        SNAPSHOT_PLAN.from_document(document)
