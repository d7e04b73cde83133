"""Other axes than the batch, from the shell: lengths, images and packed tokens that really run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures.commands import run_autobatch

TARGET = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 16), nn.Embedding(100, 16)
        self.head = nn.Linear(16, 50)
    def forward(self, ids):
        return self.head(self.tokens(ids) + self.places(torch.arange(ids.shape[1])))

def sequences(num):
    ids = torch.randint(50, (num, 8))
    return ids, ids

def join(samples):
    ids = torch.tensor([[token for sample in samples for token in sample["input_ids"]]])
    return {"input_ids": ids, "labels": ids}

class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 16), nn.Linear(16, 50)
    def forward(self, input_ids, labels):
        scores = self.head(self.tokens(input_ids))
        return {"loss": nn.functional.cross_entropy(scores[0], labels[0])}
"""
LENGTHS = """
model, batch = Model(), sequences
loss = lambda out, ids: nn.functional.cross_entropy(out.transpose(1, 2), ids)
"""
PACKED = """
model, collate_fn = Packed(), join
dataset = [{'input_ids': [1] * (3 + n % 9)} for n in range(50)]
"""


def probe(tmp_path: Path, code: str, *options: str) -> dict:
    path = tmp_path / "target.py"
    path.write_text(TARGET + code)
    done = run_autobatch("probe", str(path), "--json", "--quiet", "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_longest_sequence_ends_where_the_positions_do(tmp_path: Path) -> None:
    found = probe(tmp_path, LENGTHS, "--axis", "sequence_length", "--batch-size", "4")
    assert found["along"]["size"] == 64  # of 100 positions
    assert found["along"]["unit"] == "tokens" and found["along"]["units_per_s"] > 0
    assert found["stop_reason"] == "failed"
    failed = found["trials"][-1]
    assert failed["outcome"] == "failed" and "index out of range" in failed["message"]


@pytest.mark.slow
def test_a_token_budget_is_searched_with_packed_samples(tmp_path: Path) -> None:
    limits = ("--goal", "memory", "--memory-limit", "500MiB")
    found = probe(tmp_path, PACKED, "--axis", "tokens", *limits)
    assert found["along"] == {**found["along"], "axis": "tokens", "unit": "tokens"}
    assert found["trials"][0]["batch_size"] == 64
    assert found["along"]["size"] > 1024 and found["stop_reason"] == "memory"
