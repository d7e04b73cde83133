"""What a person reads: complete, inside its columns, and without codes where none belong."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from autobatch.errors import (
    NothingFitsError,
    ResultFormatError,
    SettingsError,
    WorkerError,
    WorkloadError,
)
from autobatch.records import (
    Bottleneck,
    Exchange,
    FindingWarning,
    GroupCost,
    LearningRateRule,
    LengthScan,
    Outcome,
    RankReading,
    RankSize,
    Regime,
    Settings,
    StopReason,
    UneditedCommand,
    WarningCode,
)
from autobatch.records.rehearsal import LARGEST
from autobatch.reporting.text import render, render_error
from autobatch.reporting.warnings import FIGURES, advise
from autobatch.reporting.wording import BOTTLENECKS, OUTCOMES, REGIMES, RULES


def one_line(text):
    """The text with its line breaks undone, for sentences that may wrap."""
    return " ".join(text.split())


@pytest.fixture
def all_warnings():
    return tuple(
        FindingWarning(code=code, figures=dict.fromkeys(FIGURES[code], 12345.678))
        for code in WarningCode
    )


@pytest.fixture
def long_winded(make_finding, all_warnings):
    finding = make_finding(
        target="/home/someone/" + "very-long-folder/" * 12 + "model.py",
        warnings=all_warnings,
        settings=Settings(variables={"MALLOC_TRIM_THRESHOLD_": "4294967296", "X" * 90: "1"}),
    )
    guesses = ("loss: " + "word " * 60, "x" * 200)
    workload = replace(finding.workload, model="M" * 120, guesses=guesses)
    environment = replace(
        finding.environment,
        device_name="NVIDIA " + "H200 " * 20,
        driver_version="570.1",
        variables=finding.settings.variables,
    )
    return replace(finding, workload=workload, environment=environment)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_console(long_winded, printed, width):
    lines = printed(render, long_winded, width=width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)


def test_no_line_breaks_between_a_figure_and_its_unit(make_finding, all_warnings, printed):
    finding = make_finding(warnings=all_warnings)
    torn = re.compile(r"\d\n *(?:%|[KMGT]iB|us|ms|s|min|h|samples/s)(?!\w)")
    whole = printed(render, finding, width=120)
    for width in range(40, 100):
        text = printed(render, finding, width=width)
        assert not torn.findall(text), width
        assert text.isascii() or "\N{BRAILLE PATTERN BLANK}" not in text
    assert len(re.findall(r"\d (?:%|[KMGT]iB|us|ms|s|min|h|samples/s)(?!\w)", whole)) > 50


@pytest.mark.parametrize("width", [80, 120])
def test_no_column_of_the_table_is_cut(make_finding, make_trial, printed, width):
    sizes = (1, 1024, 1_048_576)
    failed = (make_trial(2**21, outcome) for outcome in Outcome)
    text = printed(render, make_finding(tuple(map(make_trial, sizes))), width=width)
    assert "…" not in text
    for trial in failed:
        text = printed(render, make_finding((make_trial(1), trial)), width=width)
        assert "…" not in text
        assert OUTCOMES[trial.outcome] in text


def test_a_pipe_gets_no_escape_codes_and_no_trailing_blanks(long_winded, printed):
    text = printed(render, long_winded)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_colours_unless_no_color_is_set(make_finding, printed, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;32m128" in printed(render, make_finding(), **TERMINAL)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(render, make_finding(), **TERMINAL)


TERMINAL = {"force_terminal": True, "color_system": "standard", "legacy_windows": False}


def test_escape_codes_in_a_users_words_do_not_reach_the_terminal(make_finding, printed):
    hostile = "evil\x1b[31m\x1b]0;title\x07\x9b1m\r.py [bold]"
    finding = make_finding(target=hostile)
    finding = replace(finding, workload=replace(finding.workload, guesses=(hostile,)))
    text = printed(render, finding)
    assert not set(text) & set("\x1b\x07\x9b\r")
    assert text.count(".py [bold]") == 2
    text = printed(render_error, SettingsError(hostile, hint=hostile))
    assert text.startswith("Error: evil.py [bold]\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding_can_show_it(make_finding, encoding):
    finding = make_finding(target="modèle-模型-\udc80.py")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    render(finding, Console(file=stream, width=80))
    render_error(ResultFormatError(finding.target), Console(file=stream, width=80))
    stream.flush()
    assert b"mod" in stream.buffer.getvalue()


def test_the_header_says_what_was_measured_and_where(make_finding, printed):
    text = one_line(printed(render, make_finding()))
    assert "examples/cnn.py on cpu (Intel Xeon E5-2680 v4; 2 cores; PyTorch 2.8.0)" in text
    assert "SmallCNN, 1,234,567 parameters" in text
    assert "random images of 3x32x32; 60,000 samples" in text
    assert "cross entropy, SGD, fp32" in text
    assert "4.0 GiB of 5.0 GiB physical memory: 512 MiB used by others, 10 % kept free" in text
    assert "Assumed loss: cross entropy, since the targets are class numbers" in text


def test_the_verdict_comes_first(make_finding, printed):
    lines = printed(render, make_finding(), width=120).splitlines()
    assert lines[:4] == [
        "Batch size 128: the fastest that ran; confidence high",
        "Why: 128 is the fastest of 11 sizes; 64 is 5 % slower than 128; 128 is 21 % faster than "
        "yours, 32",
        "Next: train with batch size 128 and learning rate 0.4; an epoch is 469 iterations, 21.4 s",
        "",
    ]


def test_the_table_has_a_row_for_each_trial_and_a_mark_at_the_choice(make_finding, printed):
    lines = printed(render, make_finding(), width=120).splitlines()
    (chosen,) = [line for line in lines if line.startswith(">  ")]
    assert one_line(chosen) == (
        "> 128 634 MiB 15 % 45.7 ms 2,802 2,746 to 2,858 100 % (98 to 102) recommended"
    )
    (failed,) = [line for line in lines if "out of memory" in line]
    assert one_line(failed) == "2,048 6.2 GiB 356 % - - - - out of memory at +8.0 GiB"
    (yours,) = [line for line in lines if "yours: " in line]
    assert one_line(yours).endswith("83 % (81 to 84) yours: 128 is 21 % faster")


def test_the_users_own_size_may_be_the_recommended_one(make_finding, printed):
    text = printed(render, make_finding(decision={"your_batch_size": 128}), width=120)
    assert "recommended, and yours" in text
    nobody = printed(render, make_finding(decision={"your_batch_size": None}), width=120)
    assert "yours" not in nobody


@pytest.mark.parametrize("width", [36, 40, 50, 60, 70, 80, 100])
def test_a_narrow_terminal_loses_columns_and_no_figure(make_finding, printed, width):
    text = printed(render, make_finding(), width=width)
    table = text[text.index("   batch") : text.index("Estimates")]
    assert "…" not in table
    assert all(len(line) <= width for line in table.splitlines())
    assert ("peak" in table, "vs best" in table) == (width >= 70, width >= 60)
    for figure in ("2,048", "2,802", "out of memory", "recommended"):
        assert figure in table


def test_the_recommendation_says_what_to_set(make_finding, printed):
    text = one_line(printed(render, make_finding()))
    for words in (
        "largest that fits 1,024 (ran)",
        "634 MiB peak, 15 % of the budget",
        "2,802 samples/s on one device, 45.7 ms per pass",
        "bounded by the device itself",
        "469 per epoch; the last one has 96 samples",
        "epoch time 21.4 s, predicted",
        "0.4 = 0.1 at batch size 32 x 4 (linear rule)",
        "Goyal et al. 2017",
        "mini-batch; 469 updates per epoch",
    ):
        assert words in text


CHANGES = {
    "a largest that did not run says so": (
        {"largest_batch_size": 16_384, "largest_was_run": False},
        "16,384 (predicted from the memory line, not run)",
    ),
    "a largest that nothing limits is at least that": (
        {"largest_is_lower_bound": True},
        "largest that fits at least 1,024 (ran)",
    ),
    "a rate that no rule gives says why": (
        {"learning_rate": None, "learning_rate_multiplier": None, "learning_rate_reason": "why"},
        "learning rate none is given why",
    ),
    "a beta near 1 is not rounded to it": (
        {"adam_betas": (0.996875, 0.99996875)},
        "Adam betas (0.9969, 0.999969)",
    ),
    "a small factor is a fraction": (
        {"learning_rate": 0.1 / 64, "learning_rate_multiplier": 1 / 64},
        "learning rate 0.001563 = 0.1 at batch size 32 x 1/64 (linear rule)",
    ),
    "a global batch shows its factors": (
        {"global_batch_size": 1024, "gradient_accumulation_steps": 4, "num_devices": 2},
        "1,024 samples per optimizer step (128 x 4 accumulation steps x 2 devices)",
    ),
    "drop_last says what is left out": (
        {"drop_last": True, "iterations_per_epoch": 468},
        "468 per epoch; drop_last leaves out 96 samples",
    ),
    "a last batch of one is in the singular": ({"last_batch_size": 1}, "the last one has 1 sample"),
    "a whole last batch goes without saying": (
        {"last_batch_size": 128},
        "469 per epoch epoch time",
    ),
    "without a dataset size the option is named": (
        {"iterations_per_epoch": None, "epoch_time_s": None, "regime": None},
        "unknown without the size of the dataset (--dataset-size)",
    ),
    "without a base rate the factor is given": (
        {"learning_rate": None, "base_learning_rate": None},
        "4 x the rate that suits batch size 32 (linear rule); give it with --lr",
    ),
    "an unscaled rate says so": (
        {"learning_rate": 0.1, "learning_rate_rule": LearningRateRule.NONE},
        "learning rate 0.1 (not scaled)",
    ),
    "a factor of one changes nothing": (
        {"learning_rate": 0.1, "learning_rate_multiplier": 1.0},
        "learning rate 0.1, the base rate unchanged (linear rule)",
    ),
    "Adam's betas and epsilon go with the square root": (
        {"adam_betas": (0.6, 0.996), "adam_epsilon_multiplier": 0.5},
        "Adam betas (0.6, 0.996), epsilon x 0.5",
    ),
    "an unchanged rate leaves Adam's alone": (
        {"learning_rate_multiplier": 1.0, "adam_betas": (0.9, 0.999)},
        "Goyal et al. 2017) regime",
    ),
    "a peak that nobody knows is not made up": ({"peak_bytes": None}, "peak not known"),
    "a full batch is named": (
        {"regime": Regime.FULL_BATCH, "iterations_per_epoch": 1},
        "full batch; 1 update per epoch",
    ),
    "a bottleneck is named": ({"bottleneck": Bottleneck.PAGE_FAULTS}, "bounded by page faults"),
}


def _not_rehearsed(text):
    """The row of that name, up to the next one."""
    return one_line(text).partition("not rehearsed ")[2].partition(" throughput ")[0]


def test_what_was_not_rehearsed_is_one_line(make_finding, printed):
    finding = make_finding()
    assert _not_rehearsed(printed(render, finding)) == (
        "steps after 32, saving a checkpoint, a whole evaluation, callbacks (--rehearse)"
    )
    command = UneditedCommand(template="python t.py", following="", files="none")
    unedited = replace(finding, workload=replace(finding.workload, command=command))
    assert _not_rehearsed(printed(render, unedited)).endswith("(--rehearse, for a target)")


def test_what_the_final_run_did_besides_its_steps_counts_as_rehearsed(make_finding, printed):
    lengths = LengthScan(
        num_scanned=9,
        num_samples=9,
        shortest=1,
        median=1,
        longest=9,
        measure="elements",
        criteria=("boxes", "nodes"),
    )
    made = make_finding()
    final = replace(made.confirmation, also_ran=("saving a checkpoint", f"{LARGEST}boxes"))
    finding = replace(
        made, confirmation=final, workload=replace(made.workload, lengths=lengths, dataset_size=9)
    )
    short = replace(finding, recommendation=replace(made.recommendation, iterations_per_epoch=5))
    text = printed(render, short)
    assert "for 32 steps at the end with the largest samples and saving a checkpoint, peak" in (
        one_line(text)
    )
    assert _not_rehearsed(text) == (
        "the largest samples by nodes, a whole evaluation, callbacks (--rehearse)"
    )


def test_without_a_final_run_its_parts_were_not_rehearsed(make_finding, printed):
    text = printed(render, make_finding(confirmation=None))
    assert "saving a checkpoint, a whole evaluation, callbacks (--rehearse)" in one_line(text)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_special_is_said(make_finding, printed, name):
    changes, words = CHANGES[name]
    assert words in one_line(printed(render, make_finding(recommendation=changes)))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("feeder",), "it starts a thread (feeder), which a fork would lack"),
        (("a", "b", "c", "d"), "it starts 4 threads (a, b, c), which a fork would lack"),
    ],
)
def test_threads_for_which_each_trial_loads_anew_are_named(make_finding, printed, names, words):
    finding = make_finding()
    assert "loads the target anew" not in printed(render, finding)
    with_threads = replace(finding, workload=replace(finding.workload, own_threads=names))
    assert words in one_line(printed(render, with_threads))


def test_a_row_that_ran_out_of_memory_says_what_was_asked_for(make_finding, make_trial, printed):
    message = "CUDA out of memory. Tried to allocate 10.00 GiB. GPU 0 has"
    failed = make_trial(8192, outcome=Outcome.OUT_OF_MEMORY, peak_bytes=2**30, message=message)
    finding = make_finding()
    finding = replace(finding, trials=(*finding.trials, failed))
    row = next(line for line in printed(render, finding).splitlines() if "8,192" in line.split())
    assert one_line(row).endswith("1.0 GiB - - out of memory at +10.0 GiB")


COMPILED = (
    "SmallCNN, 1,234,567 parameters, compiled",
    "Run eagerly, since each size would be compiled anew; only the final run was compiled.",
    "2,802 samples/s on one device, 45.7 ms per pass, run eagerly",
)


def test_of_a_compiled_model_it_is_said_what_ran_eagerly_and_what_compiled(make_finding, printed):
    made = make_finding()
    compiled = replace(
        make_finding(workload=replace(made.workload, is_compiled=True)),
        confirmation=replace(
            made.confirmation, batch_size=128, step_time_s=0.032, compile_time_s=12.0
        ),
    )
    text = one_line(printed(render, compiled))
    for words in (
        *COMPILED,
        "compiled 4,000 samples/s, 32 ms per pass, in the final run; compiling took 12 s",
        "21.4 s, predicted for running eagerly; 15 s compiled",
        "634 MiB peak, 15 % of the budget, compiling included",
    ):
        assert words in text
    plain = one_line(printed(render, made))
    assert "eagerly" not in plain and "compiled" not in plain


def test_an_epoch_has_a_price_where_an_hour_has_one(make_finding, printed):
    settings = Settings(price_per_hour=5.0)
    made = make_finding(settings=settings, recommendation={"epoch_time_s": 36.0})
    assert made.epoch_price == pytest.approx(0.05)
    assert "epoch price 0.05, at 5.00 an hour learning" in one_line(printed(render, made))
    two = replace(made, recommendation=replace(made.recommendation, num_devices=2))
    text = one_line(printed(render, two))
    assert "epoch price 0.1, at 5.00 an hour for each of 2 devices" in text
    # Of a compiled model what counts is how fast it ran compiled: here twice as fast.
    final = replace(
        made.confirmation, step_time_s=made.batch_size / (2 * made.recommendation.samples_per_s),
        batch_size=made.batch_size,
    )  # fmt: skip
    workload = replace(made.workload, is_compiled=True)
    compiled = replace(made, workload=workload, confirmation=final)
    assert compiled.epoch_price == pytest.approx(0.025)
    unknown = replace(made, recommendation=replace(made.recommendation, epoch_time_s=None))
    assert unknown.epoch_price is None and make_finding().epoch_price is None
    assert "epoch price" not in printed(render, make_finding())


def test_a_compiled_model_that_never_ran_compiled_is_no_secret(make_finding, printed):
    workload = replace(make_finding().workload, is_compiled=True)
    text = one_line(printed(render, make_finding(workload=workload, confirmation=None)))
    for words in (*COMPILED, "compiled not run compiled: the search ended before its final run"):
        assert words in text


def test_evaluation_says_how_far_its_search_came(make_finding, printed):
    asked = Settings(evaluation=True)
    found = {"eval_batch_size": 256, "eval_is_largest": True}
    made = {
        "256, the largest that fits (ran)": make_finding(settings=asked, recommendation=found),
        "256 (ran); the search for the largest ended early": make_finding(
            settings=asked, recommendation={**found, "eval_is_largest": False}
        ),
        "256 fits too (ran); --eval finds the largest that does": make_finding(
            recommendation={**found, "eval_is_largest": False}
        ),
        "evaluation not known: no size ran": make_finding(settings=asked),
    }
    for words, finding in made.items():
        assert words in one_line(printed(render, finding))
    assert "evaluation 256" not in one_line(printed(render, make_finding()))


def test_every_stop_reason_is_a_sentence(make_finding, printed):
    asked = Settings(max_batch_size=512, time_limit_s=300)
    texts = [
        one_line(printed(render, make_finding(stop_reason=reason, settings=asked)))
        for reason in StopReason
    ]
    sentences = [
        text[text.index("Searched for 42 s, 12 sizes. Stopped because") :] for text in texts
    ]
    assert len(set(sentences)) == len(StopReason)
    assert any("(--max-batch-size 512)" in sentence for sentence in sentences)
    assert any("(--time-limit 5 min 00 s)" in sentence for sentence in sentences)


def test_every_word_of_every_enum_has_a_wording():
    for enum, words in (
        (Outcome, OUTCOMES),
        (Bottleneck, BOTTLENECKS),
        (Regime, REGIMES),
        (LearningRateRule, RULES),
    ):
        assert set(words) == set(enum)


def test_warnings_say_what_happened_and_then_what_to_try(make_finding, printed, all_warnings):
    text = one_line(printed(render, make_finding(warnings=all_warnings)))
    for warning in all_warnings:
        advice = advise(warning)
        assert f"Warning: {advice.title} {advice.happened} {advice.remedy}" in text


def test_figures_that_are_not_finite_break_nothing(make_finding, printed):
    figures = dict.fromkeys(FIGURES[WarningCode.DATA_LOADING], math.nan)
    warning = FindingWarning(code=WarningCode.DATA_LOADING, figures=figures)
    assert "unknown" in printed(render, make_finding(warnings=(warning,)))


def test_a_budget_of_nothing_divides_by_nothing(make_finding, printed):
    finding = make_finding()
    finding = replace(finding, budget=replace(finding.budget, budget_bytes=0))
    assert "634 MiB peak\n" in printed(render, finding)


def test_an_error_is_a_fact_a_blank_line_and_one_hint(printed):
    error = NothingFitsError(
        "batch size 1 does not fit: peak 5.2 GiB, budget 4.0 GiB",
        hint="raise --memory-limit, or turn on gradient checkpointing",
    )
    assert printed(render_error, error) == (
        "Error: batch size 1 does not fit: peak 5.2 GiB, budget 4.0 GiB\n"
        "\n"
        "Hint: raise --memory-limit, or turn on gradient checkpointing\n"
    )


def test_an_error_without_a_hint_is_one_line(printed):
    assert printed(render_error, SettingsError("no")) == "Error: no\n"


def test_a_users_traceback_and_a_workers_last_words_come_first(printed):
    error = WorkloadError("forward failed", hint="look there", user_traceback="  File x\n  boom\n")
    assert printed(render_error, error).startswith("  File x\n  boom\n\nError: forward failed\n")
    error = WorkerError("the worker died", stderr_tail="\x1b[31mSegmentation fault\n")
    assert printed(render_error, error) == "Segmentation fault\n\nError: the worker died\n"


def test_the_trials_before_an_error_are_shown(make_trial, printed):
    error = NothingFitsError("none fits", trials=(make_trial(1, Outcome.OUT_OF_MEMORY),))
    text = printed(render_error, error)
    assert text.index("out of memory") < text.index("Error: none fits")


def test_long_error_lines_are_left_whole_to_be_copied(printed):
    path = "/folder" * 30
    assert f"Error: cannot read {path}\n" in printed(
        render_error, ResultFormatError(f"cannot read {path}")
    )


def test_a_throttled_trial_is_marked_and_the_column_is_not_cut(make_finding, make_trial, printed):
    trials = (make_trial(1_048_576, throttle_reasons=("power limit",)),)
    text = printed(render, make_finding(trials), width=80)
    assert "recommended; throttled" in text
    assert "…" not in text
    assert "throttled" not in printed(render, make_finding((make_trial(8, throttle_reasons=()),)))


def test_on_the_processor_the_share_of_the_loader_is_part_of_the_memory(
    make_finding, make_trial, printed
):
    trial = make_trial(8, loader_bytes=200 * 2**20, host_peak_bytes=300 * 2**20)
    text = one_line(printed(render, make_finding((trial,))))
    assert "300 MiB peak, 7 % of the budget; 200 MiB of it in loader workers" in text
    assert "host memory" not in text


def test_beside_a_devices_memory_the_hosts_has_a_budget_and_a_peak(
    make_finding, make_trial, printed
):
    trial = make_trial(8, host_peak_bytes=3 * 2**30, loader_bytes=2**30, pinned_bytes=64 * 2**20)
    finding = make_finding((trial,))
    host_budget = replace(finding.budget, bound_by="RLIMIT_DATA (ulimit -d)")
    text = one_line(printed(render, replace(finding, host_budget=host_budget)))
    assert "host memory 4.0 GiB of 5.0 GiB RLIMIT_DATA (ulimit -d)" in text
    assert "host memory 3.0 GiB peak (1.0 GiB in loader workers, 64.0 MiB pinned)" in text


def test_a_peak_that_was_sampled_is_a_lower_bound_in_words(make_finding, make_trial, printed):
    text = one_line(printed(render, make_finding((make_trial(8, peak_is_lower_bound=True),))))
    assert "at least 300 MiB peak (sampled)" in text


def test_of_several_processes_each_has_its_peak_and_what_they_exchange_is_said(
    make_finding, make_trial, printed
):
    ranks = tuple(
        RankReading(
            rank=rank,
            peak_bytes=(300 + rank) * 2**20,
            busy_s=0.1,
            wait_s=0.01 * rank,
            exchanges=(Exchange(collective="all-reduce", num_calls=2, num_bytes=8 * 2**20),),
        )
        for rank in range(2)
    )
    finding = make_finding((make_trial(8, ranks=ranks),))
    workload = replace(finding.workload, num_ranks=2, parallel="FSDP2")
    text = one_line(printed(render, replace(finding, workload=workload)))
    assert "processes 2 that train together, FSDP2" in text
    assert "peak by rank rank 0 300 MiB, rank 1 301 MiB" in text
    assert "exchange all-reduce of 8.0 MiB in 2 calls a step; before them rank 1 waited" in text
    assert "peak by rank" not in printed(render, finding)


def test_processes_that_exchange_nothing_are_told(make_finding, make_trial, printed):
    ranks = (RankReading(rank=0, wait_s=0.0, exchanges=()),)
    finding = make_finding((make_trial(8, ranks=ranks),))
    workload = replace(finding.workload, num_ranks=2)
    text = one_line(printed(render, replace(finding, workload=workload)))
    assert "is the model wrapped?" in text


def test_what_training_together_costs_is_said(make_finding, make_trial, printed):
    sizes = (
        RankSize(rank=0, batch_size=10, loss_weight=1.25),
        RankSize(rank=1, batch_size=6, loss_weight=0.75),
    )
    group = GroupCost(
        straggler=1, straggler_factor=1.66, alone_step_time_s=0.02, together_step_time_s=0.025,
        scaling_efficiency=0.8, enough_batch_size=64, sizes=sizes, sizes_step_time_s=0.021,
    )  # fmt: skip
    finding = make_finding((make_trial(8),))
    finding = replace(finding, workload=replace(finding.workload, num_ranks=2), group=group)
    text = one_line(printed(render, finding))
    assert "straggler rank 1 is busy 1.7 times as long as the others" in text
    assert "80 % of as many ranks by themselves: a step takes 25 ms, and 20 ms on one" in text
    assert "within 5 % of it from about 64 samples a rank on" in text
    assert "rank 0 10 (loss x 1.250), rank 1 6 (loss x 0.750): a step 21 ms" in text
    late = replace(finding, group=GroupCost(reason="the time limit left no time for it"))
    assert "scaling not measured: the time limit left no time" in one_line(printed(render, late))
    big = replace(finding, group=replace(group, sizes_step_time_s=None))
    assert "they did not fit" in one_line(printed(render, big))
