"""The recipe: each formula at figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fixtures.records import decision_of

from autobatch.recommend.build import recommend
from autobatch.recommend.largest import Largest
from autobatch.recommend.recipe import adascale_gain, build_recipe, surge_factor
from autobatch.records import NoiseScale, RecipeItem, Settings

NOISE = NoiseScale(
    noise_scale=128.0,
    low=100.0,
    high=160.0,
    confidence_fraction=0.9,
    gradient_variance=128.0,
    squared_gradient_norm=1.0,
    micro_batch_size=32,
    num_micro_batches=64,
)


@pytest.fixture
def items(make_trial: Any, make_workload: Any) -> Any:
    """Recipe by name from a global batch of 32 to one of 128, with a rate of 0.1."""

    def build(
        noise: NoiseScale | None = NOISE, batch_size: int = 128, **fields: Any
    ) -> dict[str, RecipeItem]:
        settings, workload = Settings(), make_workload(**fields)
        recommendation = recommend(
            settings=settings,
            workload=workload,
            trials=(make_trial(batch_size),),
            batch_size=batch_size,
            largest=Largest(batch_size=batch_size, was_run=True, is_lower_bound=False),
            reason="",
            decision=decision_of({batch_size: 1000.0}),
            throughput_curve=None,
        )
        recipe = build_recipe(
            settings=settings, workload=workload, recommendation=recommendation, noise=noise
        )
        assert len({item.name for item in recipe}) == len(recipe)
        return {item.name: item for item in recipe}

    return build


def test_sgd(items: Any) -> None:
    found = items(optimizer="SGD")
    values = {name: item.value for name, item in found.items()}
    # phi = 128, b0 = 32, b = 128: gain (1 + 4) / (1 + 1).
    assert values == pytest.approx(
        {
            "learning rate, linear rule": 0.4,
            "learning rate, square-root rule": 0.2,
            "learning rate, noise-scale law": 0.25,
            "learning rate, AdaScale gain": 0.25,
            "warm-up steps": 5 * math.ceil(24_000 / 128),
            "EMA decay of 0.999": 0.999**4,
            "weight decay": 1,
            "schedule, given in steps": 0.25,
            "epochs for the same progress": 1.6,
            "steps for the same progress": 0.4,
            "steps kept instead of epochs": 4,
        }
    )


def test_adam(items: Any) -> None:
    values = {name: item.value for name, item in items(optimizer="AdamW").items()}
    assert values == pytest.approx(
        {
            "learning rate, square-root rule": 0.2,
            # (2 + 1/2) / (1 + 1)
            "learning rate, rise and fall": 0.125,
            "warm-up steps": 2000,
            "epsilon": 0.5,
            "beta1, SDE rule": 0.6,
            "beta2, SDE rule": 0.996,
            "beta2, half-life kept": 0.999**4,
            "EMA decay of 0.999": 0.999**4,
            "weight decay, decoupled": 2,
            "schedule, given in steps": 0.25,
            "epochs for the same progress": 1.6,
            "steps for the same progress": 0.4,
            "steps kept instead of epochs": 4,
        }
    )


def test_without_a_noise_scale_what_needs_it_is_left_out(items: Any) -> None:
    for optimizer in ("SGD", "Adam", "RMSprop", None):
        found = items(noise=None, optimizer=optimizer)
        assert not any("phi" in item.formula for item in found.values())
        assert "learning rate, square-root rule" in found


def test_without_a_rate_there_are_factors(items: Any) -> None:
    found = items(base_learning_rate=None)["learning rate, linear rule"]
    assert (found.value, found.is_factor) == (4, True)


def test_a_rule_that_has_ended_gives_nothing(items: Any) -> None:
    found = items(optimizer="Adam", batch_size=1024)
    assert found["beta1, SDE rule"].value is None
    assert found["beta2, half-life kept"].value == pytest.approx(0.999**32)


def test_without_a_data_set_size_the_warm_up_is_in_epochs_alone(items: Any) -> None:
    found = items(optimizer="SGD", dataset_size=None)["warm-up steps"]
    assert found.value is None
    assert "5 epochs" in found.formula


def test_at_the_base_batch_size_nothing_changes(items: Any) -> None:
    for optimizer in ("SGD", "Adam"):
        for item in items(optimizer=optimizer, batch_size=32).values():
            if item.is_factor:
                assert item.value == pytest.approx(1), item.name
            if item.name.startswith("learning rate"):
                assert item.value == pytest.approx(0.1), item.name


def test_every_rule_has_its_source_and_its_limit(items: Any) -> None:
    for optimizer in ("SGD", "Adam", "RMSprop", "Lion", None):
        for item in items(optimizer=optimizer).values():
            assert item.formula
            assert item.limit
            assert any(char.isdigit() for char in item.source), item.source


def test_adascale_gains_between_one_and_the_ratio() -> None:
    assert adascale_gain(0, 32, 8) == 1
    assert adascale_gain(1e12, 32, 8) == pytest.approx(8)
    assert 1 < adascale_gain(100, 32, 8) < 8


def test_the_best_rate_of_sign_like_steps_rises_to_the_noise_scale_and_falls() -> None:
    factors = [surge_factor(256, 16, size) for size in (16, 64, 256, 1024, 4096)]
    assert factors[0] == 1
    assert factors[1] < factors[2] > factors[3] > factors[4]
    assert factors[1] == pytest.approx(factors[3])
