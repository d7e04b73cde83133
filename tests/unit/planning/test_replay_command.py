"""``autobatch plan --replay``: would a recorded training have fitted otherwise?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.recorded import MIB, RecordedProcess

from autobatch.cli import run
from autobatch.planning.records import PlanSettings
from autobatch.planning.snapshots import plan_snapshot


@pytest.fixture
def fragmented(tmp_path: Path) -> str:
    """A process that ran out of memory, much of it in holes behind blocks that stay."""
    process = RecordedProcess(capacity_bytes=2000 * MIB)
    for number in range(8):
        process.allocate("passing", 190 * MIB)
        process.free("passing")
        process.allocate(f"kept {number}", 100 * MIB)
    process.allocate("large", 800 * MIB)
    assert process.events[-1]["action"] == "oom"
    return process.dump(tmp_path / "oom.pickle")


def test_expandable_segments_would_have_made_room(fragmented: str) -> None:
    plan = plan_snapshot(fragmented, PlanSettings())
    assert plan.ran_out
    [limit] = plan.limits
    assert limit.name == "recorded GPU"
    assert limit.high_bytes == 2000 * MIB
    outcomes = {each.setting: each.at_limits[0] for each in plan.variants}
    assert not outcomes["as recorded"].fits
    assert outcomes["as recorded"].failed_bytes == 800 * MIB
    assert outcomes["expandable_segments:True"].fits
    assert set(outcomes) == {
        "as recorded",
        "expandable_segments:True",
        "max_split_size_mb:128",
        "max_split_size_mb:512",
    }
    least = {each.setting: each.least_bytes for each in plan.variants}
    assert least["expandable_segments:True"] < 2000 * MIB < least["as recorded"]
    assert plan.fits


def test_other_memory_is_tried_where_it_is_named(fragmented: str) -> None:
    plan = plan_snapshot(fragmented, PlanSettings(gpu_memory=("3GiB", "24GiB:8.9")))
    assert [each.name for each in plan.limits] == ["recorded GPU", "3GiB", "24GiB:8.9"]
    _, small, large = plan.variants[0].at_limits
    assert not small.fits
    assert large.fits and large.is_certain


def test_an_expandable_recording_is_tried_without(tmp_path: Path) -> None:
    from autobatch.prediction.allocator import AllocatorSettings

    process = RecordedProcess(AllocatorSettings(expandable_segments=True))
    process.allocate("a", 30 * MIB)
    plan = plan_snapshot(process.dump(tmp_path / "s.pickle"), PlanSettings())
    assert [each.setting for each in plan.variants] == [
        "as recorded",
        "expandable_segments:False",
    ]


def test_the_command_prints_saves_and_shows_it_again(
    fragmented: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "replay.json"
    assert run(["plan", "--replay", fragmented, "-o", str(saved), "-q"]) == 0
    printed = capsys.readouterr().out
    assert "would have fitted with expandable_segments:True" in " ".join(printed.split())
    assert "nothing was run on a GPU" in printed
    assert run(["show", str(saved)]) == 0
    assert capsys.readouterr().out == printed
    assert run(["plan", "--replay", fragmented, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(saved.read_text())


def test_if_it_fits_nowhere_the_exit_status_is_1(tmp_path: Path) -> None:
    process = RecordedProcess(capacity_bytes=100 * MIB)
    process.allocate("a", 60 * MIB)
    process.allocate("b", 60 * MIB)
    assert run(["plan", "--replay", process.dump(tmp_path / "oom.pickle"), "-q"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is neither a target nor a snapshot to replay"),
        (["hf:bert", "--replay", "x"], "there is both a target and a snapshot to replay"),
        (["--replay", "x", "--batch-size", "8"], "--batch-size is for a target"),
        (["--replay", "x", "--precision", "bf16"], "--precision is for a target"),
        (["--replay", "x", "--plot", "x.png"], "--plot is for a target"),
        (["--replay", "x", "--expandable-segments"], "--expandable-segments is for a target"),
        (["--replay", "missing.pickle"], "cannot read missing.pickle: no such file"),
        (["--replay", __file__], "is not a pickle"),
        (["missing.py"], "missing.py does not exist"),
        (["hf:bert", "--gpu", "rtx-4900"], "no GPU 'rtx-4900'"),
        (["hf:bert", "--gpu", "a100,"], "--gpu must be names separated by commas"),
        (["hf:bert", "--price", "a100"], "--price must be NAME=PRICE"),
        (["hf:bert", "--gpu", "l4", "--price", "t4=1"], "is of a GPU that is not planned for"),
        (["hf:bert", "--calibration", "missing.json"], "cannot read missing.json"),
    ],
)
def test_what_cannot_be_planned_ends_in_a_hint_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", *arguments, "-q"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert printed.count("Hint:") == 1
