"""Three lines that say no more than the figures below them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.records import decision_of

from autobatch.records import (
    Confidence,
    Contention,
    Doubt,
    FindingWarning,
    Goal,
    Outcome,
    Settings,
    StopReason,
    UneditedCommand,
    WarningCode,
)
from autobatch.reporting.verdict import find_verdict

BUSY = FindingWarning(
    code=WarningCode.BUSY_MACHINE,
    figures={"others_busy_cores": 1.5, "num_cores": 2, "num_threads": 2},
)


@pytest.fixture
def verdict(make_finding):
    """The lines of the verdict on a finding that recommends 64 of 32, 64 and 128."""

    def lines(**changes):
        decision = {
            "estimates": decision_of({32: 850.0, 64: 970.0, 128: 1000.0}).estimates,
            "knee": 64,
            "candidates": (64,),
            "your_batch_size": None,
            **changes.pop("decision", {}),
        }
        recommendation = {"batch_size": 64, **changes.pop("recommendation", {})}
        finding = make_finding(decision=decision, recommendation=recommendation, **changes)
        return find_verdict(finding).lines

    return lines


def test_a_sure_answer_says_how_far_it_is_from_the_fastest_and_the_next_smaller_from_it(verdict):
    answer, why, following = verdict()
    assert answer == "64: within 5 % of the fastest; confidence high"
    assert why == (
        "Why: 64 is 3 % slower than 128, the fastest (5 % at most); 32 is 12 % slower than 64"
    )
    assert following.startswith("Next: train with batch size 64 and learning rate")


def test_within_the_tolerance_is_claimed_of_no_size_that_is_not(verdict):
    slow = {"estimates": decision_of({64: 700.0, 128: 1000.0}).estimates}
    assert verdict(decision=slow)[0] == "64: 70 % of the fastest; confidence high"
    wide = Settings(tolerance_fraction=0.3)
    assert verdict(decision=slow, settings=wide)[0].startswith("64: within 30 % of the fastest")


def test_the_users_own_size_is_compared_and_noise_is_called_noise(verdict):
    _, why, _ = verdict(decision={"your_batch_size": 32})
    assert why.endswith("; 64 is 14 % faster than yours, 32")
    _, why, _ = verdict(decision={"your_batch_size": 128})
    assert why.endswith("; 64 is 3 % slower than yours, 128, within the noise")


def test_sizes_that_cannot_be_told_apart_are_named_and_whose_the_choice_is(verdict):
    tied = {"candidates": (32, 64, 128)}
    assert verdict(decision=tied)[1] == (
        "Why: 32, 64 and 128 cannot be told apart; "
        "64 is the smallest that is likely within 5 % of the fastest"
    )
    assert verdict(decision={**tied, "your_batch_size": 64})[1] == (
        "Why: 32, 64 and 128 cannot be told apart; 64 is yours"
    )


def test_a_busy_machine_is_in_the_first_line_and_its_remedy_in_the_last(verdict):
    unsure = {
        "confidence": Confidence.LOW,
        "doubts": (Doubt.NOISE,),
        "candidates": (32, 64, 128, 256),
        "your_batch_size": 64,
    }
    scattered = {"reason": "timings scatter too much to tell sizes apart, and it is yours"}
    answer, why, following = verdict(decision=unsure, warnings=(BUSY,), recommendation=scattered)
    assert answer == (
        "64: confidence low: others used 1.5 of 2 cores; any of 32 to 256 may be best; 64 is yours"
    )
    assert why == "Why: timings scatter too much to tell sizes apart, and it is yours"
    assert following == "Next: search again while the machine is quiet"


@pytest.mark.parametrize(
    ("num_threads", "variables", "remedy"),
    [
        (None, {"OMP_WAIT_POLICY": "PASSIVE"}, "OMP_WAIT_POLICY=PASSIVE"),
        (1, {}, "OMP_NUM_THREADS=1"),
    ],
)
def test_what_helped_against_contention_is_in_the_verdict_and_advised(
    verdict, num_threads: int | None, variables: dict[str, str], remedy: str
) -> None:
    contention = Contention(
        others_busy_cores=1.52, num_cores=2, num_threads=num_threads, variables=variables,
        speedup=34.5, batch_size=4,
    )  # fmt: skip
    answer, _, following = verdict(contention=contention)
    assert answer.endswith(f"others used 1.5 of 2 cores, so timed with {remedy}")
    assert f"train with {remedy} too" in following
    assert "34 times faster" in following


def test_each_doubt_has_its_cause_with_a_figure(verdict, make_finding):
    def claim(doubt, **changes):
        unsure = {"confidence": Confidence.LOW, "doubts": (doubt,), "noise_fraction": 0.3}
        return verdict(decision=unsure, **changes)[0]

    assert "timings scatter by 30 % from run to run" in claim(Doubt.NOISE)
    assert "throughput was still rising at 1,024" in claim(Doubt.STILL_RISING)
    final = replace(make_finding().confirmation, batch_size=64, step_time_s=0.2)
    text = claim(Doubt.CONTRADICTED, confirmation=final)
    assert "the final run contradicts the search (200 ms a step, 66 ms in the table)" in text


def test_a_limit_that_ended_the_search_is_in_the_first_line(verdict):
    limited = Settings(time_limit_s=30)
    answer, _, _ = verdict(stop_reason=StopReason.TIME_LIMIT, settings=limited)
    assert answer.endswith("; confidence high; ended by the time limit of 30 s")
    assert verdict(stop_reason=StopReason.INTERRUPTED)[0].endswith("; interrupted")
    unsure = {"confidence": Confidence.LOW, "doubts": (Doubt.NOISE,)}
    _, _, following = verdict(stop_reason=StopReason.TIME_LIMIT, settings=limited, decision=unsure)
    assert following == "Next: search again with a longer --time-limit"


def test_the_largest_size_says_how_full_memory_is_and_what_keeps_the_next_one_out(
    verdict, make_trial
):
    largest = {"settings": Settings(goal=Goal.MEMORY), "stop_reason": StopReason.MEMORY}
    trials = (make_trial(64), make_trial(128, Outcome.OVER_BUDGET), make_trial(256, Outcome.KILLED))
    chosen = {"recommendation": {"largest_batch_size": 64, "peak_bytes": 3 * 2**30}}
    answer, why, _ = verdict(trials=trials, **largest, **chosen)
    assert answer == "64: the largest that fits; confidence high"
    assert why == "Why: 64 takes 3.0 GiB of the budget of 4.0 GiB; 128 did not fit (over budget)"
    whole = {**largest, "stop_reason": StopReason.DATASET}
    assert verdict(trials=trials[:1], **whole, **chosen)[1] == (
        "Why: 64 takes 3.0 GiB of the budget of 4.0 GiB; "
        "the next size up is more than the dataset holds"
    )
    late = {**largest, "stop_reason": StopReason.TIME_LIMIT}
    answer, why, _ = verdict(trials=trials[:1], **late, recommendation={"largest_batch_size": 96})
    assert answer.startswith("64: the largest that ran; confidence high; ended by the time limit")
    assert "time" not in why, "once is enough"


def test_a_size_chosen_for_what_it_learns_or_for_a_global_batch_gives_its_own_reason(verdict):
    learning = {"reason": "the highest throughput x efficiency of the sizes that ran"}
    answer, why, _ = verdict(
        settings=Settings(goal=Goal.EFFICIENCY), recommendation=learning, efficiency=object()
    )
    assert answer == "64: predicted to learn fastest; confidence high"
    assert why == f"Why: {learning['reason']}"
    exact = {"reason": "it divides the global batch"}
    _, why, _ = verdict(decision={"knee": 128}, recommendation=exact)
    assert why == "Why: it divides the global batch"


def test_few_updates_point_to_what_a_sample_is_worth(verdict):
    few = FindingWarning(code=WarningCode.FEW_UPDATES)
    _, _, following = verdict(warnings=(few,), recommendation={"iterations_per_epoch": 4})
    assert following == (
        "Next: search with --goal efficiency: an epoch has only 4 updates at this size"
    )


def test_a_command_is_not_pointed_to_what_only_a_target_has(make_finding):
    command = UneditedCommand(template="t {batch_size}", following="t 64", files="")
    made = make_finding(warnings=(FindingWarning(code=WarningCode.FEW_UPDATES),))
    finding = replace(made, workload=replace(made.workload, command=command))
    assert "--goal efficiency" not in find_verdict(finding).following


def test_nor_are_several_processes_pointed_to_what_one_measures(make_finding):
    made = make_finding(warnings=(FindingWarning(code=WarningCode.FEW_UPDATES),))
    assert "--goal efficiency" in find_verdict(made).following
    finding = replace(made, workload=replace(made.workload, num_ranks=2))
    assert "--goal efficiency" not in find_verdict(finding).following
