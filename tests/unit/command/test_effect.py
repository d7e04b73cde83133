from __future__ import annotations

import pytest

from autobatch.command.effect import Observation, Verdict, judge, observe


def of_loader(**batch_sizes: int) -> dict[int, Observation]:
    return {int(key[1:]): Observation(batch_size=size) for key, size in batch_sizes.items()}


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (of_loader(_8=8), Verdict(has_effect=True)),
        (of_loader(_8=16), Verdict(has_effect=None, ratio=2.0)),
        (of_loader(_8=16, _16=16), Verdict(has_effect=False, trained=16)),
        (of_loader(_8=4, _16=8), Verdict(has_effect=True, ratio=0.5)),
        # It may be the most that is trained with at once, until a third size says otherwise.
        (of_loader(_8=8, _64=8), Verdict(has_effect=None, trained=8)),
        (of_loader(_4=8, _8=8, _64=8), Verdict(has_effect=False, trained=8)),
        (of_loader(_4=4, _8=8, _64=8), Verdict(has_effect=True)),
    ],
)
def test_batches_of_the_loader_say_whether_a_size_took_effect(
    seen: dict[int, Observation], verdict: Verdict
) -> None:
    assert judge(seen) == verdict


def of_modules(*shapes: list[int]) -> Observation:
    return observe(None, [["module", "Net", 10, False, "cpu", [shape]] for shape in shapes])


def test_without_a_loader_a_dimension_must_follow_the_size() -> None:
    assert judge({8: of_modules([35, 8])}).has_effect is True
    assert judge({8: of_modules([35, 12])}).has_effect is None
    assert judge({8: of_modules([35, 8]), 16: of_modules([35, 16])}).has_effect is True
    assert judge({8: of_modules([8, 30]), 16: of_modules([8, 30])}).has_effect is False
    assert judge({8: of_modules([24, 3]), 16: of_modules([48, 3])}).has_effect is True


def test_without_either_nothing_is_claimed() -> None:
    assert judge({8: of_modules(), 16: of_modules()}).has_effect is None
