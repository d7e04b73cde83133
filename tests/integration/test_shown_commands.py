"""What README and documentation show in a block of a shell runs, in a folder like theirs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.pages import ROOT, find_files, find_lines, run_in_shell

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: What a command says that cannot run here, and who runs it.
ELSEWHERE = {
    "pip ": "done to run the tests",
    "pytest": "these tests",
    "python -m scripts": "scripts have tests of their own",
    "python main.py": "scripts of others; integration/command has loops like theirs",
    "--data-dir": "scripts of others; integration/command has loops like theirs",
    "backbone_image_classifier": "scripts of others; integration/command has loops like theirs",
    "srun ": "needs Slurm",
    "docker ": "needs a container's engine",
    "--node-rank R": "needs two nodes: integration/ranks",
    "--min-devices": "needs a GPU",
    "torchvision:": "integration/frameworks/cases_catalogues.py",
    "timm:": "integration/frameworks/cases_catalogues.py",
    "snapshot.pickle": "needs a recording of a GPU: unit/planning, unit/prediction/snapshot",
}
TRAIN = """
import argparse
import os

import torch
import model

parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch-size", type=int, default=32)
parser.add_argument("-j", "--workers", type=int, default=0)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--epochs", type=int, default=10)
arguments = parser.parse_args()
trained, sampler = model.model, None
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
    trained = torch.nn.parallel.DistributedDataParallel(trained)
    sampler = torch.utils.data.DistributedSampler(model.dataset)
loader = torch.utils.data.DataLoader(
    model.dataset, arguments.batch_size, num_workers=arguments.workers, sampler=sampler
)
update = torch.optim.SGD(trained.parameters(), lr=arguments.lr)
for _ in range(arguments.epochs):
    for inputs, targets in loader:
        update.zero_grad()
        model.loss(trained(inputs), targets).backward()
        update.step()
"""
TOKENS = """
import torch
from torch import nn

vocabulary = 64
rows = [{"input_ids": torch.arange(length) % vocabulary} for length in range(8, 40)] * 20


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(vocabulary, 64), nn.Linear(64, vocabulary)

    def forward(self, input_ids):
        output = self.head(self.embed(input_ids))
        return {"loss": nn.functional.cross_entropy(output.flatten(0, 1), input_ids.flatten())}


def collate_fn(samples):
    return {"input_ids": torch.cat([each["input_ids"] for each in samples])[None]}


model, dataset = Network(), rows
"""


def find_shown() -> Iterator[tuple[str, str]]:
    """Commands in blocks of a shell, with their pages."""
    for page in PAGES:
        if page.name == "tutorial.md":  # run in order by test_site.py
            continue
        for line in find_lines(page.read_text()):
            command = re.sub(r"(^|\s)#.*", "", line).strip()
            if command:
                yield page.name, command


def runs_here(command: str) -> bool:
    return not any(part in command for part in ELSEWHERE)


SHOWN = [*dict.fromkeys(find_shown())]


def test_no_reason_for_leaving_a_command_out_is_stale() -> None:
    assert [part for part in ELSEWHERE if not any(part in each for _, each in SHOWN)] == []
    assert sum(runs_here(each) for _, each in SHOWN) >= 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its script, and the model of a pull request's base."""
    path = tmp_path_factory.mktemp("project")
    model = find_files((ROOT / "docs" / "tutorial.md").read_text())["model.py"]
    (path / "base").mkdir()
    for file in (path / "model.py", path / "base" / "model.py"):
        file.write_text(model)
    (path / "train.py").write_text(TRAIN)
    (path / "tokens.py").write_text(TOKENS)
    return path


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("page", "command"), [each for each in SHOWN if runs_here(each[1])])
def test_what_is_shown_runs(folder: Path, page: str, command: str) -> None:
    if "hf:" in command:
        pytest.importorskip("transformers")
    if "--axis tokens" in command:
        command = command.replace("model.py", "tokens.py")
    # The search of a large model takes minutes on a CPU, and ends here with the best so far.
    line = re.sub(r"autobatch (probe|tune) ", r"autobatch \1 --time-limit 60s ", command)
    done = run_in_shell(line, folder)
    assert done.returncode == 0, f"{page}: {shlex.quote(line)}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
