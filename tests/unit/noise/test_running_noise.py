"""The noise scale in a user's own loop, with accumulation and between ranks."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

import autobatch
from autobatch.errors import SettingsError

TRUE_NOISE_SCALE = (6 * 6.25 + 6) / 6


def loss_of(model: nn.Module, generator: torch.Generator, batch_size: int = 8) -> torch.Tensor:
    """Linear regression at distance ``|d|^2 = 6`` with noise 0.5, where the answer is known."""
    features = torch.randn(batch_size, 6, generator=generator)
    noise = 0.5 * torch.randn(batch_size, 1, generator=generator)
    target = features.sum(dim=1, keepdim=True) + noise
    return nn.functional.mse_loss(model(features), target)


def make() -> tuple[nn.Module, torch.Generator]:
    model = nn.Linear(6, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model, torch.Generator().manual_seed(0)


def run(
    noise: autobatch.GradientNoiseScale,
    model: nn.Module,
    generator: torch.Generator,
    *,
    num_steps: int = 300,
    num_passes: int = 4,
    factor: float = 0.25,
    **fields: float,
) -> None:
    for _ in range(num_steps):
        for _ in range(num_passes):
            (factor * loss_of(model, generator)).backward()
            noise.after_backward()
        noise.before_step(**fields)
        model.zero_grad()


@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_accumulation_gives_the_known_noise_scale_however_the_loss_is_divided(
    factor: float,
) -> None:
    model, generator = make()
    noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8)
    run(noise, model, generator, num_steps=500, factor=factor)
    found = noise.read()
    assert found is not None
    assert found.noise_scale == pytest.approx(TRUE_NOISE_SCALE, rel=0.15)
    assert found.low < TRUE_NOISE_SCALE < (found.high or math.inf)
    assert (found.micro_batch_size, found.num_micro_batches) == (8, 2000)


def test_a_loss_scale_that_changes_does_not_matter() -> None:
    figures = []
    for scales in ((1.0, 1.0), (1024.0, 2.0)):
        model, generator = make()
        noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8)
        for scale in scales:
            run(noise, model, generator, num_steps=20, factor=scale, loss_scale=scale)
        figures.append(noise.read())
    first, second = figures
    assert first is not None
    assert second is not None
    assert second.noise_scale == pytest.approx(first.noise_scale, rel=1e-4)


def test_steps_that_overflow_and_single_passes_are_left_out() -> None:
    model, generator = make()
    noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8)
    run(noise, model, generator, num_steps=10)
    run(noise, model, generator, num_steps=3, factor=math.inf)
    run(noise, model, generator, num_steps=2, num_passes=1)
    found = noise.read()
    assert found is not None
    assert found.num_micro_batches == 40


def test_only_the_last_steps_count_and_only_every_so_many() -> None:
    model, generator = make()
    noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8, window=10, every=3)
    run(noise, model, generator, num_steps=100)
    found = noise.read()
    assert found is not None
    assert found.num_micro_batches == 40


def test_before_enough_steps_there_is_nothing() -> None:
    model, generator = make()
    noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8)
    assert noise.read() is None
    run(noise, model, generator, num_steps=3)
    assert noise.read() is None


def test_one_pass_per_step_is_named_as_the_reason_for_nothing() -> None:
    model, generator = make()
    noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8)
    run(noise, model, generator, num_steps=5, num_passes=1)
    with pytest.raises(SettingsError, match="none of 5 optimizer steps"):
        noise.read()


def test_what_cannot_be_measured_is_refused() -> None:
    model, _ = make()
    with pytest.raises(SettingsError, match="batch_size = 0"):
        autobatch.GradientNoiseScale(model.parameters(), batch_size=0)
    with pytest.raises(SettingsError, match="no parameter has a gradient"):
        autobatch.GradientNoiseScale(model.parameters(), batch_size=8).after_backward()


RANKS = """
    import os
    import sys
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    sys.path.insert(0, {folder!r})
    from test_running_noise import make, loss_of, TRUE_NOISE_SCALE
    import autobatch

    rank = int(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
    for num_passes in (1, 2):
        model, _ = make()
        model = DistributedDataParallel(model)
        generator = torch.Generator().manual_seed(rank)
        noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=8, watch=model)
        for _ in range(400):
            for index in range(num_passes):
                model.require_backward_grad_sync = index == num_passes - 1
                loss_of(model, generator).backward()
                noise.after_backward()
            gradients = [p.grad.clone() for p in model.parameters()]
            noise.before_step()
            model.zero_grad()
        for gradient in gradients:  # the ranks' mean, as without the hook
            total = gradient.clone()
            dist.all_reduce(total)
            assert torch.allclose(total / 2, gradient)
        found = noise.read()
        assert found.num_micro_batches == 800, found
        # Two gradients to compare, where accumulation has many: 400 steps give some 20 %.
        assert 0.75 * TRUE_NOISE_SCALE < found.noise_scale < 1.3 * TRUE_NOISE_SCALE, found
        print(found.noise_scale)
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may outlive the interpreter, and end it with an abort
"""


def test_ranks_compare_their_own_gradients_with_their_mean(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(textwrap.dedent(RANKS.format(folder=str(Path(__file__).parent))))
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        done = [rank.communicate(timeout=200) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], done
    assert done[0][0] == done[1][0]
