"""The command line as a person meets it: real processes, real torch, real limits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fixtures.commands import press_ctrl_c, run_autobatch, start_autobatch, wait_for

ROOT = Path(__file__).resolve().parents[2]
# Those that call autobatch themselves are no targets; other tests run them.
CALLS = ("find_batch_size", "autobatch.integrations")
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").glob("*.py"))
    if not any(call in path.read_text() for call in CALLS)
]

SMALL = """
import torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 64
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "target.py"
    path.write_text(text)
    return path


def assert_clear_error(
    done: subprocess.CompletedProcess[str], *texts: str, status: int = 2
) -> None:
    """One error that repeats the user's value, one hint, nothing on stdout."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    flat = " ".join(done.stderr.split())
    for text in texts:
        assert text in flat
    assert len(re.findall(r"^Error: ", done.stderr, re.MULTILINE)) == 1
    assert len(re.findall(r"^Hint: ", done.stderr, re.MULTILINE)) == 1
    assert "autobatch/probe/worker.py" not in done.stderr, "a frame of ours is shown"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_gets_an_answer_that_ran(example: Path) -> None:
    done = run_autobatch("probe", example, "--json", "--goal", "memory", "--max-batch-size", "8")
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    fitting = {t["batch_size"] for t in finding["trials"] if t["outcome"] == "fits"}
    assert finding["batch_size"] in fitting
    if example.stem == "slow_loader":
        assert finding["bottleneck"] == "data_loading"
        assert "data_loading" in {warning["code"] for warning in finding["warnings"]}
        assert finding["loading"]["timings"]


def test_stdout_is_the_result_alone_and_progress_goes_to_stderr(small: Path) -> None:
    done = run_autobatch("probe", small, "--goal", "memory", "--max-batch-size", "8")
    assert done.returncode == 0
    assert "Batch size 8:" in done.stdout
    assert re.search(r"^batch 8: fits", done.stderr, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr


def test_quiet_says_nothing_on_stderr(small: Path) -> None:
    done = run_autobatch("probe", small, "--max-batch-size", "4", "-q")
    assert done.stderr == ""
    assert done.stdout.startswith("Batch size ")


def test_what_the_target_prints_is_shown_with_v_only_and_never_on_stdout(tmp_path: Path) -> None:
    target = write(tmp_path, SMALL + "print('hello from the target')\n")
    short = ("probe", target, "--goal", "memory", "--max-batch-size", "1")
    assert "hello" not in run_autobatch(*short).stderr
    done = run_autobatch(*short, "--json", "-v")
    assert "hello from the target" in done.stderr
    json.loads(done.stdout)


def test_a_saved_finding_is_shown_again_with_its_plot(small: Path, tmp_path: Path) -> None:
    saved, plot = tmp_path / "finding.json", tmp_path / "finding.svg"
    first = run_autobatch("probe", small, "--max-batch-size", "16", "-o", saved, "--plot", plot)
    assert first.returncode == 0, first.stderr
    assert plot.read_text().lstrip().startswith("<?xml")
    page = tmp_path / "report.html"
    again = run_autobatch("show", saved, "--plot", tmp_path / "again.png", "--html", page)
    assert again.stdout == first.stdout
    assert "data:image/png;base64," in page.read_text()
    assert (tmp_path / "again.png").read_bytes().startswith(b"\x89PNG")
    as_json = run_autobatch("show", saved, "--json")
    assert json.loads(as_json.stdout) == json.loads(saved.read_text())
    reused = run_autobatch("probe", small, "--max-batch-size", "16", "--reuse", saved)
    assert reused.stdout == first.stdout
    assert reused.stderr == f"{saved} is reused: nothing that it rests on has changed\n"


def test_a_memory_limit_ends_the_climb_and_not_the_process(tmp_path: Path) -> None:
    target = write(
        tmp_path,
        "import torch\nmodel = torch.nn.Sequential(torch.nn.Linear(10, 100_000), "
        "torch.nn.Linear(100_000, 1))\n"
        "def batch(n): return torch.randn(n, 10), torch.randn(n, 1)\n",
    )
    done = run_autobatch("probe", target, "--goal", "memory", "--memory-limit", "1GiB", "--json")
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    assert finding["stop_reason"] == "memory"
    assert finding["largest_was_run"]
    assert finding["batch_size"] == finding["largest_batch_size"]
    assert finding["peak_bytes"] <= finding["budget_bytes"] <= 2**30
    refuted = [t for t in finding["trials"] if t["outcome"] != "fits"]
    assert all(t["outcome"] in ("out_of_memory", "over_budget") for t in refuted)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["nosuch.py"], ["nosuch.py", "does not exist"]),
        (["{small}", "--memory-limit", "-3"], ["--memory-limit", "'-3'"]),
        (["{small},input=3xx4"], ["input", "'3xx4'"]),
        (["{small}", "--max-batch-size", "0"], ["--max-batch-size must be", "above 0, got '0'"]),
        (["{small}", "--device", "tpu"], ["unknown device 'tpu'"]),
        (["{small}", "--device", "cuda:77"], ["cuda:77"]),
        (["{small}", "--goal", "fun"], ["--goal must be one of", "'fun'"]),
        (["{small}", "--grid", "multiple:0"], ["'multiple:0'"]),
        (["{small}", "--headroom", "100%"], ["'100%'"]),
        (["{small}", "--tolerance", "lots"], ["'lots'"]),
        (["{small}", "--lr", "-1"], ["--lr", "'-1'"]),
        (["{small}", "--env", "1X=2"], ["'1X=2'"]),
        (["{small}", "--precision", "tf32"], ["tf32"]),
        (["{small},classes=10"], ["classes=10", "input="]),
        (
            ["{small}", "--min-batch-size", "9", "--max-batch-size", "8"],
            ["--max-batch-size must be at least --min-batch-size 9, got 8"],
        ),
        (["{small}", "--min-batch-size", "65"], ["65", "64"]),
        (
            ["{small}", "--global-batch-size", "7", "--num-devices", "2"],
            ["--global-batch-size 7", "--num-devices 2"],
        ),
        (["{small}", "--time-limit", "0"], ["'0'"]),
        (["{small}", "--nosuch"], ["--nosuch"]),
        (["{small}", "-o", "{folder}/no/such/folder.json"], ["no/such"]),
        (["{small}", "-o", "{small}"], ["small.py", "--force"]),
        (["{small}", "--plot", "{folder}/plot.xyz"], ["plot.xyz"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_anything_is_written(
    small: Path, tmp_path: Path, arguments: list[str], texts: list[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    filled = [each.format(small=small, folder=tmp_path) for each in arguments]
    done = run_autobatch("probe", *filled, "-q")
    assert_clear_error(done, *texts)
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "__pycache__"] == before


HEAD = "import torch\nmodel = torch.nn.Linear(10, 3)\n"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("model = (", ["SyntaxError", "target.py"]),
        ("import torch\nraise KeyError('my mistake')", ["my mistake", "target.py", "line 2"]),
        ("x = 1", ["missing: a model", "found x"]),
        (
            "import torch\na = torch.nn.Linear(1, 1)\nb = torch.nn.Linear(1, 1)",
            ["several models", "a, b"],
        ),
        (HEAD, ["missing: data", "dataset", "batch(batch_size)"]),
        (
            HEAD + "def batch(n): return torch.randn(n + 1, 10), torch.zeros(n + 1).long()",
            ["batch(1)", "(2, 10)"],
        ),
        (
            HEAD + "dataset = [(torch.randn(10), 1)] * 9\n"
            "loss = torch.nn.CrossEntropyLoss(reduction='none')",
            ["not a scalar", ".mean()"],
        ),
        (
            HEAD + "dataset = [(torch.randn(10), 1)] * 9\n"
            "def loss(out, y): return out.detach().sum()",
            ["needs no gradient"],
        ),
        (HEAD + "dataset = []", ["0 samples"]),
        (
            HEAD + "dataset = [(torch.randn(11), 1)] * 9",
            ["RuntimeError", "batch size 1"],
        ),
    ],
    ids=[
        "syntax error",
        "exception",
        "no model",
        "several models",
        "no data",
        "wrong size",
        "loss per sample",
        "loss without gradient",
        "no samples",
        "shapes do not match",
    ],
)
def test_a_broken_target_gets_a_clear_error(tmp_path: Path, text: str, texts: list[str]) -> None:
    done = run_autobatch("probe", write(tmp_path, text), "-q", "-o", tmp_path / "out.json")
    assert_clear_error(done, *texts)
    assert not (tmp_path / "out.json").exists()


def test_a_limit_below_the_fixed_cost_says_what_batch_size_1_takes(small: Path) -> None:
    done = run_autobatch("probe", small, "--memory-limit", "100MiB", "-q")
    words = ("batch size 1 does not fit: Python, PyTorch and the workload hold", "budget 90.0 MiB")
    assert_clear_error(done, *words, "Hint: raise --memory-limit", status=1)
    assert "checkpointing" not in done.stderr


def test_a_tensor_that_does_not_fit_is_said_with_its_size(tmp_path: Path) -> None:
    text = SMALL + (
        "def training_step(model, batch):\n"
        "    large = torch.empty(len(batch[0]) * 10 * 2**28)\n"
        "    return model(batch[0]).sum() + 0 * large[0]\n"
    )
    done = run_autobatch("probe", write(tmp_path, text), "--memory-limit", "4GiB", "-q")
    assert_clear_error(done, "it asked for 10.0 GiB beside a peak of", "3.6 GiB", status=1)
    assert "out of memory at +10.0 GiB" in done.stdout + done.stderr, "in its row"
    assert "checkpointing" not in done.stderr


def test_a_loss_that_is_not_a_number_is_a_warning(tmp_path: Path) -> None:
    text = SMALL + "def loss(out, y): return out.sum() * float('nan')\n"
    done = run_autobatch("probe", write(tmp_path, text), "--max-batch-size", "4", "--json")
    assert done.returncode == 0
    codes = {warning["code"] for warning in json.loads(done.stdout)["warnings"]}
    assert "loss_not_finite" in codes


def test_output_that_fails_late_says_so(small: Path) -> None:
    done = run_autobatch("show", "/dev/null")
    assert done.returncode == 2
    assert "Error: " in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_gives_the_best_answer_so_far_and_leaves_no_child(tmp_path: Path) -> None:
    target = write(
        tmp_path,
        SMALL.replace("* 64", "* 100_000")
        + "import time\ndef training_step(model, batch):\n    time.sleep(0.1)\n"
        "    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n",
    )
    saved = tmp_path / "best.json"
    process = start_autobatch("probe", target, "-o", saved)
    wait_for(process, "^batch 2: fits")
    stdout, stderr = press_ctrl_c(process)
    assert stdout == ""
    assert "best answer so far" in stderr
    assert "Batch size 2:" in stderr
    assert json.loads(saved.read_text())["stop_reason"] == "interrupted"


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_before_anything_ran_says_so(tmp_path: Path) -> None:
    target = write(tmp_path, "import time\nprint('loading')\ntime.sleep(60)\n")
    process = start_autobatch("probe", target, "-v")
    wait_for(process, "loading")
    _, stderr = press_ctrl_c(process)
    assert "Interrupted before any batch size had run" in stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's parent-death signal")
def test_a_parent_that_is_killed_takes_its_worker_along(tmp_path: Path) -> None:
    target = write(tmp_path, "import time\nprint('loading')\ntime.sleep(600)\n")
    process = start_autobatch("probe", target, "-v")
    wait_for(process, "loading")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_a_reader_that_goes_away_causes_no_traceback(small: Path) -> None:
    process = start_autobatch("probe", small, "--max-batch-size", "2")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


KERNEL_LIMIT = """
def training_step(model, batch):
    if len(batch[0]) >= {limit}:
        raise RuntimeError("CUDA error: invalid configuration argument\\nand more")
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
"""


def test_a_size_beyond_a_kernels_limit_ends_the_climb_with_an_answer(tmp_path: Path) -> None:
    target = write(tmp_path, SMALL + KERNEL_LIMIT.format(limit=64))
    done = run_autobatch("probe", target, "-q", "--goal", "memory", "--json")
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    assert finding["largest_batch_size"] == 32
    assert finding["stop_reason"] == "failed"
    warning = next(each for each in finding["warnings"] if each["code"] == "trial_failed")
    assert warning["details"] == ["RuntimeError: CUDA error: invalid configuration argument"]
    first = next(trial for trial in finding["trials"] if trial["batch_size"] == 64)
    assert first["outcome"] == "failed"


def test_an_error_at_some_sizes_keeps_what_ran(tmp_path: Path) -> None:
    text = SMALL + (
        "import time\n"
        "def training_step(model, batch):\n"
        "    if 20 < len(batch[0]) < 60: raise ValueError('not this size')\n"
        "    time.sleep(0.02)  # the larger, the faster\n"
        "    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n"
    )
    done = run_autobatch("probe", write(tmp_path, text), "--json", "-q")
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    outcomes = {trial["batch_size"]: trial["outcome"] for trial in finding["trials"]}
    assert {size: outcomes[size] for size in (1, 2, 4, 8, 16)} == dict.fromkeys(
        (1, 2, 4, 8, 16), "fits"
    )
    assert outcomes[32] == "failed"
    assert finding["batch_size"] == 16
    failed = next(each for each in finding["warnings"] if each["code"] == "trial_failed")
    assert "not this size" in " ".join(failed["details"])


def test_an_error_at_size_1_is_the_users_and_shows_where(tmp_path: Path) -> None:
    target = write(tmp_path, SMALL + KERNEL_LIMIT.format(limit=1))
    done = run_autobatch("probe", target, "-q")
    assert done.returncode == 2
    assert "in training_step\n    raise RuntimeError(" in done.stderr
    assert "RuntimeError in a trial at batch size 1: CUDA error: invalid config" in done.stderr


def test_a_search_that_fails_keeps_the_trials_it_had_made(tmp_path: Path) -> None:
    text = SMALL + (
        "import os, pathlib, signal\n"
        f"flag = pathlib.Path({str(tmp_path / 'flag')!r})\n"
        "assert not flag.exists(), 'loaded twice'\n"
        "def training_step(model, batch):\n"
        "    if len(batch[0]) == 8:\n"
        "        flag.touch()\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n"
    )
    saved = tmp_path / "partial.json"
    done = run_autobatch("probe", write(tmp_path, text), "-q", "-o", saved)
    assert_clear_error(done, "loaded twice")
    partial = json.loads(saved.read_text())
    assert [trial["batch_size"] for trial in partial["trials"]] == [1, 2, 4]
    assert "loaded twice" in partial["error"]["message"]
    assert_clear_error(run_autobatch("show", saved), "loaded twice")


def test_a_size_that_hangs_is_given_up_and_the_search_goes_on(tmp_path: Path) -> None:
    text = SMALL + (
        "import time\ndef training_step(model, batch):\n"
        "    if len(batch[0]) >= 8: time.sleep(3600)\n"
        "    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n"
    )
    target = write(tmp_path, text)
    done = run_autobatch("probe", target, "--trial-timeout", "10s", "--goal", "memory", "--json")
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    outcomes = {trial["batch_size"]: trial["outcome"] for trial in finding["trials"]}
    assert {outcome for size, outcome in outcomes.items() if size >= 8} == {"timed_out"}
    assert {outcome for size, outcome in outcomes.items() if size < 8} == {"fits"}
    assert finding["confirmation"]["batch_size"] == finding["batch_size"] < 8


def test_a_model_that_needs_multiples_is_searched_in_multiples_alone(tmp_path: Path) -> None:
    text = SMALL + (
        "def training_step(model, batch):\n"
        "    return model(batch[0]).view(-1, 3, 3).square().mean()\n"
    )
    done = run_autobatch(
        "probe", write(tmp_path, text), "--grid", "multiple:3", "--max-batch-size", "7", "--eval",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    assert {each["batch_size"] for each in finding["trials"]} == {3, 6}
    assert {each["batch_size"] for each in finding["eval_trials"]} <= {3, 6}
    assert "evaluation_failed" not in {each["code"] for each in finding["warnings"]}


@pytest.mark.parametrize("step_time_s", [0, 0.6], ids=["short steps", "slow steps"])
def test_a_leak_is_named(tmp_path: Path, step_time_s: float) -> None:
    text = SMALL + (
        "import time\nkept = []\ndef training_step(model, batch):\n"
        f"    kept.append(torch.ones(2**20)); time.sleep({step_time_s})\n"
        "    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n"
    )
    target = write(tmp_path, text)
    done = run_autobatch(
        "probe", target, "--min-batch-size", "2", "--max-batch-size", "2", "--goal", "memory",
        "--memory-limit", "4GiB", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = {each["code"]: each["figures"] for each in json.loads(done.stdout)["warnings"]}
    # Each step keeps 4 MiB.
    assert 3.5 * 2**20 < warnings["leak"]["growth_bytes"] < 5 * 2**20


def test_a_time_limit_is_kept(tmp_path: Path) -> None:
    text = SMALL + "import time\ndef training_step(model, batch):\n    time.sleep(3600)\n"
    begin = time.monotonic()
    done = run_autobatch("probe", write(tmp_path, text), "--time-limit", "5s", "-q")
    assert done.returncode in (1, 2)
    assert "--time-limit" in done.stderr
    assert time.monotonic() - begin < 120, "the hang outlived the limit"
