"""A tuning as text, as a picture, as JSON, and as lines to paste."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.tunings import MIB, Opener, World

from autobatch.errors import ResultFormatError
from autobatch.records import Settings
from autobatch.reporting.activity import SilentActivity
from autobatch.reporting.screen import as_text
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.recipe import write_recipes
from autobatch.tuning.records import Changes, Tuning
from autobatch.tuning.report import TUNING, render_tuning, save_tuning_plot
from autobatch.tuning.report.plot import draw_tuning, find_front, list_points
from autobatch.tuning.session import tune

GAINS = {"allocator": 0.6, "optimizer": 0.8, "checkpointing": 1.3}


def cost(changes: Changes) -> float:
    factor = 1e-3
    for name in changes:
        factor *= GAINS.get(name, 1.0)
    return factor


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    world = World(per_sample_s=cost, faults={"compile=inductor": RuntimeError("no compiler")})
    settings = TuneSettings(skipped=("threads",))
    return tune(Opener(world), Settings(), settings, SilentActivity(), clock=world.clock)


def render(tuning: Tuning) -> str:
    return as_text(render_tuning, tuning, width=100)


def test_the_report_begins_with_the_settings_and_how_much_faster_they_are(tuning: Tuning) -> None:
    lines = render(tuning).splitlines()
    assert "allocator keeps memory + fused optimizer" in lines[2]
    assert f"{tuning.speedup:.2f} times as fast as your settings" in lines[3]
    assert "in a fresh process" in " ".join(lines[3:5])


def test_where_fresh_processes_say_otherwise_than_the_search_the_report_says_what_they_did(
    tuning: Tuning,
) -> None:
    own, best, *others = tuning.held
    slower = tuple(0.9 * each for each in own.rates_samples_per_s)
    held = (own, replace(best, rates_samples_per_s=slower), *others)
    start = replace(tuning.start, own_batch_size=tuning.attempts[0].batch_size or 0)
    text = " ".join(render(replace(tuning, held=held, chosen=0, start=start)).split())
    assert "nothing that was tried trains faster" in text
    assert "the fastest of the search: 0.90 times as fast" in text
    unfinished = replace(tuning, held=(), chosen=0, start=start, is_complete=False)
    assert "nothing that was tried so far trains faster" in render(unfinished)


def test_the_ladder_goes_from_the_users_settings_to_the_fastest(tuning: Tuning) -> None:
    text = render(tuning)
    ladder = text[text.index("Ladder") : text.index("Not used")]
    rows = [line for line in ladder.splitlines() if "MiB" in line or "GiB" in line]
    assert [row.lstrip("> ").split("  ")[0] for row in rows] == [
        "your settings",
        "+ batch size",
        "+ allocator keeps memory",
        "+ fused optimizer",
    ]
    ratios = [float(row.split()[-1]) for row in rows]
    assert ratios[0] == 1.0
    assert ratios == sorted(ratios)
    assert rows[-1].startswith(">")


def test_what_is_not_used_is_told_with_its_loss_or_the_reason(tuning: Tuning) -> None:
    text = render(tuning)
    others = text[text.index("Not used") : text.index("Train with")]
    assert "no compiler" in others
    assert "left out, as asked" in others
    assert "checkpointing: batch size 256, 1.2 GiB, -22 %" in others


def test_a_tuning_survives_a_file(tuning: Tuning, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    TUNING.save(tuning, path, overwrite=False)
    document = json.loads(path.read_text())
    assert document["changes"] == {"allocator": "keep", "optimizer": "fused"}
    assert document["speedup"] == pytest.approx(tuning.speedup)
    assert TUNING.load(path) == tuning


@pytest.mark.parametrize(
    "change",
    [{"attempts": []}, {"chosen": 99}, {"ladder": []}, {"tuning_version": 2}, {"held": [1]}],
)
def test_a_file_that_holds_no_tuning_is_refused(
    tuning: Tuning, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps({**TUNING.to_document(tuning), **change}))
    with pytest.raises(ResultFormatError):
        TUNING.load(path)


def test_the_front_has_what_is_neither_slower_nor_larger(tuning: Tuning, tmp_path: Path) -> None:
    points = list_points(tuning)
    front = find_front(points)
    assert front == sorted(front, key=lambda each: each[1])
    for peak, rate, _, _ in points:
        assert any(other[0] <= peak and other[1] >= rate for other in front)
    path = tmp_path / "tuning.svg"
    save_tuning_plot(tuning, path)
    assert "budget" in path.read_text() or path.stat().st_size > 10_000


def with_changes(tuning: Tuning, changes: Changes, **settings: Any) -> Tuning:
    best = replace(tuning.attempts[0], changes=changes, batch_size=32)
    return replace(
        tuning,
        attempts=(tuning.attempts[0], best),
        ladder=(0, 1),
        held=(),
        chosen=1,
        settings=Settings(**settings),
    )


def test_lines_to_paste_say_all_of_the_settings(tuning: Tuning) -> None:
    loader = "num_workers=2,pin_memory=False,prefetch_factor=4,persistent_workers=True"
    changes = {
        "allocator": "keep",
        "channels_last": "on",
        "checkpointing": "every_second_block",
        "compile": "inductor",
        "loader": loader,
        "optimizer": "fused",
        "precision": "bf16",
        "threads": "4",
    }
    recipes = write_recipes(with_changes(tuning, changes, global_batch_size=128))
    lines = "\n".join(recipes["PyTorch"])
    assert recipes["Shell"][0].startswith("export MALLOC_MMAP_THRESHOLD_=")
    for line in (
        "torch.set_num_threads(4)",
        "model.to(memory_format=torch.channels_last)",
        "('a', 'c')",
        "model.compile()",
        "torch.optim.AdamW(model.parameters(), ..., fused=True)",
        "batch_size=32, num_workers=2, pin_memory=False, prefetch_factor=4",
        "torch.autocast('cpu', dtype=torch.bfloat16)",
        "gradient_accumulation_steps = 4",
    ):
        assert line in lines, line
    (arguments,) = [each for each in recipes["Transformers"] if "TrainingArguments" in each]
    for word in (
        "per_device_train_batch_size=32",
        "gradient_accumulation_steps=4",
        "torch_compile=True",
        "optim='adamw_torch_fused'",
        "dataloader_num_workers=2",
        "bf16=True",
    ):
        assert word in arguments, word
    assert "precision='bf16-mixed'" in recipes["Lightning"][-1]
    assert "mixed_precision='bf16'" in recipes["Accelerate"][-1]


def test_of_a_command_what_to_run_is_told(tuning: Tuning) -> None:
    command = "python train.py -b {batch_size=8} --workers {workers=2} {compile} --name 'a b'"
    start = replace(tuning.start, facts=None, placeholders={"workers": "2", "compile": "--compile"})
    tuned = with_changes(tuning, {"compile": "", "allocator": "keep"})
    asked = TuneSettings(placeholders={"compile": ("--compile", ""), "workers": ("2", "4")})
    (lines,) = write_recipes(replace(tuned, target=command, start=start, asked=asked)).values()
    assert lines[-1] == "python train.py -b 32 --workers 2 --name 'a b'"
    assert "export MALLOC_TRIM_THRESHOLD_=4294967296" in lines


def test_what_is_pasted_for_checkpointing_runs(tuning: Tuning) -> None:
    import torch

    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in "abc"})
    tuned = with_changes(tuning, {"checkpointing": "every_second_block"})
    code = [line for line in write_recipes(tuned)["PyTorch"] if "DataLoader" not in line]
    exec("\n".join(code), {"model": model})
    wrapped = [name for name, part in model.items() if type(part).__name__ != "Linear"]
    assert wrapped == ["a", "c"]


def test_apply_puts_on_what_it_can_and_tells_the_rest(tuning: Tuning) -> None:
    import torch

    model = torch.nn.Conv2d(3, 3, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    changes = {"allocator": "keep", "channels_last": "on", "optimizer": "fused"}
    left = with_changes(tuning, changes).apply(model, optimizer)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert optimizer.param_groups[0]["fused"]
    assert any("MALLOC" in line for line in left)
    assert not any("fused" in line for line in left)
    assert any("batch_size=32" in line for line in left)


def test_memory_that_binds_is_told(tuning: Tuning) -> None:
    assert f"{tuning.start.budget.budget_bytes / MIB / 1024:.1f} GiB" in render(tuning)


def test_in_the_picture_no_two_settings_look_alike_and_no_two_sizes_overlap(
    tuning: Tuning,
) -> None:
    [axes] = draw_tuning(tuning).axes
    drawn = [line for line in axes.lines if line.get_marker() != "None"]
    assert len(drawn) > 7, "more than there are colours"
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == len(drawn)
    peaks = sorted(text.xy[0] for text in axes.texts)
    assert len(peaks) > 5
    assert all(b > 1.03 * a for a, b in itertools.pairwise(peaks))
